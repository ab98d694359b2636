//! Proposing, watching and finalising settlements; claiming what is owed.

use alloc::vec::Vec;

use super::{
    Done, Event, Failure, Job, Node, Pending,
    outbox::{Outgoing, RESEND_AFTER},
};
use crate::{
    chain::{ChainView, DatanetUse, ProposalAct, SettlementState, Transaction},
    hash::keccak,
    ids::{BlockNumber, Blocks, Digest, Epoch},
    limits::MAX_LOG_BYTES,
    rules::cutoff,
};

/// In how many turns the watchers object whose log cannot be had.
const DOUBT_TURNS: usize = 4;
/// For how many blocks a watcher asks for a log before it objects that it cannot have it.
const PATIENCE: Blocks = Blocks(8);

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
    /// The proposal whose log was asked for, and in which block first.
    asked: Option<(Digest, BlockNumber)>,
    /// The proposal whose log could not be had when it was last asked for.
    missed: Option<Digest>,
    /// The settlement that this node made itself or has the log of, and the uses in it.
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
            asked: None,
            missed: None,
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
            self.asked = None;
            self.missed = None;
        }
    }
}

impl Node {
    pub(super) fn advance_settlement(&mut self, chain: &ChainView) {
        let Some(now) = chain.head().map(|head| head.number) else { return };
        self.claim_own(chain);
        let epoch = chain.next_to_settle();
        self.settling.enter(epoch);
        self.object_in_doubt(chain, epoch, now);
        if self.settling.is_busy || now < self.settling.acted.due() {
            return;
        }
        let Some((due, step)) = self.next_step(chain, epoch, now) else { return };
        if now < due {
            return;
        }
        match (step, chain.settlement(epoch)) {
            (Step::Propose, _) => {
                self.settling.is_busy = true;
                self.start(Pending::Settle(epoch), Job::Settle { epoch });
            }
            (Step::Verify, Some(state)) => self.verify(epoch, state, now),
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
        let doubts = self.doubts_at(chain, epoch);
        if self.settling.is_busy {
            return doubts;
        }
        let next = self.next_step(chain, epoch, chain.head()?.number);
        let acts = next.map(|(due, _)| due.max(self.settling.acted.due()));
        acts.into_iter().chain(doubts).min()
    }

    /// What this node does next about the settlement of an epoch, and from which block on.
    fn next_step(
        &self,
        chain: &ChainView,
        epoch: Epoch,
        now: BlockNumber,
    ) -> Option<(BlockNumber, Step)> {
        let turn = chain.proposer_turn(epoch, self.account)?;
        let Some(state) = chain.settlement(epoch) else {
            return Some((self.propose_at(chain, epoch, turn), Step::Propose));
        };
        let anew = self.replace_at(chain, state, turn).map(|turn| (turn, Step::Propose));
        if self.settling.missed == Some(state.id) && anew.is_some_and(|(turn, _)| now >= turn) {
            return anew;
        }
        let is_own = state.proposer == self.account;
        let is_watcher = self.watches(chain, state).is_some();
        if is_watcher && self.settling.watched != Some(state.id) {
            return Some((BlockNumber(0), Step::Verify));
        }
        if self.settling.distrusted == Some(state.id) {
            if self.settling.objected == Some(state.proposed) {
                return anew;
            }
            return Some((BlockNumber(0), Step::Object));
        }
        // While an objection waits for the arbiter nobody can make it final.
        state.objector.is_none().then(|| (ripe_at(chain, state, turn, is_own), Step::Finalise))
    }

    /// The place of this node among those who were drawn to recompute a proposal.
    fn watches(&self, chain: &ChainView, state: &SettlementState) -> Option<usize> {
        chain.watchers(state)?.first_of(self.account)
    }

    fn verify(&mut self, epoch: Epoch, state: &SettlementState, now: BlockNumber) {
        // Nobody has to take in more than any log needs in order to say that it is wrong.
        if state.settlement.log_length > MAX_LOG_BYTES as u64 {
            self.conclude(epoch, state, None);
            return;
        }
        self.settling.is_busy = true;
        if self.settling.asked.is_none_or(|(id, _)| id != state.id) {
            self.settling.asked = Some((state.id, now));
        }
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
            // The log says what the hash stands for, and nobody may make final what it does not have:
            // the next settlement builds on it. Settling anew may give another one, for the proposer
            // too: records that came after the proposal change it.
            _ => self.verify(epoch, state, now),
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
        // The log of a proposal that is the same is here now.
        self.settling.missed = self.settling.missed.filter(|missed| *missed != id);
        let Some(now) = chain.head().map(|head| head.number) else { return };
        let is_open = chain.settlement(epoch).is_none_or(|state| {
            state.id != id && chain.lapses_at(state).is_some_and(|block| now >= block)
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

    /// Objects before the window closes where the log cannot be had: whoever keeps it to itself could
    /// otherwise make anything final.
    fn object_in_doubt(&mut self, chain: &ChainView, epoch: Epoch, now: BlockNumber) {
        let Some(state) = chain.settlement(epoch) else { return };
        if self.doubts_at(chain, epoch).is_some_and(|turn| now >= turn)
            && self.object(epoch, state, b"openledger/objection/no log")
        {
            self.tell(Event::LogMissing { epoch });
        }
    }

    /// The block from which on this watcher objects to a proposal whose log it has asked for in vain:
    /// one after the other in the last blocks of the window, so that one of them pays the bond.
    fn doubts_at(&self, chain: &ChainView, epoch: Epoch) -> Option<BlockNumber> {
        let state = chain.settlement(epoch)?;
        let place = self.watches(chain, state)?;
        let (_, since) = self.settling.asked.filter(|(id, _)| *id == state.id)?;
        let is_answered = state.proposer == self.account
            || state.objector.is_some()
            || self.settling.watched == Some(state.id)
            || self.settling.objected == Some(state.proposed);
        let until = state.open_since.after(chain.schedule.challenge_blocks);
        let later = DOUBT_TURNS.saturating_sub(place.checked_rem(DOUBT_TURNS)?);
        let places = Blocks(u64::try_from(later).ok()?);
        // An objection takes some blocks to the chain.
        let turn = until.before(RESEND_AFTER.plus(places)).max(since.after(PATIENCE));
        (!is_answered && turn < until).then_some(turn)
    }

    /// The block from which on it is this node's turn to propose. When a proposal fell the turns
    /// begin anew, or all who had theirs would propose at once.
    fn propose_at(&self, chain: &ChainView, epoch: Epoch, turn: usize) -> BlockNumber {
        let first = cutoff(chain, epoch);
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
            // A host that cannot do it says nothing about the log.
            Done::Failed(Failure::Local) => {
                self.settling.asked = None;
                return;
            }
            // A log that could not be had yet is asked for again at the next block.
            _ => {
                self.settling.missed = Some(id);
                return;
            }
        };
        self.conclude(epoch, state, found);
    }

    /// Keeps what came out of recomputing a proposal: its uses, or nothing where it is wrong, which
    /// this node then objects to.
    fn conclude(&mut self, epoch: Epoch, state: &SettlementState, found: Option<Vec<DatanetUse>>) {
        (self.settling.watched, self.settling.missed) = (Some(state.id), None);
        match found {
            Some(uses) => self.settling.uses = Some((state.id, uses)),
            None => {
                self.settling.distrusted = Some(state.id);
                self.object_to_wrong(epoch, state);
            }
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
    state.open_since.after(chain.schedule.challenge_blocks.plus(wait)).next()
}

fn turn_wait(chain: &ChainView, turn: usize) -> Blocks {
    let turn = u64::try_from(turn).unwrap_or(u64::MAX);
    chain.params().propose_fallback_blocks.times(turn)
}
