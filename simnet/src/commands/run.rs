//! `simnet run`: one run from its scenario to its results.

use std::{num::NonZeroUsize, path::PathBuf, sync::atomic::Ordering, time::Instant};

use clap::Args;
use simnet::{
    Scenario,
    output::{self, Cost, Finished, Saved},
    runner::{self, Failure},
    scenario_file::ScenarioFile,
    units::{Size, Span},
};
use toml::{Table, Value};

use super::{End, Memory, keep_crash, print, progress, threads, watch_interrupts, with_settings};

/// Options change what the file says, or the default scenario where there is none.
#[derive(Debug, Args)]
pub(crate) struct Run {
    /// The scenario file; the default scenario, with its tenths of offline and lazy nodes, if left
    /// out.
    file: Option<PathBuf>,
    /// Changes a value of the scenario, like net.loss=0.05; repeatable. `simnet explain` lists all.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Nodes of all kinds.
    #[arg(long)]
    nodes: Option<u32>,
    /// Epochs in which storage is proven; two more come first, in which the network forms.
    #[arg(long)]
    epochs: Option<u64>,
    /// Seed from which every random draw follows, below 2^63.
    #[arg(long)]
    seed: Option<u64>,
    /// One-way delay between two nodes, in milliseconds.
    #[arg(long)]
    latency_ms: Option<u64>,
    /// Share of gossip deliveries and requests that are lost (0 to below 1).
    #[arg(long)]
    loss: Option<f64>,
    /// Paid replicas of a pack.
    #[arg(long)]
    replicas: Option<u32>,
    /// Share of nodes that never come or leave for good (0 to 1).
    #[arg(long)]
    offline: Option<f64>,
    /// Share of nodes that claim everything and store nothing (0 to 1).
    #[arg(long)]
    lazy: Option<f64>,
    /// Packs in the network.
    #[arg(long)]
    packs: Option<u32>,
    /// Largest pack, in KiB.
    #[arg(long)]
    pack_max_kib: Option<u64>,
    /// Have the real small model compute what is trained, on generated text; needs a build with
    /// `--features real-compute`.
    #[arg(long)]
    real_compute: bool,
    /// Threads, which change nothing of the results; one for each core if left out.
    #[arg(long)]
    threads: Option<NonZeroUsize>,
    #[command(flatten)]
    memory: Memory,
    /// Folder for run.json, the tables and report.html; created where it is missing.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Crash at this virtual time as a broken machine would, to try what is around simnet: the exit
    /// code is 5, and the scenario is kept.
    #[arg(long, value_name = "TIME")]
    crash_at: Option<Span>,
    /// Print one JSON object instead of the table.
    #[arg(long)]
    json: bool,
}

impl Run {
    /// The short options as settings.
    fn settings(&self) -> anyhow::Result<Vec<(String, Value)>> {
        let text = |value: String| Value::String(value);
        let whole = |value: u64| Ok::<_, anyhow::Error>(Value::from(i64::try_from(value)?));
        let lazy = self.lazy.map(|share| {
            let mut plan = Table::new();
            plan.insert("kind".to_owned(), text("lazy-storage".to_owned()));
            plan.insert("share".to_owned(), Value::from(share));
            Value::Array(vec![Value::Table(plan)])
        });
        let options = [
            ("population.nodes", self.nodes.map(Value::from)),
            ("epochs", self.epochs.map(whole).transpose()?),
            ("seed", self.seed.map(whole).transpose()?),
            ("net.latency", self.latency_ms.map(|ms| text(Span::millis(ms).to_string()))),
            ("net.loss", self.loss.map(Value::from)),
            ("holding.replicas", self.replicas.map(Value::from)),
            ("population.offline", self.offline.map(Value::from)),
            ("adversary", lazy),
            ("training.real_compute", self.real_compute.then_some(Value::from(true))),
            ("workload.packs", self.packs.map(Value::from)),
            ("workload.pack_max", self.pack_max_kib.map(|kib| text(Size::kib(kib).to_string()))),
        ];
        let given = options.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?)));
        Ok(given.collect())
    }

    fn scenario(&self) -> anyhow::Result<ScenarioFile> {
        let file = match &self.file {
            Some(path) => ScenarioFile::read(path)?,
            None => ScenarioFile::of(&Scenario::default())?,
        };
        let file = file.with(&self.settings()?)?;
        let file = with_settings(file, &self.set)?;
        file.possible()?;
        Ok(file)
    }

    pub(crate) fn execute(&self) -> anyhow::Result<End> {
        let file = self.scenario()?;
        if !file.sweep.is_empty() {
            eprintln!("this runs the file's own values; `simnet sweep` runs its [sweep]");
        }
        let file = file.without_sweep();
        if let Some(hurry) = file.scenario.hurry() {
            eprintln!("warning: {hurry}");
        }
        self.memory.check(&file, 1)?;
        if let Some(dir) = &self.out {
            output::prepare(dir)?;
        }
        let stop = watch_interrupts()?;
        let (started, bar) = (Instant::now(), progress::run_bar());
        let threads = threads(self.threads, &file);
        let ran = runner::run_on(threads, &file.scenario, &mut |now| {
            progress::show(&bar, now, started);
            let is_due = self.crash_at.is_some_and(|at| now.time.0 >= at.0);
            assert!(!is_due, "--crash-at asked for it");
            !stop.load(Ordering::Relaxed)
        });
        bar.finish_and_clear();
        let report = match ran {
            Ok(report) => report,
            Err(failure @ Failure::Crash { .. }) => {
                let kept = keep_crash(self.out.as_deref(), &file, &failure.to_string())?;
                eprintln!("simnet: {failure}");
                eprintln!("`simnet run {}` repeats it", kept.display());
                return Ok(End::Crashed);
            }
            Err(failure) => return Err(failure.into()),
        };
        let judgements: Vec<_> = file.checks.iter().map(|c| c.judge(&report.kpis)).collect();
        let cost = Cost::new(&report, started.elapsed());
        let run = Finished { file: &file, report: &report, judgements: &judgements, cost };
        if let Some(dir) = &self.out {
            run.write(dir)?;
        }
        if self.json {
            // One line, as every command's object: the last line of a pipe is all of it.
            print(&format!("{}\n", serde_json::to_string(&Saved::new(&run))?));
        } else {
            print(&output::table(&report, &judgements, cost));
        }
        Ok(match (run.holds(), report.is_complete) {
            (false, _) => End::CheckFailed,
            (true, true) => End::Well,
            (true, false) => End::Interrupted,
        })
    }
}
