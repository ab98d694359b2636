//! One run from its scenario to its report, whatever happens on the way.

use std::{
    any::Any,
    cell::RefCell,
    num::NonZeroUsize,
    panic::{self, AssertUnwindSafe},
};

use crate::{
    Progress, RunError, Scenario, Seen, SetupError, Simulation, kernel::Time, report::Report,
};

/// Why a run has no report.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// It could not start.
    #[error(transparent)]
    Setup(#[from] SetupError),
    /// The contracts could not be read, or their books do not add up.
    #[error(transparent)]
    Run(#[from] RunError),
    /// A machine or the simulator broke one of its own rules.
    #[error("the simulated network crashed at {} s: {message}", time.0 / 1_000_000)]
    Crash {
        /// What was said, and where in the code.
        message: String,
        /// When, in virtual time.
        time: Time,
    },
}

thread_local! {
    static PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// From now on a panic is kept for [`run`] instead of being printed; for programs, once at their
/// start.
pub fn keep_panics() {
    panic::set_hook(Box::new(|info| {
        let place = info.location().map_or(String::new(), |at| format!(" ({at})"));
        let text = format!("{}{place}", said(info.payload()));
        PANIC.with(|kept| *kept.borrow_mut() = Some(text));
    }));
}

/// What the last panic of this thread said, and where, after [`keep_panics`].
pub fn kept_panic() -> Option<String> {
    PANIC.with(|kept| kept.borrow_mut().take())
}

fn said(payload: &(dyn Any + Send)) -> &str {
    let text = payload.downcast_ref::<&str>().copied();
    text.or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}

/// Simulates until the end, or until `goes_on` says no after a block: the report then is partial.
///
/// # Errors
/// [`Failure`] when there is no report, also for a panic anywhere below.
pub fn run(
    scenario: &Scenario,
    goes_on: &mut dyn FnMut(&Progress) -> bool,
) -> Result<Report, Failure> {
    run_on(NonZeroUsize::MIN, scenario, goes_on)
}

/// [`run`] on some threads: the report is the same for any number.
///
/// # Errors
/// [`Failure`], as for [`run`].
pub fn run_on(
    threads: NonZeroUsize,
    scenario: &Scenario,
    goes_on: &mut dyn FnMut(&Progress) -> bool,
) -> Result<Report, Failure> {
    watch(threads, scenario, None, &mut |progress, _| goes_on(progress))
}

/// [`run_on`] with one node under watch: after each block, what went into and out of its machine.
///
/// # Errors
/// [`Failure`], as for [`run`].
pub fn watch(
    threads: NonZeroUsize,
    scenario: &Scenario,
    node: Option<u32>,
    goes_on: &mut dyn FnMut(&Progress, Vec<Seen>) -> bool,
) -> Result<Report, Failure> {
    let mut time = Time(0);
    let ran = panic::catch_unwind(AssertUnwindSafe(|| -> Result<Report, Failure> {
        let mut simulation = Simulation::new(scenario.clone())?;
        simulation.set_threads(threads)?;
        if let Some(node) = node {
            simulation.watch(node);
        }
        while let Some(progress) = simulation.advance()? {
            time = progress.time;
            if !goes_on(&progress, simulation.seen()) {
                break;
            }
        }
        Ok(simulation.report()?)
    }));
    ran.unwrap_or_else(|payload| {
        let message = kept_panic().unwrap_or_else(|| said(payload.as_ref()).to_owned());
        Err(Failure::Crash { message, time })
    })
}
