//! What is measured, each in a process of its own so that its memory is its own.

use std::{num::NonZeroUsize, time::Instant};

use anyhow::{Context as _, bail};
use serde::{Deserialize, Serialize};
use simnet::{
    Scenario, Simulation,
    kernel::{CalendarQueue, Draws},
    network::Coords,
    output::peak_memory,
    runner,
    scenario_file::ScenarioFile,
};

use crate::{
    flood::flood,
    inclusions::{Inclusions, RECORDS},
    measure::{Hold, Stopwatch, median},
};

const NODES: &str = include_str!("../../benches/scenarios/nodes.toml");
const MACHINES: &str = include_str!("../../benches/scenarios/machines.toml");
const MONTH: &str = include_str!("../../benches/scenarios/month.toml");
/// Messages of the flood.
const MESSAGES: u32 = 16;
/// Events that are pending while the queue is measured.
const PENDING: u64 = 1_000_000;

/// One measurement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Job {
    /// A network with full protocol state of so many nodes.
    Nodes(u32),
    /// The calendar queue, over so many rounds.
    Kernel(usize),
    /// Every event to a real machine.
    Machine,
    /// The contracts on the EVM, over so many blocks.
    Evm(u32),
    /// Hourly epochs of ten thousand nodes.
    Month(u64),
    /// Messages over a mesh of so many nodes.
    Flood(u32),
}

/// What came out.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Measured {
    /// Nodes, where there are any.
    pub(crate) nodes: Option<u32>,
    /// Wall time, or time of the thread where only one works.
    pub(crate) seconds: f64,
    /// Kernel events, or transactions.
    pub(crate) events: u64,
    pub(crate) per_second: f64,
    /// Largest resident memory of the process in bytes, where the system tells.
    pub(crate) peak_memory: Option<u64>,
    pub(crate) memory_per_node: Option<u64>,
    /// Most events in flight.
    pub(crate) most_pending: Option<u64>,
    /// When half of the nodes had a message, in virtual milliseconds.
    pub(crate) median_delay_ms: Option<u64>,
}

impl Measured {
    fn new(nodes: Option<u32>, seconds: f64, events: u64, most_pending: Option<u64>) -> Self {
        let peak_memory = peak_memory();
        let each = peak_memory.zip(nodes).map(|(bytes, nodes)| bytes / u64::from(nodes.max(1)));
        let per_second = events as f64 / seconds;
        Self {
            nodes,
            seconds,
            events,
            per_second,
            peak_memory,
            memory_per_node: each,
            most_pending,
            median_delay_ms: None,
        }
    }
}

impl Job {
    /// In words, for who waits.
    pub(crate) fn words(self) -> String {
        match self {
            Self::Nodes(nodes) => format!("a network of {nodes} nodes"),
            Self::Kernel(_) => "the queue".to_owned(),
            Self::Machine => "events to machines".to_owned(),
            Self::Evm(_) => "transactions".to_owned(),
            Self::Month(epochs) => format!("{epochs} hours of 10000 nodes"),
            Self::Flood(nodes) => format!("a flood over {nodes} nodes"),
        }
    }

    /// Measures it in this process.
    pub(crate) fn run(self) -> anyhow::Result<Measured> {
        match self {
            Self::Nodes(nodes) => {
                let mut scenario = scenario("nodes.toml", NODES)?;
                scenario.population.nodes = nodes;
                simulate(&scenario, 1)
            }
            Self::Kernel(rounds) => Ok(kernel(rounds)),
            Self::Machine => machine(scenario("machines.toml", MACHINES)?),
            Self::Evm(blocks) => Ok(evm(blocks)),
            Self::Month(epochs) => {
                let mut scenario = scenario("month.toml", MONTH)?;
                scenario.epochs = epochs;
                simulate(&scenario, 2)
            }
            Self::Flood(nodes) => gossip(nodes),
        }
    }
}

fn scenario(name: &str, text: &str) -> anyhow::Result<Scenario> {
    Ok(ScenarioFile::parse(name, text)?.scenario)
}

/// A whole run with its set-up; what breaks an invariant is no measurement.
fn simulate(scenario: &Scenario, threads: usize) -> anyhow::Result<Measured> {
    let started = Instant::now();
    let threads = NonZeroUsize::new(threads).context("no threads")?;
    let report = runner::run_on(threads, scenario, &mut |_| true)?;
    let failed: Vec<_> = report.checks.iter().filter(|c| !c.holds).map(|c| c.name).collect();
    if !failed.is_empty() {
        bail!("{}: {failed:?} {:?}", scenario.name, report.findings);
    }
    let (nodes, totals) = (scenario.population.nodes, report.totals);
    let seconds = started.elapsed().as_secs_f64();
    Ok(Measured::new(Some(nodes), seconds, totals.events, Some(totals.most_pending)))
}

/// From the first block on: what the kernel hands over a second, to machines but for some thousand
/// blocks and transactions that are the chain's.
fn machine(scenario: Scenario) -> anyhow::Result<Measured> {
    let nodes = scenario.population.nodes;
    let mut simulation = Simulation::new(scenario)?;
    let (watch, mut events) = (Stopwatch::start(), 0);
    while let Some(progress) = simulation.advance()? {
        events = progress.events;
    }
    let seconds = watch.seconds();
    let most_pending = simulation.report()?.totals.most_pending;
    Ok(Measured::new(Some(nodes), seconds, events, Some(most_pending)))
}

fn gossip(nodes: u32) -> anyhow::Result<Measured> {
    let draws = Draws::new(7);
    let mut flood = flood(nodes, MESSAGES, &Coords::new(nodes, draws), draws);
    let wanted = u64::from(nodes) * u64::from(MESSAGES);
    if flood.reached != wanted {
        bail!("the flood reached {} of {wanted}", flood.reached);
    }
    let pending = Some(flood.most_pending as u64);
    let measured = Measured::new(Some(nodes), flood.seconds, flood.events, pending);
    let middle = flood.delays.len() / 2;
    let (_, median, _) = flood.delays.select_nth_unstable(middle);
    Ok(Measured { median_delay_ms: Some(*median / 1_000), ..measured })
}

fn kernel(rounds: usize) -> Measured {
    let mut hold = Hold::new(CalendarQueue::default(), PENDING);
    let rates: Vec<_> = (0..rounds).map(|_| hold.rate(PENDING)).collect();
    let seconds = PENDING as f64 / 1e6 / median(rates);
    Measured::new(None, seconds, PENDING, Some(PENDING))
}

fn evm(blocks: u32) -> Measured {
    let mut chain = Inclusions::new();
    let mut times = Vec::new();
    for block in 0..blocks {
        let sent = chain.of(block);
        let watch = Stopwatch::start();
        chain.mine(&sent);
        times.push(watch.seconds());
    }
    Measured::new(None, median(times), RECORDS.into(), None)
}
