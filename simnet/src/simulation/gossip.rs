//! Records on their way: signed, durable, sent, received.

use std::{collections::BTreeMap, sync::Arc};

use protocol::{
    Digest, Epoch,
    chain::ChainView,
    node::{Audience, Done, audience},
    record::{Body, Finding, Record, ShardBody, Verdict, VerifiedRecord},
};

use super::{
    Answer, Event,
    env::Env,
    hosts::Hosts,
    number,
    store::Store,
    times::{bin_bound, delay_bin},
};
use crate::{
    kernel::{Actor, Time},
    network::FSYNC_MICROS,
    nodes::{Entry, RecordTable, Signer},
    report::Histogram,
};

/// Epochs before the current one whose records a node that comes back asks for.
const SYNC_EPOCHS: u64 = 1;
/// Receivers of a record whose delay is counted, at most.
const SAMPLED: u32 = 32;

/// All records, and how they spread.
pub(super) struct Gossip {
    signer: Signer,
    table: RecordTable,
    /// Verdicts on storage proofs: a pure function of what is the same for all auditors.
    verdicts: BTreeMap<Digest, Verdict>,
    /// Records of training and of attribution, in the order in which they were made.
    work: Vec<u32>,
    /// How many sampled receivers had a record after how long, by bins.
    delays: BTreeMap<u32, u64>,
}

/// A record that a node that came back has missed.
#[derive(Debug, Clone, Copy)]
pub(super) enum Missed {
    /// The peer that it asked has it.
    Here(u32),
    /// It is still on its way from its author, and arrives then.
    Coming { record: u32, author: u32, at: Time },
}

impl Gossip {
    pub(super) fn new(signer: Signer) -> Self {
        let (table, work) = (RecordTable::default(), Vec::new());
        Self { signer, table, verdicts: BTreeMap::new(), work, delays: BTreeMap::new() }
    }

    pub(super) const fn table(&self) -> &RecordTable {
        &self.table
    }

    pub(super) const fn signer(&self) -> &Signer {
        &self.signer
    }

    /// What hosts read for the machines of their nodes.
    pub(super) const fn hosts<'a>(&'a self, view: &'a ChainView, store: &'a Store) -> Hosts<'a> {
        Hosts { view, records: &self.table, blobs: store.blobs(), signer: &self.signer }
    }

    /// Signs a record for a node.
    pub(super) fn sign(&self, env: &Env, index: usize, record: Record) -> VerifiedRecord {
        self.signer.sign(env.population.node(index).identity, record, &env.view().domain)
    }

    /// Writes a signed record to its author's disk, from `after` microseconds on; it goes out when it
    /// is durable.
    pub(super) fn write(
        &mut self,
        env: &mut Env,
        index: usize,
        signed: VerifiedRecord,
        after: u64,
    ) {
        let record = self.add(signed, number(index));
        let durable = env.now().after(after).after(env.disk(index, FSYNC_MICROS));
        env.schedule.push_own(durable, index, Event::Durable(record));
    }

    /// Keeps a record; those of training for good, since who comes back reads a run from its start.
    fn add(&mut self, record: VerifiedRecord, author: u32) -> u32 {
        let is_training = match &record.record().body {
            Body::Shard(_) | Body::RoundClose(_) => Some(true),
            Body::Audit(audit) => match audit.finding {
                Finding::Shard { .. } => Some(true),
                Finding::Attribution { .. } => Some(false),
                Finding::Storage { .. } | Finding::StorageMissing => None,
            },
            Body::Attribution(_) => Some(false),
            Body::StorageCommit(_) | Body::StorageProof(_) => None,
        };
        let number = self.table.add(record, author);
        if let Some(is_training) = is_training {
            self.work.push(number);
            if is_training {
                self.table.pin(number);
            }
        }
        number
    }

    /// Notes the verdict on a storage proof that was judged when it was signed.
    pub(super) fn note_verdict(&mut self, proof: Digest, verdict: Verdict) {
        self.verdicts.entry(proof).or_insert(verdict);
    }

    /// Verdicts follow from the chain, which has changed.
    pub(super) fn forget_verdicts(&mut self) {
        self.verdicts.clear();
    }

    /// Sends a record that is durable on its way to everybody; only those to whom it can matter get an
    /// event.
    pub(super) fn send(&mut self, env: &mut Env, record: u32) {
        if !self.table.send(record, env.now()) {
            return;
        }
        let Some(entry) = self.table.get(record) else { return };
        let (author, verified) = (entry.author, Arc::clone(&entry.record));
        let epoch = env.view().epoch();
        env.links.traffic_mut().count_record(epoch, &verified);
        self.sample_delays(env, record, author);
        match audience(env.view(), &verified) {
            Audience::Accounts(accounts) if !env.scenario.net.deliver_all => {
                for account in accounts {
                    if let Some(index) = env.population.index_of(account) {
                        deliver(env, index, record, author);
                    }
                }
            }
            _ => (0..env.population.len()).for_each(|index| deliver(env, index, record, author)),
        }
    }

    /// Counts when some receivers have a record, whether or not it matters to them.
    fn sample_delays(&mut self, env: &Env, record: u32, author: u32) {
        let (now, count) = (env.now(), number(env.population.len()));
        for sample in 0..SAMPLED.min(count - 1) {
            // Fibonacci hashing (Knuth, TAOCP 6.4) spreads the samples of neighbouring records.
            let to = record.wrapping_mul(2_654_435_761).wrapping_add(sample * 40_503) % count;
            if to != author && env.population.is_online(to as usize) {
                let at = env.links.network().arrival(record, (author, now), to);
                let bin = delay_bin(at.0.saturating_sub(now.0));
                *self.delays.entry(bin).or_insert(0) += 1;
            }
        }
    }

    /// The distribution of the times in which records reach nodes.
    pub(super) fn histogram(&self) -> Histogram {
        let bins = self.delays.iter().map(|(bin, count)| (bin_bound(*bin), *count)).collect();
        Histogram { name: "delivery_time", unit: "ms", bins }
    }

    /// Whether a node has a record now.
    pub(super) fn has(&self, env: &Env, index: usize, record: u32) -> bool {
        self.arrived(env, index, record).is_some_and(|at| at <= env.now())
    }

    /// When a node that is online has a record.
    fn arrived(&self, env: &Env, index: usize, record: u32) -> Option<Time> {
        let entry = self.table.get(record)?;
        let (node, sent) = (env.population.node(index), entry.sent?);
        let at = env.links.network().arrival(record, (entry.author, sent), number(index));
        // What came while it was away it has from its first peer on.
        let is_old = entry.author != number(index) && at < node.synced;
        Some(if is_old { node.synced } else { at })
    }

    /// The records of the newest epochs that can matter to a node.
    fn relevant(&self, env: &Env, index: usize) -> Vec<u32> {
        let epoch = env.view().epoch();
        let first = Epoch(epoch.0.saturating_sub(SYNC_EPOCHS));
        if env.scenario.net.deliver_all {
            let records = self.table.of(first, epoch.next()).collect();
            return self.with_work(records, first);
        }
        let account = env.population.node(index).account;
        let mut records = Vec::new();
        for epoch in (first.0..=epoch.next().0).map(Epoch) {
            records.extend(self.table.by(epoch, account));
            let duties = env.view().audit_duties(epoch);
            for holder in duties.get(&account).into_iter().flatten() {
                records.extend(self.table.by(epoch, *holder));
            }
        }
        self.with_work(records, first)
    }

    /// Some records of the epochs from `first` on, and those of work on models: of training all.
    fn with_work(&self, mut records: Vec<u32>, first: Epoch) -> Vec<u32> {
        if !self.work.is_empty() {
            let is_wanted = |number: &u32| {
                self.table.get(*number).is_some_and(|entry| {
                    let made = entry.record.record();
                    made.epoch >= first || !matches!(made.body, Body::Attribution(_))
                })
            };
            records.extend(self.work.iter().filter(|number| is_wanted(number)));
            records.sort_unstable();
            records.dedup();
        }
        records
    }

    /// What the log of a node that starts again has: its own records, and those that had come before it
    /// left.
    pub(super) fn on_disk(&self, env: &Env, index: usize) -> Vec<Arc<VerifiedRecord>> {
        let (me, left) = (number(index), env.population.node(index).left);
        let had = |entry: &&Entry, record| {
            entry.sent.is_some_and(|sent| {
                env.links.network().arrival(record, (entry.author, sent), me) <= left
            })
        };
        let relevant = self.relevant(env, index).into_iter();
        let entries =
            relevant.filter_map(|record| self.table.get(record).filter(|entry| had(entry, record)));
        entries.map(|entry| Arc::clone(&entry.record)).collect()
    }

    /// What a node that has found a peer gets from it, or will get from gossip.
    pub(super) fn missed(&self, env: &Env, index: usize) -> Vec<Missed> {
        let missed = |record| {
            let entry = self.table.get(record)?;
            let (author, sent) = (entry.author, entry.sent?);
            let at = env.links.network().arrival(record, (author, sent), number(index));
            let is_here = at <= env.now();
            Some(if is_here { Missed::Here(record) } else { Missed::Coming { record, author, at } })
        };
        self.relevant(env, index).into_iter().filter_map(missed).collect()
    }

    /// Audits a storage proof.
    pub(super) fn audit(
        &mut self,
        env: &mut Env,
        store: &mut Store,
        index: usize,
        proof: &VerifiedRecord,
    ) -> Answer {
        let Body::StorageProof(shown) = &proof.record().body else { return Answer::local() };
        let commit = self.table.find(&shown.commit);
        let commit = commit.filter(|commit| self.has(env, index, *commit));
        let Some(commit) = commit else { return Answer::unavailable(0) };
        let length = u64::from(shown.length);
        let Some(taken) = store.transfer(env, index, &shown.openings, length) else {
            return Answer::unavailable(0);
        };
        let Some(commit) = self.table.get(commit) else { return Answer::unavailable(taken) };
        // A pure function of what is the same for all auditors: judged once.
        let known = self.verdicts.get(&proof.id()).copied();
        let hosts = self.hosts(env.view(), store);
        let Some(verdict) = known.or_else(|| hosts.judge(&commit.record, proof)) else {
            return Answer::unavailable(taken);
        };
        self.verdicts.insert(proof.id(), verdict);
        Answer { gains: Some(shown.openings), ..Answer::after(taken, Done::Judged(verdict)) }
    }

    /// Looks once more for the openings of a proof, at whoever has them.
    pub(super) fn look_again(
        &self,
        env: &mut Env,
        store: &Store,
        index: usize,
        (commit, proof): (&VerifiedRecord, &VerifiedRecord),
    ) -> Answer {
        let Body::StorageProof(shown) = &proof.record().body else { return Answer::local() };
        let length = u64::from(shown.length);
        let Some(taken) = store.transfer(env, index, &shown.openings, length) else {
            return Answer::unavailable(0);
        };
        let Some(cell) = self.hosts(env.view(), store).unshown(commit, proof) else {
            return Answer::unavailable(taken);
        };
        Answer { gains: Some(shown.openings), ..Answer::after(taken, Done::Looked(cell)) }
    }

    /// Another node's shard that a node has heard of.
    pub(super) fn shard_of_another(
        &self,
        env: &Env,
        index: usize,
        is_wanted: impl Fn(&ShardBody) -> bool,
    ) -> Option<ShardBody> {
        let heard = self.work.iter().filter(|record| self.has(env, index, **record));
        let entries = heard.filter_map(|record| self.table.get(*record));
        let others = entries.filter(|entry| entry.author != number(index));
        others.into_iter().find_map(|entry| match &entry.record.record().body {
            Body::Shard(body) if is_wanted(body) => Some(body.clone()),
            _ => None,
        })
    }

    /// Forgets the records of epochs before one, but for those that are kept for good; gives them.
    pub(super) fn forget_before(&mut self, first: Epoch) -> Vec<Entry> {
        let forgotten = self.table.forget_before(first);
        for entry in &forgotten {
            self.verdicts.remove(&entry.record.id());
        }
        forgotten
    }
}

/// Has a record that is sent now reach a node that is there.
fn deliver(env: &mut Env, index: usize, record: u32, author: u32) {
    let (me, now) = (number(index), env.now());
    if me != author && env.population.is_online(index) {
        let at = env.links.network().arrival(record, (author, now), me);
        env.schedule.push(at, Actor::node(me), Actor::node(author), Event::Arrival(record));
    }
}
