//! Which close of a round a run follows, and the way back when it followed another.
//!
//! Who leads a round closes it once it heard enough, so where links are slower than the next
//! leader's turn a round may have two closes that are both in order, and nodes hear of them in
//! different sequence. No vote is held. The members' next shards, which are included and name the
//! checkpoint that they start from, say which close most of them follow; a run that followed another
//! goes back to that round. Before anybody went on, the first that was included counts. It is the
//! rule of the heaviest subtree (Sompolinsky and Zohar 2015, "Secure High-Rate Transaction
//! Processing in Bitcoin"), with one vote a slot and a depth of one.

use alloc::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
    vec::Vec,
};
use core::cmp::Reverse;

use super::{Open, Own, Run, Stage, fallback_wait};
use crate::{
    chain::ChainView,
    ids::{AccountId, BlockNumber, Digest, Hash, Round},
    record::{Body, VerifiedRecord},
    rules::included_in,
    training::ShardTask,
};

/// Most rounds that a run goes back.
const MAX_LEFT: usize = 16;

/// A round that this run left.
#[derive(Debug)]
pub(super) struct Left {
    /// The round as it was when it opened.
    open: Open,
    /// The record by which it closed.
    close: Digest,
    /// The block that took it in.
    block: BlockNumber,
}

/// Rounds that were left, the oldest first.
pub(super) type Trail = VecDeque<Left>;

impl Run {
    /// The close to follow: of those included, by a leader whose turn it was, over shards that
    /// passed, the one from whose checkpoint most slots went on, and of these the first.
    pub(super) fn best_close(&self, chain: &ChainView, open: &Open) -> Option<Arc<VerifiedRecord>> {
        self.closes(open.round).next()?;
        let leaders = self.leaders(chain, open);
        let valid: Vec<_> = self
            .closes(open.round)
            .filter_map(|close| {
                let Body::RoundClose(body) = &close.record().body else { return None };
                let block = included_in(chain, close)?;
                // The next round's seed is the hash after the inclusion; without it nobody can go on.
                chain.hash_after(block)?;
                let turn = leaders.first_of(close.record().account, &[])?;
                // By the block of the inclusion, which is the same for all, and not by when it was heard.
                let waited = block.since(open.since);
                let is_turn = turn == 0 || waited >= fallback_wait(&chain.params().training, turn);
                let is_valid =
                    is_turn && body.base == open.base && self.is_backed(chain, open, &body.shards);
                is_valid.then_some((block, turn, body.next, close))
            })
            .collect();
        // Counting is dear and nearly always needless: most rounds have one close.
        let votes = if valid.len() > 1 { self.votes(chain, open) } else { BTreeMap::new() };
        let support = |next: &Hash| Reverse(votes.get(next).copied().unwrap_or(0));
        let place = |(block, turn, next, close): &(_, _, Hash, &Arc<VerifiedRecord>)| {
            (support(next), *block, *turn, close.id())
        };
        valid.into_iter().min_by_key(place).map(|(.., close)| Arc::clone(close))
    }

    /// How many slots went on from each checkpoint after a round. The shard that a member had included first
    /// speaks for all of its slots. Asked of the chain, since of what a member signs a node keeps only so
    /// much, and not each the same.
    fn votes(&self, chain: &ChainView, open: &Open) -> BTreeMap<Hash, u32> {
        let mut first: BTreeMap<AccountId, (BlockNumber, Digest, Hash)> = BTreeMap::new();
        let since = chain.schedule.epoch_of(open.since);
        for (record, block) in chain.records_of(since..=chain.epoch().next()) {
            let made = record.record();
            let Body::Shard(shard) = &made.body else { continue };
            let is_next = (shard.model, shard.round) == (self.model, open.round.next());
            if !is_next || !self.may_do(made.account, shard.round, shard.slot) {
                continue;
            }
            let vote = (block, record.id(), shard.base);
            let known = first.entry(made.account).or_insert(vote);
            // The first included one, so that who changes its mind later has one vote all the same,
            // and so that all count alike whatever order they heard the shards in.
            *known = vote.min(*known);
        }
        let mut votes = BTreeMap::new();
        // By slots, which were drawn by stake: names have no vote.
        for member in &self.slots {
            if let Some((_, _, base)) = first.get(member) {
                let count: &mut u32 = votes.entry(*base).or_default();
                *count = count.saturating_add(1);
            }
        }
        votes
    }

    /// Whether all that a close lists is known here and passed, one shard a slot.
    fn is_backed(&self, chain: &ChainView, open: &Open, listed: &[Digest]) -> bool {
        let known: Vec<_> =
            self.on_branch(open).filter(|seen| listed.contains(&seen.record.id())).collect();
        let slots: BTreeSet<_> = known.iter().filter_map(|seen| seen.slot()).collect();
        // A shard that is listed and not known here may be known later, and then the close is looked at
        // again; until then it cannot be followed, for its payload could not be asked for.
        known.len() == listed.len()
            && slots.len() == listed.len()
            && listed.len() >= self.least_shards(chain)
            && (self.config.task(open.round) == ShardTask::Train
                || listed.len() == self.slots.len())
            && known.iter().all(|seen| seen.has_pass())
    }

    /// Leaves the open round by a close that a block took in.
    pub(super) fn leave(&mut self, open: &Open, close: &VerifiedRecord, block: BlockNumber) {
        // As it was when it opened: if the run comes back, what it did in the round before is found
        // again among the records.
        let (own, signed_again) = (Own::None, None);
        let open =
            Open { own, signed_again, is_aggregating: false, has_closed: false, ..open.clone() };
        let before = self.last_left().map(Round::next);
        assert!(before.is_none_or(|next| next == open.round), "rounds close one after the other");
        self.left.push_back(Left { open, close: close.id(), block });
        if self.left.len() > MAX_LEFT {
            self.left.pop_front();
        }
        assert!(self.left.len() <= MAX_LEFT, "a run goes back a bounded number of rounds");
        let oldest = self.left.front().map_or(Round(0), |left| left.open.round);
        self.records.retain(|kept, _| *kept >= oldest);
    }

    /// Goes back to the first round that it left by another close than the one to follow; which it
    /// is, if there is one.
    pub(super) fn go_back(&mut self, chain: &ChainView) -> Option<Round> {
        // With one close there is nothing to choose between, and looking is dear.
        let is_other = |left: &Left| {
            self.closes(left.open.round).nth(1).is_some()
                && self.best_close(chain, &left.open).is_some_and(|best| best.id() != left.close)
        };
        // The oldest such round: what came after it was built on the other checkpoint.
        let at = self.left.iter().position(is_other)?;
        let open = self.left.drain(at..).next()?.open;
        let round = open.round;
        let before = self.last_left().map(Round::next);
        assert!(before.is_none_or(|next| next == round), "what is left leads to the open round");
        self.stage = Stage::Open(open);
        Some(round)
    }

    /// The last round that was left.
    pub(super) fn last_left(&self) -> Option<Round> {
        self.left.back().map(|left| left.open.round)
    }

    /// Forgets the way of a run that has been ready for as long as a round may take: nothing that
    /// comes later changes it.
    pub(super) fn forget_trail(&mut self, chain: &ChainView, now: BlockNumber) {
        assert!(matches!(self.stage, Stage::Ready(_)), "only a finished run forgets its way");
        let last = self.left.back().map_or(BlockNumber(0), |left| left.block);
        if now.since(last) > chain.params().training.round_blocks {
            self.left.clear();
            self.records.clear();
            self.orphans.clear();
        }
    }

    /// The first round of which something may change.
    pub(super) fn first_round(&self) -> Round {
        match (self.left.front(), &self.stage) {
            (Some(left), _) => left.open.round,
            (None, Stage::Open(open)) => open.round,
            (None, _) => Round(0),
        }
    }
}
