//! What an adversary sees of the network, and what it can do there.

use std::collections::BTreeSet;

use protocol::{
    AccountId, Amount, Epoch, Hash,
    chain::{ChainView, DatanetUse, Settlement, Transaction},
    holding::Openings,
    node::{Done, Failure, Job},
    record::{Record, VerifiedRecord},
};

use super::{
    Simulation, number,
    training::{self, Site},
};
use crate::{
    kernel::{Draws, Streams, Time},
    units::Span,
};

/// The answer to a job.
#[derive(Debug, Clone)]
pub struct Answer {
    /// How long it takes, in microseconds.
    pub taken: u64,
    /// What the machine is told.
    pub done: Done,
    /// A blob that the node has from then on.
    pub gains: Option<Hash>,
    /// What the host sends to the chain at once.
    pub submits: Option<Transaction>,
}

impl Answer {
    /// An answer after some microseconds.
    pub const fn after(taken: u64, done: Done) -> Self {
        Self { taken, done, gains: None, submits: None }
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
    /// Virtual time: that of the event that happens.
    pub const fn now(&self) -> Time {
        self.0.env.now()
    }

    /// The chain as nodes see it.
    pub const fn chain(&self) -> &ChainView {
        self.0.env.view()
    }

    /// Number of nodes.
    pub const fn nodes(&self) -> usize {
        self.0.env.population.len()
    }

    /// The account of a node.
    pub fn account(&self, node: usize) -> AccountId {
        self.0.env.population.node(node).account
    }

    /// The node of an account.
    pub fn node_of(&self, account: AccountId) -> Option<usize> {
        self.0.env.population.index_of(account)
    }

    /// Whether a node is online.
    pub fn is_online(&self, node: usize) -> bool {
        self.0.env.population.is_online(node)
    }

    /// The coalition, by its place in the scenario, that a node belongs to.
    pub fn coalition(&self, node: usize) -> Option<usize> {
        self.0.env.population.node(node).coalition()
    }

    /// Draws without state.
    pub const fn draws(&self) -> Draws {
        self.0.env.draws
    }

    /// Random streams of the run's seed.
    pub const fn streams(&self) -> Streams {
        self.0.env.streams
    }

    /// What an honest host of a node answers.
    pub fn honest(&mut self, node: usize, job: Job) -> Answer {
        self.0.answer(node, job)
    }

    /// Whether a node has a blob.
    pub fn has(&self, node: usize, blob: &Hash) -> bool {
        self.0.store.has(node, blob)
    }

    /// Gives a node a blob, as a transfer would.
    pub fn hold(&mut self, node: usize, blob: Hash) {
        self.0.store.hold(node, blob);
    }

    /// Takes a blob from a node's disk.
    pub fn delete(&mut self, node: usize, blob: &Hash) {
        self.0.store.blobs_mut().lose(number(node), blob);
    }

    /// Time of a transfer to a node from whoever has the blob, in microseconds; `None` when nobody
    /// gives it.
    pub fn fetch(&mut self, node: usize, blob: &Hash, bytes: u64) -> Option<u64> {
        self.0.store.transfer(&mut self.0.env, node, blob, bytes)
    }

    /// Makes a node sign a record and send it, after a time.
    pub fn sign(&mut self, node: usize, record: Record, after: Span) {
        self.0.sign(node, record, after);
    }

    /// Sends a transaction from a node.
    pub fn submit(&mut self, node: usize, transaction: Transaction) {
        self.0.env.submit(node, transaction);
    }

    /// Puts withholding peers around a node: a share of all that it asks.
    pub fn eclipse(&mut self, victim: usize, share: f64) {
        self.0.env.links.eclipse(victim, share);
    }

    /// Registers a node anew, under a name that nobody knows.
    pub fn rename(&mut self, node: usize) {
        self.0.env.rename(node);
    }

    /// Stores openings of a node, to be shown as its proof.
    pub fn show(&mut self, node: usize, openings: &Openings) -> Answer {
        self.0.store.show(node, openings)
    }

    /// One way between two nodes, in microseconds.
    pub fn one_way(&self, from: usize, to: usize) -> u64 {
        self.0.env.links.network().underlay().delay(number(from), number(to))
    }

    /// Time between two blocks.
    pub const fn block_span(&self) -> Span {
        self.0.env.scenario.chain.block
    }

    /// Whether an honest auditor caught a node in an epoch.
    pub fn was_caught(&self, epoch: Epoch, node: usize) -> bool {
        self.0.measurements.caught().contains_key(&(epoch, self.account(node)))
    }

    /// Settles an epoch from the records of a node's own coalition.
    pub fn settle_without_others(&mut self, node: usize, epoch: Epoch) -> Answer {
        let own = self.coalition(node);
        let nodes = self.0.env.population.nodes().iter();
        let friends: BTreeSet<AccountId> =
            nodes.filter(|node| node.coalition() == own).map(|node| node.account).collect();
        let is_friend = |record: &VerifiedRecord| friends.contains(&record.record().account);
        let Simulation { env, gossip, store, settlements, .. } = &mut *self.0;
        settlements.settle(env, (gossip, store), (node, epoch), is_friend)
    }

    /// The uses that a settlement names, if somebody computed them.
    pub fn uses_of(&self, settlement: &Settlement) -> Option<Vec<DatanetUse>> {
        self.0.settlements.uses_of(settlement)
    }

    /// What an account has earned by a settlement that somebody computed.
    pub fn earned(&self, epoch: Epoch, account: AccountId) -> Option<Amount> {
        self.0.settlements.of(self.0.env.view(), epoch)?.earned(account)
    }

    /// A shard that nobody computed, at once.
    pub fn forged(&mut self, node: usize, job: &Job) -> Option<Answer> {
        let Simulation { env, store, work, .. } = &mut *self.0;
        work.training.forged(&mut Site { env, store, index: node }, job)
    }

    /// The shard of another node in the same round, as one's own; one who is first waits.
    pub fn copied(&mut self, node: usize, job: &Job) -> Option<Answer> {
        let Simulation { env, gossip, store, .. } = &mut *self.0;
        training::copied(&mut Site { env, store, index: node }, gossip, job)
    }

    /// Uses a coalition's own model once, as its own customer.
    pub fn use_own_model(&mut self, coalition: usize) {
        let Simulation { env, work, .. } = &mut *self.0;
        work.market.use_own_model(env, &work.training, coalition);
    }
}

impl Simulation {
    /// What the host of a node answers, as far as adversaries leave it to it.
    pub(super) fn answer_as_adversary(&mut self, index: usize, job: Job) -> Answer {
        if let Some((number, mut coalition)) = self.env.take_coalition(index) {
            let mut world = World(self);
            let answer = coalition.behaviours.iter_mut().find_map(|behaviour| match &job {
                Job::Fetch(blob) if !behaviour.stores(&mut world, index, &blob.hash) => {
                    Some(Answer::after(0, Done::Fetched))
                }
                job => behaviour.answer(&mut world, index, job),
            });
            self.env.population.coalitions_mut().put(number, coalition);
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
        if let Some((number, mut coalition)) = self.env.take_coalition(index) {
            let mut world = World(self);
            for behaviour in &mut coalition.behaviours {
                let before = std::mem::take(&mut records);
                for (after, record) in before {
                    let made = behaviour.sign(&mut world, index, record);
                    records.extend(made.into_iter().map(|(more, r)| (Span(after.0 + more.0), r)));
                }
            }
            self.env.population.coalitions_mut().put(number, coalition);
        }
        records
    }

    /// What becomes of a transaction that a machine wants sent.
    pub(super) fn submit_as_adversary(&mut self, index: usize, transaction: Transaction) {
        let mut sent = Some(transaction);
        if let Some((number, mut coalition)) = self.env.take_coalition(index) {
            let mut world = World(self);
            for behaviour in &mut coalition.behaviours {
                sent = sent.and_then(|tx| behaviour.submit(&mut world, index, tx));
            }
            self.env.population.coalitions_mut().put(number, coalition);
        }
        if let Some(transaction) = sent {
            self.env.submit(index, transaction);
        }
    }

    /// Lets adversaries act by themselves at a block.
    pub(super) fn act_of_coalitions(&mut self, block: protocol::BlockNumber) {
        for number in 0..self.env.population.coalitions().count() {
            let now = self.env.now();
            let taken = self.env.population.coalitions_mut().take(number, now);
            let Some(mut coalition) = taken else { continue };
            let mut world = World(self);
            for behaviour in &mut coalition.behaviours {
                behaviour.act(&mut world, &coalition.members, block);
            }
            self.env.population.coalitions_mut().put(number, coalition);
        }
    }
}
