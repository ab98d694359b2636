//! Proposing, watching and finalising settlements; claiming what is owed.

use alloc::vec::Vec;

use super::{
    Done, Event, Job, Node, Pending,
    outbox::{Outgoing, RESEND_AFTER},
};
use crate::{
    chain::{ChainView, DatanetUse, ProposalAct, SettlementState, Transaction},
    hash::keccak,
    ids::{BlockNumber, Blocks, Digest, Epoch},
};

/// Where this node stands with the next settlement.
#[derive(Debug)]
pub(super) struct Settling {
    epoch: Epoch,
    is_busy: bool,
    /// What was sent last about the settlement.
    acted: Outgoing,
    watched: Option<Digest>,
    distrusted: Option<Digest>,
    /// The block of the proposal that was last objected to: a defeated one may be made again.
    objected: Option<BlockNumber>,
    /// The settlement that this node came to, and the uses in it.
    uses: Option<(Digest, Vec<DatanetUse>)>,
    /// The epoch up to which was last claimed, and the one up to which it was last tried.
    claimed: Option<Epoch>,
    tried: Option<Epoch>,
}

/// What a node does about a settlement.
#[derive(Debug, Clone, Copy)]
enum Step {
    Propose,
    Verify,
    Object,
    Finalise,
}

impl Settling {
    pub(super) const fn new() -> Self {
        Self {
            epoch: Epoch(0),
            is_busy: false,
            acted: Outgoing::new(),
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
            self.acted = Outgoing::new();
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
        if self.settling.is_busy || now < self.settling.acted.due() {
            return;
        }
        let Some((due, step)) = self.next_step(chain, epoch) else { return };
        if now < due {
            return;
        }
        match (step, chain.settlement(epoch)) {
            (Step::Propose, _) => {
                self.settling.is_busy = true;
                self.start(Pending::Settle(epoch), Job::Settle { epoch });
            }
            (Step::Verify, Some(state)) => self.verify(epoch, state),
            (Step::Object, Some(state)) => self.object_to_wrong(epoch, state),
            (Step::Finalise, Some(state)) => self.finalise(epoch, state, now),
            (_, None) => {}
        }
    }

    /// The block from which on the settlement may go on by itself.
    pub(super) fn settling_wakes(&self, chain: &ChainView) -> Option<BlockNumber> {
        let epoch = chain.next_to_settle();
        if self.to_claim(chain).is_some() || self.settling.epoch != epoch {
            return Some(BlockNumber(0));
        }
        if self.settling.is_busy {
            return None;
        }
        let next = self.next_step(chain, epoch);
        next.map(|(due, _)| due.max(self.settling.acted.due()))
    }

    /// What this node does next about the settlement of an epoch, and from which block on.
    fn next_step(&self, chain: &ChainView, epoch: Epoch) -> Option<(BlockNumber, Step)> {
        let turn = chain.proposer_turn(epoch, self.account)?;
        let Some(state) = chain.settlement(epoch) else {
            return Some((self.propose_at(chain, epoch, turn), Step::Propose));
        };
        let is_own = state.proposer == self.account;
        let place = self.watches(chain, state);
        if place.is_some() && self.settling.watched != Some(state.id) {
            return Some((BlockNumber(0), Step::Verify));
        }
        let anew = || self.replace_at(chain, state, turn).map(|turn| (turn, Step::Propose));
        if self.settling.distrusted == Some(state.id) {
            let has_objected = self.settling.objected == Some(state.proposed);
            // Should the objection come to nothing, nobody makes it final, and it makes room.
            let due = object_at(chain, state, place.unwrap_or(turn));
            return if has_objected { anew() } else { Some((due, Step::Object)) };
        }
        // While an objection waits for the arbiter nobody can make it final; that has an end too.
        match state.objector {
            None => Some((ripe_at(chain, state, turn, is_own), Step::Finalise)),
            Some(_) => anew(),
        }
    }

    /// The place of this node among those who were drawn to recompute a proposal.
    fn watches(&self, chain: &ChainView, state: &SettlementState) -> Option<usize> {
        chain.watchers(state)?.first_of(self.account)
    }

    fn verify(&mut self, epoch: Epoch, state: &SettlementState) {
        self.settling.is_busy = true;
        let job = Job::Verify { settlement: state.settlement };
        self.start(Pending::Verify(epoch, state.id), job);
    }

    fn finalise(&mut self, epoch: Epoch, state: &SettlementState, now: BlockNumber) {
        match &self.settling.uses {
            Some((id, uses)) if *id == state.id => {
                let uses = uses.clone();
                self.settling.acted = Outgoing::sent(now);
                let act = ProposalAct::Finalise { uses };
                self.submit(Transaction::AboutProposal { epoch, act });
            }
            // Nobody makes final what it did not come to itself.
            _ => self.verify(epoch, state),
        }
    }

    pub(super) fn on_settled(&mut self, chain: &ChainView, epoch: Epoch, done: Done) {
        self.settling.is_busy = false;
        let Done::Settled(settlement, uses) = done else {
            self.settling.acted = Outgoing::sent(chain.now());
            return;
        };
        if epoch != self.settling.epoch || settlement.epoch != epoch {
            return;
        }
        let id = settlement.id();
        self.settling.uses = Some((id, uses));
        let Some(now) = chain.head().map(|head| head.number) else { return };
        let is_open = chain.settlement(epoch).is_none_or(|state| {
            (state.id != id || state.objector.is_some())
                && chain.lapses_at(state).is_some_and(|block| now >= block)
        });
        if is_open {
            self.settling.acted = Outgoing::sent(now);
            self.submit(Transaction::Propose { proposer: self.account, settlement });
        }
    }

    fn object_to_wrong(&mut self, epoch: Epoch, state: &SettlementState) {
        if self.object(epoch, state, b"openledger/objection/recomputed") {
            self.tell(Event::WrongSettlement { epoch });
        }
    }

    /// Objects once to each time that a settlement is proposed, unless somebody else has.
    fn object(&mut self, epoch: Epoch, state: &SettlementState, reason: &[u8]) -> bool {
        if self.settling.objected == Some(state.proposed) {
            return false;
        }
        self.settling.objected = Some(state.proposed);
        if state.objector.is_none() {
            let reason = keccak(&[reason, &state.id.0]);
            let act = ProposalAct::Object { account: self.account, reason };
            self.submit(Transaction::AboutProposal { epoch, act });
        }
        true
    }

    /// The block from which on it is this node's turn to propose. When a proposal fell the turns
    /// begin anew, or all who had theirs would propose at once.
    fn propose_at(&self, chain: &ChainView, epoch: Epoch, turn: usize) -> BlockNumber {
        let first = chain.schedule.cutoff(epoch);
        let fell = chain.defeats(epoch).map(|(_, fell)| fell).max();
        let turn = fell.unwrap_or_default().max(first).after(turn_wait(chain, turn));
        self.once_admitted(chain, epoch, turn)
    }

    /// The block from which on it is this node's turn to propose in place of one that lapsed.
    fn replace_at(
        &self,
        chain: &ChainView,
        state: &SettlementState,
        turn: usize,
    ) -> Option<BlockNumber> {
        let turn = chain.lapses_at(state)?.after(turn_wait(chain, turn));
        Some(self.once_admitted(chain, state.settlement.epoch, turn))
    }

    /// The turn, or later where a proposal of this node for the epoch fell not long before.
    fn once_admitted(&self, chain: &ChainView, epoch: Epoch, turn: BlockNumber) -> BlockNumber {
        let barred = chain.barred_until(epoch, self.account);
        barred.map_or(turn, |until| turn.max(until.next()))
    }

    pub(super) fn on_verified(&mut self, chain: &ChainView, epoch: Epoch, id: Digest, done: Done) {
        self.settling.is_busy = false;
        let state = chain.settlement(epoch).filter(|state| state.id == id);
        let Some(state) = state.filter(|_| epoch == self.settling.epoch) else { return };
        let found = match done {
            Done::Verified(found) => found,
            // A host that cannot do it says nothing about the settlement, and tries again later.
            _ => {
                self.settling.acted = Outgoing::sent(chain.now());
                return;
            }
        };
        self.conclude(state, found);
    }

    /// Keeps what came out of recomputing a proposal: its uses, or nothing where it is wrong, which
    /// this node then objects to.
    fn conclude(&mut self, state: &SettlementState, found: Option<Vec<DatanetUse>>) {
        self.settling.watched = Some(state.id);
        match found {
            Some(uses) => self.settling.uses = Some((state.id, uses)),
            // The next step of this node is to object, when it is its turn.
            None => self.settling.distrusted = Some(state.id),
        }
    }

    fn claim_own(&mut self, chain: &ChainView) {
        let Some(last) = self.to_claim(chain) else { return };
        self.settling.tried = Some(last);
        let job = Job::Claim { epoch: last, account: self.account };
        self.start(Pending::Claim(last), job);
    }

    pub(super) fn on_claimed(&mut self, epoch: Epoch, done: &Done) {
        if *done == Done::Claimed {
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

/// The block from which on a watcher objects: one after the other while there is time for it, since one
/// objection is enough and all others fail.
fn object_at(chain: &ChainView, state: &SettlementState, place: usize) -> BlockNumber {
    let last =
        state.open_since.after(chain.schedule.challenge_blocks).before(RESEND_AFTER.times(2));
    let turn = state.open_since.after(Blocks(u64::try_from(place).unwrap_or(u64::MAX)));
    turn.min(last)
}

/// The block from which on it is somebody's turn to finalise.
fn ripe_at(chain: &ChainView, state: &SettlementState, turn: usize, is_own: bool) -> BlockNumber {
    let wait = if is_own { Blocks::ZERO } else { turn_wait(chain, turn) };
    state.open_since.after(chain.schedule.challenge_blocks.plus(wait)).next()
}

fn turn_wait(chain: &ChainView, turn: usize) -> Blocks {
    let turn = u64::try_from(turn).unwrap_or(u64::MAX);
    chain.params().propose_fallback_blocks.times(turn)
}
