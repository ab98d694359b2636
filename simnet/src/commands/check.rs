//! `simnet check`: whether a scenario file is well formed and possible.

use std::{num::NonZeroUsize, sync::atomic::Ordering};

use clap::Args;
use serde_json::json;
use simnet::{Progress, clock, report::Report, runner, sweep::plan, units::Span};

use super::{End, Memory, Source, print, threads, watch_interrupts};

/// Threads of the second run, at least.
const OTHERS: NonZeroUsize = NonZeroUsize::new(2).expect("two are not none");

/// Reads the file, checks every point of its sweep, and says what it needs.
#[derive(Debug, Args)]
pub(crate) struct Check {
    #[command(flatten)]
    source: Source,
    /// Run it twice, on one thread and on several, and compare everything; the exit code is 4 where
    /// the two differ.
    #[arg(long)]
    determinism: bool,
    #[command(flatten)]
    memory: Memory,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

impl Check {
    pub(crate) fn execute(&self) -> anyhow::Result<End> {
        let file = self.source.read()?;
        file.possible()?;
        if let Some(hurry) = file.scenario.hurry() {
            eprintln!("warning: {hurry}");
        }
        let runs = if file.sweep.is_empty() { 1 } else { plan(&file)?.len() };
        self.memory.check(&file, 1)?;
        let mut end = End::Well;
        let mut traces = Vec::new();
        if self.determinism {
            let stop = watch_interrupts()?;
            let once = |threads| {
                let goes_on = &mut |_: &Progress| !stop.load(Ordering::Relaxed);
                runner::run_on(threads, &file.scenario, goes_on)
            };
            let many = threads(None, &file).max(OTHERS);
            let (first, second) = (once(NonZeroUsize::MIN)?, once(many)?);
            traces = vec![first.trace.to_string(), second.trace.to_string()];
            if !first.is_complete || !second.is_complete {
                end = End::Interrupted;
            } else if !are_equal(&first, &second) {
                end = End::NotDeterministic;
            }
        }
        let scenario = &file.scenario;
        let clock = clock(scenario)?;
        if self.json {
            let value = json!({
                "file": file.file,
                "runs": runs,
                "checks": file.checks.len(),
                "first_epoch": clock.first.0,
                "first_epoch_begins_s": clock.begins.0 / 1_000_000,
                "epoch_s": clock.epoch / 1_000_000,
                "last_epoch_ends_s": clock.ends.0 / 1_000_000,
                "traces": traces,
                "is_deterministic": self.determinism.then_some(end == End::Well),
            });
            print(&format!("{value}\n"));
        } else {
            print(&format!(
                "{}: {} nodes, {} epochs, {runs} runs, {} checks\n",
                file.file,
                scenario.population.nodes,
                scenario.epochs,
                file.checks.len()
            ));
            print(&format!(
                "epoch {}, the first in which storage is proven, begins at {}; each lasts {}; the \
                 last is over at {}\n",
                clock.first,
                Span(clock.begins.0),
                Span(clock.epoch),
                Span(clock.ends.0)
            ));
            match (end, &traces[..]) {
                (End::NotDeterministic, [first, second]) => {
                    print(&format!(
                        "two runs of seed {} differ: {first} and {second}\n",
                        scenario.seed
                    ));
                }
                (End::Well, [first, _]) => print(&format!("two runs are equal: trace {first}\n")),
                _ => {}
            }
        }
        Ok(end)
    }
}

/// Whether two reports agree in everything, not only in their trace.
fn are_equal(first: &Report, second: &Report) -> bool {
    let plain = |report: &Report| serde_json::to_value(report).ok();
    first.trace == second.trace && plain(first) == plain(second)
}
