//! `simnet fuzz`: draws scenarios until one breaks an invariant.

use std::{
    num::NonZeroUsize,
    path::PathBuf,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use clap::Args;
use serde_json::json;
use simnet::{
    fuzz::{Found, draw, judge, shrink},
    output::{prepare, write_file},
    scenario_file::ScenarioFile,
    units::Span,
};

use super::{End, print, progress, watch_interrupts};

/// Draws networks with their faults and cheats from seeds, one after the other, until the budget is
/// used or something breaks; makes that smaller and writes it as a scenario file.
#[derive(Debug, Args)]
pub(crate) struct Fuzz {
    /// Time for it, like 10m; making a failure smaller may take half as long again.
    #[arg(long, default_value = "10m")]
    budget: Span,
    /// The first seed; the next runs take the next seeds.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u64).range(..1 << 62))]
    seed: u64,
    /// Folder for the scenario files of failures.
    #[arg(long, value_name = "DIR", default_value = "fuzz")]
    out: PathBuf,
    /// Networks at once; one for each core if left out.
    #[arg(long)]
    jobs: Option<NonZeroUsize>,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

impl Fuzz {
    pub(crate) fn execute(&self) -> anyhow::Result<End> {
        let started = Instant::now();
        let budget = Duration::from_micros(self.budget.micros());
        let stop = watch_interrupts()?;
        let (runs, found) = self.search(started + budget, &stop);
        let searched = started.elapsed();
        let Some((seed, broken)) = found else {
            let end = if stop.load(Ordering::Relaxed) { End::Interrupted } else { End::Well };
            if self.json {
                print(&format!("{}\n", json!({ "runs": runs, "found": null })));
            } else {
                let seconds = searched.as_secs();
                print(&format!(
                    "{runs} networks in {seconds} s, nothing broken; next --seed {}\n",
                    self.seed + runs
                ));
            }
            return Ok(end);
        };
        eprintln!("seed {seed} breaks: {}\nmaking it smaller", broken.what);
        let found = shrink(seed, draw(seed), broken, Instant::now() + budget / 2);
        let path = self.keep(&found)?;
        if self.json {
            let value = json!({
                "runs": runs,
                "seconds": searched.as_secs_f64(),
                "found": { "seed": seed, "what": found.broken.what, "detail": found.broken.detail,
                           "is_crash": found.broken.is_crash, "file": path },
            });
            print(&format!("{value}\n"));
        } else {
            let (nodes, epochs) = (found.scenario.population.nodes, found.scenario.epochs);
            print(&format!(
                "network {runs}, seed {seed}, after {} s: {}\n  {}\nsmallest after {} more runs: {nodes} \
                 nodes, {epochs} epochs, {} faults, {} adversaries\n`simnet run {}` repeats it\n",
                searched.as_secs(),
                found.broken.what,
                found.broken.detail,
                found.tries,
                found.scenario.events.len(),
                found.scenario.adversaries.len(),
                path.display()
            ));
        }
        Ok(if found.broken.is_crash { End::Crashed } else { End::CheckFailed })
    }

    /// Runs seeds until one breaks something: how many ran, and which broke what. Of several at
    /// once, the lowest seed counts.
    fn search(
        &self,
        until: Instant,
        stop: &AtomicBool,
    ) -> (u64, Option<(u64, simnet::fuzz::Broken)>) {
        let cores = || thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
        let threads = self.jobs.unwrap_or_else(cores).get();
        let bar = progress::bar("{spinner} {pos} networks in {elapsed}  {msg}");
        let (next, first) = (AtomicU64::new(self.seed), Mutex::new(None));
        let is_over = AtomicBool::new(false);
        let goes_on = || {
            Instant::now() < until
                && !stop.load(Ordering::Relaxed)
                && !is_over.load(Ordering::Relaxed)
        };
        thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    while goes_on() {
                        let seed = next.fetch_add(1, Ordering::Relaxed);
                        bar.set_message(format!("seed {seed}"));
                        if let Some(broken) = judge(&draw(seed), &mut || goes_on()) {
                            let mut first = first.lock().expect("no thread panics with the lock");
                            if first.as_ref().is_none_or(|(known, _)| seed < *known) {
                                *first = Some((seed, broken));
                            }
                            is_over.store(true, Ordering::Relaxed);
                        }
                        bar.inc(1);
                    }
                });
            }
        });
        bar.finish_and_clear();
        let found = first.into_inner().expect("no thread panics with the lock");
        (bar.position(), found)
    }

    fn keep(&self, found: &Found) -> anyhow::Result<PathBuf> {
        prepare(&self.out)?;
        let file = ScenarioFile::of(&found.scenario)?;
        let path = self.out.join(format!("seed-{}.toml", found.seed));
        let text = format!(
            "# {}\n# {}\n\n{}",
            found.broken.what.replace('\n', " "),
            found.broken.detail.replace('\n', " "),
            file.text()
        );
        write_file(&path, text.as_bytes())?;
        Ok(path)
    }
}
