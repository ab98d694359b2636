//! Adversaries at the places where a host stands between its machine and the world.

use std::collections::BTreeSet;

use protocol::{
    AccountId, Amount, Epoch, EvmAddress, Hash,
    chain::{ChainView, DatanetUse, Settlement, Transaction},
    holding::Openings,
    node::{Done, Job},
    record::{Record, SignedRecord},
};

use super::{
    Simulation,
    market::consumer_of,
    number,
    training::{self, Site},
};
use crate::{
    adversary::{Answer, World},
    kernel::{Draws, Streams, Time},
    nodes::identity,
    units::Span,
};

impl World for Simulation {
    fn now(&self) -> Time {
        self.env.now()
    }

    fn chain(&self) -> &ChainView {
        self.env.view()
    }

    fn nodes(&self) -> usize {
        self.env.population.len()
    }

    fn account(&self, node: usize) -> AccountId {
        self.env.population.node(node).account
    }

    fn node_of(&self, account: AccountId) -> Option<usize> {
        self.env.population.index_of(account)
    }

    fn is_online(&self, node: usize) -> bool {
        self.env.population.is_online(node)
    }

    fn coalition(&self, node: usize) -> Option<usize> {
        self.env.population.node(node).coalition()
    }

    fn draws(&self) -> Draws {
        self.env.draws
    }

    fn streams(&self) -> Streams {
        self.env.streams
    }

    fn honest(&mut self, node: usize, job: Job) -> Answer {
        self.honest_answer(node, job)
    }

    fn has(&self, node: usize, blob: &Hash) -> bool {
        self.store.has(node, blob)
    }

    fn hold(&mut self, node: usize, blob: Hash) {
        self.store.hold(node, blob);
    }

    fn delete(&mut self, node: usize, blob: &Hash) {
        self.store.blobs_mut().lose(number(node), blob);
    }

    fn fetch(&mut self, node: usize, blob: &Hash, bytes: u64) -> Option<u64> {
        self.store.transfer(&mut self.env, node, blob, bytes)
    }

    fn sign(&mut self, node: usize, record: Record, after: Span) {
        self.sign(node, record, after);
    }

    fn signed(&self, node: usize, record: Record) -> SignedRecord {
        self.gossip.sign(&self.env, node, record).signed().clone()
    }

    fn registration(&self, node: usize) -> Transaction {
        let (number, registry) =
            (self.env.population.node(node).identity, self.env.view().registry);
        let identity = identity(&self.env.streams, self.gossip.signer(), number, registry);
        identity.registration()
    }

    fn submit(&mut self, node: usize, transaction: Transaction) {
        self.env.submit(node, transaction);
    }

    fn eclipse(&mut self, victim: usize, share: f64) {
        self.env.links.eclipse(victim, share);
    }

    fn rename(&mut self, node: usize) {
        self.env.rename(node);
    }

    fn show(&mut self, node: usize, openings: &Openings) -> Answer {
        self.store.show(node, openings)
    }

    fn one_way(&self, from: usize, to: usize) -> u64 {
        self.env.links.network().underlay().delay(number(from), number(to))
    }

    fn block_span(&self) -> Span {
        self.env.scenario.chain.block
    }

    fn was_caught(&self, epoch: Epoch, node: usize) -> bool {
        self.measurements.caught().contains_key(&(epoch, self.account(node)))
    }

    fn settle_without_others(&mut self, node: usize, epoch: Epoch) -> Answer {
        let own = self.coalition(node);
        let nodes = self.env.population.nodes().iter();
        let friends: BTreeSet<AccountId> =
            nodes.filter(|node| node.coalition() == own).map(|node| node.account).collect();
        let Simulation { env, settlements, .. } = self;
        settlements.settle_for(env, epoch, |account| friends.contains(&account))
    }

    fn uses_of(&self, settlement: &Settlement) -> Option<Vec<DatanetUse>> {
        self.settlements.uses_of(settlement)
    }

    fn earned(&self, epoch: Epoch, account: AccountId) -> Option<Amount> {
        self.settlements.of(self.env.view(), epoch)?.earned(account)
    }

    fn forged(&mut self, node: usize, job: &Job) -> Option<Answer> {
        let Simulation { env, store, work, .. } = self;
        work.training.forged(&mut Site { env, store, index: node }, job)
    }

    fn copied(&mut self, node: usize, job: &Job) -> Option<Answer> {
        let Simulation { env, gossip, store, .. } = self;
        training::copied(&mut Site { env, store, index: node }, gossip, job)
    }

    fn order_own_run(&mut self) {
        let Simulation { env, work, .. } = self;
        work.training.order_own(env);
    }

    fn use_own_model(&mut self, coalition: usize) {
        let Simulation { env, work, .. } = self;
        work.market.use_own_model(env, &work.training, coalition);
    }

    fn use_others_model(&mut self, coalition: usize) {
        let Simulation { env, work, .. } = self;
        work.market.use_others_model(env, &work.training, coalition);
    }

    fn consumer(&self, coalition: usize) -> EvmAddress {
        consumer_of(&self.env, coalition)
    }

    fn consume(&mut self, coalition: usize, transaction: Transaction) {
        let consumer = consumer_of(&self.env, coalition);
        self.env.ledger.chain_mut().submit(consumer, &transaction);
    }
}

impl Simulation {
    /// What the host of a node answers to a job: what its adversary makes of it, if it has one that does, and
    /// else what an honest host would.
    pub(super) fn host_answers(&mut self, index: usize, job: Job) -> Answer {
        if let Some((number, mut coalition)) = self.env.take_coalition(index) {
            let answer = coalition.behaviours.iter_mut().find_map(|behaviour| match &job {
                Job::Fetch(blob) if !behaviour.stores(self, index, &blob.hash) => {
                    Some(Answer::after(0, Done::Fetched))
                }
                job => behaviour.answer(self, index, job),
            });
            self.env.population.coalitions_mut().put(number, coalition);
            if let Some(answer) = answer {
                return answer;
            }
        }
        self.honest_answer(index, job)
    }

    /// What the host of a node signs where its machine wants a record signed, each after a time: an honest
    /// one that record, at once.
    pub(super) fn host_signs(&mut self, index: usize, record: Record) -> Vec<(Span, Record)> {
        let mut records = vec![(Span::ZERO, record)];
        if let Some((number, mut coalition)) = self.env.take_coalition(index) {
            for behaviour in &mut coalition.behaviours {
                let before = std::mem::take(&mut records);
                for (after, record) in before {
                    let made = behaviour.sign(self, index, record);
                    records.extend(made.into_iter().map(|(more, r)| (Span(after.0 + more.0), r)));
                }
            }
            self.env.population.coalitions_mut().put(number, coalition);
        }
        records
    }

    /// Sends what the host of a node makes of a transaction of its machine.
    pub(super) fn host_submits(&mut self, index: usize, transaction: Transaction) {
        let mut sent = Some(transaction);
        if let Some((number, mut coalition)) = self.env.take_coalition(index) {
            for behaviour in &mut coalition.behaviours {
                sent = sent.and_then(|tx| behaviour.submit(self, index, tx));
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
            for behaviour in &mut coalition.behaviours {
                behaviour.act(self, &coalition.members, block);
            }
            self.env.population.coalitions_mut().put(number, coalition);
        }
    }
}
