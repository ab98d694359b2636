//! The driver: lends the chain to the machines, carries out their outputs, moves time.
//!
//! A machine is given only what can change what it does ([`protocol::node::audience`],
//! [`Node::next_block`](protocol::node::Node::next_block)), so a node that rests costs nothing.
//! `net.deliver_all` gives everybody everything, with the same trace.
//!
//! Each part owns its state; what it needs beside that its methods are given. [`Simulation`] only
//! joins them: `run` for an event, `blocks` for a block, `world` for adversaries, `report` at the end.

mod attendance;
mod attribution;
mod backend;
mod bandwidth;
mod blocks;
mod earnings;
mod economy;
mod env;
mod event;
mod executor;
mod gossip;
mod hosts;
mod kpis;
mod ledger;
mod links;
mod lookups;
mod machine;
mod market;
mod measurements;
mod observer;
mod population;
#[cfg(feature = "real-compute")]
mod real;
mod refereeing;
mod report;
mod run;
mod schedule;
mod settlements;
mod setup;
mod store;
mod times;
mod traffic;
mod training;
mod uses;
mod work;
mod world;

use std::num::NonZeroUsize;

use protocol::{BlockNumber, Epoch, Hash};
use storage::StoreError;

use crate::{
    Scenario, ScenarioError,
    adversary::Answer,
    chain::{Chain, ChainError},
    data::DataError,
    faults::UnknownRegion,
    kernel::Time,
    nodes::SimNode,
    referee::Referee,
};

use economy::Economy;
use env::Env;
use event::Event;
use executor::Executor;
use gossip::Gossip;
use measurements::Measurements;
use observer::Observer;
use settlements::Settlements;
use store::Store;
use work::Work;

pub use observer::Seen;
#[cfg(feature = "real-compute")]
pub use real::RealError;
pub use setup::{Clock, Parts, clock};

/// A node waits for a block that stirs.
const ASLEEP: u32 = u32::MAX;

/// Why a simulation could not start.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The scenario is impossible.
    #[error(transparent)]
    Scenario(#[from] ScenarioError),
    /// A fault names a region that is not there.
    #[error(transparent)]
    Region(#[from] UnknownRegion),
    /// The data of the underlay cannot be used.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The chain could not be set up.
    #[error(transparent)]
    Chain(#[from] ChainError),
    /// The real model cannot be set up.
    #[cfg(feature = "real-compute")]
    #[error(transparent)]
    Real(#[from] RealError),
    /// The generated data could not be stored.
    #[error("the generated data could not be stored: {0}")]
    Store(#[from] StoreError),
}

/// Why a simulation stopped.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The contracts could not be read.
    #[error(transparent)]
    Chain(#[from] ChainError),
    /// The contracts' books do not add up: a bug of the contracts.
    #[error("after block {block} {law}; seed {seed} repeats it")]
    Books {
        /// After which block.
        block: BlockNumber,
        /// What does not hold.
        law: &'static str,
        /// The seed of the run.
        seed: u64,
    },
    /// The threads that were asked for could not be started.
    #[error("the threads could not be started: {0}; ask for fewer with --threads")]
    Threads(#[source] rayon::ThreadPoolBuildError),
}

/// How far a simulation is.
#[derive(Debug, Clone, Copy)]
pub struct Progress {
    /// Virtual time since the start of the run.
    pub time: Time,
    /// The newest block.
    pub block: BlockNumber,
    /// Blocks that the run takes if every settlement is on time.
    pub blocks: u64,
    /// The epoch of that block.
    pub epoch: Epoch,
    /// Events so far.
    pub events: u64,
    /// Events that wait.
    pub pending: usize,
}

/// One simulated network.
pub struct Simulation {
    env: Env,
    gossip: Gossip,
    store: Store,
    settlements: Settlements,
    work: Work,
    economy: Economy,
    measurements: Measurements,
    referee: Referee,
    observer: Observer,
    executor: Executor,
}

impl Simulation {
    /// Sets up a network: contracts, accounts, stake, data.
    ///
    /// # Errors
    /// [`SetupError`] for an impossible scenario or a chain that refuses it.
    pub fn new(scenario: Scenario) -> Result<Self, SetupError> {
        Self::with(scenario, Parts::default())
    }

    /// The same with an underlay of one's own.
    ///
    /// # Errors
    /// [`SetupError`].
    pub fn with(scenario: Scenario, parts: Parts) -> Result<Self, SetupError> {
        setup::simulation(scenario, parts)
    }

    /// From now on works on some threads; the results are the same for any number.
    ///
    /// # Errors
    /// [`RunError::Threads`] when the system gives none.
    pub fn set_threads(&mut self, threads: NonZeroUsize) -> Result<(), RunError> {
        self.executor.set_threads(threads).map_err(RunError::Threads)
    }

    /// From now on keeps what goes into and out of a node's machine; nothing else changes.
    pub fn watch(&mut self, node: u32) {
        self.observer.watch(node);
    }

    /// What was seen of the watched node since the last call.
    pub fn seen(&mut self) -> Vec<Seen> {
        self.observer.take_seen()
    }

    /// What is simulated.
    pub const fn scenario(&self) -> &Scenario {
        &self.env.scenario
    }

    /// The hash over every output of every node so far.
    pub fn trace_hash(&self) -> Hash {
        self.observer.trace().0
    }

    /// The chain, for readers.
    pub const fn chain(&self) -> &Chain {
        self.env.ledger.chain()
    }

    /// The nodes, in the order of their numbers.
    pub fn nodes(&self) -> &[SimNode] {
        self.env.population.nodes()
    }

    /// Whether the last settlement is final and claimed, or will never be.
    const fn is_over(&self) -> bool {
        self.env.schedule.is_over()
    }

    fn progress(&self) -> Progress {
        let (schedule, ledger) = (&self.env.schedule, &self.env.ledger);
        Progress {
            time: schedule.now(),
            block: ledger.chain().head(),
            blocks: ledger.blocks(&self.env.scenario),
            epoch: ledger.view().epoch(),
            events: schedule.counts().events,
            pending: schedule.pending(),
        }
    }
}

/// The number of a node, which the scenario bounds.
fn number(index: usize) -> u32 {
    u32::try_from(index).expect("a scenario has at most some million nodes")
}

/// The number of a block, of which a run has far fewer than four billion.
fn low(block: BlockNumber) -> u32 {
    u32::try_from(block.0).unwrap_or(ASLEEP)
}
