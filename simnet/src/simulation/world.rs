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
    adversary::Coalition,
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

    /// The coalition, by its place in the scenario, that a node belongs to.
    pub fn coalition(&self, node: usize) -> Option<usize> {
        self.0.nodes[node].coalition()
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

    /// Settles an epoch from the records of a node's own coalition.
    pub fn settle_without_others(&mut self, node: usize, epoch: Epoch) -> Answer {
        let own = self.coalition(node);
        let is_friend = |simulation: &Simulation, account| {
            let index = simulation.index_of(account);
            index.and_then(|index| simulation.nodes[index].coalition()) == own
        };
        let friends: BTreeSet<AccountId> = self
            .0
            .nodes
            .iter()
            .map(|node| node.account)
            .filter(|account| is_friend(self.0, *account))
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
    pub(super) fn answer_as_adversary(&mut self, index: usize, job: Job) -> Answer {
        if let Some((number, mut coalition)) = self.take_coalition(index) {
            let mut world = World(self);
            let answer = coalition.behaviours.iter_mut().find_map(|behaviour| match &job {
                Job::Fetch(blob) if !behaviour.stores(&mut world, index, &blob.hash) => {
                    Some(Answer::after(0, Done::Fetched))
                }
                job => behaviour.answer(&mut world, index, job),
            });
            self.coalitions.put(number, coalition);
            if let Some(answer) = answer {
                return answer;
            }
        }
        self.answer(index, job)
    }

    /// What becomes of a record that a machine wants signed.
    pub(super) fn sign_as_adversary(
        &mut self,
        index: usize,
        record: Record,
    ) -> Vec<(Span, Record)> {
        let mut records = vec![(Span::ZERO, record)];
        if let Some((number, mut coalition)) = self.take_coalition(index) {
            let mut world = World(self);
            for behaviour in &mut coalition.behaviours {
                let before = std::mem::take(&mut records);
                for (after, record) in before {
                    let made = behaviour.sign(&mut world, index, record);
                    records.extend(made.into_iter().map(|(more, r)| (Span(after.0 + more.0), r)));
                }
            }
            self.coalitions.put(number, coalition);
        }
        records
    }

    /// What becomes of a transaction that a machine wants sent.
    pub(super) fn submit_as_adversary(&mut self, index: usize, transaction: Transaction) {
        let mut sent = Some(transaction);
        if let Some((number, mut coalition)) = self.take_coalition(index) {
            let mut world = World(self);
            for behaviour in &mut coalition.behaviours {
                sent = sent.and_then(|tx| behaviour.submit(&mut world, index, tx));
            }
            self.coalitions.put(number, coalition);
        }
        if let Some(transaction) = sent {
            self.submit(index, transaction);
        }
    }

    /// Lets adversaries act by themselves at a block.
    pub(super) fn act_of_coalitions(&mut self, block: protocol::BlockNumber) {
        for number in 0..self.coalitions.count() {
            let Some(mut coalition) = self.coalitions.take(number, self.now) else { continue };
            let mut world = World(self);
            for behaviour in &mut coalition.behaviours {
                behaviour.act(&mut world, &coalition.members, block);
            }
            self.coalitions.put(number, coalition);
        }
    }

    /// Whether a node gives a blob to another.
    pub(super) fn serves(&self, index: usize, to: usize, blob: &Hash) -> bool {
        let number = self.nodes[index].coalition();
        let coalition = number.and_then(|number| self.coalitions.get(number));
        coalition.filter(|coalition| self.now >= coalition.from).is_none_or(|coalition| {
            coalition.behaviours.iter().all(|behaviour| behaviour.serves(index, to, blob))
        })
    }

    fn take_coalition(&mut self, index: usize) -> Option<(usize, Coalition)> {
        let number = self.nodes[index].coalition()?;
        Some((number, self.coalitions.take(number, self.now)?))
    }
}
