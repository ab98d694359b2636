//! What the demo shows while it runs: lines for what happened, a spinner for what it waits for.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use protocol::{ModelId, Round};

use crate::api::types::StatusReport;

/// Lines on standard error; standard output is for the result.
#[derive(Debug)]
pub(super) struct Progress {
    start: Instant,
    bar: Option<ProgressBar>,
    last: std::sync::Mutex<String>,
}

impl Progress {
    pub(super) fn new() -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new_spinner();
            let style = ProgressStyle::with_template("{spinner} {elapsed:>5} {msg}");
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
            bar.enable_steady_tick(Duration::from_millis(120));
            bar
        });
        Self { start: Instant::now(), bar, last: std::sync::Mutex::default() }
    }

    pub(super) fn seconds(&self) -> u64 {
        self.start.elapsed().as_secs()
    }

    /// Says that something happened.
    pub(super) fn line(&self, text: impl AsRef<str>) {
        let line = format!("{:>4} s  {}", self.seconds(), text.as_ref());
        match &self.bar {
            Some(bar) => bar.println(line),
            None => eprintln!("{line}"),
        }
    }

    /// Something is being waited for; said once without a terminal.
    pub(super) fn wait(&self, text: impl Into<String>) {
        let text = text.into();
        if let Some(bar) = &self.bar {
            bar.set_message(text);
            return;
        }
        let mut last = self.last.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if *last != text {
            eprintln!("{:>4} s    … {text}", self.seconds());
            *last = text;
        }
    }

    pub(super) fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// Where a training run is, in words.
pub(super) fn describe_run(status: &StatusReport, model: ModelId) -> String {
    let run = status.runs.iter().find(|run| run.model == model);
    let Some(run) = run else { return "the nodes to begin training".to_owned() };
    let Round(round) = run.round;
    if round < run.rounds {
        format!("training, round {} of {}", round + 1, run.rounds)
    } else {
        "the attribution sketches".to_owned()
    }
}
