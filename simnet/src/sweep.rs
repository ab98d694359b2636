//! Sweeps: many runs side by side, kept as they finish, so that a sweep can be taken up again.

use std::{
    fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc,
    },
    thread,
    time::Instant,
};

use crate::{
    output::{Cost, Finished, Row, Saved, WriteError},
    runner::{self, Failure},
    scenario_file::{FileError, ScenarioFile},
};

/// The name of the file that keeps finished runs, one JSON object a line.
pub const JOURNAL: &str = "runs.jsonl";

/// One run that is to be made.
#[derive(Debug, Clone)]
pub struct Job {
    /// Equal for equal runs of one version and commit.
    pub key: String,
    /// The parameters that the sweep sets, as text.
    pub settings: Vec<(String, String)>,
    /// What is simulated.
    pub file: ScenarioFile,
}

/// The runs of a sweep; one run where the file has none.
///
/// # Errors
/// [`FileError`] for the first point that cannot be simulated.
pub fn plan(file: &ScenarioFile) -> Result<Vec<Job>, FileError> {
    let mut jobs = Vec::new();
    let points = file.sweep.points();
    for point in points {
        let mut settings = point.settings.clone();
        let seed = toml::Value::try_from(point.seed).map_err(|_| FileError::Seed(point.seed))?;
        settings.push(("seed".to_owned(), seed));
        let at = file.with(&settings)?.without_sweep();
        at.possible()?;
        let program = [env!("CARGO_PKG_VERSION"), crate::output::COMMIT.unwrap_or_default()];
        let key = format!("{}\n{}\n{}", program.join("\n"), crate::data::hash(), at.text());
        let key = blake3::hash(key.as_bytes()).to_hex()[..16].to_owned();
        let shown = point.settings.iter().map(|(key, value)| (key.clone(), plain(value)));
        jobs.push(Job { key, settings: shown.collect(), file: at });
    }
    Ok(jobs)
}

/// A value without quotes.
fn plain(value: &toml::Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// Makes one run; `None` when it was stopped.
pub fn make(job: &Job, stop: &AtomicBool) -> Option<Row> {
    let started = Instant::now();
    let ran = runner::run(&job.file.scenario, &mut |_| !stop.load(Ordering::Relaxed));
    let seconds = started.elapsed().as_secs_f64();
    let empty = Row {
        key: job.key.clone(),
        settings: job.settings.clone(),
        seed: job.file.scenario.seed,
        holds: false,
        broken: Vec::new(),
        crash: None,
        trace: String::new(),
        kpis: Vec::new(),
        lines: Vec::new(),
        seconds,
    };
    match ran {
        Ok(report) if !report.is_complete => None,
        Ok(report) => {
            let judgements: Vec<_> =
                job.file.checks.iter().map(|check| check.judge(&report.kpis)).collect();
            let cost = Cost::new(&report, started.elapsed());
            let run = Finished { file: &job.file, report: &report, judgements: &judgements, cost };
            let saved = Saved::new(&run);
            let checks = saved.checks.iter().filter(|check| !check.holds).map(|c| c.name.clone());
            let assertions = judgements.iter().filter(|j| !j.holds).map(ToString::to_string);
            let broken: Vec<String> = checks.chain(assertions).collect();
            let (trace, kpis, lines) = (saved.trace, saved.kpis, saved.lines);
            Some(Row { holds: broken.is_empty(), broken, trace, kpis, lines, ..empty })
        }
        Err(failure @ Failure::Crash { .. }) => {
            Some(Row { crash: Some(failure.to_string()), ..empty })
        }
        Err(failure) => Some(Row { broken: vec![failure.to_string()], ..empty }),
    }
}

/// Makes runs on `threads` threads; `done` hears of each as it finishes, and may end it all.
pub fn make_all(
    jobs: &[Job],
    threads: usize,
    stop: &AtomicBool,
    mut done: impl FnMut(Row) -> bool,
) {
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        let (sender, results) = mpsc::channel();
        let sender = Mutex::new(sender);
        for _ in 0..threads.clamp(1, jobs.len().max(1)) {
            let sender = sender.lock().expect("no thread panics with the lock").clone();
            let next = &next;
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let Some(job) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) else { return };
                    let Some(row) = make(job, stop) else { return };
                    if sender.send(row).is_err() {
                        return;
                    }
                }
            });
        }
        drop(sender);
        for row in results {
            if !done(row) {
                stop.store(true, Ordering::Relaxed);
            }
        }
    });
}

/// The finished runs of a sweep on disk.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    rows: Vec<Row>,
}

impl Journal {
    /// Opens the journal of a folder; what was half written when a sweep was killed is left out.
    ///
    /// # Errors
    /// [`WriteError`] when there is one that cannot be read.
    pub fn open(dir: &Path) -> Result<Self, WriteError> {
        let path = dir.join(JOURNAL);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            Err(source) => return Err(WriteError { path, source }),
        };
        let rows = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        let journal = Self { path, rows };
        if !text.is_empty() && !text.ends_with('\n') {
            journal.append("\n")?;
        }
        Ok(journal)
    }

    /// All finished runs.
    pub fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// The finished runs of a plan, in its order.
    pub fn of(&self, jobs: &[Job]) -> Vec<Row> {
        let find = |job: &Job| self.rows.iter().find(|row| row.key == job.key).cloned();
        jobs.iter().filter_map(find).collect()
    }

    /// The newest finished run of each point of a plan, whichever version of this program made it.
    pub fn newest(&self, jobs: &[Job]) -> Vec<Row> {
        let find = |job: &Job| {
            let is_of =
                |row: &&Row| row.seed == job.file.scenario.seed && row.settings == job.settings;
            self.rows.iter().rev().find(is_of).cloned()
        };
        jobs.iter().filter_map(find).collect()
    }

    /// Whether a run is finished. One that crashed is made again.
    pub fn has(&self, job: &Job) -> bool {
        self.rows.iter().any(|row| row.key == job.key && row.crash.is_none())
    }

    /// Keeps a run.
    ///
    /// # Errors
    /// [`WriteError`] when it cannot be written; it is not kept then.
    pub fn keep(&mut self, row: Row) -> Result<(), WriteError> {
        let line = serde_json::to_string(&row).expect("a row is plain JSON");
        self.append(&format!("{line}\n"))?;
        self.rows.retain(|known| known.key != row.key);
        self.rows.push(row);
        Ok(())
    }

    fn append(&self, text: &str) -> Result<(), WriteError> {
        let file = fs::OpenOptions::new().create(true).append(true).open(&self.path);
        let wrote = file.and_then(|mut file| file.write_all(text.as_bytes()));
        wrote.map_err(|source| WriteError { path: self.path.clone(), source })
    }
}
