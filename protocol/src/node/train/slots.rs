//! Who works on which slot of a round.

use alloc::collections::BTreeMap;

use super::{Open, Run, round::Seen};
use crate::{
    chain::ChainView,
    ids::{AccountId, BlockNumber},
    record::Verdict,
    rules::anchored_alone,
    training::ShardTask,
};

/// What became of the shards of one slot.
#[derive(Debug, Default, Clone, Copy)]
struct Tries {
    failed: u64,
    is_passed: bool,
}

impl Run {
    pub(super) fn slot_of(&self, account: AccountId) -> Option<u32> {
        let index = self.members.iter().position(|member| *member == account)?;
        u32::try_from(index).ok()
    }

    /// Whether the rounds have such a slot: one for each member.
    pub(super) fn has_slot(&self, slot: u32) -> bool {
        usize::try_from(slot).is_ok_and(|slot| slot < self.members.len())
    }

    /// The slot for a member to work on. Training slots are the members' own. A sketch slot passes on
    /// to the next member with every shard of it that failed and with every deadline, until one
    /// passes; the member does its own first.
    pub(super) fn slot_to_work(
        &self,
        chain: &ChainView,
        open: &Open,
        account: AccountId,
        now: BlockNumber,
    ) -> Option<u32> {
        let own = self.slot_of(account)?;
        // A training round closes without the shard of who is away; only sketches must be complete.
        if self.config.task(open.round) == ShardTask::Train {
            return Some(own);
        }
        let count = u32::try_from(self.members.len()).ok()?;
        let tries = self.tries(open);
        let is_done = |slot| {
            let shard = self.own_shard(open, account, slot);
            shard.is_some_and(|shard| anchored_alone(chain, &shard).is_some())
        };
        // Walking back from one's own slot: at any time each slot is the turn of exactly one member, so
        // nobody has to be told, and of those who heard the same no two compute the same.
        let slots = (0..count).map(|back| back_from(own, back, count));
        let mut turns = slots.zip(0u64..).filter(|(slot, back)| {
            let tried = tries.get(slot).copied().unwrap_or_default();
            let passed_on = elapsed(chain, open, now).saturating_add(tried.failed);
            !tried.is_passed && passed_on.checked_rem(count.into()) == Some(*back)
        });
        turns.find(|(slot, _)| !is_done(*slot)).map(|(slot, _)| slot)
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
        let Some(own) = self.slot_of(account) else { return false };
        if self.config.task(open.round) == ShardTask::Train {
            return own == slot;
        }
        let Ok(count) = u32::try_from(self.members.len()) else { return false };
        let now = chain.now();
        let failed = self.tries(open).get(&slot).map_or(0, |tries| tries.failed);
        let passed_on = elapsed(chain, open, now).saturating_add(failed);
        slot < count && u64::from(back_from(own, slot, count)) <= passed_on
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
