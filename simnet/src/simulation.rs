//! The driver: lends the chain to the machines, carries out their outputs, moves time.

mod jobs;
mod kpis;
mod measure;
mod refereeing;
mod settling;
mod setup;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use protocol::{
    AccountId, BlockNumber, Digest, Epoch, Hash,
    chain::{ChainEvent, Transaction},
    node::{Done, Event as NodeEvent, Input, OpId, Output},
    record::{Body, Record},
};
use storage::StoreError;

use crate::{
    Scenario, ScenarioError,
    chain::{Chain, ChainError},
    kernel::{Actor, EventQueue as _, HeapQueue, Streams, Time},
    network::{FSYNC_MICROS, Network},
    nodes::{RecordTable, SharedBlobs, SimNode},
    referee::Referee,
    report::{BooksRow, EpochRow},
    trace::Trace,
};

use settling::Settled;

/// Blocks that claims have after the last settlement is final.
const CLAIM_BLOCKS: u64 = 3;
/// Epochs that the last settlement may take to become final.
const PATIENCE_EPOCHS: u64 = 2;

/// Why a simulation could not start.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The scenario is impossible.
    #[error(transparent)]
    Scenario(#[from] ScenarioError),
    /// The chain could not be set up.
    #[error(transparent)]
    Chain(#[from] ChainError),
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
}

/// How far a simulation is.
#[derive(Debug, Clone, Copy)]
pub struct Progress {
    /// Virtual time.
    pub time: Time,
    /// The newest block.
    pub block: BlockNumber,
    /// Blocks that the run takes if every settlement is on time.
    pub blocks: u64,
    /// Its epoch.
    pub epoch: Epoch,
    /// Events so far.
    pub events: u64,
    /// Events that wait.
    pub pending: usize,
}

/// What happens at a time.
#[derive(Debug)]
enum Event {
    /// The chain makes a block.
    Mine,
    /// A transaction reaches the chain.
    Submit(Box<Transaction>),
    /// A node sees a new block.
    Block,
    /// A record reaches a node, or its own is durable.
    Record(u32),
    /// A job is finished.
    Done(Box<Answer>),
    /// A peer's answer to a pull arrives.
    Pull(u32),
    /// A node goes for good.
    Leave,
}

/// A finished job, and the blob that the node then has.
#[derive(Debug)]
struct Answer {
    op: OpId,
    done: Done,
    gains: Option<Hash>,
}

/// What is counted.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Tally {
    pub(crate) events: u64,
    pub(crate) transactions: u64,
    pub(crate) reverted: u64,
    pub(crate) gas: u64,
    pub(crate) gossip_sent: u64,
    pub(crate) gossip_lost: u64,
    pub(crate) pulled: u64,
    pub(crate) fetched_bytes: u64,
    pub(crate) wrong_settlements: u64,
}

/// One simulated network.
pub struct Simulation {
    scenario: Scenario,
    streams: Streams,
    network: Network,
    queue: HeapQueue<Event>,
    chain: Chain,
    nodes: Vec<SimNode>,
    by_account: BTreeMap<AccountId, u32>,
    packs: Vec<(Hash, u64)>,
    blobs: SharedBlobs,
    records: RecordTable,
    settled: BTreeMap<Digest, Arc<Settled>>,
    final_at: BTreeMap<Epoch, BlockNumber>,
    caught: BTreeSet<(Epoch, AccountId)>,
    epochs: Vec<EpochRow>,
    books: Vec<BooksRow>,
    trace: Trace,
    tally: Tally,
    now: Time,
    is_over: bool,
    referee: Referee,
}

impl Simulation {
    /// Sets up a network: contracts, accounts, stake, data.
    ///
    /// # Errors
    /// [`SetupError`] for an impossible scenario or a chain that refuses it.
    pub fn new(scenario: Scenario) -> Result<Self, SetupError> {
        setup::simulation(scenario)
    }

    /// What is simulated.
    pub const fn scenario(&self) -> &Scenario {
        &self.scenario
    }

    /// The hash over every output of every node so far.
    pub fn trace_hash(&self) -> Hash {
        self.trace.hash()
    }

    /// The chain, for readers.
    pub const fn chain(&self) -> &Chain {
        &self.chain
    }

    /// The nodes, in the order of their numbers.
    pub fn nodes(&self) -> &[SimNode] {
        &self.nodes
    }

    /// Runs until after the next block; `None` when the run is over.
    ///
    /// # Errors
    /// [`RunError`] when the contracts cannot be read.
    pub fn advance(&mut self) -> Result<Option<Progress>, RunError> {
        while !self.is_over {
            let Some(next) = self.queue.pop() else { break };
            self.now = next.at;
            self.tally.events += 1;
            match next.event {
                Event::Mine => {
                    self.mine()?;
                    return Ok(Some(self.progress()));
                }
                Event::Submit(transaction) => {
                    let sender = next.from.index().map(|index| self.nodes[index].address);
                    let sender = sender.unwrap_or_else(|| self.chain.sponsor());
                    self.chain.submit(sender, &transaction);
                }
                event => {
                    let index = next.to.index().expect("what is not for the chain is for a node");
                    if self.nodes[index].is_online {
                        self.happen(index, event);
                    }
                }
            }
        }
        self.is_over = true;
        Ok(None)
    }

    fn progress(&self) -> Progress {
        let schedule = self.chain.view().schedule;
        let blocks = schedule.start(self.last_epoch().next()).0 + self.tail_blocks();
        Progress {
            time: self.now,
            block: self.chain.head(),
            blocks,
            epoch: self.chain.view().epoch(),
            events: self.tally.events,
            pending: self.queue.pending(),
        }
    }

    /// Blocks from the end of an epoch until its claims are paid, when nobody is late.
    fn tail_blocks(&self) -> u64 {
        let delay = self.chain.view().params().settle_delay_blocks;
        delay + self.scenario.chain.challenge_blocks + CLAIM_BLOCKS + 4
    }

    /// The last epoch that is simulated in full.
    pub(crate) const fn last_epoch(&self) -> Epoch {
        Epoch(self.scenario.epochs + crate::scenario::WARM_UP_EPOCHS - 1)
    }

    fn happen(&mut self, index: usize, event: Event) {
        match event {
            Event::Block => {
                self.ask_a_peer(index);
                self.input(index, Input::Block);
            }
            Event::Record(record) => self.receive(index, record),
            Event::Done(answer) => {
                if let Some(hash) = answer.gains {
                    self.blobs.hold(number(index), hash);
                }
                self.input(index, Input::Done(answer.op, answer.done));
            }
            Event::Pull(peer) => self.pull(index, peer),
            Event::Leave => self.nodes[index].is_online = false,
            Event::Mine | Event::Submit(_) => unreachable!("events of the chain are not a node's"),
        }
    }

    fn mine(&mut self) -> Result<(), RunError> {
        let mined = self.chain.mine(self.now);
        self.referee_block(&mined.events, mined.number);
        self.tally.transactions += mined.transactions;
        self.tally.reverted += mined.reverted;
        self.tally.gas += mined.gas;
        for event in &mined.events {
            if let ChainEvent::Finalised { epoch, .. } = event {
                self.final_at.insert(*epoch, mined.number);
            }
        }
        for index in 0..self.nodes.len() {
            let node = &mut self.nodes[index];
            if node.is_online {
                let at = self.now.after(self.network.delay(&mut node.request));
                self.queue.push(at, Actor::node(number(index)), Actor::CHAIN, Event::Block);
            }
        }
        let next = self.now.after(self.scenario.chain.block.0);
        self.queue.push(next, Actor::CHAIN, Actor::CHAIN, Event::Mine);
        self.measure_block(mined.number)?;
        self.is_over = self.has_ended(mined.number);
        Ok(())
    }

    fn has_ended(&self, block: BlockNumber) -> bool {
        let last = self.last_epoch();
        // Long delays keep claims on their way for some blocks more.
        let late = self.scenario.net.latency.0.saturating_mul(4) / self.scenario.chain.block.0;
        if let Some(at) = self.final_at.get(&last) {
            return block.0 >= at.0 + CLAIM_BLOCKS + late;
        }
        let schedule = self.chain.view().schedule;
        block >= schedule.start(Epoch(last.0 + 1 + PATIENCE_EPOCHS))
    }

    /// Gives an input to a machine and carries out what comes out of it.
    fn input(&mut self, index: usize, input: Input) {
        self.nodes[index].machine.handle(self.chain.view(), input);
        while let Some(output) = self.nodes[index].machine.poll_output() {
            self.trace.add(self.now, Actor::node(number(index)), &output);
            match output {
                Output::Sign(record) => self.sign(index, record),
                Output::Submit(transaction) => self.submit(index, transaction),
                Output::Job(op, job) => {
                    let (delay, done, gains) = self.answer(index, job);
                    let me = Actor::node(number(index));
                    let answer = Event::Done(Box::new(Answer { op, done, gains }));
                    self.queue.push(self.now.after(delay), me, me, answer);
                }
                Output::Event(event) => self.note(index, &event),
            }
        }
    }

    fn note(&mut self, index: usize, event: &NodeEvent) {
        match event {
            NodeEvent::StorageFault { account, epoch } if !self.nodes[index].kind.is_adverse() => {
                self.caught.insert((*epoch, *account));
            }
            NodeEvent::WrongSettlement { .. } => self.tally.wrong_settlements += 1,
            _ => {}
        }
    }

    fn submit(&mut self, index: usize, transaction: Transaction) {
        let delay = self.network.delay(&mut self.nodes[index].request);
        let event = Event::Submit(Box::new(transaction));
        let me = Actor::node(number(index));
        self.queue.push(self.now.after(delay), Actor::CHAIN, me, event);
    }

    /// Signs a record, makes it durable, and floods it.
    fn sign(&mut self, index: usize, record: Record) {
        let node = &self.nodes[index];
        if node.kind.is_adverse() && matches!(record.body, Body::Audit(_)) {
            return;
        }
        let domain = &self.chain.view().domain;
        let signed = record.sign(domain, &node.operator).expect("RFC 6979 finds a nonce");
        let verified = signed.verify(domain).expect("a fresh signature recovers its key");
        self.referee_record(index, &verified);
        let record = self.records.add(verified);
        let durable = self.now.after(FSYNC_MICROS);
        let me = Actor::node(number(index));
        self.queue.push(durable, me, me, Event::Record(record));
        for other in 0..self.nodes.len() {
            let node = &mut self.nodes[other];
            if other == index || !node.is_online {
                continue;
            }
            self.tally.gossip_sent += 1;
            match self.network.gossip(&mut node.gossip) {
                Some(delay) => {
                    let to = Actor::node(number(other));
                    self.queue.push(durable.after(delay), to, me, Event::Record(record));
                }
                None => self.tally.gossip_lost += 1,
            }
        }
    }

    fn receive(&mut self, index: usize, record: u32) {
        if self.nodes[index].pool.add(record) {
            let record = Arc::clone(self.records.get(record));
            self.input(index, Input::Record(record));
        }
    }

    fn ask_a_peer(&mut self, index: usize) {
        let count = self.nodes.len() as u64;
        let node = &mut self.nodes[index];
        let peer = u32::try_from(node.request.below(count)).expect("a node's number");
        let Some(delay) = self.network.round_trip(&mut node.request) else { return };
        let me = Actor::node(number(index));
        if Actor::node(peer) != me && self.nodes[peer as usize].is_online {
            self.queue.push(self.now.after(delay), me, Actor::node(peer), Event::Pull(peer));
        }
    }

    fn pull(&mut self, index: usize, peer: u32) {
        let lacking = self.nodes[index].pool.lacks_of(&self.nodes[peer as usize].pool);
        self.tally.pulled += lacking.len() as u64;
        for record in lacking {
            self.receive(index, record);
        }
    }
}

/// The number of a node, which the scenario bounds.
fn number(index: usize) -> u32 {
    u32::try_from(index).expect("a scenario has at most a hundred thousand nodes")
}
