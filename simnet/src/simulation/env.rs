//! What every part of a simulation stands on: time, lines, nodes and the chain.

use protocol::{
    AccountId, BlockNumber, Epoch, EvmAddress,
    chain::{ChainEvent, ChainView, Transaction},
};

use super::{
    ASLEEP, Event, ledger::Ledger, links::Links, low, number, population::Population,
    schedule::Schedule,
};
use crate::{
    Scenario,
    adversary::Coalition,
    kernel::{Actor, Draws, Purpose, Streams, Time},
};

/// The surroundings of a run. Parts that act on them are given them by their methods' callers.
pub(super) struct Env {
    pub(super) scenario: Scenario,
    pub(super) streams: Streams,
    pub(super) draws: Draws,
    pub(super) schedule: Schedule,
    pub(super) links: Links,
    pub(super) population: Population,
    pub(super) ledger: Ledger,
}

impl Env {
    /// Virtual time: that of the event that happens.
    pub(super) const fn now(&self) -> Time {
        self.schedule.now()
    }

    /// The chain as nodes see it.
    pub(super) const fn view(&self) -> &ChainView {
        self.ledger.view()
    }

    /// The last epoch that is simulated in full.
    pub(super) const fn last_epoch(&self) -> Epoch {
        Ledger::last_epoch(&self.scenario)
    }

    /// Time of a node's disk for what takes so many microseconds.
    pub(super) fn disk(&self, index: usize, micros: u64) -> u64 {
        self.links.disk(self.now(), index, micros)
    }

    /// Whether a run is over after a block.
    pub(super) fn has_ended(&self, block: BlockNumber) -> bool {
        // Long delays keep claims on their way for some blocks more.
        let typical = self.links.network().underlay().typical();
        let late = typical.saturating_mul(4) / self.scenario.chain.block.0;
        self.ledger.has_ended(block, &self.scenario, late)
    }

    /// Sends a transaction of a node on its way to the next block, or a later one.
    pub(super) fn submit(&mut self, index: usize, transaction: Transaction) {
        let me = number(index);
        let node = self.population.node_mut(index);
        let (identity, which) = (node.identity, 1 << 40 | node.ask());
        let from = self.links.rpc_from(self.now(), me);
        let at = from.after(self.links.network().to_server(me, which));
        // Each block includes a transaction with the same chance: geometric, with the given mean.
        let wait = self.scenario.chain.inclusion_blocks;
        let draw = |n| self.draws.share(Purpose::Chain, which ^ u64::from(me) << 42, n);
        let later = (0..256).take_while(|n| draw(*n) < wait / (1.0 + wait)).count() as u64;
        let at = at.after(later.saturating_mul(self.scenario.chain.block.0));
        self.schedule.submit(at, me, identity, transaction);
    }

    /// Registers a node anew, under the next identity that nobody has.
    pub(super) fn rename(&mut self, index: usize) {
        let Self { streams, population, ledger, .. } = self;
        let registry = ledger.view().registry;
        ledger.register(&population.rename(index, streams, registry));
    }

    /// A node that registered again works for its new account from now on.
    pub(super) fn adopt(&mut self, owner: EvmAddress, account: AccountId) {
        let Some(index) = self.population.adopt(owner, account) else { return };
        if self.population.is_online(index) {
            let now = self.now();
            self.population.stop(index, now);
            self.population.start_machine(index, now);
        }
        self.ledger.stake_for(account, &self.scenario);
    }

    /// Takes out the coalition of a node, if it cheats by now; see [`Coalitions::take`](crate::adversary::Coalitions::take).
    pub(super) fn take_coalition(&mut self, index: usize) -> Option<(usize, Coalition)> {
        let (now, number) = (self.now(), self.population.node(index).coalition()?);
        Some((number, self.population.coalitions_mut().take(number, now)?))
    }

    /// Tells the nodes of a new block that have to know.
    pub(super) fn announce(&mut self, events: &[ChainEvent], block: BlockNumber) {
        let Some(head) = self.view().head() else { return };
        let stirs = self.scenario.net.deliver_all || self.view().stirs(head, events);
        self.ledger.set_head(block, self.now());
        for index in 0..self.population.len() {
            let node = self.population.node(index);
            if node.is_online() && (stirs || u64::from(node.wake) <= block.0) {
                self.tell_block(index);
            }
        }
    }

    /// Lets a node see the newest block, when that reaches it.
    fn tell_block(&mut self, index: usize) {
        let at = self.block_arrival(index);
        self.population.node_mut(index).told = self.ledger.head_number();
        self.schedule.push(at, Actor::node(number(index)), Actor::CHAIN, Event::Block);
    }

    /// When the newest block reaches a node.
    fn block_arrival(&self, index: usize) -> Time {
        let (me, (block, mined)) = (number(index), self.ledger.head());
        self.links.rpc_from(mined, me).after(self.links.network().to_server(me, block.into()))
    }

    /// Notes when a node has to see a block again: the newest one, if that has yet to reach it.
    pub(super) fn plan_wake(&mut self, index: usize) {
        if self.scenario.net.deliver_all {
            // It is told of every block.
            return;
        }
        let head = self.ledger.head_number();
        let Self { ledger, population, .. } = self;
        let is_due = note_wake(population.node_mut(index), ledger.view(), head);
        if is_due && self.block_arrival(index) > self.now() {
            self.tell_block(index);
        }
    }
}

/// Notes which block a node has to see next; whether that is one it should have been told of, when the
/// newest one is `head`.
pub(super) fn note_wake(node: &mut crate::nodes::SimNode, view: &ChainView, head: u32) -> bool {
    let Some(machine) = &node.machine else { return false };
    let next = machine.next_block(view).map_or(ASLEEP, low);
    node.wake = next;
    next <= head.saturating_add(1) && node.told != head
}
