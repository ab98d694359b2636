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
use simnet::{
    Progress, Scenario, SetupError, Simulation, output,
    scenario::{AdversaryKind, AdversaryPlan},
    units::{Size, Span},
};

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

/// Each option overrides what the default scenario has.
#[derive(Debug, Args)]
struct Run {
    /// Nodes of all kinds.
    #[arg(long)]
    nodes: Option<u32>,
    /// Epochs in which storage is proven; two more come first, in which the network forms.
    #[arg(long)]
    epochs: Option<u64>,
    /// Seed from which every random draw follows.
    #[arg(long)]
    seed: Option<u64>,
    /// One-way delay between two nodes, in milliseconds.
    #[arg(long)]
    latency_ms: Option<u64>,
    /// Share by which delays vary, both ways (0 to 1).
    #[arg(long)]
    jitter: Option<f64>,
    /// Share of gossip deliveries and requests that are lost (0 to below 1).
    #[arg(long)]
    loss: Option<f64>,
    /// Paid replicas of a pack.
    #[arg(long)]
    replicas: Option<u32>,
    /// Share of nodes that never come or leave for good (0 to 1).
    #[arg(long)]
    offline: Option<f64>,
    /// Share of nodes that claim everything and store nothing (0 to 1).
    #[arg(long)]
    lazy: Option<f64>,
    /// Packs in the network.
    #[arg(long)]
    packs: Option<u32>,
    /// Smallest pack, in KiB.
    #[arg(long)]
    pack_min_kib: Option<u64>,
    /// Largest pack, in KiB (at most 64).
    #[arg(long)]
    pack_max_kib: Option<u64>,
    /// Accounts among which the packs are divided.
    #[arg(long)]
    contributors: Option<u32>,
    /// Bandwidth of a node, both ways, in Mbit/s.
    #[arg(long)]
    bandwidth_mbit: Option<f64>,
    /// Time between blocks, in milliseconds.
    #[arg(long)]
    block_ms: Option<u64>,
    /// Blocks of an epoch.
    #[arg(long)]
    epoch_blocks: Option<u64>,
    /// Blocks in which a storage commitment must be anchored.
    #[arg(long)]
    commit_blocks: Option<u64>,
    /// Blocks in which a settlement may be challenged.
    #[arg(long)]
    challenge_blocks: Option<u64>,
    /// Folder for epochs.csv, nodes.csv, payouts.csv and run.json; created where it is missing.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Print one JSON object instead of the table.
    #[arg(long)]
    json: bool,
}

fn set<T>(field: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *field = value;
    }
}

impl Run {
    fn scenario(&self) -> Scenario {
        let mut scenario = Scenario::default();
        set(&mut scenario.seed, self.seed);
        set(&mut scenario.epochs, self.epochs);
        set(&mut scenario.population.nodes, self.nodes);
        set(&mut scenario.population.offline, self.offline);
        set(&mut scenario.net.latency, self.latency_ms.map(Span::millis));
        set(&mut scenario.net.jitter, self.jitter);
        set(&mut scenario.net.loss, self.loss);
        set(&mut scenario.net.down_mbit, self.bandwidth_mbit);
        set(&mut scenario.net.up_mbit, self.bandwidth_mbit);
        set(&mut scenario.holding.replicas, self.replicas);
        set(&mut scenario.workload.packs, self.packs);
        set(&mut scenario.workload.pack_min, self.pack_min_kib.map(Size::kib));
        set(&mut scenario.workload.pack_max, self.pack_max_kib.map(Size::kib));
        set(&mut scenario.workload.contributors, self.contributors);
        set(&mut scenario.chain.block, self.block_ms.map(Span::millis));
        set(&mut scenario.chain.epoch_blocks, self.epoch_blocks);
        set(&mut scenario.chain.commit_blocks, self.commit_blocks);
        set(&mut scenario.chain.challenge_blocks, self.challenge_blocks);
        let lazy = |share| vec![AdversaryPlan::new(AdversaryKind::LazyStorage, share)];
        set(&mut scenario.adversaries, self.lazy.map(lazy));
        scenario
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
            eprintln!(
                "simnet: the simulated network crashed; seed {} repeats it",
                run.scenario().seed
            );
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
