//! `simnet`: the network under virtual time.
//!
//! Exit codes: 0 all checks hold, 2 bad input, 3 a check failed, 4 two runs of one seed differ, 5 a
//! crash in the simulated network, 130 stopped by Ctrl-C (what there is, is written and marked as
//! partial).

mod commands;

use std::{
    panic::{self, AssertUnwindSafe},
    process::ExitCode,
};

use clap::{Parser, Subcommand};
use commands::End;

/// The openledger network under virtual time: the daemon's own state machines and the deployed
/// contracts' bytecode; the same result from the same seed.
#[derive(Debug, Parser)]
#[command(version, about, after_help = commands::EXIT_CODES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Simulate one network: a scenario file, or the default with options.
    Run(Box<commands::run::Run>),
    /// Simulate every point of a scenario's grid with every seed.
    Sweep(commands::sweep::Sweep),
    /// Repeat a run, and show what one node saw and did.
    Replay(commands::replay::Replay),
    /// How much two runs or sweeps differ, with confidence intervals over seeds.
    Compare(commands::compare::Compare),
    /// Draw a result folder again: report.html and one SVG file per plot.
    Plot(commands::plot::Plot),
    /// Check a scenario file without running it, or that two runs of it are equal.
    Check(commands::check::Check),
    /// Search for scenarios that break an invariant.
    Fuzz(commands::fuzz::Fuzz),
    /// What a key of a scenario file or a key figure means.
    Explain(commands::explain::Explain),
    /// The figures from outside that simulations use, and their sources.
    Data(commands::data::Data),
    /// Write a new scenario file with every key and what it means.
    New(commands::new::New),
}

fn main() -> ExitCode {
    simnet::runner::keep_panics();
    let command = Cli::parse().command;
    // What panics in a run is caught there; this is for the program itself.
    let done = panic::catch_unwind(AssertUnwindSafe(|| execute(command))).unwrap_or_else(|_| {
        let what = simnet::runner::kept_panic().unwrap_or_default();
        eprintln!("simnet: this is a bug of simnet, please report it: {what}");
        Ok(End::Crashed)
    });
    match done {
        Ok(end) => ExitCode::from(end.code()),
        Err(error) => {
            eprintln!("simnet: {}", commands::said(&error));
            ExitCode::from(commands::code_of(&error))
        }
    }
}

fn execute(command: Command) -> anyhow::Result<End> {
    match command {
        Command::Run(run) => run.execute(),
        Command::Sweep(sweep) => sweep.execute(),
        Command::Replay(replay) => replay.execute(),
        Command::Compare(compare) => compare.execute(),
        Command::Plot(plot) => plot.execute(),
        Command::Check(check) => check.execute(),
        Command::Fuzz(fuzz) => fuzz.execute(),
        Command::Explain(explain) => explain.execute(),
        Command::Data(data) => data.execute(),
        Command::New(new) => new.execute(),
    }
}
