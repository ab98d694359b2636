//! Proposing, watching and finalising settlements; claiming what is owed.

use alloc::vec::Vec;

use super::{Done, Event, Job, Node, Pending};
use crate::{
    chain::{ChainView, DatanetUse, SettlementState, Transaction},
    hash::keccak,
    ids::{BlockNumber, Digest, Epoch},
};

/// How many nodes, by rank, recompute a proposal that is not their own.
const WATCHERS: usize = 3;
/// Blocks after which a transaction that does not show is sent again.
const RESUBMIT_BLOCKS: u64 = 4;

/// Where this node stands with the next settlement.
#[derive(Debug)]
pub(super) struct Settling {
    epoch: Epoch,
    is_busy: bool,
    acted_at: Option<u64>,
    watched: Option<Digest>,
    distrusted: Option<Digest>,
    /// The block of the proposal that was last objected to: a defeated one may be made again.
    objected: Option<BlockNumber>,
    uses: Option<(Digest, Vec<DatanetUse>)>,
    /// The epoch up to which was last claimed, and the one up to which it was last tried.
    claimed: Option<Epoch>,
    tried: Option<Epoch>,
}

impl Settling {
    pub(super) const fn new() -> Self {
        Self {
            epoch: Epoch(0),
            is_busy: false,
            acted_at: None,
            watched: None,
            distrusted: None,
            objected: None,
            uses: None,
            claimed: None,
            tried: None,
        }
    }

    fn enter(&mut self, epoch: Epoch) {
        if self.epoch != epoch {
            self.epoch = epoch;
            self.is_busy = false;
            self.acted_at = None;
            self.watched = None;
            self.distrusted = None;
            self.objected = None;
        }
    }
}

impl Node {
    pub(super) fn advance_settlement(&mut self, chain: &ChainView) {
        let Some(now) = chain.head().map(|head| head.number) else { return };
        self.claim_own(chain);
        let epoch = chain.next_to_settle();
        self.settling.enter(epoch);
        let Some(rank) = chain.proposer_rank(epoch, self.account) else { return };
        let is_recent =
            self.settling.acted_at.is_some_and(|at| now.0 < at.saturating_add(RESUBMIT_BLOCKS));
        if self.settling.is_busy || is_recent {
            return;
        }
        match chain.settlement(epoch) {
            None => self.propose_when_due(chain, epoch, rank, now),
            Some(state) => {
                let id = state.id;
                let is_own = state.proposer == self.account;
                let is_watched = self.settling.watched == Some(id);
                if !is_own && rank <= WATCHERS && !is_watched {
                    self.verify(epoch, state);
                    return;
                }
                if self.settling.distrusted == Some(id) {
                    self.object(epoch, state);
                    return;
                }
                // While an objection waits for the arbiter nobody can make it final.
                if state.objector.is_none() && now.0 > ripe_at(chain, state, rank, is_own) {
                    self.finalise(epoch, state, now);
                }
            }
        }
    }

    /// The block from which on the settlement may go on by itself.
    pub(super) fn settling_wakes(&self, chain: &ChainView) -> Option<BlockNumber> {
        if self.to_claim(chain).is_some() {
            return Some(BlockNumber(0));
        }
        let epoch = chain.next_to_settle();
        if self.settling.epoch != epoch {
            return Some(BlockNumber(0));
        }
        let rank = chain.proposer_rank(epoch, self.account)?;
        if self.settling.is_busy {
            return None;
        }
        let acted = self.settling.acted_at.map_or(0, |at| at.saturating_add(RESUBMIT_BLOCKS));
        let due = match chain.settlement(epoch) {
            None => self.propose_at(chain, epoch, rank),
            Some(state) => {
                let id = state.id;
                let is_own = state.proposer == self.account;
                let is_watched = self.settling.watched == Some(id);
                let is_distrusted = self.settling.distrusted == Some(id);
                if !is_own && rank <= WATCHERS && !is_watched {
                    0
                } else if is_distrusted {
                    if self.settling.objected == Some(state.proposed) {
                        return None;
                    }
                    0
                } else if state.objector.is_some() {
                    return None;
                } else {
                    ripe_at(chain, state, rank, is_own).saturating_add(1)
                }
            }
        };
        Some(BlockNumber(due.max(acted)))
    }

    fn propose_when_due(&mut self, chain: &ChainView, epoch: Epoch, rank: usize, now: BlockNumber) {
        if now.0 >= self.propose_at(chain, epoch, rank) {
            self.settling.is_busy = true;
            self.start(Pending::Settle(epoch), Job::Settle { epoch });
        }
    }

    fn verify(&mut self, epoch: Epoch, state: &SettlementState) {
        self.settling.is_busy = true;
        let job = Job::Verify { settlement: state.settlement };
        self.start(Pending::Verify(epoch, state.id), job);
    }

    fn finalise(&mut self, epoch: Epoch, state: &SettlementState, now: BlockNumber) {
        match &self.settling.uses {
            Some((hash, uses)) if *hash == state.settlement.uses => {
                let uses = uses.clone();
                self.settling.acted_at = Some(now.0);
                self.submit(Transaction::Finalise { epoch, uses });
            }
            // The log says what the hash stands for. Settling anew may not: records that came after
            // the proposal change it, for the proposer too.
            _ => self.verify(epoch, state),
        }
    }

    pub(super) fn on_settled(&mut self, chain: &ChainView, epoch: Epoch, done: Done) {
        self.settling.is_busy = false;
        let Done::Settled(settlement, uses) = done else {
            self.settling.acted_at = chain.head().map(|head| head.number.0);
            return;
        };
        if epoch != self.settling.epoch || settlement.epoch != epoch {
            return;
        }
        self.settling.uses = Some((settlement.uses, uses));
        if chain.settlement(epoch).is_none() {
            self.settling.acted_at = chain.head().map(|head| head.number.0);
            self.submit(Transaction::Propose { proposer: self.account, settlement });
        }
    }

    /// Objects once to each time that a wrong settlement is proposed, unless somebody else has.
    fn object(&mut self, epoch: Epoch, state: &SettlementState) {
        if self.settling.objected == Some(state.proposed) {
            return;
        }
        self.settling.objected = Some(state.proposed);
        self.tell(Event::WrongSettlement { epoch });
        if state.objector.is_none() {
            let reason = keccak(&[b"openledger/objection/recomputed", &state.id.0]);
            self.submit(Transaction::Object { epoch, account: self.account, reason });
        }
    }

    /// The block from which on it is this node's turn to propose.
    fn propose_at(&self, chain: &ChainView, epoch: Epoch, rank: usize) -> u64 {
        let end = chain.schedule.start(epoch.next()).0;
        let delay = chain.params().settle_delay_blocks;
        let turn = end.saturating_add(delay).saturating_add(rank_wait(chain, rank));
        chain.barred_until(epoch, self.account).map_or(turn, |until| turn.max(until.next().0))
    }

    pub(super) fn on_verified(&mut self, chain: &ChainView, epoch: Epoch, id: Digest, done: Done) {
        self.settling.is_busy = false;
        let state = chain.settlement(epoch).filter(|state| state.id == id);
        // A log that could not be had yet is asked for again at the next block.
        let (Some(state), Done::Verified(found)) = (state, done) else { return };
        if epoch != self.settling.epoch {
            return;
        }
        self.settling.watched = Some(id);
        match found {
            Some(uses) => self.settling.uses = Some((state.settlement.uses, uses)),
            None => {
                self.settling.distrusted = Some(id);
                self.object(epoch, state);
            }
        }
    }

    fn claim_own(&mut self, chain: &ChainView) {
        let Some(last) = self.to_claim(chain) else { return };
        self.settling.tried = Some(last);
        let job = Job::Claim { epoch: last, account: self.account };
        self.start(Pending::Claim(last), job);
    }

    pub(super) const fn on_claimed(&mut self, epoch: Epoch, done: &Done) {
        if !matches!(done, Done::Failed(_)) {
            self.settling.claimed = Some(epoch);
        }
    }

    /// The final epoch up to which it is time to claim: the first that this node sees, and then one
    /// in every so many; after a failure the next one.
    fn to_claim(&self, chain: &ChainView) -> Option<Epoch> {
        let last = chain.last_final()?.settlement.epoch;
        let turn = |epoch: Epoch| {
            epoch.0.saturating_add(self.account.0).checked_div(self.config.claim_epochs)
        };
        let now = turn(last)?;
        let is_due = self.settling.claimed.and_then(turn) != Some(now);
        (is_due && self.settling.tried != Some(last)).then_some(last)
    }
}

/// The block after which it is this rank's turn to finalise.
fn ripe_at(chain: &ChainView, state: &SettlementState, rank: usize, is_own: bool) -> u64 {
    let turn = if is_own { 0 } else { rank_wait(chain, rank) };
    let window = chain.schedule.challenge_blocks.saturating_add(turn);
    state.open_since.0.saturating_add(window)
}

fn rank_wait(chain: &ChainView, rank: usize) -> u64 {
    let rank = u64::try_from(rank).unwrap_or(u64::MAX);
    chain.params().propose_fallback_blocks.saturating_mul(rank)
}
