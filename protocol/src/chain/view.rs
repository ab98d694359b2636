//! The chain's state as far as the protocol needs it, and what can be asked of it.

use alloc::{collections::BTreeMap, string::String, sync::Arc, vec::Vec};
use core::ops::RangeInclusive;

use super::{
    BlockHeader, Contribution, Model, ModelPublication, ProposalAct, Transaction,
    deposits::{Deposit, Deposits},
    disputes::{Dispute, Disputes},
    drawn::Drawn,
    inclusions::{Inclusions, part_of},
    runs::Runs,
    state::{Account, Pack, Purpose, Redemption, SettlementState},
};
use crate::{
    balance::{Balance, Due},
    base::Registered,
    blob::BlobRef,
    draw::Part,
    eip712::Domain,
    ids::{
        AccountId, Amount, BlockNumber, DatanetId, Digest, Epoch, EvmAddress, Hash, ModelId, NodeId,
    },
    order::{Data, Order, OrderFault},
    params::{Params, Schedule},
    record::{Kind, VerifiedRecord},
    training::RunConfig,
};

/// The chain as every honest observer sees it. One per process, lent to machines.
#[derive(Debug, Clone)]
pub struct ChainView {
    /// The domain of records.
    pub domain: Domain,
    /// The Registry, which bindings name.
    pub registry: EvmAddress,
    /// The UsageEscrow of which receipts are taken now.
    pub escrow: EvmAddress,
    /// Epochs in blocks.
    pub schedule: Schedule,
    /// Emission of an epoch, as long as the chain says of no other.
    pub budget: Amount,
    /// The account that receives the platform's share.
    pub treasury: AccountId,
    pub(super) params: Params,
    /// Emission of the epochs from one on.
    pub(super) budgets: BTreeMap<Epoch, Amount>,
    pub(super) head: Option<BlockHeader>,
    pub(super) accounts: BTreeMap<AccountId, Account>,
    pub(super) by_node: BTreeMap<NodeId, AccountId>,
    pub(super) datanets: BTreeMap<DatanetId, (AccountId, String)>,
    pub(super) contributions: Vec<(BlockNumber, Contribution)>,
    pub(super) packs: BTreeMap<Hash, Pack>,
    pub(super) models: BTreeMap<ModelId, (BlockNumber, Model)>,
    /// What each order came to when it was made.
    pub(super) orders: BTreeMap<ModelId, Result<Order, OrderFault>>,
    /// Models that no run made.
    pub(super) bases: BTreeMap<ModelId, Registered>,
    /// Every offer of a model, with the block that made it.
    pub(super) publications: BTreeMap<ModelId, Vec<(BlockNumber, ModelPublication)>>,
    pub(super) inclusions: Inclusions,
    pub(super) runs: Runs,
    pub(super) disputes: Disputes,
    /// What is final.
    pub(super) settlements: BTreeMap<Epoch, SettlementState>,
    /// Proposals that are not, by their ids: each has locked a bond of an epoch's budget.
    pub(super) proposals: BTreeMap<Digest, SettlementState>,
    /// Those that were set aside, by their numbers.
    pub(super) contested: BTreeMap<u64, SettlementState>,
    /// When an account's last proposal for an epoch that is not settled fell.
    pub(super) defeats: BTreeMap<(Epoch, AccountId), BlockNumber>,
    pub(super) redemptions: Vec<Redemption>,
    pub(super) deposits: Deposits,
    pub(super) claimed: BTreeMap<AccountId, Balance>,
    pub(super) seeds: BTreeMap<(Epoch, Purpose), Digest>,
    /// Hash of the block after one in which something was included or ordered.
    pub(super) hash_after: BTreeMap<BlockNumber, Digest>,
    pub(super) drawn: Drawn,
    /// A contract that the governors named and the network's file does not.
    pub(super) unknown: Option<EvmAddress>,
}

impl ChainView {
    /// An empty view of a deployment.
    pub const fn new(
        domain: Domain,
        registry: EvmAddress,
        escrow: EvmAddress,
        schedule: Schedule,
        budget: Amount,
        treasury: AccountId,
        params: Params,
    ) -> Self {
        Self {
            domain,
            registry,
            escrow,
            schedule,
            budget,
            treasury,
            params,
            budgets: BTreeMap::new(),
            head: None,
            accounts: BTreeMap::new(),
            by_node: BTreeMap::new(),
            datanets: BTreeMap::new(),
            contributions: Vec::new(),
            packs: BTreeMap::new(),
            models: BTreeMap::new(),
            bases: BTreeMap::new(),
            orders: BTreeMap::new(),
            publications: BTreeMap::new(),
            inclusions: Inclusions::new(),
            runs: Runs::new(),
            disputes: Disputes::new(),
            settlements: BTreeMap::new(),
            proposals: BTreeMap::new(),
            contested: BTreeMap::new(),
            defeats: BTreeMap::new(),
            redemptions: Vec::new(),
            deposits: Deposits::new(),
            claimed: BTreeMap::new(),
            seeds: BTreeMap::new(),
            hash_after: BTreeMap::new(),
            drawn: Drawn::new(),
            unknown: None,
        }
    }

    /// The network's parameters.
    pub const fn params(&self) -> &Params {
        &self.params
    }

    /// What an epoch may emit: what the last change says that counts for it.
    pub fn budget_of(&self, epoch: Epoch) -> Amount {
        self.budgets.range(..=epoch).next_back().map_or(self.budget, |(_, budget)| *budget)
    }

    /// The newest block; `None` before the first.
    pub const fn head(&self) -> Option<BlockHeader> {
        self.head
    }

    /// The number of the newest block, by which machines tell time; 0 before the first.
    pub fn now(&self) -> BlockNumber {
        self.head.map_or(BlockNumber(0), |head| head.number)
    }

    /// The epoch of the newest block.
    pub fn epoch(&self) -> Epoch {
        self.head.map_or(Epoch(0), |head| self.schedule.epoch_of(head.number))
    }

    /// An account as the chain has it now; `None` where there is none of that id.
    pub fn account(&self, id: AccountId) -> Option<&Account> {
        self.accounts.get(&id)
    }

    /// All accounts, by id.
    pub fn accounts(&self) -> impl Iterator<Item = (AccountId, &Account)> {
        self.accounts.iter().map(|(id, account)| (*id, account))
    }

    /// The account that runs a node.
    pub fn account_of(&self, node: &NodeId) -> Option<AccountId> {
        self.by_node.get(node).copied()
    }

    /// A Datanet's owner and name.
    pub fn datanet(&self, id: DatanetId) -> Option<&(AccountId, String)> {
        self.datanets.get(&id)
    }

    /// All Datanets by id, each with its owner and name.
    pub fn datanets(&self) -> impl Iterator<Item = (DatanetId, &(AccountId, String))> {
        self.datanets.iter().map(|(id, datanet)| (*id, datanet))
    }

    /// All contributions in order of commitment, each with its block.
    pub fn contributions(&self) -> &[(BlockNumber, Contribution)] {
        &self.contributions
    }

    /// The contributions to a Datanet that were admitted before a block: a snapshot.
    pub fn snapshot(&self, datanet: DatanetId, before: BlockNumber) -> Vec<&Contribution> {
        self.contributions
            .iter()
            .filter(|(block, item)| item.datanet == datanet && *block < before)
            .map(|(_, item)| item)
            .collect()
    }

    /// A pack on chain.
    pub fn pack(&self, hash: &Hash) -> Option<&Pack> {
        self.packs.get(hash)
    }

    /// A training run with the block that ordered it.
    pub fn model(&self, id: ModelId) -> Option<&(BlockNumber, Model)> {
        self.models.get(&id)
    }

    /// The run that an order is.
    ///
    /// # Errors
    /// [`OrderFault`] where it is none, for any node.
    pub fn order(&self, id: ModelId) -> Result<&Order, OrderFault> {
        self.orders.get(&id).ok_or(OrderFault::Config)?.as_ref().map_err(|fault| *fault)
    }

    /// The contributions that a run reads: those to its Datanet, admitted before it was ordered, that
    /// its order names; in order of commitment. None where the order is no run.
    pub fn run_data(&self, id: ModelId) -> Vec<&Contribution> {
        let (Some((ordered, model)), Ok(order)) = (self.model(id), self.order(id)) else {
            return Vec::new();
        };
        self.read_by(&order.config, model.datanet, *ordered)
    }

    /// The run that an order would be which the next block took in.
    ///
    /// # Errors
    /// [`OrderFault`] where it would be none, for any node.
    pub fn order_now(&self, model: &Model) -> Result<Order, OrderFault> {
        self.read_order(self.now().next(), model)
    }

    /// What a run costs at least that the next block took in, whose rounds are to have so many slots, or as
    /// many as they need.
    ///
    /// # Errors
    /// [`OrderFault`] where it would be no run, whatever it pays.
    pub fn cost_now(
        &self,
        datanet: DatanetId,
        config: &[u8],
        slots: u32,
    ) -> Result<Amount, OrderFault> {
        let before = self.now().next();
        let data = |config: &RunConfig| self.size_of(config, datanet, before);
        Order::cost(config, slots, &self.params.training, data)
    }

    pub(super) fn read_order(
        &self,
        block: BlockNumber,
        model: &Model,
    ) -> Result<Order, OrderFault> {
        let data = |config: &RunConfig| self.size_of(config, model.datanet, block);
        Order::read(&model.config, model.escrow, &self.params.training, data)
    }

    /// The contributions to a Datanet before a block that an order names.
    fn read_by(
        &self,
        config: &RunConfig,
        datanet: DatanetId,
        before: BlockNumber,
    ) -> Vec<&Contribution> {
        let mut read = self.snapshot(datanet, before);
        read.retain(|contribution| config.reads(contribution.id));
        read
    }

    fn size_of(&self, config: &RunConfig, datanet: DatanetId, before: BlockNumber) -> Data {
        let read = self.read_by(config, datanet, before);
        read.into_iter().fold(Data::default(), |sum, contribution| Data {
            units: sum.units.saturating_add(contribution.units.into()),
            bytes: sum.bytes.saturating_add(BlobRef::total(&contribution.packs)),
        })
    }

    /// All training runs.
    pub fn models(&self) -> impl Iterator<Item = &(BlockNumber, Model)> {
        self.models.values()
    }

    /// A base: a model that no run made.
    pub fn base(&self, id: ModelId) -> Option<&Registered> {
        self.bases.get(&id)
    }

    /// All bases, by their ids.
    pub fn bases(&self) -> impl Iterator<Item = (ModelId, &Registered)> {
        self.bases.iter().map(|(id, base)| (*id, base))
    }

    /// The run of a model that was ordered before an epoch was over. What comes later changes nothing of
    /// what is settled: ids follow each other, so anybody can use one that there is not yet.
    pub(crate) fn run_in(&self, id: ModelId, epoch: Epoch) -> Option<&Model> {
        let (block, model) = self.model(id)?;
        (*block < self.schedule.start(epoch.next())).then_some(model)
    }

    /// The base that was registered before an epoch was over.
    pub(crate) fn base_in(&self, id: ModelId, epoch: Epoch) -> Option<&Registered> {
        let base = self.base(id)?;
        (base.block < self.schedule.start(epoch.next())).then_some(base)
    }

    /// Who earns the developer's part of what was paid for a use: who had ordered the model's run, or
    /// registered it.
    pub(crate) fn developer_in(&self, id: ModelId, epoch: Epoch) -> Option<AccountId> {
        let ordered = self.run_in(id, epoch).map(|model| model.developer);
        ordered.or_else(|| self.base_in(id, epoch).map(|base| base.developer))
    }

    /// The newest offer of a finished model or a base.
    pub fn publication(&self, id: ModelId) -> Option<&ModelPublication> {
        self.publications.get(&id).and_then(|all| all.last()).map(|(_, offer)| offer)
    }

    /// Whether an account was named to serve a model at some time from a block on and before another:
    /// the same now and later, however often the model is offered anew.
    pub(crate) fn was_server(
        &self,
        id: ModelId,
        server: AccountId,
        (from, end): (BlockNumber, BlockNumber),
    ) -> bool {
        let all = self.publications.get(&id).map_or(&[][..], Vec::as_slice);
        let replaced = all.iter().skip(1).map(|(at, _)| Some(*at)).chain([None]);
        all.iter().zip(replaced).any(|((at, offer), replaced)| {
            offer.server == server && *at < end && replaced.is_none_or(|block| block > from)
        })
    }

    /// The block that took a record of an epoch in.
    pub fn included(&self, epoch: Epoch, id: &Digest) -> Option<BlockNumber> {
        self.inclusions.block_of(epoch, id)
    }

    /// A record of an epoch that the chain took in.
    pub fn record(&self, epoch: Epoch, id: &Digest) -> Option<&Arc<VerifiedRecord>> {
        self.inclusions.record(epoch, id)
    }

    /// The record of an epoch under a key.
    pub fn record_of(
        &self,
        epoch: Epoch,
        key: &(Kind, AccountId, Digest),
    ) -> Option<&Arc<VerifiedRecord>> {
        self.inclusions.by_key(epoch, key)
    }

    /// The disputes about the storage of an account in an epoch, in the order in which they were opened.
    pub fn disputes_about(&self, epoch: Epoch, account: AccountId) -> &[Dispute] {
        self.disputes.about(epoch, account)
    }

    /// All disputes about epochs that are not settled, and about a few before, each with its epoch.
    pub fn disputes(&self) -> impl Iterator<Item = (Epoch, &Dispute)> {
        self.disputes.all()
    }

    /// What the newest block took in and did not have before: whoever kept a record from somebody has to
    /// show it here.
    pub fn just_included(&self) -> &[Arc<VerifiedRecord>] {
        self.inclusions.newest()
    }

    /// The block from which the auditors of a shard are drawn: the one that took in the first that its
    /// worker made of this part of the round, for the epoch. Whoever dislikes the auditors that were drawn
    /// could else claim the same part from another checkpoint until it likes them.
    pub fn shard_fixed(&self, record: &VerifiedRecord) -> Option<BlockNumber> {
        let made = record.record();
        self.included(made.epoch, &record.id())?;
        self.part_fixed(made.epoch, made.account, part_of(made)?)
    }

    /// The block that took in the first shard that a worker made of a part of a round for an epoch.
    pub fn part_fixed(&self, epoch: Epoch, worker: AccountId, part: Part) -> Option<BlockNumber> {
        self.inclusions.block_of_part(epoch, worker, part)
    }

    /// The records that an epoch has, one of each key, with the blocks that took them in; none of an
    /// epoch that was settled long ago.
    pub fn records(
        &self,
        epoch: Epoch,
    ) -> impl Iterator<Item = (&Arc<VerifiedRecord>, BlockNumber)> {
        self.records_of(epoch..=epoch)
    }

    /// The same of several epochs.
    pub(crate) fn records_of(
        &self,
        epochs: RangeInclusive<Epoch>,
    ) -> impl Iterator<Item = (&Arc<VerifiedRecord>, BlockNumber)> {
        self.inclusions.of(epochs)
    }

    /// Whether the records of an epoch are kept: those of epochs that were settled long ago are not.
    pub fn has_records(&self, epoch: Epoch) -> bool {
        epoch >= self.inclusions.since()
    }

    /// The fold over the ids of all records that the chain took in for an epoch: keccak256(fold before ‖
    /// id), from zero.
    pub fn records_head(&self, epoch: Epoch) -> Digest {
        self.inclusions.head(epoch)
    }

    /// The hash of the block after one in which something was included or ordered, once it exists:
    /// randomness that was not known when the thing was sent.
    pub fn hash_after(&self, block: BlockNumber) -> Option<Digest> {
        self.hash_after.get(&block).copied().filter(|hash| *hash != Digest::ZERO)
    }

    /// A beacon; `None` until its block exists.
    pub fn seed(&self, epoch: Epoch, purpose: Purpose) -> Option<Digest> {
        self.seeds.get(&(epoch, purpose)).copied()
    }

    /// The settlement of an epoch: what is final, or of its proposals the earliest to which nobody objects,
    /// or the earliest of all.
    pub fn settlement(&self, epoch: Epoch) -> Option<&SettlementState> {
        let first = |state: &&SettlementState| (state.objector.is_some(), state.proposed, state.id);
        self.settlements.get(&epoch).or_else(|| self.proposals(epoch).min_by_key(first))
    }

    /// The live proposals of an epoch.
    pub fn proposals(&self, epoch: Epoch) -> impl Iterator<Item = &SettlementState> {
        self.proposals.values().filter(move |state| state.settlement.epoch == epoch)
    }

    /// A live proposal.
    pub fn proposal(&self, id: &Digest) -> Option<&SettlementState> {
        self.proposals.get(id)
    }

    /// What ends a proposal that an account has the bond of, or a part of one to win: one of an epoch that
    /// is settled.
    pub(crate) fn to_close(&self, account: AccountId) -> Option<Transaction> {
        let gains = |state: &SettlementState| {
            let settled = self.settlements.get(&state.settlement.epoch)?;
            let of_rival = state.objector.unwrap_or(settled.proposer);
            let winner = if settled.id == state.id { state.proposer } else { of_rival };
            (winner == account).then_some(state.settlement)
        };
        let close = |settlement| Transaction::AboutProposal { settlement, act: ProposalAct::Close };
        let contested = |(number, state): (&u64, _)| gains(state).map(|_| *number);
        let live = self.proposals.values().find_map(gains).map(close);
        live.or_else(|| {
            let number = self.contested.iter().find_map(contested)?;
            Some(Transaction::CloseContested { number })
        })
    }

    /// Whose proposals for an epoch fell, and when each last did.
    pub fn defeats(&self, epoch: Epoch) -> impl Iterator<Item = (AccountId, BlockNumber)> {
        let all = (epoch, AccountId(0))..=(epoch, AccountId(u64::MAX));
        self.defeats.range(all).map(|((_, proposer), fell)| (*proposer, *fell))
    }

    /// The block from which on the same may be proposed again as what somebody objects to: the arbiter had
    /// four windows.
    pub fn makes_room_at(&self, state: &SettlementState) -> Option<BlockNumber> {
        let until = state.objected.after(self.schedule.challenge_blocks.times(4));
        state.objector.map(|_| until.next())
    }

    /// The last final settlement.
    pub fn last_final(&self) -> Option<&SettlementState> {
        self.settlements.values().next_back()
    }

    /// The first epoch without a final settlement.
    pub fn next_to_settle(&self) -> Epoch {
        self.last_final().map_or(Epoch(0), |state| state.settlement.epoch.next())
    }

    /// Redemptions that landed in an epoch.
    pub fn redemptions(&self, epoch: Epoch) -> impl Iterator<Item = &Redemption> {
        let schedule = self.schedule;
        self.redemptions.iter().filter(move |item| schedule.epoch_of(item.block) == epoch)
    }

    /// Everything that a consumer's receipts have paid to a serving account, of those that are taken now.
    pub fn redeemed(&self, payer: EvmAddress, payee: AccountId) -> Amount {
        self.deposit(payer, payee).redeemed
    }

    /// What a consumer has locked for a serving account; nothing where that is none, or so little that
    /// it was forgotten.
    pub fn deposit(&self, payer: EvmAddress, payee: AccountId) -> Deposit {
        self.deposit_in(self.escrow, payer, payee)
    }

    /// The same in this escrow or one before it.
    pub fn deposit_in(&self, escrow: EvmAddress, payer: EvmAddress, payee: AccountId) -> Deposit {
        self.deposits.get((escrow, payer, payee))
    }

    /// All deposits of a consumer on which it may be served, by the account that they are locked for.
    pub fn deposits_of(&self, payer: EvmAddress) -> impl Iterator<Item = (AccountId, Deposit)> {
        self.deposits_in(self.escrow, payer)
    }

    /// All deposits of a consumer in this escrow or one before it.
    pub fn deposits_in(
        &self,
        escrow: EvmAddress,
        payer: EvmAddress,
    ) -> impl Iterator<Item = (AccountId, Deposit)> {
        self.deposits.of(escrow, payer)
    }

    /// A contract that the governors named and this network's file does not: what it says counts, and
    /// nobody hears it here.
    pub const fn unknown_contract(&self) -> Option<EvmAddress> {
        self.unknown
    }

    /// Everything ever paid to an account.
    pub fn claimed(&self, account: AccountId) -> Balance {
        self.claimed.get(&account).copied().unwrap_or_default()
    }

    /// What a claim does for an account that has earned so much in all final settlements.
    pub fn claimable(&self, account: AccountId, earned: Balance) -> Due {
        let stake = self.account(account).map_or(Amount::ZERO, Account::staying);
        earned.due(self.claimed(account), stake, self.params.economics.min_stake)
    }
}
