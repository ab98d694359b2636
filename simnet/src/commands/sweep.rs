//! `simnet sweep`: a run for each value of some keys.

use std::{num::NonZeroUsize, path::PathBuf, sync::atomic::Ordering, thread, time::Instant};

use clap::Args;
use serde_json::json;
use simnet::{
    output::{
        Row, WriteError, prepare, shown_figures, summary, sweep_page, write_file, write_marked,
        write_table,
    },
    plot::short,
    scenario_file::ScenarioFile,
    sweep::{Job, Journal, make_all, plan},
};

use super::{End, Memory, Source, keep_crash, print, progress, watch_interrupts};

/// Results are kept as runs finish: the same command goes on where it was stopped.
#[derive(Debug, Args)]
pub(crate) struct Sweep {
    #[command(flatten)]
    source: Source,
    /// Folder for runs.jsonl, summary.csv, summary.parquet and report.html.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Runs at once; one for each core if left out.
    #[arg(long)]
    jobs: Option<NonZeroUsize>,
    #[command(flatten)]
    memory: Memory,
    /// Print one JSON object instead of the table.
    #[arg(long)]
    json: bool,
}

impl Sweep {
    pub(crate) fn execute(&self) -> anyhow::Result<End> {
        let file = self.source.read()?;
        if file.sweep.is_empty() {
            anyhow::bail!("{} has no [sweep]; `simnet run` makes the one run", file.file);
        }
        let jobs = plan(&file)?;
        let cores = || thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
        let threads = self.jobs.unwrap_or_else(cores).get();
        let largest = jobs.iter().max_by_key(|job| simnet::budget::estimate(&job.file.scenario));
        if let Some(largest) = largest {
            self.memory.check(&largest.file, threads.min(jobs.len()))?;
        }
        prepare(&self.out)?;
        let mut journal = Journal::open(&self.out)?;
        let open: Vec<Job> = jobs.iter().filter(|job| !journal.has(job)).cloned().collect();
        let done = jobs.len() - open.len();
        if done > 0 {
            eprintln!("{done} of {} runs are done already", jobs.len());
        }
        write_file(&self.out.join("sweep.toml"), file.text().as_bytes())?;
        let failed = self.make(&open, threads, &mut journal)?;
        let rows = journal.of(&jobs);
        let written = self.write(&file, &rows, jobs.len());
        self.say(&file, &rows, jobs.len());
        if let Some(error) = failed {
            return Err(error.into());
        }
        written?;
        Ok(if rows.iter().any(|row| row.crash.is_some()) {
            End::Crashed
        } else if rows.iter().any(|row| !row.holds) {
            End::CheckFailed
        } else if rows.len() < jobs.len() {
            End::Interrupted
        } else {
            End::Well
        })
    }

    /// Makes the runs; an error of writing ends it and comes back.
    fn make(
        &self,
        jobs: &[Job],
        threads: usize,
        journal: &mut Journal,
    ) -> anyhow::Result<Option<WriteError>> {
        let stop = watch_interrupts()?;
        let bar = progress::bar("{bar:24} run {pos}/{len}  {msg}  eta {eta}");
        bar.set_length(jobs.len() as u64);
        bar.tick();
        let started = Instant::now();
        let (mut failed, mut crashes) = (None, Vec::new());
        make_all(jobs, threads, &stop, |row: Row| {
            if let Some(message) = &row.crash {
                crashes.push((row.key.clone(), message.clone()));
            }
            bar.inc(1);
            bar.set_message(format!(
                "{} seed {} took {} s",
                row.label(),
                row.seed,
                short(row.seconds)
            ));
            failed = journal.keep(row).err();
            failed.is_none()
        });
        bar.finish_and_clear();
        if stop.load(Ordering::Relaxed) && failed.is_none() {
            eprintln!("stopped after {} s; the same command goes on", started.elapsed().as_secs());
        }
        for (key, message) in crashes {
            let Some(job) = jobs.iter().find(|job| job.key == key) else { continue };
            let kept = keep_crash(Some(&self.out), &job.file, &message)?;
            eprintln!("simnet: {message}\n`simnet run {}` repeats it", kept.display());
        }
        Ok(failed)
    }

    fn write(&self, file: &ScenarioFile, rows: &[Row], planned: usize) -> Result<(), WriteError> {
        let some = format!("{} of {planned} runs are done; the same command goes on.", rows.len());
        let missing = (rows.len() < planned).then_some(some.as_str());
        write_marked(&self.out, missing, || {
            write_table(&self.out, "summary", &summary(rows), &file.out.formats)?;
            if file.out.report {
                let page = sweep_page(file, rows, planned);
                write_file(&self.out.join("report.html"), page.as_bytes())?;
            }
            Ok(())
        })
    }

    fn say(&self, file: &ScenarioFile, rows: &[Row], planned: usize) {
        if self.json {
            let value = json!({ "planned": planned, "runs": rows });
            print(&format!("{value}\n"));
            return;
        }
        for row in rows {
            let mark = match (&row.crash, row.holds) {
                (Some(_), _) => "CRASH",
                (None, false) => "FAIL ",
                (None, true) => "ok   ",
            };
            print(&format!(
                "{mark} {} seed {}  {}\n",
                row.label(),
                row.seed,
                row.broken.join("; ")
            ));
        }
        print(&means(rows, file));
        let partial = if rows.len() < planned { "; these results are partial" } else { "" };
        print(&format!(
            "\n{} of {planned} runs are done{partial}; see {}\n",
            rows.len(),
            self.out.join("report.html").display()
        ));
    }
}

/// A line for each point of the grid: the means over its seeds of the figures that are shown.
#[expect(clippy::cast_precision_loss, reason = "a number of seeds")]
fn means(rows: &[Row], file: &ScenarioFile) -> String {
    let figures = shown_figures(file);
    let mut points: Vec<(String, Vec<&Row>)> = Vec::new();
    for row in rows.iter().filter(|row| row.crash.is_none()) {
        match points.iter_mut().find(|(label, _)| *label == row.label()) {
            Some((_, same)) => same.push(row),
            None => points.push((row.label(), vec![row])),
        }
    }
    let width = points.iter().map(|(label, _)| label.len()).max().unwrap_or(0).max(4);
    let mut text = format!("\n{:<width$}", "mean");
    figures.iter().for_each(|name| text.push_str(&format!("  {name:>16}")));
    for (label, rows) in &points {
        text.push_str(&format!("\n{label:<width$}"));
        for name in &figures {
            let of = |row: &&Row| row.kpis.iter().find(|kpi| kpi.name == *name)?.value;
            let values: Vec<f64> = rows.iter().filter_map(of).collect();
            let mean = values.iter().sum::<f64>() / values.len() as f64;
            let shown = if values.is_empty() { "–".to_owned() } else { short(mean) };
            let width = name.len().max(16);
            text.push_str(&format!("  {shown:>width$}"));
        }
    }
    text.push('\n');
    text
}
