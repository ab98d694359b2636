//! Which shards are paid: those of a part of a run that was its worker's to do, from a checkpoint that the
//! run closed on, with a pass of its auditors, each part once ever.
//!
//! A worker claims a part in one epoch. Another claim in a later one would draw other auditors, until
//! they are its friends.
//!
//! What the chain cannot know is whether a close names the right checkpoint, and which one the first round
//! starts from: that takes computing. Auditors know, and are silent about a shard from any other.

use alloc::{
    collections::{BTreeMap, BTreeSet},
    vec::Vec,
};

use super::{ChainView, inclusions::part_of};
use crate::{
    draw::{self, Part, Seats},
    ids::{AccountId, Amount, BlockNumber, Digest, Epoch, ModelId, Round},
    record::{Body, Kind, Record, Verdict, VerifiedRecord},
    training::ShardTask,
};

/// Why a shard is not judged: whatever its auditors said, it would not be paid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ShardFault {
    /// It is not of a run, not of a part that was its worker's to do, or of an epoch before the order.
    NotDue,
    /// No close of the run names the checkpoint that it starts from.
    Base,
    /// An earlier epoch paid its part, or its worker claimed it in another one.
    Before,
    /// No block took it in, or the one after it is not there yet.
    NotFixed,
}

impl ChainView {
    /// Who audits a shard.
    ///
    /// # Errors
    /// [`ShardFault`] where it is not judged.
    pub fn shard_auditors(&self, shard: &VerifiedRecord) -> Result<Seats, ShardFault> {
        let made = shard.record();
        let Body::Shard(body) = &made.body else { return Err(ShardFault::NotDue) };
        let (part, slots) = self.due(made).ok_or(ShardFault::NotDue)?;
        let block = self.included(made.epoch, &shard.id()).ok_or(ShardFault::NotFixed)?;
        if body.round > Round(0) {
            let since = self.runs.base_since(body.model, body.round, &body.base);
            since.filter(|since| *since < block).ok_or(ShardFault::Base)?;
        }
        if !self.runs.is_open(part, made.account, made.epoch) {
            return Err(ShardFault::Before);
        }
        let fixed = self.shard_fixed(shard).ok_or(ShardFault::NotFixed)?;
        let hash = self.hash_after(fixed).ok_or(ShardFault::NotFixed)?;
        let weights = self.run_weights(&slots, fixed);
        let count = self.params.training.auditors;
        Ok(draw::shard_auditors(&hash, part, made.account, &weights, count))
    }

    /// Whether a shard is of a part of a run that was its worker's to do.
    pub(crate) fn is_shard_due(&self, shard: &Record) -> bool {
        self.due(shard).is_some()
    }

    /// The part that a shard is of, with the slots of its run, where it was its worker's to do in its epoch.
    /// Whose turn a sketch slot is that passed on follows from what nodes heard; any member may have it.
    fn due(&self, shard: &Record) -> Option<(Part, Vec<AccountId>)> {
        let part = part_of(shard)?;
        let config = &self.order(part.model).ok()?.config;
        let slots = self.run_slots(part.model)?;
        let of = slots.get(usize::try_from(part.slot).ok()?)?;
        let is_own = match config.task(part.round) {
            ShardTask::Train => *of == shard.account,
            ShardTask::Sketch => slots.contains(&shard.account),
        };
        let first = self.schedule.epoch_of(self.model(part.model)?.0);
        let is_due = is_own && part.round.0 <= config.rounds && shard.epoch >= first;
        is_due.then_some((part, slots))
    }

    /// The shards of an epoch that are paid, of each part the first that came in and passed, with the
    /// part; once the epoch's cutoff is over, and until its records are forgotten.
    pub(crate) fn paid_shards(&self, epoch: Epoch) -> BTreeMap<Digest, Part> {
        let cutoff = self.schedule.cutoff(epoch);
        let (mut shards, mut passes) = (Vec::new(), BTreeMap::<_, Vec<_>>::new());
        for (record, block) in self.records(epoch).filter(|(_, block)| *block < cutoff) {
            let made = record.record();
            if made.body.kind() == Kind::ShardResult {
                shards.push((block, record.id(), record));
            }
            if let Body::Audit(body) = &made.body
                && let Some((judged, Verdict::Pass)) = body.finding.verdict()
            {
                passes.entry(judged).or_default().push((made.account, body));
            }
        }
        shards.sort_unstable_by_key(|(block, id, _)| (*block, *id));
        let (mut paid, mut seen) = (BTreeMap::new(), BTreeSet::new());
        for (_, id, shard) in shards {
            let (Some(part), Ok(seats)) = (part_of(shard.record()), self.shard_auditors(shard))
            else {
                continue;
            };
            let all = passes.get(&id).into_iter().flatten();
            let about = all.filter(|(_, body)| body.is_about(shard.record()));
            let by: BTreeSet<_> = about.map(|(auditor, _)| *auditor).collect();
            if seats.have_majority(by) && seen.insert(part) {
                paid.insert(id, part);
            }
        }
        paid
    }

    /// What a part of a run is paid; `None` where there is no such part.
    pub fn price_of(&self, part: Part) -> Option<Amount> {
        let slots = u32::try_from(self.run_slots(part.model)?.len()).ok()?;
        self.order(part.model).ok()?.escrow.price_of(part, slots)
    }

    /// The parts of a run that settlements before an epoch's paid.
    pub fn parts_paid_before(&self, model: ModelId, epoch: Epoch) -> impl Iterator<Item = Part> {
        self.runs.paid_before(model, epoch)
    }

    /// The settlement of an epoch is final: what it paid is not paid again.
    pub(super) fn note_paid(&mut self, epoch: Epoch) {
        for part in self.paid_shards(epoch).into_values() {
            self.runs.pay(part, epoch);
        }
    }

    /// A block took in a record. If it is of a run, it may be the first claim of a part, or the close of a
    /// round, from which the next may start.
    pub(super) fn note_run(&mut self, record: &VerifiedRecord, block: BlockNumber) {
        let made = record.record();
        match &made.body {
            Body::Shard(_) => {
                if let Some((part, _)) = self.due(made) {
                    self.runs.claim(part, made.account, made.epoch);
                }
            }
            Body::RoundClose(body) => {
                let (order, slots) = (self.order(body.model), self.run_slots(body.model));
                let (Ok(order), Some(slots)) = (order, slots) else { return };
                if body.round.0 < order.config.rounds && slots.contains(&made.account) {
                    let next = (body.model, body.round.next());
                    self.runs.close(made.account, next, body.next, block);
                }
            }
            _ => {}
        }
    }
}
