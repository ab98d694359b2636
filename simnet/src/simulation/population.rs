//! The nodes, whose they are, and when they are there.

use std::collections::BTreeMap;

use protocol::{
    AccountId, EvmAddress,
    node::{Node, NodeConfig},
};

use super::{ASLEEP, Event, env::Env, number};
use crate::{
    Scenario,
    adversary::Coalitions,
    data,
    faults::{Rhythm, Sessions},
    kernel::{Purpose, Streams, Time},
    network::Network,
    nodes::{Identity, Kind, SimNode, identities},
    scenario::FaultKind,
};

/// Time that a process takes to start again.
pub(super) const RESTART_MICROS: u64 = 10_000_000;

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
    fn start_session(&mut self, index: usize, now: Time, head: u32) {
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

    /// How a node comes and goes: adversaries stay.
    fn rhythm(&self, index: usize) -> Rhythm {
        match self.nodes[index].kind {
            Kind::Honest => self.sessions.rhythm(number(index)),
            _ => Rhythm::Steady,
        }
    }
}

/// Hours by which the place of a node is ahead of the first region.
fn hours_ahead(network: &Network, node: u32) -> f64 {
    let underlay = network.underlay();
    let region = underlay.regions().get(underlay.region(node));
    let hours = data::set("hours-of-regions").ok();
    region.zip(hours).and_then(|(region, set)| set.value(region).ok()).unwrap_or(0.0)
}

impl Env {
    /// Begins a session of a node that is offline: its machine is new, and it sees the newest block
    /// and asks a peer for records as soon as it can. What its own disk has is given to it by
    /// [`super::gossip::Gossip::on_disk`].
    pub(super) fn restart(&mut self, index: usize) {
        let (now, head) = (self.now(), self.ledger.head_number());
        self.population.start_session(index, now, head);
    }

    /// What a node that has read its own disk waits for: a block, a peer, the end of its session.
    pub(super) fn plan_session(&mut self, index: usize) {
        let (me, now) = (number(index), self.now());
        let session = self.population.node(index).session;
        let network = self.links.network();
        let seen = now.after(network.to_server(me, 1 << 41 | u64::from(session)));
        let synced = network.sync(now, me, session.into());
        self.schedule.push_own(seen, index, Event::Block);
        if let Some(at) = synced {
            self.schedule.push_own(at, index, Event::Sync(session & Event::MAX));
        }
        self.plan_leave(index);
    }

    /// A node that comes and goes will leave at the end of this session.
    pub(super) fn plan_leave(&mut self, index: usize) {
        let (me, now) = (number(index), self.now());
        let session = self.population.node(index).session;
        let (sessions, network) = (&self.population.sessions, self.links.network());
        let end = match self.population.rhythm(index) {
            Rhythm::Steady => return,
            Rhythm::Sessions => now.after(sessions.session(me, session.into())),
            Rhythm::Evening => sessions.evening(me, now, hours_ahead(network, me)).1,
        };
        self.schedule.push_own(end, index, Event::Leave(session & Event::MAX));
    }

    /// When a node that comes and goes is there next, if it is not to be there now.
    pub(super) fn absent_until(&self, index: usize) -> Option<Time> {
        let (me, now) = (number(index), self.now());
        if self.population.rhythm(index) != Rhythm::Evening {
            return None;
        }
        let ahead = hours_ahead(self.links.network(), me);
        let (start, _) = self.population.sessions.evening(me, now, ahead);
        (start > now).then_some(start)
    }

    /// Ends the session of a node; one that comes and goes comes back.
    pub(super) fn leave(&mut self, index: usize) {
        let (me, now) = (number(index), self.now());
        self.population.stop(index, now);
        let session = self.population.node(index).session;
        let (sessions, network) = (&self.population.sessions, self.links.network());
        let back = match self.population.rhythm(index) {
            Rhythm::Steady => return,
            Rhythm::Sessions => sessions.returns(me, session.into(), now, hours_ahead(network, me)),
            Rhythm::Evening => sessions.evening(me, now, hours_ahead(network, me)).0,
        };
        self.schedule.push_own(back.max(now), index, Event::Return);
    }

    /// A node stops now and comes back at a time.
    fn stop_until(&mut self, index: usize, back: Time) {
        self.population.stop(index, self.now());
        self.schedule.push_own(back, index, Event::Return);
    }

    /// The processes of all nodes stop and start again; how many did.
    pub(super) fn restart_all(&mut self) -> u64 {
        let online: Vec<_> =
            (0..self.population.len()).filter(|index| self.population.is_online(*index)).collect();
        let back = self.now().after(RESTART_MICROS);
        online.iter().for_each(|index| self.stop_until(*index, back));
        online.len() as u64
    }

    /// A fault begins that does something to nodes at once; the share of packs that rot with it.
    pub(super) fn strike(&mut self, spell: usize) -> Option<f64> {
        let spell = self.links.network().faults().spells().get(spell).cloned()?;
        let underlay = self.links.network().underlay();
        let struck: Vec<_> = (0..self.population.len())
            .filter(|index| spell.strikes(number(*index), underlay.region(number(*index))))
            .collect();
        let now = self.now();
        for index in struck {
            let is_online = self.population.is_online(index);
            match spell.fault {
                FaultKind::Crash if is_online => self.stop_until(index, now.after(RESTART_MICROS)),
                FaultKind::Reboot if is_online => {
                    let is_forever = spell.end.0 == u64::MAX;
                    let back = if is_forever { now.after(RESTART_MICROS) } else { spell.end };
                    self.stop_until(index, back);
                }
                FaultKind::FlashCrowd if !is_online => {
                    let spread = spell.end.0.min(now.0 + 60_000_000) - now.0;
                    let me = u64::from(number(index));
                    let after = self.draws.below(Purpose::Fault, me, now.0, spread);
                    self.schedule.push_own(now.after(after), index, Event::Return);
                }
                _ => {}
            }
        }
        (spell.fault == FaultKind::BitRot).then_some(spell.share)
    }

    /// Puts the faults on the calendar that strike at a moment.
    pub(super) fn plan_faults(&mut self) {
        let now = self.now();
        let spells = self.links.network().faults().spells();
        let starts: Vec<_> = spells.iter().map(|spell| spell.start.max(now)).collect();
        for (spell, at) in (0u32..).zip(starts) {
            self.schedule.push_global(at, Event::Fault(spell));
        }
    }
}
