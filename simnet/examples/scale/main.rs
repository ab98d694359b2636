//! What the simulator can do, in one table: speed, memory, and cost against the number of nodes.
//!
//! `cargo run --release --example scale` measures everything, a quarter of an hour
//! on two cores; `-- --quick` smaller networks in two minutes; `-- kernel evm` only these rows. A rate
//! of one thread is over that thread's own time, all else over wall time: measure on an idle machine.

#[path = "../../benches/measure/flood.rs"]
mod flood;
#[path = "../../benches/measure/inclusions.rs"]
mod inclusions;
mod jobs;
#[path = "../../benches/measure/mod.rs"]
mod measure;

use std::{
    env,
    process::{Command, Stdio},
};

use anyhow::{Context as _, bail};
use clap::{Parser, ValueEnum};
use serde::Serialize;

use jobs::{Job, Measured};

/// Rows of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
enum Row {
    /// Nodes with full protocol state.
    Nodes,
    /// Events of the queue.
    Kernel,
    /// Events with the real machine.
    Machine,
    /// Transactions with the real contracts.
    Evm,
    /// Thirty days of ten thousand nodes.
    Month,
    /// Gossip over a mesh.
    Flood,
    /// Cost against the number of nodes.
    Linear,
}

/// Prints what the simulator can do.
#[derive(Debug, Parser)]
struct Args {
    /// What to measure; everything if left out.
    rows: Vec<Row>,
    /// Smaller networks and fewer rounds; goals that are a time or a size are for as much less.
    #[arg(long)]
    quick: bool,
    /// One JSON object instead of the tables.
    #[arg(long)]
    json: bool,
    /// Measures one thing in this process.
    #[arg(long, hide = true)]
    job: Option<String>,
}

/// A line of the table.
#[derive(Debug, Serialize)]
struct Line {
    row: Row,
    name: String,
    goal: String,
    measured: String,
    is_met: bool,
    #[serde(flatten)]
    figures: Measured,
}

/// Four GB for a million nodes.
const NODE_BYTES: f64 = 4_000.0;
/// Six minutes for 720 epochs.
const EPOCH_SECONDS: f64 = 0.5;

impl Row {
    const fn job(self, quick: bool) -> Option<Job> {
        Some(match self {
            Self::Nodes => Job::Nodes(if quick { 100_000 } else { 1_000_000 }),
            Self::Kernel => Job::Kernel(if quick { 5 } else { 15 }),
            Self::Machine => Job::Machine,
            Self::Evm => Job::Evm(if quick { 5 } else { 15 }),
            Self::Month => Job::Month(if quick { 24 } else { 720 }),
            Self::Flood => Job::Flood(if quick { 100_000 } else { 1_000_000 }),
            Self::Linear => return None,
        })
    }

    /// The line of what was measured.
    fn line(self, job: Job, figures: Measured) -> Line {
        let (rate, seconds) = (figures.per_second, figures.seconds);
        let rated = |name: &str, goal: f64, unit: &str, per: f64| {
            let goal_text = format!(">= {} {unit}", goal / per);
            (name.to_owned(), goal_text, format!("{:.2} {unit}", rate / per), rate >= goal)
        };
        let (name, goal, measured, is_met) = match job {
            Job::Kernel(_) => rated("kernel events/s at 10^6 pending", 8e6, "M", 1e6),
            Job::Machine => rated("events/s with the real machine", 1.5e6, "M", 1e6),
            Job::Evm(_) => rated("EVM transactions/s with the real contracts", 5e4, "k", 1e3),
            Job::Nodes(nodes) => {
                let wanted = f64::from(nodes) * NODE_BYTES;
                let memory = figures.peak_memory.map_or(f64::INFINITY, |bytes| bytes as f64);
                let name = format!("{nodes} nodes with full protocol state");
                let measured = format!("{:.2} GB in {seconds:.0} s", memory / 1e9);
                (name, format!("<= {:.1} GB", wanted / 1e9), measured, memory <= wanted)
            }
            Job::Month(epochs) => {
                let wanted = epochs as f64 * EPOCH_SECONDS;
                let name = format!("10000 nodes, {} simulated days, hourly epochs", epochs / 24);
                let goal = format!("<= {wanted:.0} s on 2 cores");
                (name, goal, format!("{seconds:.0} s"), seconds <= wanted)
            }
            Job::Flood(nodes) => {
                let name = format!("gossip flood of 16 messages over {nodes} nodes");
                let half = figures.median_delay_ms.unwrap_or_default();
                let rate = rate / 1e6;
                let measured =
                    format!("{seconds:.0} s, {rate:.2} M events/s, half of them after {half} ms");
                (name, "finishes".to_owned(), measured, true)
            }
        };
        Line { row: self, name, goal, measured, is_met, figures }
    }
}

/// Measures something in a process of its own.
fn measure_apart(job: Job) -> anyhow::Result<Measured> {
    eprintln!("measuring {} ...", job.words());
    let child = Command::new(env::current_exe()?)
        .args(["--job", &serde_json::to_string(&job)?])
        .stderr(Stdio::inherit())
        .output()?;
    if !child.status.success() {
        bail!("{} ended with {}", job.words(), child.status);
    }
    serde_json::from_slice(&child.stdout).with_context(|| format!("of {}", job.words()))
}

fn bytes(bytes: Option<u64>) -> String {
    bytes.map_or("–".to_owned(), |bytes| bytes.to_string())
}

fn print(lines: &[Line], sizes: &[Measured]) {
    if !lines.is_empty() {
        println!("| row | goal | measured | | memory per node, B | events in flight |");
        println!("|---|---|---|---|---|---|");
    }
    for line in lines {
        let Line { name, goal, measured, figures, .. } = line;
        let met = if line.is_met { "met" } else { "missed" };
        let (each, pending) = (bytes(figures.memory_per_node), bytes(figures.most_pending));
        println!("| {name} | {goal} | {measured} | {met} | {each} | {pending} |");
    }
    if !sizes.is_empty() {
        println!(
            "\n| nodes | s | µs per node | memory per node, B | events | events/s | in flight |"
        );
        println!("|---|---|---|---|---|---|---|");
    }
    for size in sizes {
        let nodes = size.nodes.unwrap_or(1);
        println!(
            "| {nodes} | {:.1} | {:.0} | {} | {} | {:.0} | {} |",
            size.seconds,
            size.seconds * 1e6 / f64::from(nodes),
            bytes(size.memory_per_node),
            size.events,
            size.per_second,
            bytes(size.most_pending)
        );
    }
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    if let Some(job) = &args.job {
        let measured = serde_json::from_str::<Job>(job)?.run()?;
        println!("{}", serde_json::to_string(&measured)?);
        return Ok(());
    }
    let rows = if args.rows.is_empty() { Row::value_variants() } else { &args.rows };
    let (mut lines, mut sizes) = (Vec::new(), Vec::new());
    for row in rows {
        if let Some(job) = row.job(args.quick) {
            lines.push(row.line(job, measure_apart(job)?));
            continue;
        }
        let most = if args.quick { 3 } else { 4 };
        for nodes in [1_000, 10_000, 100_000, 1_000_000].into_iter().take(most) {
            let known = lines.iter().map(|line| (line.row, &line.figures));
            let mut known = known.filter(|(row, of)| *row == Row::Nodes && of.nodes == Some(nodes));
            sizes.push(match known.next() {
                Some((_, figures)) => figures.clone(),
                None => measure_apart(Job::Nodes(nodes))?,
            });
        }
    }
    if args.json {
        println!("{}", serde_json::json!({ "rows": lines, "linear": sizes }));
    } else {
        print(&lines, &sizes);
    }
    Ok(())
}
