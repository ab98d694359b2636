//! The records of one round, and what follows from them.

use alloc::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
    vec::Vec,
};

use super::{Open, Run, Stage};
use crate::{
    chain::ChainView,
    draw::{self, Part, Seats, Turns},
    ids::{AccountId, BlockNumber, Blocks, Digest, Hash, Round},
    limits::MAX_CLOSES_PER_MEMBER,
    node::Done,
    record::{Body, Finding, Verdict, VerifiedRecord},
    rules::{included_in, verdict},
    training::{ShardTask, round_seed},
};

/// Most rounds ahead of the open one whose records are kept, so that a node that joins late or
/// starts again can catch up from records that it is given once.
const MAX_ROUNDS_AHEAD: u32 = 512;
/// Most shards kept per round and slot of a member; in the sketch round it may come to do every slot.
const MAX_SHARDS_PER_SLOT: usize = 8;
/// Most audits kept per member whose shard has not come yet; the oldest gives way.
const MAX_ORPHANS: usize = 64;

/// A shard as seen by this node.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    pub(super) record: Arc<VerifiedRecord>,
    pub(super) is_audited_here: bool,
    /// The randomness that drew its auditors, and them.
    drawn: Option<(Digest, Seats)>,
    /// Verdicts of members, drawn or not.
    verdicts: Vec<(AccountId, Verdict)>,
}

/// Audits that came before the shard that they judge, by auditor.
pub(super) type Orphans = BTreeMap<AccountId, VecDeque<(Arc<VerifiedRecord>, Verdict)>>;

impl Seen {
    fn new(record: Arc<VerifiedRecord>) -> Self {
        Self { record, is_audited_here: false, drawn: None, verdicts: Vec::new() }
    }

    /// Draws who audits it, once the block after its inclusion exists.
    fn draw(&mut self, chain: &ChainView, slots: &[AccountId]) {
        let made = self.record.record();
        let block = chain.shard_fixed(&self.record);
        let fixed = block.and_then(|block| Some((block, chain.hash_after(block)?)));
        // Drawing takes some hashes, for every shard at every block.
        if self.drawn.as_ref().map(|(from, _)| *from) == fixed.map(|(_, hash)| hash) {
            return;
        }
        let Body::Shard(shard) = &made.body else { return };
        let part = Part { model: shard.model, round: shard.round, slot: shard.slot };
        let count = chain.params().training.auditors;
        let auditors = |(block, hash): (BlockNumber, Digest)| {
            let weights = chain.run_weights(slots, block);
            (hash, draw::shard_auditors(&hash, part, made.account, &weights, count))
        };
        self.drawn = fixed.map(auditors);
        assert!(!self.is_audited_by(made.account), "nobody audits its own shard");
    }

    /// Whether an account was drawn to audit it; nobody is until it is known.
    pub(super) fn is_audited_by(&self, account: AccountId) -> bool {
        self.drawn.as_ref().is_some_and(|(_, auditors)| auditors.has(account))
    }

    /// Whether an account has judged it.
    pub(super) fn is_judged_by(&self, account: AccountId) -> bool {
        self.verdicts.iter().any(|(by, _)| *by == account)
    }

    fn judge(&mut self, audit: &VerifiedRecord, verdict: Verdict) {
        let by = audit.record().account;
        let is_about = matches!(&audit.record().body, Body::Audit(body) if body.is_about(self.record.record()));
        // Two verdicts of one auditor are both kept: one who says both is no witness of a pass.
        if is_about && !self.verdicts.contains(&(by, verdict)) {
            self.verdicts.push((by, verdict));
        }
    }

    pub(super) fn slot(&self) -> Option<u32> {
        match &self.record.record().body {
            Body::Shard(shard) => Some(shard.slot),
            _ => None,
        }
    }

    /// The checkpoint that it starts from.
    pub(super) fn base(&self) -> Option<Hash> {
        match &self.record.record().body {
            Body::Shard(shard) => Some(shard.base),
            _ => None,
        }
    }

    /// The block that took it in.
    pub(super) fn included(&self, chain: &ChainView) -> Option<BlockNumber> {
        included_in(chain, &self.record)
    }

    /// The verdict of the drawn auditors that were heard.
    pub(super) fn verdict(&self) -> Option<Verdict> {
        if self.verdicts.is_empty() {
            return None;
        }
        let drawn = self.verdicts.iter().filter(|(by, _)| self.is_audited_by(*by));
        verdict::veto(drawn.map(|(_, verdict)| *verdict))
    }

    /// Whether a drawn auditor passed it, whatever else was said: enough to follow a leader who had
    /// heard only that.
    pub(super) fn has_pass(&self) -> bool {
        let passes = |(by, verdict): &(AccountId, Verdict)| {
            *verdict == Verdict::Pass && self.is_audited_by(*by)
        };
        self.verdicts.iter().any(passes)
    }
}

/// What was heard about one round.
#[derive(Debug, Default)]
pub(super) struct RoundState {
    shards: Vec<Seen>,
    closes: Vec<Arc<VerifiedRecord>>,
    distrusted: BTreeSet<Digest>,
}

impl Run {
    /// Keeps a record if it belongs to this run and its place is not full.
    pub(super) fn keep(&mut self, record: &Arc<VerifiedRecord>) {
        let made = record.record();
        let current = self.first_round();
        let is_over = matches!(self.stage, Stage::Ready(_)) && self.left.is_empty();
        // Who is no member can send what it likes: nothing of it is kept, so nothing of it costs memory.
        if !self.is_member(made.account) || is_over {
            return;
        }
        match &made.body {
            Body::Shard(shard) => self.keep_shard(current, (shard.round, shard.slot), record),
            Body::RoundClose(close) => {
                let Some(state) = self.round_mut(current, close.round) else { return };
                let is_known = state.closes.iter().any(|known| known.id() == record.id());
                let by_same = state.closes.iter().filter(|c| c.record().account == made.account);
                if !is_known && by_same.count() < MAX_CLOSES_PER_MEMBER {
                    state.closes.push(Arc::clone(record));
                }
                let most = self.slots.len().saturating_mul(MAX_CLOSES_PER_MEMBER);
                let kept = self.closes(close.round).count();
                assert!(kept <= most, "closes of a round are bounded by its members");
            }
            Body::Audit(audit) => {
                if let Finding::Shard { record: shard, verdict, .. } = audit.finding {
                    self.keep_audit(record, &shard, verdict);
                }
            }
            _ => {}
        }
    }

    fn keep_shard(
        &mut self,
        current: Round,
        (round, slot): (Round, u32),
        record: &Arc<VerifiedRecord>,
    ) {
        let account = record.record().account;
        let own = self.own_slots(account).count();
        let limit = match self.config.task(round) {
            // Of slots of others it fills nothing, or it would be chance whose shard of its own is known.
            ShardTask::Train if !self.may_do(account, round, slot) => return,
            ShardTask::Train => 0,
            ShardTask::Sketch => self.slots.len(),
        };
        let limit = limit.max(own.saturating_mul(MAX_SHARDS_PER_SLOT));
        let Some(state) = self.round_mut(current, round) else { return };
        let by_same = state.shards.iter().filter(|s| s.record.record().account == account);
        let is_known = state.shards.iter().any(|s| s.record.id() == record.id());
        if is_known || by_same.count() >= limit {
            return;
        }
        // Gossip keeps no order: its audits may have come first.
        let mut seen = Seen::new(Arc::clone(record));
        for (audit, verdict) in self.orphans.values().flatten() {
            let Body::Audit(body) = &audit.record().body else { continue };
            if body.finding.verdict().is_some_and(|(judged, _)| judged == seen.record.id()) {
                seen.judge(audit, *verdict);
            }
        }
        if let Some(state) = self.round_mut(current, round) {
            state.shards.push(seen);
        }
    }

    /// Adds a verdict to its shard; one that comes before its shard waits for it.
    fn keep_audit(&mut self, audit: &Arc<VerifiedRecord>, of: &Digest, verdict: Verdict) {
        let shards = self.records.values_mut().flat_map(|state| state.shards.iter_mut());
        if let Some(seen) = shards.into_iter().find(|seen| seen.record.id() == *of) {
            seen.judge(audit, verdict);
            return;
        }
        let waiting = self.orphans.entry(audit.record().account).or_default();
        if waiting.iter().any(|(known, _)| known.id() == audit.id()) {
            return;
        }
        // The oldest gives way: its shard is the likeliest to be of a round that is over.
        if waiting.len() >= MAX_ORPHANS {
            waiting.pop_front();
        }
        waiting.push_back((Arc::clone(audit), verdict));
        assert!(waiting.len() <= MAX_ORPHANS, "audits that wait for their shard are bounded");
    }

    fn round_mut(&mut self, current: Round, round: Round) -> Option<&mut RoundState> {
        // Bounded on both sides: what is behind cannot matter any more, and a record of round 2^31
        // must not make room for itself.
        let is_near = round >= current && round.0 <= current.0.saturating_add(MAX_ROUNDS_AHEAD);
        (is_near && round.0 <= self.config.rounds).then(|| self.records.entry(round).or_default())
    }

    /// Draws the auditors of what was included since the last look.
    pub(super) fn draw_auditors(&mut self, chain: &ChainView) {
        for seen in self.records.values_mut().flat_map(|state| state.shards.iter_mut()) {
            seen.draw(chain, &self.slots);
        }
    }

    /// All shards seen in a round.
    pub(super) fn shards(&self, round: Round) -> impl Iterator<Item = &Seen> {
        self.records.get(&round).into_iter().flat_map(|state| state.shards.iter())
    }

    /// The shards of an open round that start from its checkpoint. Those of members who followed
    /// another close are not this run's to judge.
    pub(super) fn on_branch(&self, open: &Open) -> impl Iterator<Item = &Seen> {
        let base = open.base;
        self.shards(open.round).filter(move |seen| seen.base() == Some(base))
    }

    /// The closes of a round that were not found wrong here.
    pub(super) fn closes(&self, round: Round) -> impl Iterator<Item = &Arc<VerifiedRecord>> {
        let state = self.records.get(&round);
        let is_trusted = move |close: &&Arc<VerifiedRecord>| {
            state.is_some_and(|state| !state.distrusted.contains(&close.id()))
        };
        state.into_iter().flat_map(|state| state.closes.iter()).filter(is_trusted)
    }

    /// One shard of a round.
    pub(super) fn shard(&self, round: Round, id: &Digest) -> Option<Arc<VerifiedRecord>> {
        self.shards(round).find(|seen| seen.record.id() == *id).map(|seen| Arc::clone(&seen.record))
    }

    /// Whether an account has judged a shard.
    pub(super) fn is_judged(&self, round: Round, id: &Digest, by: AccountId) -> bool {
        self.shards(round).any(|seen| seen.record.id() == *id && seen.is_judged_by(by))
    }

    /// The shard that an account recorded last for a slot.
    pub(super) fn own_shard(
        &self,
        open: &Open,
        account: AccountId,
        slot: u32,
    ) -> Option<Arc<VerifiedRecord>> {
        self.on_branch(open)
            .filter(|seen| seen.record.record().account == account && seen.slot() == Some(slot))
            // Work that could not be included in time is signed again under a later epoch.
            .max_by_key(|seen| seen.record.record().epoch)
            .map(|seen| Arc::clone(&seen.record))
    }

    /// The close that an account recorded for the open round.
    pub(super) fn own_close(&self, open: &Open, account: AccountId) -> Option<Arc<VerifiedRecord>> {
        let is_own = |close: &&Arc<VerifiedRecord>| {
            let made = close.record();
            made.account == account
                && matches!(&made.body, Body::RoundClose(body) if body.base == open.base)
        };
        let closes = &self.records.get(&open.round)?.closes;
        closes.iter().find(is_own).map(Arc::clone)
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

    /// The shards that passed, one per slot.
    pub(super) fn passed(&self, open: &Open) -> Vec<Seen> {
        let mut by_slot = BTreeMap::new();
        for seen in self.on_branch(open) {
            let has_passed = seen.verdict() == Some(Verdict::Pass);
            if let Some(slot) = seen.slot().filter(|_| has_passed) {
                by_slot.entry(slot).or_insert_with(|| seen.clone());
            }
        }
        by_slot.into_values().collect()
    }

    /// Whether the worker has had the same work included before: relabelled with another epoch, it would
    /// be paid twice.
    pub(super) fn is_repeated(&self, chain: &ChainView, open: &Open, seen: &Seen) -> bool {
        let place = |of: &Seen| of.included(chain).map(|block| (block, of.record.id()));
        // One that is not included yet comes after every one that is.
        let own = place(seen);
        let made = seen.record.record();
        self.on_branch(open).any(|other| {
            other.record.record().account == made.account
                && other.record.record().subject == made.subject
                && other.record.id() != seen.record.id()
                && place(other).is_some_and(|at| own.is_none_or(|own| at < own))
        })
    }

    /// Shards below which no round closes.
    pub(super) fn least_shards(&self, chain: &ChainView) -> usize {
        let min = usize::try_from(chain.params().training.min_shards).unwrap_or(usize::MAX);
        let least = min.min(self.slots.len()).max(1);
        assert!(least > 0, "a round never closes over nothing");
        least
    }

    /// Whether the round can close and it is this account's turn to do so.
    pub(super) fn may_close(
        &self,
        chain: &ChainView,
        open: &Open,
        account: AccountId,
        now: BlockNumber,
    ) -> bool {
        let limits = &chain.params().training;
        let passed = self.passed(open).len();
        let failed =
            self.on_branch(open).filter(|seen| seen.verdict() == Some(Verdict::Fail)).count();
        // A training round can do without shards that failed. The round of sketches cannot: a unit
        // without its sketch would never be paid for.
        let trains = self.config.task(open.round) == ShardTask::Train;
        let is_complete = passed == self.slots.len()
            || (trains && passed.saturating_add(failed) >= self.slots.len());
        let waited = now.since(open.since);
        let is_late = trains && waited >= limits.round_blocks;
        if passed < self.least_shards(chain) || !(is_complete || is_late) {
            return false;
        }
        match self.leaders(chain, open).first_of(account, &[]) {
            Some(0) => true,
            Some(turn) => waited >= fallback_wait(limits, turn),
            None => false,
        }
    }

    /// Whose turn it is to close a round, one after the other.
    pub(super) fn leaders(&self, chain: &ChainView, open: &Open) -> Turns {
        draw::round_leaders(&open.seed, &chain.run_weights(&self.slots, open.since))
    }

    /// The run has its initial checkpoint: the first round opens.
    pub(super) fn on_prepared(&mut self, chain: &ChainView, done: &Done) {
        match (done, chain.run_start(self.model)) {
            (Done::Prepared(base), Some((block, hash))) => {
                self.failures = 0;
                self.enter(Round(0), block, round_seed(&hash, Round(0)), *base);
            }
            _ => {
                self.stage = Stage::New;
                self.back_off(chain, done);
            }
        }
    }
}

/// Blocks after a round opened at which it is a leader's turn.
pub(super) fn fallback_wait(limits: &crate::params::Training, turn: usize) -> Blocks {
    let turn = u64::try_from(turn).unwrap_or(u64::MAX);
    limits.round_blocks.plus(limits.fallback_blocks.times(turn))
}
