//! `simnet`: the network under virtual time.
//!
//! Exit codes: 0 all checks hold, 2 bad input, 3 a check failed, 5 a crash in the simulated network,
//! 130 stopped by Ctrl-C (what there is, is written and marked as partial).

use std::{
    io::{self, IsTerminal as _, Write as _},
    panic::{self, AssertUnwindSafe},
    path::PathBuf,
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use clap::{Args, Parser, Subcommand};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use simnet::{Progress, Scenario, SetupError, Simulation, output};

const BAD_INPUT: u8 = 2;
const CHECK_FAILED: u8 = 3;
const CRASH: u8 = 5;
const INTERRUPTED: u8 = 130;

/// The openledger network under virtual time: the daemon's own state machines and the deployed
/// contracts' bytecode; the same result from the same seed.
#[derive(Debug, Parser)]
#[command(version, about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Simulate one network and report durability, detections and payouts.
    Run(Box<Run>),
}

#[derive(Debug, Args)]
struct Run {
    /// Nodes of all kinds.
    #[arg(long, default_value_t = Scenario::default().nodes)]
    nodes: u32,
    /// Epochs in which storage is proven; two more come first, in which the network forms.
    #[arg(long, default_value_t = Scenario::default().epochs)]
    epochs: u64,
    /// Seed from which every random draw follows.
    #[arg(long, default_value_t = Scenario::default().seed)]
    seed: u64,
    /// One-way delay between two nodes, in milliseconds.
    #[arg(long, default_value_t = Scenario::default().latency_ms)]
    latency_ms: u64,
    /// Share by which delays vary, both ways (0 to 1).
    #[arg(long, default_value_t = Scenario::default().jitter)]
    jitter: f64,
    /// Share of gossip deliveries and requests that are lost (0 to below 1).
    #[arg(long, default_value_t = Scenario::default().loss)]
    loss: f64,
    /// Paid replicas of a pack.
    #[arg(long, default_value_t = Scenario::default().replicas)]
    replicas: u32,
    /// Share of nodes that never come or leave for good (0 to 1).
    #[arg(long, default_value_t = Scenario::default().offline)]
    offline: f64,
    /// Share of nodes that claim everything and store nothing (0 to 1).
    #[arg(long, default_value_t = Scenario::default().lazy)]
    lazy: f64,
    /// Packs in the network.
    #[arg(long, default_value_t = Scenario::default().packs)]
    packs: u32,
    /// Smallest pack, in KiB.
    #[arg(long, default_value_t = Scenario::default().pack_min_kib)]
    pack_min_kib: u64,
    /// Largest pack, in KiB (at most 64).
    #[arg(long, default_value_t = Scenario::default().pack_max_kib)]
    pack_max_kib: u64,
    /// Accounts among which the packs are divided.
    #[arg(long, default_value_t = Scenario::default().contributors)]
    contributors: u32,
    /// Bandwidth of one transfer, in Mbit/s.
    #[arg(long, default_value_t = Scenario::default().bandwidth_mbit)]
    bandwidth_mbit: u64,
    /// Time between blocks, in milliseconds.
    #[arg(long, default_value_t = Scenario::default().block_ms)]
    block_ms: u64,
    /// Blocks of an epoch.
    #[arg(long, default_value_t = Scenario::default().epoch_blocks)]
    epoch_blocks: u64,
    /// Blocks in which a storage commitment must be anchored.
    #[arg(long, default_value_t = Scenario::default().commit_blocks)]
    commit_blocks: u64,
    /// Blocks in which a settlement may be challenged.
    #[arg(long, default_value_t = Scenario::default().challenge_blocks)]
    challenge_blocks: u64,
    /// Folder for epochs.csv, nodes.csv, payouts.csv and run.json; created where it is missing.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Print one JSON object instead of the table.
    #[arg(long)]
    json: bool,
}

impl Run {
    const fn scenario(&self) -> Scenario {
        Scenario {
            nodes: self.nodes,
            epochs: self.epochs,
            seed: self.seed,
            latency_ms: self.latency_ms,
            jitter: self.jitter,
            loss: self.loss,
            replicas: self.replicas,
            offline: self.offline,
            lazy: self.lazy,
            packs: self.packs,
            pack_min_kib: self.pack_min_kib,
            pack_max_kib: self.pack_max_kib,
            contributors: self.contributors,
            bandwidth_mbit: self.bandwidth_mbit,
            block_ms: self.block_ms,
            epoch_blocks: self.epoch_blocks,
            commit_blocks: self.commit_blocks,
            challenge_blocks: self.challenge_blocks,
        }
    }
}

fn main() -> ExitCode {
    let Command::Run(run) = Cli::parse().command;
    let ran = panic::catch_unwind(AssertUnwindSafe(|| simulate(&run)));
    match ran {
        Ok(Ok(code)) => ExitCode::from(code),
        Ok(Err(error)) => {
            eprintln!("simnet: {error}");
            let is_input = error.is::<output::WriteError>()
                || matches!(error.downcast_ref(), Some(SetupError::Scenario(_)));
            ExitCode::from(if is_input { BAD_INPUT } else { CRASH })
        }
        Err(_) => {
            eprintln!("simnet: the simulated network crashed; seed {} repeats it", run.seed);
            ExitCode::from(CRASH)
        }
    }
}

fn simulate(run: &Run) -> anyhow::Result<u8> {
    let started = Instant::now();
    if let Some(dir) = &run.out {
        run.scenario().check().map_err(SetupError::from)?;
        output::prepare(dir)?;
    }
    let stop = watch_interrupts()?;
    let mut simulation = Simulation::new(run.scenario())?;
    let bar = progress_bar();
    while let Some(progress) = simulation.advance()? {
        show(&bar, &progress, started);
        if stop.load(Ordering::Relaxed) {
            break;
        }
    }
    bar.finish_and_clear();
    let report = simulation.report()?;
    let cost = output::Cost::new(&report, started.elapsed());
    if let Some(dir) = &run.out {
        output::write(&report, cost, dir)?;
    }
    let text = if run.json {
        format!("{}\n", output::json(&report, cost))
    } else {
        output::table(&report, cost)
    };
    // A reader that has gone away is no reason to fail a run that is done.
    let _ = io::stdout().write_all(text.as_bytes());
    Ok(if !report.holds() {
        CHECK_FAILED
    } else if report.is_complete {
        0
    } else {
        INTERRUPTED
    })
}

/// A flag that Ctrl-C raises; the run then ends after the current block.
fn watch_interrupts() -> io::Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    let raised = Arc::clone(&stop);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    std::thread::Builder::new().name("interrupts".to_owned()).spawn(move || {
        runtime.block_on(async {
            if tokio::signal::ctrl_c().await.is_ok() {
                raised.store(true, Ordering::Relaxed);
            }
        });
    })?;
    Ok(stop)
}

fn progress_bar() -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::with_draw_target(Some(1), ProgressDrawTarget::stderr());
    let style = ProgressStyle::with_template("{bar:30} block {pos}/{len}  {msg}  eta {eta}")
        .expect("the template is well formed");
    bar.set_style(style);
    bar
}

fn show(bar: &ProgressBar, progress: &Progress, started: Instant) {
    bar.set_length(progress.blocks.max(progress.block.0));
    bar.set_position(progress.block.0);
    let wall = started.elapsed().as_micros().max(1);
    let events = u128::from(progress.events) * 1_000_000 / wall;
    let speed_up = u128::from(progress.time.0) / wall;
    bar.set_message(format!(
        "epoch {}  {}x  {events} events/s  {} pending",
        progress.epoch, speed_up, progress.pending
    ));
}
