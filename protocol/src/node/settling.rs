//! Proposing, watching and finalising settlements; claiming what is owed.

use alloc::{collections::BTreeSet, vec::Vec};

use super::{
    Done, Event, Job, Node, Pending,
    outbox::{Outgoing, RESEND_AFTER},
};
use crate::{
    chain::{ChainView, DatanetUse, ProposalAct, SettlementState, Transaction},
    draw::WATCHERS,
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
    /// The settlement that this node came to, by itself or by recomputing what was proposed, and the
    /// uses in it. All others are wrong.
    right: Option<(Digest, Vec<DatanetUse>)>,
    /// What it found wrong.
    wrong: BTreeSet<Digest>,
    /// To what it objected, with the blocks of these proposals: the same may be made again.
    objected: BTreeSet<(Digest, BlockNumber)>,
    /// What was sent last about proposals of epochs that are settled.
    closed: Outgoing,
    /// The epoch up to which was last claimed, and the one up to which it was last tried.
    claimed: Option<Epoch>,
    tried: Option<Epoch>,
}

/// What a node does about a settlement.
#[derive(Debug, Clone, Copy)]
enum Step<'a> {
    Propose,
    Verify(&'a SettlementState),
    Object(&'a SettlementState),
    Finalise(&'a SettlementState),
}

impl Settling {
    pub(super) const fn new() -> Self {
        Self {
            epoch: Epoch(0),
            is_busy: false,
            acted: Outgoing::new(),
            right: None,
            wrong: BTreeSet::new(),
            objected: BTreeSet::new(),
            closed: Outgoing::new(),
            claimed: None,
            tried: None,
        }
    }

    fn enter(&mut self, epoch: Epoch) {
        if self.epoch != epoch {
            self.epoch = epoch;
            self.is_busy = false;
            self.acted = Outgoing::new();
            self.right = None;
            self.wrong.clear();
            self.objected.clear();
        }
    }

    /// Whether a proposal is right, as far as this node knows.
    fn judges(&self, id: &Digest) -> Option<bool> {
        let is_wrong = self.wrong.contains(id).then_some(false);
        self.right.as_ref().map(|(right, _)| right == id).or(is_wrong)
    }

    fn has_objected(&self, state: &SettlementState) -> bool {
        self.objected.contains(&(state.id, state.proposed))
    }
}

impl Node {
    pub(super) fn advance_settlement(&mut self, chain: &ChainView) {
        let Some(now) = chain.head().map(|head| head.number) else { return };
        self.claim_own(chain);
        self.close(chain, now);
        let epoch = chain.next_to_settle();
        self.settling.enter(epoch);
        if self.settling.is_busy || now < self.settling.acted.due() {
            return;
        }
        let Some((due, step)) = self.next_step(chain, epoch) else { return };
        if now < due {
            return;
        }
        match step {
            Step::Propose => {
                self.settling.is_busy = true;
                self.start(Pending::Settle(epoch), Job::Settle { epoch });
            }
            Step::Verify(state) => self.verify(state),
            Step::Object(state) => self.object(state),
            Step::Finalise(state) => self.finalise(state, now),
        }
    }

    /// The block from which on the settlement may go on by itself.
    pub(super) fn settling_wakes(&self, chain: &ChainView) -> Option<BlockNumber> {
        let epoch = chain.next_to_settle();
        if self.to_claim(chain).is_some() || self.settling.epoch != epoch {
            return Some(BlockNumber(0));
        }
        let closes = chain.to_close(self.account).map(|_| self.settling.closed.due());
        if self.settling.is_busy {
            return closes;
        }
        let next = self.next_step(chain, epoch);
        let next = next.map(|(due, _)| due.max(self.settling.acted.due()));
        next.into_iter().chain(closes).min()
    }

    /// What this node does next about the settlement of an epoch, and from which block on.
    fn next_step<'a>(&self, chain: &'a ChainView, epoch: Epoch) -> Option<(BlockNumber, Step<'a>)> {
        let turn = chain.proposer_turn(epoch, self.account)?;
        let proposes = self.propose_at(chain, epoch, turn).map(|due| (due, Step::Propose));
        let proposals = chain.proposals(epoch);
        let steps = proposals.filter_map(|state| self.step_about(chain, state, turn));
        steps.chain(proposes).min_by_key(|(due, _)| *due)
    }

    fn step_about<'a>(
        &self,
        chain: &ChainView,
        state: &'a SettlementState,
        turn: usize,
    ) -> Option<(BlockNumber, Step<'a>)> {
        let place = self.watches(chain, state);
        match self.settling.judges(&state.id) {
            None if place.is_some() => Some((BlockNumber(0), Step::Verify(state))),
            // One objection is enough, and to what was found right none is taken.
            _ if state.objector.is_some() => None,
            Some(false) if state.is_right || self.settling.has_objected(state) => None,
            Some(false) => {
                let due = self.object_at(chain, state, place.unwrap_or(turn));
                Some((due, Step::Object(state)))
            }
            _ => {
                let is_own = state.proposer == self.account;
                Some((ripe_at(chain, state, turn, is_own), Step::Finalise(state)))
            }
        }
    }

    /// The block from which on this node objects: one after the other, since one objection is enough and
    /// all others fail. Where what is right stands beside it, and becomes final first if nobody objects to
    /// that, there is time.
    fn object_at(&self, chain: &ChainView, state: &SettlementState, place: usize) -> BlockNumber {
        let last =
            state.proposed.after(chain.schedule.challenge_blocks).before(RESEND_AFTER.times(2));
        let place = u64::try_from(place).unwrap_or(u64::MAX);
        let turn = state.proposed.after(Blocks(place));
        let is_safe = chain
            .proposals(state.settlement.epoch)
            .any(|other| other.objector.is_none() && self.settling.judges(&other.id) == Some(true));
        let before = Blocks(u64::from(WATCHERS).saturating_sub(place));
        let turn = if is_safe { turn.max(last.before(before)) } else { turn };
        turn.min(last)
    }

    /// The place of this node among those who were drawn to recompute a proposal.
    fn watches(&self, chain: &ChainView, state: &SettlementState) -> Option<usize> {
        chain.watchers(state)?.first_of(self.account)
    }

    fn verify(&mut self, state: &SettlementState) {
        self.settling.is_busy = true;
        let job = Job::Verify { settlement: state.settlement };
        self.start(Pending::Verify(state.settlement.epoch, state.id), job);
    }

    fn finalise(&mut self, state: &SettlementState, now: BlockNumber) {
        match &self.settling.right {
            Some((id, uses)) if *id == state.id => {
                let uses = uses.clone();
                self.settling.acted = Outgoing::sent(now);
                self.act(state, ProposalAct::Finalise { uses });
            }
            // Nobody makes final what it did not come to itself.
            _ => self.verify(state),
        }
    }

    fn act(&mut self, state: &SettlementState, act: ProposalAct) {
        self.submit(Transaction::AboutProposal { settlement: state.settlement, act });
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
        self.settling.right = Some((id, uses));
        let Some(now) = chain.head().map(|head| head.number) else { return };
        // Somebody may have proposed the same already.
        let is_open = chain
            .proposal(&id)
            .is_none_or(|state| chain.makes_room_at(state).is_some_and(|block| now >= block));
        if is_open {
            self.settling.acted = Outgoing::sent(now);
            self.submit(Transaction::Propose { proposer: self.account, settlement });
        }
    }

    /// Objects once to each time that a settlement is proposed.
    fn object(&mut self, state: &SettlementState) {
        self.settling.objected.insert((state.id, state.proposed));
        let reason = keccak(&[b"openledger/objection/recomputed", &state.id.0]);
        self.act(state, ProposalAct::Object { account: self.account, reason });
        self.tell(Event::WrongSettlement { epoch: state.settlement.epoch });
    }

    /// The block from which on it is this node's turn to propose, beside what stands or in place of what
    /// the arbiter was too late for. `None` as long as something stands that may become final.
    ///
    /// A false proposal takes nobody's turn: once somebody objects to it, the next in turn proposes beside
    /// it, and when it falls all turns that are to come stay where they were drawn. Those that are over come
    /// again, a block each, or all who had theirs would propose at once.
    fn propose_at(&self, chain: &ChainView, epoch: Epoch, turn: usize) -> Option<BlockNumber> {
        let drawn = chain.drawn_turn(epoch, self.account)?;
        let own = chain.schedule.cutoff(epoch).after(turn_wait(chain, drawn));
        let fell = chain.defeats(epoch).map(|(_, fell)| fell).max();
        let again = Blocks(u64::try_from(turn).unwrap_or(u64::MAX)).min(turn_wait(chain, 1));
        let missed = fell.filter(|fell| own < *fell).map(|fell| fell.after(again));
        let mut due = missed.unwrap_or(own);
        for state in chain.proposals(epoch) {
            match (self.settling.judges(&state.id), chain.makes_room_at(state)) {
                // What is right and waits for the arbiter is proposed again when that was too late.
                (Some(true), Some(block)) => due = due.max(block.after(turn_wait(chain, turn))),
                (Some(true), None) => return None,
                (None, None) => return None,
                _ => {}
            }
        }
        Some(due)
    }

    pub(super) fn on_verified(&mut self, chain: &ChainView, epoch: Epoch, id: Digest, done: Done) {
        self.settling.is_busy = false;
        if epoch != self.settling.epoch {
            return;
        }
        match done {
            Done::Verified(Some(uses)) => self.settling.right = Some((id, uses)),
            Done::Verified(None) => {
                self.settling.wrong.insert(id);
            }
            // A host that cannot do it says nothing about the settlement, and tries again later.
            _ => self.settling.acted = Outgoing::sent(chain.now()),
        }
    }

    /// Ends what was proposed for an epoch that is settled, where this node gains by it.
    fn close(&mut self, chain: &ChainView, now: BlockNumber) {
        if now < self.settling.closed.due() {
            return;
        }
        if let Some(transaction) = chain.to_close(self.account) {
            self.settling.closed = Outgoing::sent(now);
            self.submit(transaction);
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

/// The block from which on it is somebody's turn to finalise.
fn ripe_at(chain: &ChainView, state: &SettlementState, turn: usize, is_own: bool) -> BlockNumber {
    let wait = if is_own { Blocks::ZERO } else { turn_wait(chain, turn) };
    state.proposed.after(chain.schedule.challenge_blocks.plus(wait)).next()
}

fn turn_wait(chain: &ChainView, turn: usize) -> Blocks {
    let turn = u64::try_from(turn).unwrap_or(u64::MAX);
    chain.params().propose_fallback_blocks.times(turn)
}
