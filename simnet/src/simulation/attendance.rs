//! When nodes come and leave: their sessions, restarts, and the faults that strike them.

use super::{Event, env::Env, number};
use crate::{
    data,
    faults::Rhythm,
    kernel::{Purpose, Time},
    network::Network,
    scenario::FaultKind,
};

/// Time that a process takes to start again.
const RESTART_MICROS: u64 = 10_000_000;

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
        let (sessions, network) = (self.population.sessions(), self.links.network());
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
        let (start, _) = self.population.sessions().evening(me, now, ahead);
        (start > now).then_some(start)
    }

    /// Ends the session of a node; one that comes and goes comes back.
    pub(super) fn leave(&mut self, index: usize) {
        let (me, now) = (number(index), self.now());
        self.population.stop(index, now);
        let session = self.population.node(index).session;
        let (sessions, network) = (self.population.sessions(), self.links.network());
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
