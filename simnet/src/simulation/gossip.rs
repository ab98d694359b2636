//! Records on their way: signed, durable, sent, received.

use std::{collections::BTreeMap, sync::Arc};

use protocol::{
    Digest, Epoch,
    node::{Audience, Input, audience},
    record::{Record, VerifiedRecord},
};

use super::{Event, Simulation, number};
use crate::{
    kernel::{Actor, Time, real, whole},
    network::FSYNC_MICROS,
};

/// Epochs before the current one whose records a node that comes back asks for.
const SYNC_EPOCHS: u64 = 1;
/// Receivers of a record whose delay is counted, at most.
const SAMPLED: u32 = 32;

impl Simulation {
    /// Signs what a machine asks for; what adversaries make of it is up to them.
    pub(super) fn sign(&mut self, index: usize, record: Record) {
        for (after, record) in self.sign_as_adversary(index, record) {
            self.make(index, record, after.0);
        }
    }

    /// Signs a record and makes it durable; it goes out when it is.
    pub(super) fn make(&mut self, index: usize, record: Record, after: u64) {
        let domain = &self.chain.view().domain;
        let verified = self.signer.sign(self.nodes[index].identity, record, domain);
        self.keep_record(index, verified, after);
    }

    /// Makes a signed record durable.
    pub(super) fn keep_record(&mut self, index: usize, verified: VerifiedRecord, after: u64) {
        self.referee_record(index, &verified);
        self.take_note(&verified);
        let record = self.remember(verified, number(index));
        let durable = self.now.after(after).after(self.disk(index, FSYNC_MICROS));
        self.push_own(durable, index, Event::Record(record));
    }

    /// Time of a disk, slower where a fault says so.
    pub(super) fn disk(&self, index: usize, micros: u64) -> u64 {
        let me = number(index);
        let region = self.network.underlay().region(me);
        let factor = self.network.faults().disk(self.now, me, region);
        if factor <= 1.0 { micros } else { whole(real(micros) * factor) }
    }

    pub(super) fn receive(&mut self, index: usize, record: u32) {
        if self.records.send(record, self.now) {
            self.spread(record);
        }
        let Some(entry) = self.records.get(record) else { return };
        let record = Arc::clone(&entry.record);
        self.tally.delivered += 1;
        self.input(index, Input::Record(record));
    }

    /// Sends a record on its way to everybody; only those to whom it can matter get an event.
    fn spread(&mut self, record: u32) {
        let Some(entry) = self.records.get(record) else { return };
        let (author, verified) = (entry.author, Arc::clone(&entry.record));
        self.traffic.count_record(self.chain.view().epoch(), &verified);
        self.sample_delays(record, author);
        match audience(self.chain.view(), &verified) {
            Audience::Accounts(accounts) if !self.scenario.net.deliver_all => {
                for account in accounts {
                    if let Some(index) = self.index_of(account) {
                        self.deliver(index, record, author);
                    }
                }
            }
            _ => (0..self.nodes.len()).for_each(|index| self.deliver(index, record, author)),
        }
    }

    fn deliver(&mut self, index: usize, record: u32, author: u32) {
        let me = number(index);
        if me != author && self.nodes[index].is_online() {
            let at = self.network.arrival(record, (author, self.now), me);
            self.push(at, Actor::node(me), Actor::node(author), Event::Record(record));
        }
    }

    /// Counts when some receivers have a record, whether or not it matters to them.
    fn sample_delays(&mut self, record: u32, author: u32) {
        let count = number(self.nodes.len());
        for sample in 0..SAMPLED.min(count - 1) {
            let to = record.wrapping_mul(2_654_435_761).wrapping_add(sample * 40_503) % count;
            if to != author && self.nodes[to as usize].is_online() {
                let at = self.network.arrival(record, (author, self.now), to);
                let bin = delay_bin(at.0.saturating_sub(self.now.0));
                *self.delays.entry(bin).or_insert(0) += 1;
            }
        }
    }

    /// Whether a node has a record now.
    pub(super) fn has_record(&self, index: usize, record: u32) -> bool {
        self.arrived(index, record).is_some_and(|at| at <= self.now)
    }

    /// When a node that is online has a record.
    fn arrived(&self, index: usize, record: u32) -> Option<Time> {
        let entry = self.records.get(record)?;
        let (node, sent) = (&self.nodes[index], entry.sent?);
        let at = self.network.arrival(record, (entry.author, sent), number(index));
        // What came while it was away it has from its first peer on.
        let is_old = entry.author != number(index) && at < node.synced;
        Some(if is_old { node.synced } else { at })
    }

    /// The records of an epoch and its neighbours that a node has, by id.
    pub(super) fn records_around(
        &self,
        index: usize,
        epoch: Epoch,
    ) -> BTreeMap<Digest, Arc<VerifiedRecord>> {
        let first = Epoch(epoch.0.saturating_sub(1));
        let numbers = self.records.of(first, epoch.next());
        numbers
            .filter(|record| self.has_record(index, *record))
            .filter_map(|record| self.records.get(record))
            .map(|entry| (entry.record.id(), Arc::clone(&entry.record)))
            .collect()
    }

    /// The records of the newest epochs that can matter to a node.
    fn relevant(&self, index: usize) -> Vec<u32> {
        let epoch = self.chain.view().epoch();
        let first = Epoch(epoch.0.saturating_sub(SYNC_EPOCHS));
        if self.scenario.net.deliver_all {
            let records = self.records.of(first, epoch.next()).collect();
            return self.with_work(records, first);
        }
        let account = self.nodes[index].account;
        let mut records = Vec::new();
        for epoch in (first.0..=epoch.next().0).map(Epoch) {
            records.extend(self.records.by(epoch, account));
            let duties = self.chain.view().audit_duties(epoch);
            for holder in duties.get(&account).into_iter().flatten() {
                records.extend(self.records.by(epoch, *holder));
            }
        }
        self.with_work(records, first)
    }

    /// Gives a machine that starts again what its own log has: its records, and those that had come
    /// before it left.
    pub(super) fn replay(&mut self, index: usize) {
        let me = number(index);
        let left = self.nodes[index].left;
        for record in self.relevant(index) {
            let Some(entry) = self.records.get(record) else { continue };
            let Some(sent) = entry.sent else { continue };
            if self.network.arrival(record, (entry.author, sent), me) <= left {
                let record = Arc::clone(&entry.record);
                self.input(index, Input::Record(record));
            }
        }
    }

    /// A node that came back has found a peer: it has what it missed, and the rest is on its way.
    pub(super) fn sync(&mut self, index: usize, session: u32) {
        let me = number(index);
        if self.nodes[index].session & Event::MAX != session {
            return;
        }
        self.nodes[index].synced = self.now;
        for record in self.relevant(index) {
            let Some(entry) = self.records.get(record) else { continue };
            let (author, Some(sent)) = (entry.author, entry.sent) else { continue };
            let at = self.network.arrival(record, (author, sent), me);
            if at <= self.now {
                self.receive(index, record);
            } else {
                self.push(at, Actor::node(me), Actor::node(author), Event::Record(record));
            }
        }
    }
}

/// Bins of each power of two: a bin is at most 1.6 % wide.
const BINS: u64 = 64;

/// Delays are counted in bins of a 64th of their power of two.
pub(super) fn delay_bin(micros: u64) -> u32 {
    let micros = micros.max(BINS);
    let (power, bits) = (micros.ilog2(), BINS.ilog2());
    let part = u32::try_from((micros >> (power - bits)) & (BINS - 1)).expect("six bits");
    (power << bits) + part
}

/// The upper bound of a bin, in milliseconds.
pub(super) fn bin_bound(bin: u32) -> f64 {
    let bits = BINS.ilog2();
    let within = f64::from((1 << bits) + (bin & ((1 << bits) - 1)) + 1);
    within * (f64::from(bin >> bits) - f64::from(bits)).exp2() / 1_000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delay_lies_below_the_bound_of_its_bin_and_not_below_that_of_the_one_before() {
        for micros in [64u64, 65, 100, 1_000, 99_999, 1_048_576, 80_000_000] {
            let bin = delay_bin(micros);
            let millis = f64::from(u32::try_from(micros).unwrap()) / 1_000.0;
            assert!(millis < bin_bound(bin) && millis >= bin_bound(bin - 1), "{micros}");
        }
    }
}
