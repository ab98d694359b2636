//! The commands, and what they share.

pub(crate) mod check;
pub(crate) mod compare;
pub(crate) mod data;
pub(crate) mod explain;
pub(crate) mod fuzz;
pub(crate) mod new;
pub(crate) mod plot;
mod progress;
pub(crate) mod replay;
pub(crate) mod run;
pub(crate) mod sweep;

use std::{
    fs,
    io::{self, Write as _},
    num::NonZeroUsize,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use anyhow::Context as _;
use clap::Args;
use simnet::{
    RunError, SetupError, budget,
    output::{PARTIAL, Row, Saved, write_file},
    runner::Failure,
    scenario_file::{ScenarioFile, setting},
    sweep::Journal,
    units::Size,
};

/// The end of `--help`.
pub(crate) const EXIT_CODES: &str = "Exit codes: 0 all checks hold, 2 bad input, 3 a check failed, \
     4 two runs of one seed differ, 5 a crash in the simulated network, 130 stopped by Ctrl-C.";

/// How a command ended that had nothing to complain about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// All is well.
    Well,
    /// A check failed.
    CheckFailed,
    /// Two runs of one seed differ.
    NotDeterministic,
    /// The simulated network crashed.
    Crashed,
    /// Somebody pressed Ctrl-C.
    Interrupted,
}

impl End {
    pub(crate) const fn code(self) -> u8 {
        match self {
            Self::Well => 0,
            Self::CheckFailed => 3,
            Self::NotDeterministic => 4,
            Self::Crashed => 5,
            Self::Interrupted => 130,
        }
    }
}

/// The exit code of an error: what the simulated network did, or else bad input.
pub(crate) fn code_of(error: &anyhow::Error) -> u8 {
    match error.downcast_ref::<Failure>() {
        None => 2,
        Some(
            Failure::Setup(SetupError::Scenario(_) | SetupError::Region(_) | SetupError::Data(_))
            | Failure::Run(RunError::Threads(_)),
        ) => 2,
        #[cfg(feature = "real-compute")]
        Some(Failure::Setup(SetupError::Real(_))) => 2,
        Some(_) => End::Crashed.code(),
    }
}

/// An error with its causes; those that it has quoted itself are not said again.
pub(crate) fn said(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if text.is_empty() {
            text = cause;
        } else if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}

/// A scenario file and what the command line changes of it.
#[derive(Debug, Args)]
pub(crate) struct Source {
    /// The scenario file.
    pub(crate) file: PathBuf,
    /// Changes a value of the file, like net.loss=0.05 or adversary.0.share=0.2; repeatable.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub(crate) set: Vec<String>,
}

impl Source {
    pub(crate) fn read(&self) -> anyhow::Result<ScenarioFile> {
        with_settings(ScenarioFile::read(&self.file)?, &self.set)
    }
}

pub(crate) fn with_settings(file: ScenarioFile, set: &[String]) -> anyhow::Result<ScenarioFile> {
    let settings = set.iter().map(|text| setting(text)).collect::<Result<Vec<_>, _>>()?;
    Ok(if settings.is_empty() { file } else { file.with(&settings)? })
}

/// Memory that may be used.
#[derive(Debug, Args)]
pub(crate) struct Memory {
    /// Memory that the simulation may use, like 4GiB; what the system has free if left out.
    #[arg(long, value_name = "SIZE")]
    memory: Option<Size>,
}

impl Memory {
    /// Says what a scenario needs, and refuses what does not fit; `at_once` runs are side by side.
    pub(crate) fn check(&self, file: &ScenarioFile, at_once: usize) -> anyhow::Result<()> {
        let each = budget::estimate(&file.scenario);
        let needed = Size(each.0.saturating_mul(at_once as u64));
        let allowed = self.memory.or_else(budget::available);
        let of =
            allowed.map_or(String::new(), |size| format!(" and may use {}", budget::round(size)));
        eprintln!("needs about {} of memory{of}", budget::round(needed));
        match allowed {
            Some(allowed) if needed > allowed => anyhow::bail!(
                "{} needs about {} of memory and may use {}; simulate fewer nodes, packs or runs at \
                 once (--jobs), or allow more with --memory {}",
                file.file,
                budget::round(needed),
                budget::round(allowed),
                budget::round(needed)
            ),
            _ => Ok(()),
        }
    }
}

/// Threads of one run: as asked for, as the file says, or one for each core.
pub(crate) fn threads(asked: Option<NonZeroUsize>, file: &ScenarioFile) -> NonZeroUsize {
    let cores = || thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
    asked.or(file.making.threads).unwrap_or_else(cores)
}

/// A flag that Ctrl-C or SIGTERM raises; a run then ends after the current block.
pub(crate) fn watch_interrupts() -> Result<Arc<AtomicBool>, ctrlc::Error> {
    let stop = Arc::new(AtomicBool::new(false));
    let raised = Arc::clone(&stop);
    ctrlc::set_handler(move || raised.store(true, Ordering::Relaxed))?;
    Ok(stop)
}

/// Writes to standard output; a reader that has gone away is no reason to fail.
pub(crate) fn print(text: &str) {
    let _ = io::stdout().write_all(text.as_bytes());
}

/// Keeps what repeats a crash; where it was kept.
pub(crate) fn keep_crash(
    dir: Option<&Path>,
    file: &ScenarioFile,
    message: &str,
) -> anyhow::Result<PathBuf> {
    let name = format!("crash-{}.toml", file.scenario.seed);
    let path = dir.map_or_else(|| PathBuf::from(&name), |dir| dir.join(&name));
    let quoted = message.replace('\n', "\n# ");
    let text = format!("# {quoted}\n# simnet run {name}\n\n{}", file.text());
    write_file(&path, text.as_bytes())?;
    Ok(path)
}

/// The runs in a result folder: a sweep's, or the one.
pub(crate) fn rows_of(dir: &Path) -> anyhow::Result<Vec<Row>> {
    if let Ok(why) = fs::read_to_string(dir.join(PARTIAL)) {
        eprintln!("{} is partial: {}", dir.display(), why.trim_end());
    }
    if dir.join(simnet::sweep::JOURNAL).exists() {
        let journal = Journal::open(dir)?;
        return Ok(journal.rows().iter().filter(|row| row.crash.is_none()).cloned().collect());
    }
    let saved = Saved::read(dir).with_context(|| format!("{} has no results", dir.display()))?;
    let holds = saved.holds();
    Ok(vec![Row {
        key: saved.scenario_hash,
        settings: Vec::new(),
        seed: saved.seed,
        holds,
        broken: Vec::new(),
        crash: None,
        trace: saved.trace,
        kpis: saved.kpis,
        lines: saved.lines,
        seconds: saved.cost.seconds,
    }])
}
