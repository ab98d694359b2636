//! Who works on which slot of a round.

use alloc::collections::BTreeMap;

use super::{Open, Run, round::Seen};
use crate::{
    chain::ChainView,
    ids::{AccountId, BlockNumber, Round},
    record::Verdict,
    rules::included_in,
    training::ShardTask,
};

/// What became of the shards of one slot.
#[derive(Debug, Default, Clone, Copy)]
struct Tries {
    failed: u64,
    is_passed: bool,
}

impl Run {
    /// The slots of an account: drawn by stake, so there may be several.
    pub(super) fn own_slots(&self, account: AccountId) -> impl Iterator<Item = u32> {
        let slots = (0u32..).zip(&self.slots);
        slots.filter(move |(_, of)| **of == account).map(|(slot, _)| slot)
    }

    /// Whether an account has any slot.
    pub(super) fn is_member(&self, account: AccountId) -> bool {
        self.slots.contains(&account)
    }

    /// Whether a slot of a round may be an account's to work on: of training slots those that are its own, of
    /// sketch slots, which pass on, any if it has one.
    pub(super) fn may_do(&self, account: AccountId, round: Round, slot: u32) -> bool {
        match self.config.task(round) {
            ShardTask::Train => self.own_slots(account).any(|own| own == slot),
            ShardTask::Sketch => self.is_member(account),
        }
    }

    /// Whether the rounds have such a slot.
    pub(super) fn has_slot(&self, slot: u32) -> bool {
        usize::try_from(slot).is_ok_and(|slot| slot < self.slots.len())
    }

    /// The slot for a member to work on, of several the first that it has not done. Training slots are
    /// the members' own. A sketch slot passes on to the slot after it, and so to whose that is, with
    /// every shard of it that failed and with every deadline, until one passes; the member does its own
    /// first.
    pub(super) fn slot_to_work(
        &self,
        chain: &ChainView,
        open: &Open,
        account: AccountId,
        now: BlockNumber,
    ) -> Option<u32> {
        let is_done = |slot: &u32| {
            let shard = self.own_shard(open, account, *slot);
            shard.is_some_and(|shard| included_in(chain, &shard).is_some())
        };
        // A training round closes without the shard of who is away; only sketches must be complete.
        if self.config.task(open.round) == ShardTask::Train {
            return self.own_slots(account).find(|slot| !is_done(slot));
        }
        let count = u32::try_from(self.slots.len()).ok()?;
        let tries = self.tries(open);
        // Walking back from one's own slot: at any time each slot is the turn of exactly one, so nobody
        // has to be told, and of those who heard the same no two compute the same.
        let is_turn = |slot: u32, back: u32| {
            let tried = tries.get(&slot).copied().unwrap_or_default();
            let passed_on = elapsed(chain, open, now).saturating_add(tried.failed);
            !tried.is_passed && passed_on.checked_rem(count.into()) == Some(back.into())
        };
        let turns =
            |back| self.own_slots(account).map(move |own| (back_from(own, back, count), back));
        let turns = (0..count).flat_map(turns).filter(|(slot, back)| is_turn(*slot, *back));
        turns.map(|(slot, _)| slot).find(|slot| !is_done(slot))
    }

    pub(super) fn slot_passed(&self, open: &Open, slot: u32) -> bool {
        self.tries(open).get(&slot).is_some_and(|tries| tries.is_passed)
    }

    fn tries(&self, open: &Open) -> BTreeMap<u32, Tries> {
        let mut slots: BTreeMap<u32, Tries> = BTreeMap::new();
        for seen in self.on_branch(open) {
            let Some(slot) = seen.slot() else { continue };
            let tries = slots.entry(slot).or_default();
            match seen.verdict() {
                Some(Verdict::Pass) => tries.is_passed = true,
                Some(Verdict::Fail) => tries.failed = tries.failed.saturating_add(1),
                None => {}
            }
        }
        slots
    }

    /// Whether an account may have worked on a slot so far.
    pub(super) fn is_own_work(
        &self,
        chain: &ChainView,
        open: &Open,
        account: AccountId,
        slot: u32,
    ) -> bool {
        if self.config.task(open.round) == ShardTask::Train {
            return self.own_slots(account).any(|own| own == slot);
        }
        let Ok(count) = u32::try_from(self.slots.len()) else { return false };
        let now = chain.now();
        let failed = self.tries(open).get(&slot).map_or(0, |tries| tries.failed);
        let passed_on = elapsed(chain, open, now).saturating_add(failed);
        let is_passed_on = |own| u64::from(back_from(own, slot, count)) <= passed_on;
        slot < count && self.own_slots(account).any(is_passed_on)
    }

    /// Whether a shard can be judged now. In the sketch round, work may be passed on before this
    /// node has heard why: a slot that is not yet its worker's is judged later.
    pub(super) fn is_due(&self, chain: &ChainView, open: &Open, seen: &Seen) -> bool {
        let Some(slot) = seen.slot() else { return false };
        let worker = seen.record.record().account;
        self.config.task(open.round) == ShardTask::Train
            || !self.has_slot(slot)
            || self.is_own_work(chain, open, worker, slot)
    }
}

/// So many places before one, in a circle.
const fn back_from(place: u32, back: u32, count: u32) -> u32 {
    assert!(place < count && back < count, "both lie in the circle");
    let found = if back <= place {
        place.saturating_sub(back)
    } else {
        place.saturating_add(count).saturating_sub(back)
    };
    assert!(found < count, "so many places before one in a circle is in it");
    found
}

/// Deadlines of the round that are over.
fn elapsed(chain: &ChainView, open: &Open, now: BlockNumber) -> u64 {
    now.since(open.since).fits(chain.params().training.round_blocks)
}
