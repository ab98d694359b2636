//! Proposing, watching and finalising settlements; claiming what is owed.

use alloc::{collections::BTreeMap, vec::Vec};

use super::{
    Done, Event, Job, Node, Pending,
    outbox::{Outgoing, RESEND_AFTER},
};
use crate::{
    chain::{ChainView, Challenge, DatanetUse, ProposalAct, SettlementState, Transaction},
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
    /// The settlement that this node came to, to propose it or to see what was proposed, and the uses in it.
    /// All others are wrong.
    right: Option<(Digest, Vec<DatanetUse>)>,
    /// What is known against what is wrong.
    refutations: BTreeMap<Digest, Refutation>,
    /// What it challenged and when it last did, with the blocks of these proposals: the same may be made
    /// again.
    challenged: BTreeMap<(Digest, BlockNumber), BlockNumber>,
    /// To what it objected, alike.
    objected: BTreeMap<(Digest, BlockNumber), BlockNumber>,
    /// What was sent last about proposals of epochs that are settled.
    closed: Outgoing,
    /// The epoch up to which was last claimed, and the one up to which it was last tried.
    claimed: Option<Epoch>,
    tried: Option<Epoch>,
}

/// The challenge that ends a wrong proposal.
#[derive(Debug)]
enum Refutation {
    /// It is looked for since a block.
    Sought(BlockNumber),
    Known(Challenge),
    /// Nobody knows one who was asked.
    Unknown,
}

/// What a node does about a settlement.
#[derive(Debug, Clone, Copy)]
enum Step<'a> {
    Propose,
    Verify(&'a SettlementState),
    Refute(&'a SettlementState),
    Challenge(&'a SettlementState),
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
            refutations: BTreeMap::new(),
            challenged: BTreeMap::new(),
            objected: BTreeMap::new(),
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
            self.refutations.clear();
            self.challenged.clear();
            self.objected.clear();
        }
    }

    /// Whether a proposal is right, as far as this node knows.
    fn judges(&self, id: &Digest) -> Option<bool> {
        self.right.as_ref().map(|(right, _)| right == id)
    }
}

impl Node {
    pub(super) fn advance_settlement(&mut self, chain: &ChainView) {
        let Some(now) = chain.head().map(|head| head.number) else { return };
        self.claim_own(chain);
        self.close(chain, now);
        let epoch = chain.next_to_settle();
        self.settling.enter(epoch);
        // All that is wrong at once: each has a window of its own.
        while let Some((due, step)) = self.next_step(chain, epoch)
            && due <= now
        {
            match step {
                Step::Propose => {
                    self.settling.is_busy = true;
                    self.start(Pending::Settle(epoch), Job::Settle { epoch });
                }
                Step::Verify(state) => self.verify(state),
                Step::Refute(state) => self.refute(state, now),
                Step::Challenge(state) => self.challenge(state, now),
                Step::Object(state) => self.object(state, now),
                Step::Finalise(state) => self.finalise(state, now),
            }
        }
    }

    /// The block from which on the settlement may go on by itself.
    pub(super) fn settling_wakes(&self, chain: &ChainView) -> Option<BlockNumber> {
        let epoch = chain.next_to_settle();
        if self.to_claim(chain).is_some() || self.settling.epoch != epoch {
            return Some(BlockNumber(0));
        }
        let closes = chain.to_close(self.account).map(|_| self.settling.closed.due());
        let next = self.next_step(chain, epoch).map(|(due, _)| due);
        next.into_iter().chain(closes).min()
    }

    /// What this node does next about the settlement of an epoch, and from which block on.
    fn next_step<'a>(&self, chain: &'a ChainView, epoch: Epoch) -> Option<(BlockNumber, Step<'a>)> {
        // Whoever does not hear all that counts does not know what is right.
        if chain.unknown_contract().is_some() {
            return None;
        }
        let turn = chain.proposer_turn(epoch, self.account)?;
        let proposes = self.propose_at(chain, epoch, turn).map(|due| (due, Step::Propose));
        let proposals = chain.proposals(epoch);
        let steps = proposals.filter_map(|state| self.step_about(chain, state, turn));
        let steps = steps.chain(proposes).filter_map(|(due, step)| match step {
            // What is wrong waits for nothing that this node does besides.
            Step::Refute(_) | Step::Challenge(_) | Step::Object(_) => Some((due, step)),
            _ if self.settling.is_busy => None,
            _ => Some((due.max(self.settling.acted.due()), step)),
        });
        steps.min_by_key(|(due, _)| *due)
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
            Some(false) => self.step_against(chain, state, place.unwrap_or(turn)),
            _ if state.objector.is_some() => None,
            _ => {
                let is_own = state.proposer == self.account;
                Some((ripe_at(chain, state, turn, is_own), Step::Finalise(state)))
            }
        }
    }

    /// What this node does next about a wrong proposal: the contract decides where it can, and else the
    /// arbiter, who may be away or wrong.
    fn step_against<'a>(
        &self,
        chain: &ChainView,
        state: &'a SettlementState,
        place: usize,
    ) -> Option<(BlockNumber, Step<'a>)> {
        let of = (state.id, state.proposed);
        let again = |sent: &BlockNumber| sent.after(RESEND_AFTER);
        let challenged = self.settling.challenged.get(&of).map(again);
        let last = last_to_object(chain, state);
        let waits = match (self.settling.refutations.get(&state.id), challenged) {
            (None, _) => return Some((BlockNumber(0), Step::Refute(state))),
            (Some(Refutation::Known(_)), None) => {
                return Some((in_turn(state, place).min(last), Step::Challenge(state)));
            }
            // An objection stops it, but what ends it must have got lost.
            (Some(Refutation::Known(_)), Some(again)) if state.objector.is_some() => {
                return Some((again, Step::Challenge(state)));
            }
            (Some(Refutation::Known(_)), again) => again,
            (Some(Refutation::Sought(since)), _) => Some(again(since)),
            (Some(Refutation::Unknown), _) => None,
        };
        // One objection is enough, and to what was found right none is taken.
        if state.objector.is_some() || state.is_right {
            return None;
        }
        if let Some(again) = self.settling.objected.get(&of).map(again) {
            let end = state.proposed.after(chain.schedule.challenge_blocks);
            return (again < end).then_some((again, Step::Object(state)));
        }
        let due = self.object_at(chain, state, place);
        Some((waits.map_or(due, |until| due.max(until.min(last))), Step::Object(state)))
    }

    /// The block from which on this node objects: one after the other, since one objection is enough and
    /// all others fail. Where what is right stands beside it, and becomes final first if nobody objects to
    /// that, there is time.
    fn object_at(&self, chain: &ChainView, state: &SettlementState, place: usize) -> BlockNumber {
        let last = last_to_object(chain, state);
        let turn = in_turn(state, place);
        let place = u64::try_from(place).unwrap_or(u64::MAX);
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
        self.start(Pending::Verify(state.settlement.epoch), job);
    }

    fn refute(&mut self, state: &SettlementState, now: BlockNumber) {
        self.settling.refutations.insert(state.id, Refutation::Sought(now));
        self.start(Pending::Refute(state.id), Job::Refute { settlement: state.settlement });
    }

    pub(super) fn on_refuted(&mut self, chain: &ChainView, id: &Digest, done: Done) {
        // Of an epoch that is settled there is none.
        let Some(refutation) = self.settling.refutations.get_mut(id) else { return };
        *refutation = match done {
            Done::Refuted(Some(challenge)) => Refutation::Known(challenge),
            _ => Refutation::Unknown,
        };
        self.advance_settlement(chain);
    }

    fn challenge(&mut self, state: &SettlementState, now: BlockNumber) {
        let before = self.settling.challenged.insert((state.id, state.proposed), now);
        if let Some(Refutation::Known(challenge)) = self.settling.refutations.get(&state.id) {
            let act = ProposalAct::Challenge(challenge.clone());
            self.act(state, act);
            if before.is_none() {
                self.tell(Event::WrongSettlement { epoch: state.settlement.epoch });
            }
        }
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

    /// Objects, again until somebody's objection shows: one that got lost objects to nothing.
    fn object(&mut self, state: &SettlementState, now: BlockNumber) {
        let before = self.settling.objected.insert((state.id, state.proposed), now);
        let reason = keccak(&[b"openledger/objection/recomputed", &state.id.0]);
        self.act(state, ProposalAct::Object { account: self.account, reason });
        if before.is_none() {
            self.tell(Event::WrongSettlement { epoch: state.settlement.epoch });
        }
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

    pub(super) fn on_verified(&mut self, chain: &ChainView, epoch: Epoch, done: Done) {
        self.settling.is_busy = false;
        if epoch != self.settling.epoch {
            return;
        }
        match done {
            Done::Settled(settlement, uses) => self.settling.right = Some((settlement.id(), uses)),
            // A host that cannot do it says nothing about the settlement, and tries again later.
            _ => self.settling.acted = Outgoing::sent(chain.now()),
        }
        // A window may be a few blocks long.
        self.advance_settlement(chain);
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

/// The block from which on it is somebody's turn to act against a proposal.
fn in_turn(state: &SettlementState, place: usize) -> BlockNumber {
    state.proposed.after(Blocks(u64::try_from(place).unwrap_or(u64::MAX)))
}

/// The last block in which an objection is sent for the first time, so that it can be sent again.
fn last_to_object(chain: &ChainView, state: &SettlementState) -> BlockNumber {
    state.proposed.after(chain.schedule.challenge_blocks).before(RESEND_AFTER.times(2))
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
