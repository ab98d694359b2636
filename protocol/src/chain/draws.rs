//! What follows from the beacons: placement, auditors, proposers. Each is drawn once, by the first
//! block that fixes it.

use alloc::{sync::Arc, vec::Vec};

use super::{
    Account, BlockHeader, ChainEvent, ChainView, Duties, Purpose, SettlementState, drawn::Counting,
};
use crate::{
    draw::{self, Seats, Weights},
    eip712::{address_word, word},
    hash::keccak,
    ids::{AccountId, Amount, BlockNumber, Digest, Epoch, ModelId, NodeId},
    placement::{NodeSeed, PackSeed, Placement, Replication},
};

impl ChainView {
    /// Draws every seed whose block this is, and what follows from it.
    pub(super) fn draw_seeds(&mut self, header: BlockHeader) {
        let epoch = self.schedule.epoch_of(header.number);
        if header.number == self.schedule.start(epoch) {
            self.draw_seed(epoch, Purpose::Commit, header);
            if let Some(previous) = epoch.0.checked_sub(1).map(Epoch) {
                let seed = self.draw_seed(previous, Purpose::Settle, header);
                let unsettled = self.next_to_settle();
                self.drawn.proposers.retain(|of, _| *of >= unsettled);
                self.drawn.watchers.retain(|id, _| self.proposals.contains_key(id));
                let proposers = draw::proposers(&seed, &self.seats_in(epoch));
                self.drawn.proposers.insert(previous, proposers);
            }
            // A whole epoch ahead: who is to hold a pack needs time to fetch it.
            self.place(epoch.next());
        }
        if header.number == self.schedule.commit_deadline(epoch) {
            self.draw_seed(epoch, Purpose::Open, header);
            self.draw_duties(epoch);
        }
    }

    /// Whether a block gives work to nodes that rest ([`crate::node::Node::next_block`]).
    pub fn stirs(&self, header: BlockHeader, events: &[ChainEvent]) -> bool {
        let epoch = self.schedule.epoch_of(header.number);
        let is_turn = header.number == self.schedule.start(epoch)
            || header.number == self.schedule.commit_deadline(epoch);
        // The slots of a run are drawn in the block after its order, and who watches over a settlement
        // in the one after its proposal.
        let is_drawn = |fixed: BlockNumber| fixed.next() == header.number;
        is_turn
            || self.models().any(|(ordered, _)| is_drawn(*ordered))
            || self.proposals.values().any(|state| is_drawn(state.proposed))
            || events.iter().any(|event| {
                matches!(
                    event,
                    ChainEvent::Proposed { .. }
                        | ChainEvent::Objected { .. }
                        | ChainEvent::Ruled { .. }
                        | ChainEvent::Defeated { .. }
                        | ChainEvent::SetAside { .. }
                        | ChainEvent::Closed { .. }
                        | ChainEvent::Finalised { .. }
                        | ChainEvent::DisputeOpened { .. }
                        | ChainEvent::ModelCreated(_)
                        | ChainEvent::ModelPublished(_)
                )
            })
    }

    /// Fixes a beacon from the block that is its own.
    fn draw_seed(&mut self, epoch: Epoch, purpose: Purpose, header: BlockHeader) -> Digest {
        let seed = self.seed_from(epoch, purpose, header);
        let before = self.seeds.insert((epoch, purpose), seed);
        assert!(before.is_none(), "a beacon is drawn once: blocks are folded in once and in order");
        seed
    }

    fn seed_from(&self, epoch: Epoch, purpose: Purpose, header: BlockHeader) -> Digest {
        keccak(&[
            &word(u128::from(self.domain.chain_id())),
            &address_word(self.domain.contract()),
            &word(u128::from(epoch.0)),
            &word(u128::from(purpose as u8)),
            &header.hash.0,
        ])
    }

    /// Fixes who counts in the epochs that begin with a block or began since the last one: each account
    /// by the least stake that stayed in it through the epoch before, if that is enough to count.
    ///
    /// Before anything of the block itself: what comes in it comes in the new epoch.
    pub(super) fn weigh(&mut self, block: BlockNumber) {
        if block < self.schedule.genesis_block {
            return;
        }
        let epoch = self.schedule.epoch_of(block);
        let first = self.drawn.weighed.map_or(Epoch(0), Epoch::next);
        if first > epoch {
            return;
        }
        self.drawn.weighed = Some(epoch);
        // In epochs of which no block was read nothing changed, so those after the first are alike.
        for of in [first, first.next()].into_iter().filter(|of| *of <= epoch) {
            let counting = self.count(of);
            let last = self.drawn.counting.last_key_value();
            if last.is_none_or(|(_, last)| *last != counting) {
                self.drawn.counting.insert(of, counting);
            }
        }
    }

    fn count(&self, epoch: Epoch) -> Counting {
        let before = epoch.0.checked_sub(1).map(Epoch);
        let held = |account: &Account| match before {
            Some(before) => account.least_in(before),
            None => account.staying(),
        };
        let runs_node = |account: &Account| account.node != NodeId::ZERO;
        let stakers = self.weights(held, |_| true);
        let mut nodes = self.weights(held, runs_node);
        // At the start of a network nobody has held anything for an epoch. Then it counts what is held
        // now, which nobody can bring about while one node's stake stays where it is.
        if nodes.is_empty() {
            nodes = self.weights(Account::staying, runs_node);
        }
        Counting { stakers: Arc::new(stakers), nodes: Arc::new(nodes) }
    }

    fn weights(
        &self,
        held: impl Fn(&Account) -> Amount,
        is_in: impl Fn(&Account) -> bool,
    ) -> Weights {
        let least = self.params.economics.min_stake;
        let weight = |account: &Account| Some(held(account)).filter(|held| *held >= least);
        let all = self.accounts.iter().filter(|(_, account)| is_in(account));
        Weights::new(all.filter_map(|(id, account)| Some((*id, weight(account)?.0))))
    }

    fn counting(&self, epoch: Epoch) -> Option<&Counting> {
        self.drawn.weighed.filter(|weighed| epoch <= *weighed)?;
        self.drawn.counting.range(..=epoch).next_back().map(|(_, counting)| counting)
    }

    /// The nodes among which seats and turns of an epoch are drawn, with their weights: the stake that
    /// stayed in each through the whole epoch before, of those that have the least stake that counts.
    /// Empty until the epoch begins, and where nobody has any.
    pub fn seats_in(&self, epoch: Epoch) -> Arc<Weights> {
        self.counting(epoch).map(|counting| Arc::clone(&counting.nodes)).unwrap_or_default()
    }

    /// What every account weighs in an epoch, with a node or without: the stake that stayed in it
    /// through all of it, of those that have the least stake that counts. Empty until the epoch is over.
    pub fn stakers(&self, epoch: Epoch) -> Arc<Weights> {
        self.counting(epoch.next())
            .map(|counting| Arc::clone(&counting.stakers))
            .unwrap_or_default()
    }

    /// From which block on the slots of a run can be known, and from which randomness they are drawn:
    /// the block after the order. A run that was ordered when nobody counted waits for the first epoch
    /// in which somebody does, and for its beacon: what counts was not fixed before.
    pub fn run_start(&self, model: ModelId) -> Option<(BlockNumber, Digest)> {
        let (ordered, _) = self.model(model)?;
        let (ordered, epoch) = (*ordered, self.schedule.epoch_of(*ordered));
        let is_early = ordered < self.schedule.genesis_block;
        if !is_early && !self.seats_in(epoch).is_empty() {
            return Some((ordered, self.hash_after(ordered)?));
        }
        let mut later = self.drawn.counting.range(if is_early { epoch } else { epoch.next() }..);
        let (first, _) = later.find(|(_, counting)| !counting.nodes.is_empty())?;
        Some((self.schedule.start(*first), self.seed(*first, Purpose::Commit)?))
    }

    /// The slots of a training run by the account that works on each, which may have several; by id.
    /// `None` for a run that is not known, or not drawn yet.
    pub fn run_slots(&self, model: ModelId) -> Option<Vec<AccountId>> {
        let (start, beacon) = self.run_start(model)?;
        let weights = self.seats_in(self.schedule.epoch_of(start));
        let paid = self.order(model).map_or(u32::MAX, |order| order.escrow.slots());
        Some(draw::run_slots(&beacon, model, &weights, paid))
    }

    /// How many slots a run would have that is ordered now and pays for all; 0 where nobody counts yet.
    pub fn slots_now(&self) -> u32 {
        let weights = self.seats_in(self.epoch());
        if weights.is_empty() { 0 } else { draw::slot_count(&weights) }
    }

    /// What the accounts of a run weigh in its seats and turns as of a block: one for each slot, of those
    /// whose stake still counts. Slots were drawn by stake, so seats over slots are too.
    pub fn run_weights(&self, slots: &[AccountId], block: BlockNumber) -> Weights {
        let counting = self.seats_in(self.schedule.epoch_of(block));
        Weights::new(slots.iter().filter(|id| counting.of(**id) > 0).map(|id| (*id, 1)))
    }

    /// Draws who recomputes what was proposed in a block, from the hash of the next one.
    pub(super) fn draw_watchers(&mut self, proposed: BlockNumber) {
        let Some(beacon) = self.hash_after(proposed) else { return };
        let weights = self.seats_in(self.schedule.epoch_of(proposed));
        for state in self.proposals.values().filter(|state| state.proposed == proposed) {
            let epoch = state.settlement.epoch;
            let watchers = draw::watchers(&beacon, epoch, state.proposer, &weights);
            self.drawn.watchers.insert(state.id, (proposed, watchers));
        }
    }

    /// Who recomputes a proposal; `None` until the block after it exists.
    pub fn watchers(&self, state: &SettlementState) -> Option<&Seats> {
        let drawn = self.drawn.watchers.get(&state.id);
        drawn.filter(|(proposed, _)| *proposed == state.proposed).map(|(_, watchers)| watchers)
    }

    /// The placement of an epoch: packs and nodes registered at least two epochs before it, so that
    /// there was a whole epoch in which to fetch.
    fn place(&mut self, epoch: Epoch) {
        let Some(newest) = epoch.0.checked_sub(2).map(Epoch) else { return };
        // The first seed after a registration, which whoever registered could not know.
        let seed_after =
            |registered: Epoch| self.seeds.get(&(registered.next(), Purpose::Commit)).copied();
        let packs: Vec<_> = self
            .packs
            .iter()
            .filter(|(_, pack)| pack.admitted <= newest)
            .filter_map(|(hash, pack)| {
                let seed = seed_after(pack.admitted)?;
                Some(PackSeed { hash: *hash, length: pack.length, seed })
            })
            .collect();
        let rule = Replication {
            replicas: self.params.holding.replicas,
            newcomers_bps: self.params.economics.newcomers_bps,
        };
        let begins = newest.next();
        let (snapshot, weights) = (self.schedule.start(begins), self.seats_in(begins));
        let nodes: Vec<_> = self
            .accounts
            .iter()
            .filter(|(_, account)| account.node != NodeId::ZERO && account.registered < snapshot)
            .filter_map(|(id, account)| {
                let seed = seed_after(self.schedule.epoch_of(account.registered))?;
                // In whole OPEN, so that dust moves no pack and costs nobody a new placement.
                let whole = weights.of(*id).checked_div(Amount::ONE_OPEN.0).unwrap_or(0);
                let weight = Amount(whole.saturating_mul(Amount::ONE_OPEN.0));
                Some(NodeSeed { account: *id, weight, seed })
            })
            .collect();
        let placement = self.drawn.placer.place(packs, nodes, rule);
        let before = self.drawn.placements.insert(epoch, placement);
        assert!(before.is_none(), "who holds what in an epoch is decided once");
    }

    fn draw_duties(&mut self, epoch: Epoch) {
        let mut duties = Duties::new();
        for (holder, _) in self.placement(epoch).holders() {
            for auditor in self.storage_auditors(epoch, holder).holders() {
                assert!(auditor != holder, "nobody audits its own storage");
                duties.entry(auditor).or_default().push(holder);
            }
        }
        // A node audits in the current epoch only.
        self.drawn.duties.retain(|of, _| of.next() >= epoch);
        self.drawn.duties.insert(epoch, Arc::new(duties));
        assert!(self.drawn.duties.len() <= 2, "duties are kept of this epoch and the one before");
    }

    /// Who holds what in an epoch. Known one epoch ahead; empty before.
    pub fn placement(&self, epoch: Epoch) -> Arc<Placement> {
        self.drawn.placements.get(&epoch).cloned().unwrap_or_default()
    }

    /// Whose storage each account audits in the current epoch or the one before; empty until the
    /// commit deadline.
    pub fn audit_duties(&self, epoch: Epoch) -> Arc<Duties> {
        self.drawn.duties.get(&epoch).cloned().unwrap_or_default()
    }

    /// The auditors of one holder's storage in an epoch, of those that count in it, without the holder;
    /// none until the commit deadline.
    pub fn storage_auditors(&self, epoch: Epoch, holder: AccountId) -> Seats {
        let Some(seed) = self.seed(epoch, Purpose::Open) else { return Seats::default() };
        let count = self.params.holding.auditors;
        draw::storage_auditors(&seed, holder, &self.seats_in(epoch), count)
    }

    /// An account's first turn to propose the settlement of an epoch, from 0; `None` when it has none,
    /// or the epoch is not over, or its settlement is final. Those whose proposal for it fell come after
    /// all others.
    pub fn proposer_turn(&self, epoch: Epoch, account: AccountId) -> Option<usize> {
        let fallen: Vec<_> = self.defeats(epoch).map(|(id, _)| id).collect();
        self.turn_among(epoch, account, &fallen)
    }

    /// The same as it was drawn: nobody's turn comes earlier or later for what others proposed.
    pub fn drawn_turn(&self, epoch: Epoch, account: AccountId) -> Option<usize> {
        let has_fallen = self.defeats(epoch).any(|(id, _)| id == account);
        self.turn_among(
            epoch,
            account,
            if has_fallen { core::slice::from_ref(&account) } else { &[] },
        )
    }

    fn turn_among(&self, epoch: Epoch, account: AccountId, fallen: &[AccountId]) -> Option<usize> {
        let drawn = self.drawn.proposers.get(&epoch)?;
        if !drawn.is_empty() {
            return drawn.first_of(account, fallen);
        }
        // An epoch in which nobody counted must be settled all the same, by whoever counts since.
        let seed = self.seed(epoch, Purpose::Settle)?;
        draw::proposers(&seed, &self.seats_in(self.epoch())).first_of(account, fallen)
    }
}
