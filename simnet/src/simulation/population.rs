//! The nodes, whose they are, and which are there.

use std::collections::BTreeMap;

use protocol::{
    AccountId, EvmAddress,
    node::{Node, NodeConfig},
};

use super::{ASLEEP, number};
use crate::{
    Scenario,
    adversary::Coalitions,
    faults::{Rhythm, Sessions},
    kernel::{Streams, Time},
    nodes::{Identity, Kind, SimNode, identities},
};

/// All nodes, by their numbers.
pub(super) struct Population {
    nodes: Vec<SimNode>,
    /// Accounts of nodes, ascending, with the nodes' numbers.
    by_account: Vec<(AccountId, u32)>,
    /// Accounts that nodes had before.
    former: BTreeMap<u32, Vec<AccountId>>,
    /// Registrations under new names that are on their way: node and identity by owner.
    renames: BTreeMap<EvmAddress, (usize, u32)>,
    sessions: Sessions,
    coalitions: Coalitions,
    /// How each machine is set up.
    config: NodeConfig,
    /// Sessions that began after the first ones.
    restarts: u64,
}

impl Population {
    pub(super) fn new(
        nodes: Vec<SimNode>,
        coalitions: Coalitions,
        sessions: Sessions,
        scenario: &Scenario,
    ) -> Self {
        let config = NodeConfig {
            computes: scenario.training.is_on(),
            claim_epochs: scenario.chain.claim_epochs,
            max_memory: None,
        };
        let by_account = (0u32..).zip(&nodes).map(|(index, node)| (node.account, index)).collect();
        let (former, renames) = (BTreeMap::new(), BTreeMap::new());
        Self { nodes, by_account, former, renames, sessions, coalitions, config, restarts: 0 }
    }

    /// How many nodes there are, online or not.
    pub(super) const fn len(&self) -> usize {
        self.nodes.len()
    }

    pub(super) fn nodes(&self) -> &[SimNode] {
        &self.nodes
    }

    /// All of them, to be divided among threads.
    pub(super) fn nodes_mut(&mut self) -> &mut [SimNode] {
        &mut self.nodes
    }

    pub(super) fn node(&self, index: usize) -> &SimNode {
        &self.nodes[index]
    }

    pub(super) fn node_mut(&mut self, index: usize) -> &mut SimNode {
        &mut self.nodes[index]
    }

    pub(super) fn is_online(&self, index: usize) -> bool {
        self.nodes[index].is_online()
    }

    /// How many nodes are online.
    pub(super) fn online(&self) -> u64 {
        self.nodes.iter().filter(|node| node.is_online()).count() as u64
    }

    pub(super) const fn restarts(&self) -> u64 {
        self.restarts
    }

    /// The node of an account.
    pub(super) fn index_of(&self, account: AccountId) -> Option<usize> {
        let found = self.by_account.binary_search_by_key(&account, |(id, _)| *id).ok()?;
        Some(self.by_account[found].1 as usize)
    }

    /// All accounts that a node has had, the present one last.
    pub(super) fn accounts_of(&self, index: usize) -> Vec<AccountId> {
        let mut accounts = self.former.get(&number(index)).cloned().unwrap_or_default();
        accounts.push(self.nodes[index].account);
        accounts
    }

    pub(super) const fn coalitions(&self) -> &Coalitions {
        &self.coalitions
    }

    /// Whether a node gives a blob to another.
    pub(super) fn serves(&self, index: usize, to: usize, blob: &protocol::Hash, now: Time) -> bool {
        let number = self.nodes[index].coalition();
        let coalition = number.and_then(|number| self.coalitions.get(number));
        coalition.filter(|coalition| now >= coalition.from).is_none_or(|coalition| {
            coalition.behaviours.iter().all(|behaviour| behaviour.serves(index, to, blob))
        })
    }

    pub(super) const fn coalitions_mut(&mut self) -> &mut Coalitions {
        &mut self.coalitions
    }

    /// The next identity that nobody has, for a node that registers again.
    pub(super) fn rename(
        &mut self,
        index: usize,
        streams: &Streams,
        registry: EvmAddress,
    ) -> Vec<Identity> {
        let identity = number(self.nodes.len() + self.renames.len());
        let made = identities(streams, identity..identity + 1, registry);
        self.renames.extend(made.iter().map(|id| (id.owner, (index, identity))));
        made
    }

    /// Gives a node its new account, once the chain knows it; the node, unless it has it already.
    pub(super) fn adopt(&mut self, owner: EvmAddress, account: AccountId) -> Option<usize> {
        let (index, identity) = self.renames.get(&owner).copied()?;
        let node = &mut self.nodes[index];
        // The block that registered it was replaced, and comes again.
        if node.account == account {
            return None;
        }
        self.former.entry(number(index)).or_default().push(node.account);
        (node.account, node.identity) = (account, identity);
        self.by_account.push((account, number(index)));
        Some(index)
    }

    /// Gives a node a machine that knows nothing yet.
    pub(super) fn start_machine(&mut self, index: usize, now: Time) {
        let node = &mut self.nodes[index];
        node.machine = Some(Box::new(Node::new(node.account, self.config)));
        node.wake = 0;
        node.since = now;
    }

    /// Begins the next session of a node, which has read up to block `head`.
    pub(super) fn start_session(&mut self, index: usize, now: Time, head: u32) {
        self.start_machine(index, now);
        self.restarts += 1;
        let node = &mut self.nodes[index];
        node.session = node.session.wrapping_add(1);
        node.synced = Time(u64::MAX);
        node.told = head;
    }

    /// Ends the session of a node, if it has one.
    pub(super) fn stop(&mut self, index: usize, now: Time) {
        let node = &mut self.nodes[index];
        if node.machine.take().is_some() {
            node.left = now;
            node.online += now.0.saturating_sub(node.since.0);
            node.wake = ASLEEP;
        }
    }

    pub(super) const fn sessions(&self) -> &Sessions {
        &self.sessions
    }

    /// How a node comes and goes: adversaries stay.
    pub(super) fn rhythm(&self, index: usize) -> Rhythm {
        match self.nodes[index].kind {
            Kind::Honest => self.sessions.rhythm(number(index)),
            _ => Rhythm::Steady,
        }
    }
}
