//! A chain that does what the contracts do, as far as nodes can tell.

use std::collections::{BTreeMap, BTreeSet};

use protocol::{
    AccountId, Amount, Balance, BlockNumber, Blocks, Digest, Epoch, EvmAddress, ModelId, NodeId,
    Timestamp,
    chain::{
        BlockHeader, ChainEvent, ChainView, Contribution, Model, ProposalAct, Registration,
        Settlement, Transaction,
    },
    codec::Wire,
    eip712::{Domain, EvmKey},
    hash::keccak,
    identity::Binding,
    merkle::verify_sum,
    params::{Params, Schedule},
    receipt::{Receipt, SignedReceipt},
    record::SignedRecord,
    rules::is_by_operator,
};

pub(crate) const TREASURY: AccountId = AccountId(100);
pub(crate) const CONTRIBUTOR: AccountId = AccountId(50);
pub(crate) const BUDGET: Amount = Amount(1_000_000_007);
pub(crate) const EPOCH_BLOCKS: u64 = 40;
pub(crate) const SETTLE_BLOCKS: u64 = 8;

/// The chain and the transactions that wait for its next block.
pub(crate) struct FakeChain {
    pub(crate) view: ChainView,
    pub(crate) waiting: Vec<Transaction>,
    pub(crate) extra: Vec<ChainEvent>,
    pub(crate) paid: Vec<(AccountId, Amount)>,
    pub(crate) bonds_lost: BTreeMap<AccountId, u32>,
    /// Settlements that follow from the chain.
    pub(crate) right: BTreeSet<Digest>,
    /// Whether nobody rules on objections. Then everybody has a bond for one to each settlement.
    pub(crate) is_arbiter_away: bool,
    objections: BTreeSet<(AccountId, Digest)>,
    pub(crate) contested: u64,
    /// Of those that were set aside.
    pub(crate) closed: u64,
    heads: BTreeMap<Epoch, Digest>,
    contributions: u64,
    models: u64,
    seed: u64,
}

pub(crate) fn key(account: u64) -> EvmKey {
    let mut secret = [3u8; 32];
    secret[24..].copy_from_slice(&account.to_be_bytes());
    EvmKey::from_bytes(&secret).unwrap()
}

/// The contract of all deposits, unless a test says otherwise.
pub(crate) const ESCROW: EvmAddress = EvmAddress([0xe5; 20]);

pub(crate) fn domain() -> Domain {
    Domain::new(31337, EvmAddress([0xc0; 20]))
}

impl FakeChain {
    pub(crate) fn new(seed: u64, shard_auditors: u32) -> Self {
        let schedule = Schedule {
            // The first block brings everybody with a stake, which so counts from the first epoch on.
            genesis_block: BlockNumber(2),
            epoch_blocks: Blocks(EPOCH_BLOCKS),
            commit_blocks: Blocks(10),
            settle_blocks: Blocks(SETTLE_BLOCKS),
            challenge_blocks: Blocks(4),
        };
        let mut params = Params::minimal();
        params.training.round_blocks = Blocks(12);
        params.training.fallback_blocks = Blocks(3);
        params.training.auditors = shard_auditors;
        let registry = EvmAddress([1; 20]);
        let view = ChainView::new(domain(), registry, ESCROW, schedule, BUDGET, TREASURY, params);
        Self {
            view,
            waiting: vec![],
            extra: vec![],
            paid: vec![],
            bonds_lost: BTreeMap::new(),
            right: BTreeSet::new(),
            is_arbiter_away: false,
            objections: BTreeSet::new(),
            contested: 0,
            closed: 0,
            heads: BTreeMap::new(),
            contributions: 0,
            models: 0,
            seed,
        }
    }

    /// Registers an account at the next block; `runs_node` binds a node to it.
    pub(crate) fn register(&mut self, account: AccountId, runs_node: bool) {
        let operator = key(account.0).address();
        let binding = Binding {
            chain_id: 31337,
            registry: EvmAddress([1; 20]),
            owner: operator,
            operator,
            payout: operator,
        };
        let mut secret = [account.0 as u8; 32];
        secret[..8].copy_from_slice(&account.0.to_be_bytes());
        let (node, signature) = binding.sign(&secret);
        self.extra.push(ChainEvent::AccountRegistered {
            account,
            owner: operator,
            operator,
            payout: operator,
            node: if runs_node { node } else { NodeId::ZERO },
            binding: signature,
        });
        let stake = Amount(10 * Amount::ONE_OPEN.0);
        self.extra.push(ChainEvent::StakeChanged { account, stake });
    }

    pub(crate) fn now(&self) -> u64 {
        self.view.head().map_or(0, |head| head.number.0)
    }

    /// Makes the next block of everything that waits.
    pub(crate) fn mine(&mut self) {
        let number = BlockNumber(self.now() + 1);
        let hash = keccak(&[b"block", &self.seed.to_be_bytes(), &number.0.to_be_bytes()]);
        let mut events = std::mem::take(&mut self.extra);
        for transaction in std::mem::take(&mut self.waiting) {
            let aside = self.set_aside(number, &transaction, &events);
            let event = self.execute(number, transaction, &events);
            events.extend(aside.into_iter().chain(event));
        }
        let header = BlockHeader { number, hash, timestamp: Timestamp(number.0 * 1000) };
        self.view.apply(header, &events);
    }

    fn execute(
        &mut self,
        now: BlockNumber,
        transaction: Transaction,
        same_block: &[ChainEvent],
    ) -> Option<ChainEvent> {
        match transaction {
            Transaction::Contribute(contribution) => {
                self.contributions += 1;
                let id = self.contributions;
                Some(ChainEvent::ContributionAdmitted(Contribution { id, ..contribution }))
            }
            Transaction::CreateModel(model) => {
                Some(ChainEvent::ModelCreated(Model { id: self.next_model(), ..model }))
            }
            Transaction::RegisterBase(base) => {
                Some(ChainEvent::BaseRegistered(Registration { id: self.next_model(), ..base }))
            }
            Transaction::PublishModel(offer) => Some(ChainEvent::ModelPublished(offer)),
            Transaction::Include { epoch, records } => self.include(now, epoch, records),
            Transaction::Propose { proposer, settlement } => {
                let is_same = |event: &ChainEvent| matches!(event, ChainEvent::Proposed { settlement: of, .. } if *of == settlement);
                (!same_block.iter().any(is_same) && self.may_propose(proposer, &settlement))
                    .then_some(ChainEvent::Proposed { proposer, settlement })
            }
            Transaction::AboutProposal { settlement, act } => {
                let id = settlement.id();
                let proposer = self.view.proposal(&id)?.proposer;
                let is_objection =
                    |e: &ChainEvent| matches!(e, ChainEvent::Objected { id: of, .. } if *of == id);
                let is_objected = same_block.iter().any(is_objection);
                let event = self.about(now, &settlement, act, is_objected);
                let event = event.filter(|event| !same_block.contains(event))?;
                let is_lost = matches!(
                    event,
                    ChainEvent::Defeated { .. } | ChainEvent::Closed { is_right: false, .. }
                );
                if is_lost {
                    *self.bonds_lost.entry(proposer).or_default() += 1;
                }
                Some(event)
            }
            Transaction::CloseContested { number } => {
                let event = ChainEvent::Closed { id: Digest::ZERO, number, is_right: true };
                let is_first = !same_block.contains(&event);
                self.closed += u64::from(is_first);
                is_first.then_some(event)
            }
            Transaction::Claim { account, balance, index, count, path } => {
                let root = self.view.last_final()?.settlement.payout_root;
                let (payload, sum) = ((account, balance).to_bytes(), balance.total());
                verify_sum(&root, count, index, &payload, sum.0, &path).expect("a leaf");
                let due = self.view.claimable(account, balance);
                self.paid.push((account, due.pays));
                if due.stakes > Amount::ZERO {
                    let stake = self.view.account(account)?.stake().saturating_add(due.stakes);
                    self.extra.push(ChainEvent::StakeChanged { account, stake });
                }
                let paid = Balance { free: due.pays, lane: due.stakes };
                (!due.is_nothing()).then_some(ChainEvent::Claimed { account, paid })
            }
            Transaction::Redeem(signed) => self.redeem(signed, same_block),
            dispute @ (Transaction::OpenDispute { .. }
            | Transaction::AnswerDispute(_)
            | Transaction::ExpireDispute { .. }) => self.dispute(now, dispute, same_block),
            other => panic!("the scenarios do not send {other:?}"),
        }
    }

    fn next_model(&mut self) -> ModelId {
        self.models += 1;
        ModelId(self.models)
    }

    fn about(
        &mut self,
        now: BlockNumber,
        settlement: &Settlement,
        act: ProposalAct,
        is_objected: bool,
    ) -> Option<ChainEvent> {
        let (epoch, id) = (settlement.epoch, settlement.id());
        let state = *self.view.proposal(&id)?;
        let settled = self.view.next_to_settle() > epoch;
        match act {
            ProposalAct::Object { account, .. } if self.is_arbiter_away => {
                let may = state.objector.is_none() && !settled && !is_objected;
                let may = may && self.objections.insert((account, id));
                may.then_some(ChainEvent::Objected { epoch, id, account })
            }
            // The arbiter rules at once, and knows.
            ProposalAct::Object { .. } if settled || state.is_right => None,
            ProposalAct::Object { .. } if self.right.contains(&id) => {
                Some(ChainEvent::Ruled { epoch, id, upheld: false })
            }
            ProposalAct::Object { .. } => Some(ChainEvent::Defeated { epoch, id }),
            ProposalAct::Finalise { uses } => {
                let is_ripe = now > state.proposed.after(self.view.schedule.challenge_blocks);
                assert_eq!(Settlement::hash_uses(&uses), settlement.uses);
                (is_ripe && !settled && state.objector.is_none())
                    .then_some(ChainEvent::Finalised { epoch, id })
            }
            ProposalAct::Close => {
                settled.then_some(ChainEvent::Closed { id, number: 0, is_right: false })
            }
            ProposalAct::Challenge(proof) => {
                assert!(!self.right.contains(&id), "{proof:?} is against what is right");
                Some(ChainEvent::Defeated { epoch, id })
            }
            ProposalAct::Rule { .. } => panic!("nobody rules"),
        }
    }

    /// Takes in what is of the epoch and signed by its account's operator, until the cutoff.
    pub(crate) fn include(
        &mut self,
        now: BlockNumber,
        epoch: Epoch,
        records: Vec<SignedRecord>,
    ) -> Option<ChainEvent> {
        let schedule = self.view.schedule;
        if epoch > schedule.epoch_of(now).next() || now >= schedule.cutoff(epoch) {
            return None;
        }
        let mut head = self.heads.get(&epoch).copied().unwrap_or(Digest::ZERO);
        let mut taken = vec![];
        for record in records {
            let Ok(verified) = record.clone().verify(&domain()) else { continue };
            if record.record.epoch == epoch && is_by_operator(&self.view, &verified, now) {
                head = keccak(&[&head.0, &verified.id().0]);
                taken.push(record);
            }
        }
        self.heads.insert(epoch, head);
        (!taken.is_empty()).then_some(ChainEvent::Included { epoch, head, records: taken })
    }

    /// A deposit as it is in the midst of a block.
    fn deposit_of(
        &self,
        key: (EvmAddress, EvmAddress, AccountId),
        same_block: &[ChainEvent],
    ) -> (Amount, Amount) {
        let known = self.view.deposit_in(key.0, key.1, key.2);
        same_block.iter().fold((known.balance, known.redeemed), |now, event| match event {
            ChainEvent::Redeemed { escrow, payer, payee, cumulative, amount }
                if (*escrow, *payer, *payee) == key =>
            {
                (now.0.saturating_sub(*amount), *cumulative)
            }
            ChainEvent::Deposited { escrow, payer, payee, balance, redeemed }
                if (*escrow, *payer, *payee) == key =>
            {
                (*balance, *redeemed)
            }
            _ => now,
        })
    }

    /// Puts something into a deposit, in the next block.
    pub(crate) fn deposit(&mut self, payer: EvmAddress, payee: AccountId, amount: Amount) {
        let escrow = self.view.escrow;
        let (balance, redeemed) = self.deposit_of((escrow, payer, payee), &self.extra);
        let balance = balance.checked_add(amount).unwrap();
        self.extra.push(ChainEvent::Deposited { escrow, payer, payee, balance, redeemed });
    }

    /// As far as the deposit goes.
    fn redeem(&self, signed: SignedReceipt, same_block: &[ChainEvent]) -> Option<ChainEvent> {
        signed.verify(&domain()).ok()?;
        let Receipt { escrow, payer, payee, .. } = signed.receipt;
        let (balance, redeemed) = self.deposit_of((escrow, payer, payee), same_block);
        let amount = signed.receipt.cumulative.saturating_sub(redeemed).min(balance);
        let cumulative = redeemed.checked_add(amount)?;
        let redeemed = ChainEvent::Redeemed { escrow, payer, payee, cumulative, amount };
        (amount > Amount::ZERO).then_some(redeemed)
    }

    /// The same proposal in whose place another one comes.
    fn set_aside(
        &mut self,
        now: BlockNumber,
        transaction: &Transaction,
        same_block: &[ChainEvent],
    ) -> Option<ChainEvent> {
        let Transaction::Propose { settlement, .. } = transaction else { return None };
        let (epoch, id) = (settlement.epoch, settlement.id());
        let room = self.view.makes_room_at(self.view.proposal(&id)?)?;
        let is_aside =
            |event: &ChainEvent| matches!(event, ChainEvent::SetAside { id: of, .. } if *of == id);
        if now < room || same_block.iter().any(is_aside) {
            return None;
        }
        self.contested += 1;
        Some(ChainEvent::SetAside { epoch, id, number: self.contested })
    }

    /// A proposer has bonds for two wrong proposals.
    fn may_propose(&self, proposer: AccountId, settlement: &Settlement) -> bool {
        let parent = self.view.last_final().map_or(Digest::ZERO, |last| last.settlement.id());
        let is_free = |state| self.view.makes_room_at(state).is_some_and(|b| b.0 <= self.now() + 1);
        self.bonds_lost.get(&proposer).is_none_or(|lost| *lost < 2)
            && settlement.epoch == self.view.next_to_settle()
            && self.now() + 1 >= self.view.schedule.cutoff(settlement.epoch).0
            && settlement.records == self.view.records_head(settlement.epoch)
            && self.view.proposal(&settlement.id()).is_none_or(is_free)
            && settlement.parent == parent
    }
}
