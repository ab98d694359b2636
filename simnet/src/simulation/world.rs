//! What an adversary sees of the network, and what it can do there.

use std::collections::BTreeSet;

use protocol::{
    AccountId, Amount, Epoch, Hash,
    chain::{ChainView, DatanetUse, Settlement, Transaction},
    holding::Openings,
    node::{Done, Failure, Job},
    record::Record,
};

use super::{Simulation, number};
use crate::{
    kernel::{Draws, Streams, Time},
    units::Span,
};

/// The answer to a job.
#[derive(Debug, Clone)]
pub struct Answer {
    /// How long it takes, in microseconds.
    pub taken: u64,
    /// The answer.
    pub done: Done,
    /// A blob that the node has from then on.
    pub gains: Option<Hash>,
}

impl Answer {
    /// An answer after some microseconds.
    pub const fn after(taken: u64, done: Done) -> Self {
        Self { taken, done, gains: None }
    }

    /// The host cannot do it.
    pub const fn local() -> Self {
        Self::after(0, Done::Failed(Failure::Local))
    }

    /// Nobody has the bytes.
    pub const fn unavailable(taken: u64) -> Self {
        Self::after(taken, Done::Failed(Failure::Unavailable))
    }
}

/// The network as one who knows everything sees it: the worst case of an adversary.
pub struct World<'a>(pub(super) &'a mut Simulation);

impl World<'_> {
    /// Virtual time.
    pub const fn now(&self) -> Time {
        self.0.now
    }

    /// The chain.
    pub const fn chain(&self) -> &ChainView {
        self.0.chain.view()
    }

    /// Number of nodes.
    pub const fn nodes(&self) -> usize {
        self.0.nodes.len()
    }

    /// The account of a node.
    pub fn account(&self, node: usize) -> AccountId {
        self.0.nodes[node].account
    }

    /// The node of an account.
    pub fn node_of(&self, account: AccountId) -> Option<usize> {
        self.0.index_of(account)
    }

    /// Whether a node is online.
    pub fn is_online(&self, node: usize) -> bool {
        self.0.nodes[node].is_online()
    }

    /// The adversaries, by their place in the scenario, that a node belongs to.
    pub fn gang(&self, node: usize) -> Option<usize> {
        self.0.nodes[node].gang()
    }

    /// Draws without state.
    pub const fn draws(&self) -> Draws {
        self.0.draws
    }

    /// Random streams.
    pub const fn streams(&self) -> Streams {
        self.0.streams
    }

    /// What an honest host of a node answers.
    pub fn honest(&mut self, node: usize, job: Job) -> Answer {
        self.0.answer(node, job)
    }

    /// Whether a node has a blob.
    pub fn has(&self, node: usize, blob: &Hash) -> bool {
        self.0.blobs.has(number(node), blob)
    }

    /// Gives a node a blob, as a transfer would.
    pub fn hold(&mut self, node: usize, blob: Hash) {
        self.0.blobs.hold(number(node), blob);
    }

    /// Takes a blob from a node's disk.
    pub fn delete(&mut self, node: usize, blob: &Hash) {
        self.0.blobs.lose(number(node), blob);
    }

    /// Time of a transfer to a node from whoever has the blob, in microseconds; `None` when nobody
    /// gives it.
    pub fn fetch(&mut self, node: usize, blob: &Hash, bytes: u64) -> Option<u64> {
        self.0.transfer(node, blob, bytes)
    }

    /// Makes a node sign a record and send it, after a time.
    pub fn sign(&mut self, node: usize, record: Record, after: Span) {
        self.0.make(node, record, after.0);
    }

    /// Sends a transaction from a node.
    pub fn submit(&mut self, node: usize, transaction: Transaction) {
        self.0.submit(node, transaction);
    }

    /// Puts withholding peers around a node: a share of all that it asks.
    pub fn eclipse(&mut self, victim: usize, share: f64) {
        self.0.network.eclipse(number(victim), share);
    }

    /// Registers a node anew, under a name that nobody knows.
    pub fn rename(&mut self, node: usize) {
        self.0.rename(node);
    }

    /// Stores openings of a node, to be shown as its proof.
    pub fn show(&mut self, node: usize, openings: &Openings) -> Answer {
        self.0.show(node, 0, openings)
    }

    /// One way between two nodes, in microseconds.
    pub fn one_way(&self, from: usize, to: usize) -> u64 {
        self.0.network.underlay().delay(number(from), number(to))
    }

    /// Time between two blocks.
    pub const fn block_span(&self) -> Span {
        self.0.scenario.chain.block
    }

    /// Whether an honest auditor caught a node in an epoch.
    pub fn was_caught(&self, epoch: Epoch, node: usize) -> bool {
        self.0.caught.contains_key(&(epoch, self.account(node)))
    }

    /// Settles an epoch from the records of a node's own gang.
    pub fn settle_without_others(&mut self, node: usize, epoch: Epoch) -> Answer {
        let gang = self.gang(node);
        let of_gang = |simulation: &Simulation, account| {
            let index = simulation.index_of(account);
            index.and_then(|index| simulation.nodes[index].gang()) == gang
        };
        let friends: BTreeSet<AccountId> = self
            .0
            .nodes
            .iter()
            .map(|node| node.account)
            .filter(|account| of_gang(self.0, *account))
            .collect();
        self.0.settle(node, epoch, |record| friends.contains(&record.record().account))
    }

    /// The uses that a settlement names, if somebody computed them.
    pub fn uses_of(&self, settlement: &Settlement) -> Option<Vec<DatanetUse>> {
        let mut all = self.0.settled.values().map(|settled| &settled.outcome);
        all.find(|of| of.settlement.uses == settlement.uses).map(|of| of.uses.clone())
    }

    /// What an account has earned by a settlement that somebody computed.
    pub fn earned(&self, epoch: Epoch, account: AccountId) -> Option<Amount> {
        let settled = self.0.settled(epoch)?;
        let found = settled.outcome.leaves.binary_search_by_key(&account, |(id, _)| *id).ok()?;
        Some(settled.outcome.leaves[found].1)
    }
}

impl Simulation {
    /// What the host of a node answers, as far as adversaries leave it to it.
    pub(super) fn answer_through_gang(&mut self, index: usize, job: Job) -> Answer {
        if let Some(mut gang) = self.take_gang(index) {
            let mut world = World(self);
            let behaviours = gang.behaviours.iter_mut();
            let answer =
                behaviours.map(|b| b.job(&mut world, index, &job)).find_map(|answer| answer);
            self.put_gang(index, gang);
            if let Some(answer) = answer {
                return answer;
            }
        }
        self.answer(index, job)
    }

    /// What becomes of a record that a machine wants signed.
    pub(super) fn sign_through_gang(
        &mut self,
        index: usize,
        record: Record,
    ) -> Vec<(Span, Record)> {
        let mut records = vec![(Span::ZERO, record)];
        if let Some(mut gang) = self.take_gang(index) {
            let mut world = World(self);
            for behaviour in &mut gang.behaviours {
                let before = std::mem::take(&mut records);
                for (after, record) in before {
                    let made = behaviour.sign(&mut world, index, record);
                    records.extend(made.into_iter().map(|(more, r)| (Span(after.0 + more.0), r)));
                }
            }
            self.put_gang(index, gang);
        }
        records
    }

    /// What becomes of a transaction that a machine wants sent.
    pub(super) fn submit_through_gang(&mut self, index: usize, transaction: Transaction) {
        let mut sent = Some(transaction);
        if let Some(mut gang) = self.take_gang(index) {
            let mut world = World(self);
            for behaviour in &mut gang.behaviours {
                sent = sent.and_then(|tx| behaviour.submit(&mut world, index, tx));
            }
            self.put_gang(index, gang);
        }
        if let Some(transaction) = sent {
            self.submit(index, transaction);
        }
    }

    /// Lets adversaries act by themselves at a block.
    pub(super) fn act_of_gangs(&mut self, block: protocol::BlockNumber) {
        for place in 0..self.gangs.len() {
            if self.now < self.gangs[place].from {
                continue;
            }
            let mut gang = std::mem::take(&mut self.gangs[place]);
            let mut world = World(self);
            for behaviour in &mut gang.behaviours {
                behaviour.block(&mut world, &gang.members, block);
            }
            self.gangs[place] = gang;
        }
    }

    /// Whether a node gives a blob to another.
    pub(super) fn gives(&self, index: usize, to: usize, blob: &Hash) -> bool {
        let gang = self.nodes[index].gang().and_then(|gang| self.gangs.get(gang));
        let is_active = |gang: &&crate::adversary::Gang| self.now >= gang.from;
        let Some(gang) = gang.filter(is_active) else { return true };
        gang.behaviours.iter().all(|behaviour| behaviour.gives(index, to, blob))
    }

    fn take_gang(&mut self, index: usize) -> Option<crate::adversary::Gang> {
        let gang = self.gangs.get_mut(self.nodes[index].gang()?)?;
        (self.now >= gang.from).then(|| std::mem::take(gang))
    }

    fn put_gang(&mut self, index: usize, gang: crate::adversary::Gang) {
        if let Some(place) = self.nodes[index].gang() {
            self.gangs[place] = gang;
        }
    }
}
