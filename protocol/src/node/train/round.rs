//! The records of one round, and what follows from them.

use alloc::{collections::BTreeMap, collections::BTreeSet, sync::Arc, vec::Vec};

use super::{Open, Run, Stage};
use crate::{
    chain::ChainView,
    hash::keccak,
    ids::{AccountId, Digest, Round},
    node::{Done, anchored_in},
    record::{Body, Kind, Verdict, VerifiedRecord},
    training::{leaders, shard_auditors},
};

/// Most rounds ahead of the open one whose records are kept.
const MAX_ROUNDS_AHEAD: u32 = 64;
/// Most shards kept per round and member.
const MAX_SHARDS_PER_MEMBER: usize = 4;
/// Most closes kept per round.
const MAX_CLOSES: usize = 16;

/// A shard as seen by this node.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    pub(super) record: Arc<VerifiedRecord>,
    pub(super) is_audited_here: bool,
}

impl Seen {
    /// Who audits it; empty until the block after its anchor exists.
    pub(super) fn auditors(&self, chain: &ChainView, members: &[AccountId]) -> Vec<AccountId> {
        let drawn = anchored_in(chain, &self.record).and_then(|block| chain.hash_after(block));
        let worker = self.record.record().account;
        let count = chain.params().training.auditors;
        drawn.map_or_else(Vec::new, |hash| {
            shard_auditors(&hash, &self.record.id(), worker, members, count)
        })
    }

    fn slot(&self) -> Option<u32> {
        match &self.record.record().body {
            Body::Shard(shard) => Some(shard.slot),
            _ => None,
        }
    }
}

/// What was heard about one round.
#[derive(Debug, Default)]
pub(super) struct RoundState {
    shards: Vec<Seen>,
    closes: Vec<Arc<VerifiedRecord>>,
    distrusted: BTreeSet<Digest>,
    /// Verdicts by the judged record: (auditor, verdict).
    audits: BTreeMap<Digest, Vec<(AccountId, Verdict)>>,
}

impl Run {
    /// Keeps a record if it belongs to this run and its place is not full.
    pub(super) fn keep(&mut self, record: &Arc<VerifiedRecord>) {
        let made = record.record();
        let current = match &self.stage {
            Stage::Open(open) => open.round,
            _ => Round(0),
        };
        if self.slot_of(made.account).is_none() || matches!(self.stage, Stage::Ready(_)) {
            return;
        }
        match &made.body {
            Body::Shard(shard) => {
                let Some(state) = self.round_mut(current, shard.round) else { return };
                let by_same =
                    state.shards.iter().filter(|s| s.record.record().account == made.account);
                let is_known = state.shards.iter().any(|s| s.record.id() == record.id());
                if !is_known && by_same.count() < MAX_SHARDS_PER_MEMBER {
                    let record = Arc::clone(record);
                    state.shards.push(Seen { record, is_audited_here: false });
                }
            }
            Body::RoundClose(close) => {
                let Some(state) = self.round_mut(current, close.round) else { return };
                let is_known = state.closes.iter().any(|known| known.id() == record.id());
                if !is_known && state.closes.len() < MAX_CLOSES {
                    state.closes.push(Arc::clone(record));
                }
            }
            Body::Audit(audit) if audit.judged == Kind::ShardResult.tag() => {
                let Some(verdict) = audit.verdict() else { return };
                // The audit names only the record; it belongs to the round that has the record, or
                // to the open one if it came first.
                let round = self.round_with(&audit.record).unwrap_or(current);
                let Some(state) = self.round_mut(current, round) else { return };
                let verdicts = state.audits.entry(audit.record).or_default();
                if verdicts.len() < 8 && !verdicts.iter().any(|(by, _)| *by == made.account) {
                    verdicts.push((made.account, verdict));
                }
            }
            _ => {}
        }
    }

    fn round_mut(&mut self, current: Round, round: Round) -> Option<&mut RoundState> {
        let is_near = round >= current && round.0 <= current.0.saturating_add(MAX_ROUNDS_AHEAD);
        (is_near && round.0 <= self.config.rounds).then(|| self.records.entry(round).or_default())
    }

    fn round_with(&self, record: &Digest) -> Option<Round> {
        let has = |state: &RoundState| state.shards.iter().any(|seen| seen.record.id() == *record);
        self.records.iter().find(|(_, state)| has(state)).map(|(round, _)| *round)
    }

    /// All shards seen in a round.
    pub(super) fn shards(&self, round: Round) -> impl Iterator<Item = &Seen> {
        self.records.get(&round).into_iter().flat_map(|state| state.shards.iter())
    }

    /// One shard of a round.
    pub(super) fn shard(&self, round: Round, id: &Digest) -> Option<Arc<VerifiedRecord>> {
        self.shards(round).find(|seen| seen.record.id() == *id).map(|seen| Arc::clone(&seen.record))
    }

    /// The shard that an account recorded for a slot.
    pub(super) fn own_shard(
        &self,
        round: Round,
        account: AccountId,
        slot: u32,
    ) -> Option<Arc<VerifiedRecord>> {
        self.shards(round)
            .find(|seen| seen.record.record().account == account && seen.slot() == Some(slot))
            .map(|seen| Arc::clone(&seen.record))
    }

    pub(super) fn mark_audited(&mut self, round: Round, id: &Digest) {
        self.set_audited(round, id, true);
    }

    pub(super) fn unmark_audited(&mut self, round: Round, id: &Digest) {
        self.set_audited(round, id, false);
    }

    fn set_audited(&mut self, round: Round, id: &Digest, value: bool) {
        let shards = self.records.get_mut(&round).map(|state| &mut state.shards);
        for seen in shards.into_iter().flatten().filter(|seen| seen.record.id() == *id) {
            seen.is_audited_here = value;
        }
    }

    /// A close whose checkpoint does not follow from its payloads is not followed again.
    pub(super) fn distrust(&mut self, round: Round, id: &Digest) {
        self.records.entry(round).or_default().distrusted.insert(*id);
    }

    /// The verdict of a drawn auditor on a shard.
    fn verdict(&self, chain: &ChainView, round: Round, seen: &Seen) -> Option<Verdict> {
        let verdicts = self.records.get(&round)?.audits.get(&seen.record.id())?;
        let auditors = seen.auditors(chain, &self.members);
        verdicts.iter().find(|(by, _)| auditors.contains(by)).map(|(_, verdict)| *verdict)
    }

    /// The shards that passed, one per slot.
    pub(super) fn passed(&self, chain: &ChainView, open: &Open) -> Vec<Seen> {
        let mut by_slot = BTreeMap::new();
        for seen in self.shards(open.round) {
            let has_passed = self.verdict(chain, open.round, seen) == Some(Verdict::Pass);
            if let Some(slot) = seen.slot().filter(|_| has_passed) {
                by_slot.entry(slot).or_insert_with(|| seen.clone());
            }
        }
        by_slot.into_values().collect()
    }

    pub(super) fn slot_passed(&self, chain: &ChainView, open: &Open, slot: u32) -> bool {
        self.passed(chain, open).iter().any(|seen| seen.slot() == Some(slot))
    }

    /// How often the work of the round was passed on: once per failed shard or elapsed deadline.
    pub(super) fn attempt(&self, chain: &ChainView, open: &Open, now: u64) -> u32 {
        let deadline = chain.params().training.round_blocks;
        let elapsed = now.saturating_sub(open.since.0).checked_div(deadline).unwrap_or(0);
        let failed = self
            .shards(open.round)
            .filter(|seen| self.verdict(chain, open.round, seen) == Some(Verdict::Fail))
            .count();
        u32::try_from(elapsed.saturating_add(failed as u64)).unwrap_or(u32::MAX)
    }

    /// Whether an account may have worked on a slot so far.
    pub(super) fn is_own_work(
        &self,
        chain: &ChainView,
        open: &Open,
        account: AccountId,
        slot: u32,
    ) -> bool {
        let now = chain.head().map_or(0, |head| head.number.0);
        let last = self.attempt(chain, open, now).min(self.members.len() as u32);
        (0..=last).any(|attempt| self.slot_at(open.round, account, attempt) == Some(slot))
    }

    /// Whether the round can close and it is this account's turn to do so.
    pub(super) fn may_close(
        &self,
        chain: &ChainView,
        open: &Open,
        account: AccountId,
        now: u64,
    ) -> bool {
        let limits = &chain.params().training;
        let passed = self.passed(chain, open).len();
        let failed = self
            .shards(open.round)
            .filter(|seen| self.verdict(chain, open.round, seen) == Some(Verdict::Fail))
            .count();
        let is_complete = passed == self.members.len()
            || (!self.is_sketch(open.round) && passed.saturating_add(failed) >= self.members.len());
        let waited = now.saturating_sub(open.since.0);
        let is_late = !self.is_sketch(open.round) && waited >= limits.round_blocks;
        let min = usize::try_from(limits.min_shards).unwrap_or(usize::MAX).min(self.members.len());
        if passed < min.max(1) || !(is_complete || is_late) {
            return false;
        }
        let order = leaders(&open.seed, &self.members);
        match order.iter().position(|leader| *leader == account) {
            Some(0) => true,
            Some(rank) => waited >= fallback_wait(limits, rank),
            None => false,
        }
    }

    /// The close that everybody follows: of those anchored, by a leader whose turn it was, the first.
    pub(super) fn first_close(
        &self,
        chain: &ChainView,
        open: &Open,
    ) -> Option<Arc<VerifiedRecord>> {
        let state = self.records.get(&open.round)?;
        let order = leaders(&open.seed, &self.members);
        let mut valid: Vec<_> = state
            .closes
            .iter()
            .filter(|close| !state.distrusted.contains(&close.id()))
            .filter_map(|close| {
                let Body::RoundClose(body) = &close.record().body else { return None };
                let block = anchored_in(chain, close)?;
                chain.hash_after(block)?;
                let rank = order.iter().position(|l| *l == close.record().account)?;
                let waited = block.0.saturating_sub(open.since.0);
                let is_turn = rank == 0 || waited >= fallback_wait(&chain.params().training, rank);
                (is_turn && body.base == open.base).then_some((block, rank, close))
            })
            .collect();
        valid.sort_by_key(|(block, rank, _)| (*block, *rank));
        valid.first().map(|(_, _, close)| Arc::clone(close))
    }

    /// The run has its initial checkpoint: the first round opens.
    pub(super) fn on_prepared(&mut self, chain: &ChainView, done: &Done) {
        let opened = chain.model(self.model).map(|(block, _)| *block);
        let start = opened.and_then(|block| Some((block, chain.hash_after(block)?)));
        match (done, start) {
            (Done::Prepared(base), Some((block, hash))) => {
                let seed = keccak(&[&hash.0, b"round", &0u32.to_be_bytes()]);
                self.enter(Round(0), block, seed, *base);
            }
            _ => {
                self.stage = Stage::New;
                self.retry_at = super::retry_at(chain);
            }
        }
    }
}

fn fallback_wait(limits: &crate::params::Training, rank: usize) -> u64 {
    let rank = u64::try_from(rank).unwrap_or(u64::MAX);
    limits.round_blocks.saturating_add(limits.fallback_blocks.saturating_mul(rank))
}
