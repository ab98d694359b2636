//! The driver: lends the chain to the machines, carries out their outputs, moves time.
//!
//! A machine is given only what can change what it does ([`protocol::node::audience`],
//! [`Node::next_block`](protocol::node::Node::next_block)), so a node that rests costs nothing.
//! `net.deliver_all` gives everybody everything, with the same trace.

mod ahead;
mod attribution;
mod backend;
mod economy;
mod event;
mod gossip;
mod inference;
mod jobs;
mod kpis;
mod lookups;
mod measure;
mod presence;
#[cfg(feature = "real-compute")]
mod real;
mod refereeing;
mod reorgs;
mod settling;
mod setup;
mod takings;
mod times;
mod traffic;
mod training;
mod watch;
mod window;
mod world;

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use protocol::{
    AccountId, BlobRef, BlockNumber, Digest, Epoch, EvmAddress, Hash,
    chain::{ChainEvent, DatanetUse, Transaction},
    node::{Done, Event as NodeEvent, Input, OpId, Output},
    record::Verdict,
};
use storage::StoreError;

use crate::{
    Scenario, ScenarioError,
    adversary::Coalitions,
    chain::{Chain, ChainError},
    data::DataError,
    faults::{Sessions, UnknownRegion},
    kernel::{Actor, CalendarQueue, Draws, EventQueue as _, Purpose, Slab, Streams, Time},
    network::Network,
    nodes::{RecordTable, SharedBlobs, Signer, SimNode},
    referee::Referee,
    report::{BooksRow, EpochRow, PayoutRow},
    scenario::FaultKind,
    trace::{self, Trace},
};

use ahead::{Item, Stage};
use economy::Economy;
use event::Event;
use settling::Settled;

#[cfg(feature = "real-compute")]
pub use real::RealError;
pub use setup::{Clock, Parts, clock};
pub use watch::Seen;
pub use world::{Answer, World};

/// Blocks that claims have after the last settlement is final.
const CLAIM_BLOCKS: u64 = 3;
/// Epochs that the last settlement may take to become final.
const PATIENCE_EPOCHS: u64 = 2;
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

/// A finished job, and the blob that the node then has.
#[derive(Debug)]
struct Finished {
    op: OpId,
    done: Done,
    gains: Option<Hash>,
    /// The session in which it was started: a node that restarted has forgotten it.
    session: u32,
}

/// Jobs that took no time, with their answers.
type Answered = VecDeque<(OpId, Done)>;

/// What is counted.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Tally {
    pub(crate) events: u64,
    pub(crate) most_pending: usize,
    /// Sum of what the quantum added to times, in microseconds, and over how many events.
    pub(crate) rounded: (u64, u64),
    pub(crate) transactions: u64,
    pub(crate) reverted: u64,
    pub(crate) gas: u64,
    pub(crate) delivered: u64,
    pub(crate) fetched_bytes: u64,
    pub(crate) lost_transfers: u64,
    pub(crate) wrong_settlements: u64,
    pub(crate) defeated: u64,
    pub(crate) sessions: u64,
}

/// One simulated network.
pub struct Simulation {
    scenario: Scenario,
    streams: Streams,
    draws: Draws,
    network: Network,
    sessions: Sessions,
    queue: CalendarQueue<u32>,
    window: window::Window,
    transactions: Slab<(u32, Transaction)>,
    finished: Slab<Finished>,
    chain: Chain,
    nodes: Vec<SimNode>,
    /// Accounts of nodes, ascending, with the nodes' numbers.
    by_account: Vec<(AccountId, u32)>,
    signer: Signer,
    coalitions: Coalitions,
    packs: Vec<BlobRef>,
    blobs: SharedBlobs,
    records: RecordTable,
    settled: BTreeMap<Digest, Arc<Settled>>,
    judged: BTreeMap<Digest, Verdict>,
    verified: BTreeMap<Digest, Option<Vec<DatanetUse>>>,
    final_at: BTreeMap<Epoch, BlockNumber>,
    /// Objections that wait for the arbiter, by the block in which it rules.
    objections: BTreeMap<BlockNumber, Epoch>,
    /// Whom auditors caught, and when first.
    caught: BTreeMap<(Epoch, AccountId), Time>,
    epochs: Vec<EpochRow>,
    books: Vec<BooksRow>,
    payouts: Vec<PayoutRow>,
    delays: BTreeMap<u32, u64>,
    online: Vec<(Time, u64)>,
    trace: Trace,
    tally: Tally,
    /// Registrations under new names that are on their way: node and identity by owner.
    renames: BTreeMap<EvmAddress, (usize, u32)>,
    /// Accounts that nodes had before.
    former: BTreeMap<u32, Vec<AccountId>>,
    now: Time,
    /// The newest block, and when it was mined.
    head: (u32, Time),
    is_over: bool,
    referee: Referee,
    economy: Economy,
    workshop: training::Workshop,
    market: inference::Market,
    takings: takings::Takings,
    reorgs: reorgs::Reorgs,
    lookups: lookups::Lookups,
    /// How long nodes fetched packs.
    retrievals: times::Times,
    traffic: traffic::Traffic,
    watch: Option<watch::Watch>,
}

impl Simulation {
    /// Sets up a network: contracts, accounts, stake, data.
    ///
    /// # Errors
    /// [`SetupError`] for an impossible scenario or a chain that refuses it.
    pub fn new(scenario: Scenario) -> Result<Self, SetupError> {
        Self::with(scenario, Parts::default())
    }

    /// The same with an underlay and adversaries of one's own.
    ///
    /// # Errors
    /// [`SetupError`].
    pub fn with(scenario: Scenario, parts: Parts) -> Result<Self, SetupError> {
        setup::simulation(scenario, parts)
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
    /// [`RunError`] when the contracts cannot be read or their books do not add up.
    pub fn advance(&mut self) -> Result<Option<Progress>, RunError> {
        while !self.is_over {
            let Some(Item { place: next, finished, stage }) = self.next_event() else { break };
            self.now = next.at;
            self.tally.events += 1;
            match (Event::from_bits(next.event), next.to.index()) {
                (Event::Mine, _) => {
                    self.mine()?;
                    return Ok(Some(self.progress()));
                }
                (Event::Submit(number), _) => {
                    let Some((sender, transaction)) = self.transactions.take(number) else {
                        continue;
                    };
                    let address = self.signer.address(sender);
                    self.chain.submit(address, &transaction);
                }
                (Event::Fault(spell), _) => self.strike(spell as usize),
                (Event::Demand, _) => self.demand(),
                (event, Some(index)) => match (stage, finished) {
                    (Stage::Past, _) => {}
                    (Stage::Taken(acts), finished) => self.follow(index, finished, acts),
                    (Stage::Open, Some(finished)) => self.finish(index, *finished),
                    (Stage::Open, None) => self.happen(index, event),
                },
                (_, None) => unreachable!("only blocks, transactions and faults are the chain's"),
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
            pending: self.queue.pending() + self.window.left(),
        }
    }

    /// Blocks from the end of an epoch until its claims are paid, when nobody is late.
    fn tail_blocks(&self) -> u64 {
        let delay = self.chain.view().params().settle_delay_blocks.0;
        delay + self.scenario.chain.challenge_blocks + CLAIM_BLOCKS + 4
    }

    /// The last epoch that is simulated in full.
    pub(crate) const fn last_epoch(&self) -> Epoch {
        Epoch(self.scenario.epochs + crate::scenario::WARM_UP_EPOCHS - 1)
    }

    /// Puts an event on the calendar, at a multiple of the quantum.
    fn push(&mut self, at: Time, to: Actor, from: Actor, event: Event) {
        let quantum = self.scenario.quantum.0.max(1);
        let rounded = Time(at.0.div_ceil(quantum).saturating_mul(quantum));
        self.tally.rounded.0 += rounded.0.saturating_sub(at.0);
        self.tally.rounded.1 += 1;
        self.queue.push(rounded, to, from, event.bits());
        let pending = self.queue.pending() + self.window.left();
        self.tally.most_pending = self.tally.most_pending.max(pending);
    }

    fn push_own(&mut self, at: Time, index: usize, event: Event) {
        let me = Actor::node(number(index));
        self.push(at, me, me, event);
    }

    fn happen(&mut self, index: usize, event: Event) {
        match event {
            Event::Return => self.come(index),
            Event::Ask(request) => self.asked(index, request),
            Event::Done(number) => {
                if let Some(finished) = self.finished.take(number) {
                    self.finish(index, finished);
                }
            }
            _ if !self.nodes[index].is_online() => {}
            Event::Block => self.input(index, Input::Block),
            Event::Record(record) => self.receive(index, record),
            Event::Sync(session) => self.sync(index, session),
            Event::Leave(session) => {
                // Twenty-eight bits of the session, as the event has.
                if self.nodes[index].session & Event::MAX == session {
                    self.leave(index);
                }
            }
            Event::Mine | Event::Submit(_) | Event::Fault(_) | Event::Demand => {
                unreachable!("events of the chain are not a node's")
            }
        }
    }

    fn mine(&mut self) -> Result<(), RunError> {
        self.reorganise();
        self.count_offline();
        let mined = self.chain.mine(self.now);
        self.tally.transactions += mined.transactions;
        self.traffic.count_transactions(self.chain.view().epoch(), mined.transactions);
        self.tally.reverted += mined.reverted;
        self.tally.gas += mined.gas;
        mined.read.iter().for_each(|block| self.read_block(&block.events, block.header.number));
        if let Some(law) = self.chain.broken_law()? {
            let (block, seed) = (self.chain.head(), self.scenario.seed);
            return Err(RunError::Books { block, law, seed });
        }
        for block in &mined.read {
            self.arbitrate(block.header.number);
            self.develop(&block.events);
            self.announce(&block.events, block.header.number);
            self.act_of_coalitions(block.header.number);
        }
        let next = self.now.after(self.scenario.chain.block.0);
        self.push(next, Actor::CHAIN, Actor::CHAIN, Event::Mine);
        for block in &mined.read {
            self.measure_block(block.header.number)?;
            self.is_over = self.has_ended(block.header.number);
        }
        Ok(())
    }

    /// What a block that nodes read says to the simulator.
    fn read_block(&mut self, events: &[ChainEvent], number: BlockNumber) {
        self.referee_block(events, number);
        for event in events {
            match event {
                ChainEvent::Finalised { epoch, .. } => {
                    self.final_at.insert(*epoch, number);
                    if self.reorgs.is_first(*epoch) {
                        self.referee_epoch(*epoch, number);
                        self.fold_epoch(*epoch);
                    }
                }
                ChainEvent::Objected { epoch, .. } => self.appeal(*epoch, number),
                ChainEvent::Defeated { .. } => self.tally.defeated += 1,
                ChainEvent::AccountRegistered { account, owner, .. } => {
                    self.adopt(*owner, *account);
                }
                _ => {}
            }
        }
    }

    /// Tells the nodes of a new block that have to know.
    fn announce(&mut self, events: &[ChainEvent], block: BlockNumber) {
        let Some(head) = self.chain.view().head() else { return };
        let stirs = self.scenario.net.deliver_all || self.chain.view().stirs(head, events);
        self.head = (low(block), self.now);
        for index in 0..self.nodes.len() {
            let node = &self.nodes[index];
            if node.is_online() && (stirs || u64::from(node.wake) <= block.0) {
                self.tell_block(index);
            }
        }
    }

    /// Lets a node see the newest block, when that reaches it.
    fn tell_block(&mut self, index: usize) {
        let (block, mined) = self.head;
        let at = self.block_arrival(index, block, mined);
        self.nodes[index].told = block;
        self.push(at, Actor::node(number(index)), Actor::CHAIN, Event::Block);
    }

    fn block_arrival(&self, index: usize, block: u32, mined: Time) -> Time {
        let me = number(index);
        let faults = self.network.faults();
        let from = if faults.spells().is_empty() {
            mined
        } else {
            let region = self.network.underlay().region(me);
            faults.until(FaultKind::RpcOutage, mined, me, region).unwrap_or(mined)
        };
        from.after(self.network.to_server(me, block.into()))
    }

    /// Notes when a node has to see a block again: the newest one, if that has yet to reach it.
    fn plan_wake(&mut self, index: usize) {
        let node = &self.nodes[index];
        let Some(machine) = &node.machine else { return };
        if self.scenario.net.deliver_all {
            // It is told of every block.
            return;
        }
        let next = machine.next_block(self.chain.view()).map_or(ASLEEP, low);
        let (block, mined) = self.head;
        let is_due = next <= block.saturating_add(1) && node.told != block;
        self.nodes[index].wake = next;
        if is_due && self.block_arrival(index, block, mined) > self.now {
            self.tell_block(index);
        }
    }

    fn has_ended(&self, block: BlockNumber) -> bool {
        let last = self.last_epoch();
        // Long delays keep claims on their way for some blocks more.
        let typical = self.network.underlay().typical();
        let late = typical.saturating_mul(4) / self.scenario.chain.block.0;
        if let Some(at) = self.final_at.get(&last) {
            return block.0
                >= at.0 + CLAIM_BLOCKS + late + u64::from(self.scenario.chain.confirmations);
        }
        let (schedule, chain) = (self.chain.view().schedule, &self.scenario.chain);
        // One who lies takes a window and a ruling, and who comes after it a window more.
        let windows = 4 * chain.challenge_blocks + chain.arbiter_blocks;
        let patience = windows.max(PATIENCE_EPOCHS * chain.epoch_blocks);
        block.0 >= schedule.start(last.next()).0 + patience
    }

    fn finish(&mut self, index: usize, finished: Finished) {
        let node = &self.nodes[index];
        if node.is_online() && node.session == finished.session {
            if let Some(hash) = finished.gains {
                self.blobs.hold(number(index), hash);
            }
            self.input(index, Input::Done(finished.op, finished.done));
        }
    }

    /// Gives an input to a machine and carries out what comes out of it.
    fn input(&mut self, index: usize, input: Input) {
        let mut answered = VecDeque::new();
        if self.give(index, input, &mut answered) {
            self.go_on(index, answered);
        }
    }

    /// Whether there was a machine to be given it.
    fn give(&mut self, index: usize, input: Input, answered: &mut Answered) -> bool {
        self.see_input(index, &input);
        let Some(machine) = self.nodes[index].machine.as_mut() else { return false };
        machine.handle(self.chain.view(), input);
        while let Some(output) = self.nodes[index].machine.as_mut().and_then(|m| m.poll_output()) {
            self.trace.add(self.now, Actor::node(number(index)), &trace::text(&output));
            self.see_output(index, &output);
            self.carry_out(index, output, answered);
        }
        true
    }

    /// Jobs that take no time are answered when all else is done.
    fn go_on(&mut self, index: usize, mut answered: Answered) {
        while let Some((op, done)) = answered.pop_front() {
            if !self.give(index, Input::Done(op, done), &mut answered) {
                return;
            }
        }
        self.plan_wake(index);
    }

    /// Carries out what a machine wants.
    fn carry_out(&mut self, index: usize, output: Output, answered: &mut Answered) {
        match output {
            Output::Sign(record) => self.sign(index, record),
            Output::Submit(transaction) => self.submit_as_adversary(index, transaction),
            Output::Job(op, job) => {
                let answer = self.answer_as_adversary(index, job);
                self.answer_later(index, op, answer, answered);
            }
            Output::Event(event) => self.note(index, &event),
        }
    }

    /// Gives a machine the answer to a job when its time has passed.
    fn answer_later(&mut self, index: usize, op: OpId, answer: Answer, answered: &mut Answered) {
        let Answer { taken, done, gains } = answer;
        if taken == 0 {
            if let Some(hash) = gains {
                self.blobs.hold(number(index), hash);
            }
            answered.push_back((op, done));
            return;
        }
        let session = self.nodes[index].session;
        let number = self.finished.put(Finished { op, done, gains, session });
        self.push_own(self.now.after(taken), index, Event::Done(number));
    }

    fn note(&mut self, index: usize, event: &NodeEvent) {
        match event {
            NodeEvent::StorageFault { account, epoch } if !self.nodes[index].kind.is_adverse() => {
                self.caught.entry((*epoch, *account)).or_insert(self.now);
            }
            NodeEvent::WrongSettlement { .. } => self.tally.wrong_settlements += 1,
            _ => self.note_work(index, event),
        }
    }

    /// Sends a transaction on its way to the next block, or a later one.
    fn submit(&mut self, index: usize, transaction: Transaction) {
        let me = number(index);
        let identity = self.nodes[index].identity;
        let which = 1 << 40 | self.nodes[index].ask();
        let region = self.network.underlay().region(me);
        let faults = self.network.faults();
        let from = faults.until(FaultKind::RpcOutage, self.now, me, region).unwrap_or(self.now);
        let mut at = from.after(self.network.to_server(me, which));
        // Each block includes a transaction with the same chance: geometric, with the given mean.
        let wait = self.scenario.chain.inclusion_blocks;
        let draw = |n| self.draws.share(Purpose::Chain, which ^ u64::from(me) << 42, n);
        let later = (0..256).take_while(|n| draw(*n) < wait / (1.0 + wait)).count() as u64;
        at = at.after(later.saturating_mul(self.scenario.chain.block.0));
        let number = self.transactions.put((identity, transaction));
        self.push(at, Actor::CHAIN, Actor::node(me), Event::Submit(number));
    }

    /// The node of an account.
    fn index_of(&self, account: AccountId) -> Option<usize> {
        let found = self.by_account.binary_search_by_key(&account, |(id, _)| *id).ok()?;
        Some(self.by_account[found].1 as usize)
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
