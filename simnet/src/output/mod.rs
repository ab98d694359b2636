//! Results for people and programs: a table on the screen, CSV and Parquet, `run.json` and a page.

mod page;
mod plots;
mod row;
mod saved;
mod screen;
mod table;
mod tables;

pub use page::{page, sweep_page};
pub use plots::{run_plots, sweep_plots};
pub use row::{Row, summary};
pub use saved::{Distribution, Line, Named, Saved, SavedError};
pub use screen::table;
pub use table::{Column, Table, Values};
pub use tables::tables;

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use serde::{Deserialize, Serialize};

use crate::{
    report::Report,
    scenario_file::{Format, Judgement, ScenarioFile},
};

/// The commit that this was built from, where the builder or the checkout says so.
pub(crate) const COMMIT: Option<&str> = option_env!("SIMNET_COMMIT");

/// What a run cost the machine that ran it; not part of what is reproducible.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Cost {
    /// Wall time in seconds.
    pub seconds: f64,
    /// Virtual over wall time.
    pub speed_up: f64,
    /// Events per second of wall time.
    pub events_per_second: f64,
    /// Largest resident memory of the process in bytes, where the system tells.
    pub peak_memory: Option<u64>,
    /// The same over the number of nodes; with few of them it's mostly the program and the contracts.
    pub memory_per_node: Option<u64>,
    /// Most events in flight: how many waited at once.
    pub most_pending: u64,
}

impl Cost {
    /// The cost of a run that took `wall`.
    #[expect(clippy::cast_precision_loss, reason = "a report to three digits")]
    pub fn new(report: &Report, wall: Duration) -> Self {
        let seconds = wall.as_secs_f64().max(1e-6);
        let peak_memory = peak_memory();
        let nodes = u64::from(report.scenario.population.nodes).max(1);
        Self {
            seconds,
            speed_up: report.time.0 as f64 / 1e6 / seconds,
            events_per_second: report.totals.events as f64 / seconds,
            peak_memory,
            memory_per_node: peak_memory.map(|bytes| bytes / nodes),
            most_pending: report.totals.most_pending,
        }
    }

    /// Memory and events in flight, for people.
    #[expect(clippy::cast_precision_loss, reason = "a report to three digits")]
    pub fn held(&self) -> String {
        let memory = match (self.peak_memory, self.memory_per_node) {
            (Some(all), Some(each)) => {
                format!("{} MiB, {:.1} KiB per node", all >> 20, each as f64 / 1024.0)
            }
            _ => "memory unknown".to_owned(),
        };
        format!("{memory}, at most {} events in flight", self.most_pending)
    }
}

/// Largest resident memory of this process so far in bytes, where the system tells.
pub fn peak_memory() -> Option<u64> {
    memory("VmHWM:")
}

/// Resident memory of this process in bytes, where the system tells.
pub fn resident_memory() -> Option<u64> {
    memory("VmRSS:")
}

fn memory(line: &str) -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|text| text.strip_prefix(line))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib << 10)
}

/// Results that could not be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot write {}: {source}{}", path.display(), advice(source))]
pub struct WriteError {
    /// The file that could not be written.
    pub path: PathBuf,
    /// What the system said.
    pub source: io::Error,
}

fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::StorageFull => {
            "; free some space and run it again: the same seed gives the same results"
        }
        _ => "",
    }
}

/// Creates a folder for results, before a run is paid for.
///
/// # Errors
/// [`WriteError`] naming the folder.
pub fn prepare(dir: &Path) -> Result<(), WriteError> {
    fs::create_dir_all(dir).map_err(|source| WriteError { path: dir.to_owned(), source })
}

/// Writes a file whole or not at all.
///
/// # Errors
/// [`WriteError`] naming the file.
pub fn write_file(path: &Path, bytes: &[u8]) -> Result<(), WriteError> {
    let mut draft = path.as_os_str().to_owned();
    draft.push(".part");
    let wrote = fs::write(&draft, bytes).and_then(|()| fs::rename(&draft, path));
    wrote.map_err(|source| {
        // What was not written whole is worth nothing; that it cannot be removed changes nothing.
        let _ = fs::remove_file(&draft);
        WriteError { path: path.to_owned(), source }
    })
}

/// The file in a folder whose results are not whole, which says why.
pub const PARTIAL: &str = "PARTIAL.txt";

/// Writes results into a folder that is marked as partial until all of them are there; where
/// `missing` says that they are not all there are, the mark stays and says so.
///
/// # Errors
/// [`WriteError`] naming the file; what was written before is kept, and stays marked.
pub fn write_marked(
    dir: &Path,
    missing: Option<&str>,
    write: impl FnOnce() -> Result<(), WriteError>,
) -> Result<(), WriteError> {
    let mark = dir.join(PARTIAL);
    let text =
        "Not all of these results could be written: the disk was full, or simnet was killed.\n";
    let text = missing.map_or(text.to_owned(), |missing| format!("{missing}\n"));
    if let Err(error) = write_file(&mark, text.as_bytes()) {
        // A full disk often still takes a name, and an empty mark is one.
        let _ = fs::File::create(&mark);
        return Err(error);
    }
    write()?;
    match missing {
        Some(_) => Ok(()),
        None => fs::remove_file(&mark).map_err(|source| WriteError { path: mark, source }),
    }
}

/// Writes one table in the formats asked for.
///
/// # Errors
/// [`WriteError`] naming the file.
pub fn write_table(
    dir: &Path,
    name: &str,
    table: &Table,
    formats: &[Format],
) -> Result<(), WriteError> {
    for format in formats {
        match format {
            Format::Csv => write_file(&dir.join(format!("{name}.csv")), table.csv().as_bytes())?,
            Format::Parquet => {
                let path = dir.join(format!("{name}.parquet"));
                match table.parquet() {
                    Ok(bytes) => write_file(&path, &bytes)?,
                    Err(source) => return Err(WriteError { path, source }),
                }
            }
        }
    }
    Ok(())
}

/// Figures that a table of many runs has where the file names none and checks none.
const USUAL: [&str; 5] =
    ["durability", "replicas_proven", "honest_unpaid", "pay_honest_mean", "pay_adverse_mean"];

/// The figures that a table of many runs has: those that the file names for its sweep, or else
/// checks, or else the usual ones.
pub fn shown_figures(file: &ScenarioFile) -> Vec<&str> {
    let mut figures: Vec<_> = file.sweep.figures.iter().map(String::as_str).collect();
    if figures.is_empty() {
        figures = file.checks.iter().map(|check| check.kpi.as_str()).collect();
    }
    if figures.is_empty() { USUAL.to_vec() } else { figures }
}

/// Everything about one run that is over, or was stopped.
#[derive(Debug, Clone, Copy)]
pub struct Finished<'a> {
    /// What was asked for.
    pub file: &'a ScenarioFile,
    /// What came out.
    pub report: &'a Report,
    /// The file's assertions against it.
    pub judgements: &'a [Judgement],
    /// What it cost.
    pub cost: Cost,
}

impl Finished<'_> {
    /// Whether every invariant and every assertion holds.
    pub fn holds(&self) -> bool {
        self.report.holds() && self.judgements.iter().all(|judgement| judgement.holds)
    }

    /// Writes `scenario.toml`, `run.json`, the tables, and `report.html` where it is asked for; the
    /// folder of a run that was stopped stays marked as partial.
    ///
    /// # Errors
    /// [`WriteError`] naming the file.
    pub fn write(&self, dir: &Path) -> Result<(), WriteError> {
        let stopped = format!(
            "This run was stopped at {} s of virtual time: all of these results are partial.",
            self.report.time.0 / 1_000_000
        );
        let missing = (!self.report.is_complete).then_some(stopped.as_str());
        write_marked(dir, missing, || self.write_all(dir))
    }

    fn write_all(&self, dir: &Path) -> Result<(), WriteError> {
        let saved = Saved::new(self);
        write_file(&dir.join("scenario.toml"), self.file.text().as_bytes())?;
        write_file(&dir.join("run.json"), saved.json().as_bytes())?;
        for (name, table) in tables(self.report) {
            write_table(dir, name, &table, &self.file.out.formats)?;
        }
        if self.file.out.report {
            write_file(&dir.join("report.html"), page(&saved).as_bytes())?;
        }
        Ok(())
    }
}
