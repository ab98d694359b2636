//! `simnet replay`: runs saved results again, and watches a node.

use std::{path::PathBuf, sync::atomic::Ordering};

use clap::Args;
use serde_json::json;
use simnet::{
    Seen, output::Saved, runner, scenario_file::ScenarioFile, sweep::JOURNAL, units::Span,
};

use super::{End, print, threads, watch_interrupts};

/// Letters of an input or output that are shown without --verbose.
const SHORT: usize = 160;

/// Runs the scenario of a result folder again. A whole run has to give the same trace hash as
/// before; the exit code is 4 where it does not.
#[derive(Debug, Args)]
pub(crate) struct Replay {
    /// The result folder of a run.
    dir: PathBuf,
    /// Stop at this virtual time, like 12m.
    #[arg(long)]
    until: Option<Span>,
    /// Show what goes into and out of this node's machine; nodes count from 0.
    #[arg(long)]
    node: Option<u32>,
    /// Show inputs and outputs whole.
    #[arg(long, short)]
    verbose: bool,
    /// One JSON object a line.
    #[arg(long)]
    json: bool,
}

impl Replay {
    pub(crate) fn execute(&self) -> anyhow::Result<End> {
        if self.dir.join(JOURNAL).exists() {
            let sweep = self.dir.join("sweep.toml");
            anyhow::bail!(
                "{} is a sweep; a run is replayed: simnet run {} --set KEY=VALUE --out DIR makes one",
                self.dir.display(),
                sweep.display()
            );
        }
        let saved = Saved::read(&self.dir)?;
        let file = ScenarioFile::read(&self.dir.join("scenario.toml"))?;
        let nodes = file.scenario.population.nodes;
        if let Some(node) = self.node.filter(|node| *node >= nodes) {
            anyhow::bail!("there is no node {node}; the run has nodes 0 to {}", nodes - 1);
        }
        let stop = watch_interrupts()?;
        let until = self.until.map_or(u64::MAX, Span::micros);
        let report =
            runner::watch(threads(None, &file), &file.scenario, self.node, &mut |now, seen| {
                seen.iter().filter(|seen| seen.time.0 <= until).for_each(|seen| self.show(seen));
                now.time.0 < until && !stop.load(Ordering::Relaxed)
            })?;
        if !report.is_complete || !saved.is_complete {
            eprintln!("stopped at {}", Span(report.time.0 / 1_000 * 1_000));
            let interrupted = stop.load(Ordering::Relaxed);
            return Ok(if interrupted { End::Interrupted } else { End::Well });
        }
        let trace = report.trace.to_string();
        if trace != saved.trace {
            eprintln!(
                "this run gave the trace {trace} and not {}; was it made by version {}, and is this {}?",
                saved.trace,
                saved.version,
                env!("CARGO_PKG_VERSION")
            );
            return Ok(End::NotDeterministic);
        }
        eprintln!("the trace is the same as before: {trace}");
        Ok(End::Well)
    }

    fn show(&self, seen: &Seen) {
        if self.json {
            let direction = if seen.is_output { "out" } else { "in" };
            let value =
                json!({ "time_us": seen.time.0, "direction": direction, "what": seen.what });
            print(&format!("{value}\n"));
            return;
        }
        let arrow = if seen.is_output { "->" } else { "<-" };
        let mut what = seen.what.as_str();
        let mut rest = "";
        if !self.verbose && what.len() > SHORT {
            (what, rest) = (&what[..what.floor_char_boundary(SHORT)], " …");
        }
        let (seconds, micros) = (seen.time.0 / 1_000_000, seen.time.0 % 1_000_000);
        print(&format!("{seconds:>8}.{micros:06} s {arrow} {what}{rest}\n"));
    }
}
