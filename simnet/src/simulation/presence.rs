//! Nodes come and go, by themselves and because of faults.

use protocol::BlobRef;
use protocol::node::{Node, NodeConfig};

use super::{ASLEEP, Event, Simulation, number};
use crate::{
    data,
    faults::Rhythm,
    kernel::{Actor, Purpose, Time},
    nodes::Kind,
    scenario::FaultKind,
};

/// Time that a process takes to start again.
pub(super) const RESTART_MICROS: u64 = 10_000_000;

impl Simulation {
    /// A node starts: at first, or again with what its disk has.
    pub(super) fn come(&mut self, index: usize) {
        let me = number(index);
        if self.nodes[index].is_online() || self.economy.has_quit(me) {
            return;
        }
        self.start_machine(index);
        let node = &mut self.nodes[index];
        node.session = node.session.wrapping_add(1);
        node.synced = Time(u64::MAX);
        node.told = self.head.0;
        let session = node.session;
        self.tally.sessions += 1;
        self.replay(index);
        let seen = self.now.after(self.network.to_server(me, 1 << 41 | u64::from(session)));
        self.push_own(seen, index, Event::Block);
        if let Some(at) = self.network.sync(self.now, me, session.into()) {
            self.push_own(at, index, Event::Sync(session & Event::MAX));
        }
        self.plan_leave(index);
    }

    /// Gives a node a machine that knows nothing yet.
    pub(super) fn start_machine(&mut self, index: usize) {
        let config = NodeConfig {
            computes: self.scenario.training.is_on(),
            claim_epochs: self.scenario.chain.claim_epochs,
        };
        let node = &mut self.nodes[index];
        node.machine = Some(Box::new(Node::new(node.account, config)));
        node.wake = 0;
        node.since = self.now;
    }

    /// A node that comes and goes will leave at the end of this session.
    pub(super) fn plan_leave(&mut self, index: usize) {
        let (me, session) = (number(index), self.nodes[index].session);
        let end = match self.rhythm(index) {
            Rhythm::Steady => return,
            Rhythm::Sessions => self.now.after(self.sessions.session(me, session.into())),
            Rhythm::Evening => self.sessions.evening(me, self.now, self.hours_ahead(me)).1,
        };
        self.push_own(end, index, Event::Leave(session & Event::MAX));
    }

    /// When a node that comes and goes is there next, if it is not to be there now.
    pub(super) fn absent_until(&self, index: usize) -> Option<Time> {
        let me = number(index);
        if self.rhythm(index) != Rhythm::Evening {
            return None;
        }
        let (start, _) = self.sessions.evening(me, self.now, self.hours_ahead(me));
        (start > self.now).then_some(start)
    }

    fn rhythm(&self, index: usize) -> Rhythm {
        match self.nodes[index].kind {
            Kind::Honest => self.sessions.rhythm(number(index)),
            _ => Rhythm::Steady,
        }
    }

    /// A session ends; who comes and goes comes back.
    pub(super) fn leave(&mut self, index: usize) {
        self.go(index);
        let (me, session) = (number(index), self.nodes[index].session);
        let back = match self.rhythm(index) {
            Rhythm::Steady => return,
            Rhythm::Sessions => {
                self.sessions.returns(me, session.into(), self.now, self.hours_ahead(me))
            }
            Rhythm::Evening => self.sessions.evening(me, self.now, self.hours_ahead(me)).0,
        };
        self.push_own(back.max(self.now), index, Event::Return);
    }

    pub(super) fn go(&mut self, index: usize) {
        let node = &mut self.nodes[index];
        if node.machine.take().is_some() {
            node.left = self.now;
            node.online += self.now.0.saturating_sub(node.since.0);
            node.wake = ASLEEP;
        }
    }

    fn hours_ahead(&self, node: u32) -> f64 {
        let underlay = self.network.underlay();
        let region = underlay.regions().get(underlay.region(node));
        let hours = data::set("hours-of-regions").ok();
        region.zip(hours).and_then(|(region, set)| set.value(region).ok()).unwrap_or(0.0)
    }

    /// A fault begins that does something to nodes at once.
    pub(super) fn strike(&mut self, spell: usize) {
        let Some(spell) = self.network.faults().spells().get(spell).cloned() else { return };
        let struck: Vec<_> = (0..self.nodes.len())
            .filter(|index| {
                let me = number(*index);
                spell.strikes(me, self.network.underlay().region(me))
            })
            .collect();
        for index in struck {
            let is_online = self.nodes[index].is_online();
            match spell.fault {
                FaultKind::Crash if is_online => {
                    self.go(index);
                    self.push_own(self.now.after(RESTART_MICROS), index, Event::Return);
                }
                FaultKind::Reboot if is_online => {
                    self.go(index);
                    let back = if spell.end.0 == u64::MAX {
                        self.now.after(RESTART_MICROS)
                    } else {
                        spell.end
                    };
                    self.push_own(back, index, Event::Return);
                }
                FaultKind::FlashCrowd if !is_online => {
                    let spread = spell.end.0.min(self.now.0 + 60_000_000) - self.now.0;
                    let me = u64::from(number(index));
                    let after = self.draws.below(Purpose::Fault, me, self.now.0, spread);
                    self.push_own(self.now.after(after), index, Event::Return);
                }
                _ => {}
            }
        }
        if spell.fault == FaultKind::BitRot {
            self.rot(spell.share);
        }
    }

    /// Every pack on every disk goes bad with a chance.
    fn rot(&mut self, share: f64) {
        for (place, BlobRef { hash, .. }) in (0u64..).zip(&self.packs) {
            let holders: Vec<_> = self.blobs.holders(hash).collect();
            for holder in holders {
                let about = u64::from(holder) << 32 | place;
                if self.draws.share(Purpose::Fault, about, self.now.0) < share {
                    self.blobs.lose(holder, hash);
                }
            }
        }
    }

    /// Puts the faults on the calendar that strike at a moment.
    pub(super) fn plan_faults(&mut self) {
        let starts: Vec<_> =
            self.network.faults().spells().iter().map(|spell| spell.start).collect();
        for (spell, start) in (0u32..).zip(starts) {
            let at = start.max(self.now);
            self.push(at, Actor::CHAIN, Actor::CHAIN, Event::Fault(spell));
        }
    }
}
