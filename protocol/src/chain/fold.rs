//! How blocks become the chain's state, one event at a time.
//!
//! Every node folds the same logs alone, so nothing here may depend on anything but them and their
//! order. Nothing is taken back: [`super::Recent`] has what stood before.

use super::{
    BlockHeader, ChainEvent, ChainView, Contribution, Deposit, Dispute, Registration,
    state::{Account, Pack, Redemption, SettlementState, is_next},
};
use crate::{
    base::{BaseModel, Registered},
    codec::Wire as _,
    identity::Binding,
    ids::{AccountId, Amount, BlockNumber, Digest, Epoch, EvmAddress, NodeId},
    limits::FEE_EPOCHS,
    record::SignedRecord,
};

impl ChainView {
    /// Folds one block in. Blocks come in order and once; a block at or below the head is ignored.
    pub fn apply(&mut self, header: BlockHeader, events: &[ChainEvent]) {
        if self.head.is_some_and(|head| header.number <= head.number) {
            return;
        }
        // What was included or ordered in the block before waits for the hash of this one. Only where
        // something did: a hash for every block would be most of what the view holds.
        if let Some(head) = self.head
            && let Some(waiting) = self.hash_after.get_mut(&head.number)
        {
            assert!(*waiting == Digest::ZERO, "the hash after a block is fixed once");
            *waiting = header.hash;
            self.draw_watchers(head.number);
        }
        // What everybody weighs is of an epoch that is over, so before what this block brings.
        self.weigh(header.number);
        self.head = Some(header);
        self.inclusions.begin_block();
        // Events before draws: whoever registers in the block that fixes a seed is not drawn by it,
        // since draws look at what was there before the block.
        for event in events {
            self.apply_event(header.number, event);
        }
        self.draw_seeds(header);
    }

    fn apply_event(&mut self, block: BlockNumber, event: &ChainEvent) {
        match event {
            ChainEvent::AccountRegistered { account, owner, operator, payout, node, binding } => {
                let claim = Binding {
                    chain_id: self.domain.chain_id(),
                    registry: self.registry,
                    owner: *owner,
                    operator: *operator,
                    payout: *payout,
                };
                let node = self.bound_node(&claim, node, binding);
                self.register(block, *account, *owner, *operator, *payout, node);
            }
            ChainEvent::OperatorRotated { account, operator } => {
                if let Some(state) = self.accounts.get_mut(account) {
                    state.rotate(block, *operator);
                }
            }
            ChainEvent::PayoutChanged { account, payout } => {
                if let Some(state) = self.accounts.get_mut(account) {
                    state.payout = *payout;
                }
            }
            ChainEvent::StakeChanged { .. }
            | ChainEvent::UnstakeRequested { .. }
            | ChainEvent::Slashed { .. } => self.apply_stake(block, event),
            ChainEvent::DatanetCreated { datanet, owner, name, .. } => {
                self.datanets.insert(*datanet, (*owner, name.clone()));
            }
            ChainEvent::ContributionAdmitted(contribution) => self.admit(block, contribution),
            ChainEvent::ModelCreated(model) => {
                self.await_hash_after(block);
                let order = self.read_order(block, model);
                self.orders.insert(model.id, order);
                self.models.insert(model.id, (block, model.clone()));
            }
            ChainEvent::BaseRegistered(registration) => self.register_base(block, registration),
            ChainEvent::ModelPublished(publication) => {
                // All offers are kept: an output is judged by who offered the model in its epoch, which
                // a later offer must not change.
                let offers = self.publications.entry(publication.model).or_default();
                assert!(is_next(offers, block), "offers of a model follow in order of blocks");
                offers.push((block, *publication));
            }
            ChainEvent::Included { epoch, head, records } => {
                self.include(block, *epoch, *head, records);
            }
            ChainEvent::Deposited { .. }
            | ChainEvent::WithdrawalRequested { .. }
            | ChainEvent::Withdrawn { .. }
            | ChainEvent::Redeemed { .. } => self.apply_deposit(block, event),
            ChainEvent::Claimed { account, paid } => {
                let sum = self.claimed(*account).checked_add(*paid);
                self.claimed.extend(sum.map(|sum| (*account, sum)));
            }
            ChainEvent::Proposed { .. }
            | ChainEvent::Objected { .. }
            | ChainEvent::Ruled { .. }
            | ChainEvent::Defeated { .. }
            | ChainEvent::SetAside { .. }
            | ChainEvent::Closed { .. }
            | ChainEvent::SettlementsChanged
            | ChainEvent::UnknownContract { .. }
            | ChainEvent::BudgetChanged { .. }
            | ChainEvent::Finalised { .. } => self.apply_settlement(block, event),
            ChainEvent::DisputeOpened { .. }
            | ChainEvent::DisputeAnswered { .. }
            | ChainEvent::DisputeExpired { .. } => self.apply_dispute(event),
        }
    }

    /// Takes in what is a base; anything else that was registered as one is nothing.
    fn register_base(&mut self, block: BlockNumber, registration: &Registration) {
        let Registration { id, developer, config } = registration;
        let base = BaseModel::from_bytes(config).ok().filter(BaseModel::is_sane);
        let developer = *developer;
        self.bases.extend(base.map(|base| (*id, Registered { block, developer, base })));
    }

    fn apply_stake(&mut self, block: BlockNumber, event: &ChainEvent) {
        let schedule = self.schedule;
        match event {
            ChainEvent::StakeChanged { account, stake } => {
                if let Some(state) = self.accounts.get_mut(account) {
                    state.set_stake(block, *stake, &schedule);
                }
            }
            ChainEvent::UnstakeRequested { account, leaving } => {
                if let Some(state) = self.accounts.get_mut(account) {
                    state.set_leaving(block, *leaving, &schedule);
                }
            }
            ChainEvent::Slashed { account, amount } => {
                if let Some(state) = self.accounts.get_mut(account) {
                    state.slash(block, *amount, &schedule);
                }
            }
            _ => {}
        }
    }

    fn apply_deposit(&mut self, block: BlockNumber, event: &ChainEvent) {
        match event {
            ChainEvent::Deposited { escrow, payer, payee, balance, redeemed } => {
                self.deposits.change((*escrow, *payer, *payee), |deposit| {
                    *deposit = Deposit { balance: *balance, redeemed: *redeemed, withdrawal: None };
                });
            }
            ChainEvent::WithdrawalRequested { escrow, payer, payee, from, until } => {
                self.deposits.change((*escrow, *payer, *payee), |deposit| {
                    deposit.withdrawal = Some((*from, *until));
                });
            }
            ChainEvent::Withdrawn { escrow, payer, payee } => {
                self.deposits.change((*escrow, *payer, *payee), |deposit| {
                    (deposit.balance, deposit.withdrawal) = (Amount::ZERO, None);
                });
            }
            ChainEvent::Redeemed { escrow, payer, payee, cumulative, amount } => {
                self.deposits.change((*escrow, *payer, *payee), |deposit| {
                    deposit.balance = deposit.balance.saturating_sub(*amount);
                    deposit.redeemed = *cumulative;
                });
                let from = cumulative.saturating_sub(*amount);
                self.redeem(Redemption {
                    escrow: *escrow,
                    payer: *payer,
                    payee: *payee,
                    from,
                    to: *cumulative,
                    amount: *amount,
                    block,
                });
            }
            _ => {}
        }
    }

    fn apply_settlement(&mut self, block: BlockNumber, event: &ChainEvent) {
        match event {
            ChainEvent::Proposed { proposer, settlement } => {
                // Who recomputes it is drawn by the next block.
                self.await_hash_after(block);
                let id = settlement.id();
                let state = SettlementState {
                    proposer: *proposer,
                    settlement: *settlement,
                    id,
                    proposed: block,
                    objector: None,
                    objected: block,
                    is_right: false,
                    is_final: false,
                };
                self.proposals.insert(id, state);
            }
            ChainEvent::Objected { id, account, .. } => {
                if let Some(state) = self.proposals.get_mut(id) {
                    (state.objector, state.objected) = (Some(*account), block);
                }
            }
            ChainEvent::Ruled { id, upheld: false, .. } => {
                if let Some(state) = self.proposals.get_mut(id) {
                    (state.objector, state.is_right) = (None, true);
                }
            }
            ChainEvent::Defeated { id, .. } => {
                self.fall(block, id);
            }
            // Nobody has said that it is wrong, so its proposer comes no later than before.
            ChainEvent::SetAside { id, number, .. } => {
                if let Some(state) = self.proposals.remove(id) {
                    self.contested.insert(*number, state);
                }
            }
            ChainEvent::Closed { id, number: 0, .. } => {
                self.proposals.remove(id);
            }
            ChainEvent::Closed { number, .. } => {
                self.contested.remove(number);
            }
            ChainEvent::BudgetChanged { from, budget } => {
                self.budgets.insert(*from, *budget);
            }
            ChainEvent::UnknownContract { contract } => self.unknown = Some(*contract),
            ChainEvent::SettlementsChanged => {
                // What the old contract holds becomes final nowhere; there its bonds are freed.
                self.proposals.clear();
                self.contested.clear();
            }
            ChainEvent::Finalised { epoch, id } => self.make_final(*epoch, id),
            _ => {}
        }
    }

    /// A proposal is live no more. That is remembered beyond it: who fell for an epoch comes last in its
    /// turns.
    fn fall(&mut self, block: BlockNumber, id: &Digest) {
        if let Some(state) = self.proposals.remove(id) {
            self.defeats.insert((state.settlement.epoch, state.proposer), block);
        }
    }

    fn make_final(&mut self, epoch: Epoch, id: &Digest) {
        if let Some(state) = self.proposals.remove(id) {
            self.settlements.insert(epoch, SettlementState { is_final: true, ..state });
        }
        self.defeats.retain(|(of, _), _| *of > epoch);
        self.note_paid(epoch);
        // The next settlement looks back as far as a fee may be older than its redemption.
        let kept = epoch.next().back(FEE_EPOCHS);
        self.inclusions.forget_before(kept);
        self.disputes.forget_before(kept);
    }

    fn apply_dispute(&mut self, event: &ChainEvent) {
        match *event {
            ChainEvent::DisputeOpened { epoch, account, accuser, commit, cell, until } => {
                let (is_answered, is_closed) = (false, false);
                let dispute =
                    Dispute { account, accuser, commit, cell, until, is_answered, is_closed };
                self.disputes.open(epoch, dispute);
            }
            ChainEvent::DisputeAnswered { epoch, account, commit, cell } => {
                if let Some(dispute) = self.disputes.find_mut(epoch, account, (commit, cell)) {
                    dispute.is_answered = true;
                }
            }
            ChainEvent::DisputeExpired { epoch, account, commit, cell } => {
                if let Some(dispute) = self.disputes.find_mut(epoch, account, (commit, cell)) {
                    dispute.is_closed = true;
                }
            }
            _ => {}
        }
    }

    /// Takes in what the contract took in, which has judged who signed.
    fn include(
        &mut self,
        block: BlockNumber,
        epoch: Epoch,
        head: Digest,
        records: &[SignedRecord],
    ) {
        self.await_hash_after(block);
        self.inclusions.advance(epoch, head);
        for record in records {
            let account = self.accounts.get(&record.record.account);
            if let Some(key) = account.and_then(|account| account.operator_at(block)) {
                let taken = self.inclusions.take(&self.domain, record.clone(), key, block);
                if let Some(record) = taken {
                    self.note_run(&record, block);
                }
            }
        }
    }

    /// Something in this block draws randomness from the next one.
    fn await_hash_after(&mut self, block: BlockNumber) {
        let known = self.hash_after.insert(block, Digest::ZERO);
        let is_unknown = known.is_none_or(|hash| hash == Digest::ZERO);
        assert!(is_unknown, "the hash after a block is not known while its events are read");
    }

    /// Notes what receipts paid. They are cumulative, so what was paid before is the difference.
    fn redeem(&mut self, redemption: Redemption) {
        let last = self.redemptions.last().map(|redemption| redemption.block);
        let is_next = last.is_none_or(|last| last <= redemption.block);
        assert!(is_next, "redemptions follow in order of blocks");
        self.redemptions.push(redemption);
    }

    /// The node that a registration binds, zero for none. The contract cannot check ed25519, so the chain
    /// may carry a binding that is wrong: the account stands, since money goes to accounts, but no node
    /// is taken to be its own. The first valid binding counts: junk must not take a node's name, and what
    /// everybody can copy from an event must not take the node away from its account.
    fn bound_node(&self, claim: &Binding, node: &NodeId, binding: &[u8; 64]) -> NodeId {
        let is_free = *node != NodeId::ZERO && !self.by_node.contains_key(node);
        if is_free && claim.verify(node, binding) { *node } else { NodeId::ZERO }
    }

    fn register(
        &mut self,
        block: BlockNumber,
        account: AccountId,
        owner: EvmAddress,
        operator: EvmAddress,
        payout: EvmAddress,
        node: NodeId,
    ) {
        if node != NodeId::ZERO {
            self.by_node.insert(node, account);
        }
        let state = Account::new(block, owner, operator, payout, node, &self.schedule);
        self.accounts.insert(account, state);
    }

    fn admit(&mut self, block: BlockNumber, contribution: &Contribution) {
        // A length that nobody can prove would take its part of what all others are paid for storing.
        if !contribution.is_in_bounds(self.params.holding.max_pack) {
            return;
        }
        let admitted = self.schedule.epoch_of(block);
        for pack in &contribution.packs {
            // The earliest contribution owns a pack; a later copy brings nothing new.
            self.packs.entry(pack.hash).or_insert(Pack {
                length: pack.length,
                contribution: contribution.id,
                admitted,
            });
        }
        assert!(is_next(&self.contributions, block), "contributions follow in order of blocks");
        self.contributions.push((block, contribution.clone()));
    }
}
