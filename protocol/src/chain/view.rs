//! The chain's state as far as the protocol needs it, folded from blocks.

use alloc::{collections::BTreeMap, string::String, vec::Vec};

use super::{
    BlockHeader, ChainEvent, Contribution, Model, ModelPublication, Settlement, draws::Drawn,
};
use crate::{
    draw,
    eip712::Domain,
    identity::Binding,
    ids::{
        AccountId, Amount, BlockNumber, DatanetId, Digest, Epoch, EvmAddress, Hash, ModelId, NodeId,
    },
    limits::MAX_SHARDS_PER_ROUND,
    params::{Params, Schedule},
};

/// What a beacon is drawn for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Purpose {
    /// Which chunk of every cell is committed to; fixed by the first block of the epoch.
    Commit = 0,
    /// Which cells are opened, and by whom they are audited; fixed at the commit deadline.
    Open = 1,
    /// Who proposes the settlement; fixed by the first block after the epoch.
    Settle = 2,
}

/// An account of the Registry.
#[derive(Debug, Clone)]
pub struct Account {
    /// The cold key.
    pub owner: EvmAddress,
    /// The node it runs; zero when it has none or its binding is wrong.
    pub node: NodeId,
    /// Block of its registration.
    pub registered: BlockNumber,
    operators: Vec<(BlockNumber, EvmAddress)>,
    stakes: Vec<(BlockNumber, Amount)>,
    /// Where claims pay now.
    pub payout: EvmAddress,
}

impl Account {
    /// The operator as of a block, that block included.
    pub fn operator_at(&self, block: BlockNumber) -> Option<EvmAddress> {
        self.operators.iter().rev().find(|(since, _)| *since <= block).map(|(_, key)| *key)
    }

    /// The stake as of a block, that block included.
    pub fn stake_at(&self, block: BlockNumber) -> Amount {
        let known = self.stakes.iter().rev().find(|(since, _)| *since <= block);
        known.map_or(Amount::ZERO, |(_, stake)| *stake)
    }
}

/// A pack on chain.
#[derive(Debug, Clone, Copy)]
pub struct Pack {
    /// Its length in bytes.
    pub length: u64,
    /// The first contribution that brought it.
    pub contribution: u64,
    /// The epoch in which it was admitted.
    pub admitted: Epoch,
}

/// A redemption of receipts: everything up to `cumulative` between the two is now paid.
#[derive(Debug, Clone, Copy)]
pub struct Redemption {
    /// The consumer whose deposit paid.
    pub payer: EvmAddress,
    /// The serving account.
    pub payee: AccountId,
    /// Everything that was paid between the two before.
    pub from: Amount,
    /// Everything that is paid between the two now.
    pub to: Amount,
    /// What the escrow moved: the difference of the two, unless the chain contradicts itself.
    pub amount: Amount,
    /// In which block.
    pub block: BlockNumber,
}

/// A settlement on its way.
#[derive(Debug, Clone, Copy)]
pub struct SettlementState {
    /// The account that proposed it, with its bond.
    pub proposer: AccountId,
    /// What the epoch pays, as its proposer says.
    pub settlement: Settlement,
    /// Its id, which every node asks for at every block.
    pub id: Digest,
    /// The block of the proposal.
    pub proposed: BlockNumber,
    /// From when its challenge window counts: an objection that was ruled to be wrong opens it again.
    pub open_since: BlockNumber,
    /// Whose objection waits for the arbiter.
    pub objector: Option<AccountId>,
    /// Whether it is final.
    pub is_final: bool,
}

/// The chain as every honest observer sees it. One per process, lent to machines.
#[derive(Debug, Clone)]
pub struct ChainView {
    /// The signature domain.
    pub domain: Domain,
    /// The Registry, which bindings name.
    pub registry: EvmAddress,
    /// Epochs in blocks.
    pub schedule: Schedule,
    /// Emission per epoch.
    pub budget: Amount,
    /// The account that receives the platform's share.
    pub treasury: AccountId,
    pub(super) params: Params,
    pub(super) head: Option<BlockHeader>,
    pub(super) accounts: BTreeMap<AccountId, Account>,
    by_node: BTreeMap<NodeId, AccountId>,
    datanets: BTreeMap<DatanetId, (AccountId, String)>,
    contributions: Vec<(BlockNumber, Contribution)>,
    pub(super) packs: BTreeMap<Hash, Pack>,
    models: BTreeMap<ModelId, (BlockNumber, Model)>,
    /// Every offer of a model, with the block that made it.
    publications: BTreeMap<ModelId, Vec<(BlockNumber, ModelPublication)>>,
    anchors: BTreeMap<(Epoch, Digest), BlockNumber>,
    settlements: BTreeMap<Epoch, SettlementState>,
    /// When an account's last proposal for an epoch fell.
    defeats: BTreeMap<(Epoch, AccountId), BlockNumber>,
    redemptions: Vec<Redemption>,
    claimed: BTreeMap<AccountId, Amount>,
    pub(super) seeds: BTreeMap<(Epoch, Purpose), Digest>,
    /// Hash of the block after one in which something was anchored or ordered.
    hash_after: BTreeMap<BlockNumber, Digest>,
    pub(super) drawn: Drawn,
}

impl ChainView {
    /// An empty view of a deployment.
    pub const fn new(
        domain: Domain,
        registry: EvmAddress,
        schedule: Schedule,
        budget: Amount,
        treasury: AccountId,
        params: Params,
    ) -> Self {
        Self {
            domain,
            registry,
            schedule,
            budget,
            treasury,
            params,
            head: None,
            accounts: BTreeMap::new(),
            by_node: BTreeMap::new(),
            datanets: BTreeMap::new(),
            contributions: Vec::new(),
            packs: BTreeMap::new(),
            models: BTreeMap::new(),
            publications: BTreeMap::new(),
            anchors: BTreeMap::new(),
            settlements: BTreeMap::new(),
            defeats: BTreeMap::new(),
            redemptions: Vec::new(),
            claimed: BTreeMap::new(),
            seeds: BTreeMap::new(),
            hash_after: BTreeMap::new(),
            drawn: Drawn::new(),
        }
    }

    /// Folds one block in. Blocks come in order and once; a block at or below the head is ignored.
    pub fn apply(&mut self, header: BlockHeader, events: &[ChainEvent]) {
        if self.head.is_some_and(|head| header.number <= head.number) {
            return;
        }
        if let Some(head) = self.head
            && let Some(waiting) = self.hash_after.get_mut(&head.number)
        {
            *waiting = header.hash;
        }
        self.head = Some(header);
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
                };
                let is_bound = *node != NodeId::ZERO && claim.verify(node, binding);
                let node = if is_bound { *node } else { NodeId::ZERO };
                self.register(block, *account, *owner, *operator, *payout, node);
            }
            ChainEvent::OperatorRotated { account, operator } => {
                if let Some(state) = self.accounts.get_mut(account) {
                    state.operators.push((block, *operator));
                }
            }
            ChainEvent::PayoutChanged { account, payout } => {
                if let Some(state) = self.accounts.get_mut(account) {
                    state.payout = *payout;
                }
            }
            ChainEvent::StakeChanged { account, stake } => {
                if let Some(state) = self.accounts.get_mut(account) {
                    state.stakes.push((block, *stake));
                }
            }
            ChainEvent::DatanetCreated { datanet, owner, name, .. } => {
                self.datanets.insert(*datanet, (*owner, name.clone()));
            }
            ChainEvent::ContributionAdmitted(contribution) => self.admit(block, contribution),
            ChainEvent::ModelCreated(model) => {
                self.hash_after.insert(block, Digest::ZERO);
                self.models.insert(model.id, (block, model.clone()));
            }
            ChainEvent::ModelPublished(publication) => {
                self.publications.entry(publication.model).or_default().push((block, *publication));
            }
            ChainEvent::Anchored { epoch, root } => {
                self.hash_after.insert(block, Digest::ZERO);
                self.anchors.entry((*epoch, *root)).or_insert(block);
            }
            ChainEvent::Redeemed { payer, payee, cumulative, amount } => {
                self.redemptions.push(Redemption {
                    payer: *payer,
                    payee: *payee,
                    from: cumulative.saturating_sub(*amount),
                    to: *cumulative,
                    amount: *amount,
                    block,
                });
            }
            ChainEvent::Claimed { account, cumulative, .. } => {
                self.claimed.insert(*account, *cumulative);
            }
            ChainEvent::Proposed { .. }
            | ChainEvent::Objected { .. }
            | ChainEvent::Ruled { .. }
            | ChainEvent::Defeated { .. }
            | ChainEvent::Finalised { .. } => self.apply_settlement(block, event),
            ChainEvent::DisputeOpened { .. } => {}
        }
    }

    fn apply_settlement(&mut self, block: BlockNumber, event: &ChainEvent) {
        match event {
            ChainEvent::Proposed { proposer, settlement } => {
                self.settlements.insert(
                    settlement.epoch,
                    SettlementState {
                        proposer: *proposer,
                        settlement: *settlement,
                        id: settlement.id(),
                        proposed: block,
                        open_since: block,
                        objector: None,
                        is_final: false,
                    },
                );
            }
            ChainEvent::Objected { epoch, id, account } => {
                if let Some(state) = self.proposal_mut(*epoch, id) {
                    state.objector = Some(*account);
                }
            }
            ChainEvent::Ruled { epoch, id, upheld: false } => {
                if let Some(state) = self.proposal_mut(*epoch, id) {
                    (state.objector, state.open_since) = (None, block);
                }
            }
            ChainEvent::Defeated { epoch, id } => {
                if let Some(proposer) = self.proposal_mut(*epoch, id).map(|state| state.proposer) {
                    self.defeats.insert((*epoch, proposer), block);
                    self.settlements.remove(epoch);
                }
            }
            ChainEvent::Finalised { epoch, .. } => {
                if let Some(state) = self.settlements.get_mut(epoch) {
                    state.is_final = true;
                }
            }
            _ => {}
        }
    }

    fn proposal_mut(&mut self, epoch: Epoch, id: &Digest) -> Option<&mut SettlementState> {
        self.settlements.get_mut(&epoch).filter(|state| state.id == *id)
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
        self.accounts.insert(
            account,
            Account {
                owner,
                node,
                registered: block,
                operators: alloc::vec![(block, operator)],
                stakes: Vec::new(),
                payout,
            },
        );
    }

    fn admit(&mut self, block: BlockNumber, contribution: &Contribution) {
        let admitted = self.schedule.epoch_of(block);
        for pack in &contribution.packs {
            // The earliest contribution owns a pack; a later copy brings nothing new.
            self.packs.entry(pack.hash).or_insert(Pack {
                length: pack.length,
                contribution: contribution.id,
                admitted,
            });
        }
        self.contributions.push((block, contribution.clone()));
    }

    /// The network's parameters.
    pub const fn params(&self) -> &Params {
        &self.params
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

    /// Accounts with a bound node that were registered before a block, by id.
    pub fn members_at(&self, block: BlockNumber) -> Vec<AccountId> {
        let is_member =
            |account: &Account| account.node != NodeId::ZERO && account.registered < block;
        self.accounts().filter(|(_, account)| is_member(account)).map(|(id, _)| id).collect()
    }

    /// The accounts that take part in a training run: those that had a node before it was ordered, and
    /// where they are more than a round can close over, as many as the block after the order draws.
    /// `None` for a run that is not known, or not drawn yet.
    pub fn run_members(&self, model: ModelId) -> Option<Vec<AccountId>> {
        let (ordered, _) = self.model(model)?;
        let members = self.members_at(*ordered);
        if members.len() <= MAX_SHARDS_PER_ROUND {
            return Some(members);
        }
        Some(draw::run_members(&self.hash_after(*ordered)?, &members))
    }

    /// Sum of all stakes as of a block, with each staker.
    pub fn stakes_at(&self, block: BlockNumber) -> Vec<(AccountId, Amount)> {
        self.accounts()
            .map(|(id, account)| (id, account.stake_at(block)))
            .filter(|(_, stake)| *stake > Amount::ZERO)
            .collect()
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

    /// All training runs.
    pub fn models(&self) -> impl Iterator<Item = &(BlockNumber, Model)> {
        self.models.values()
    }

    /// The newest offer of a finished model.
    pub fn publication(&self, id: ModelId) -> Option<&ModelPublication> {
        self.publications.get(&id).and_then(|all| all.last()).map(|(_, offer)| offer)
    }

    /// Whether an account was named to serve a model at some time from a block on and before another:
    /// the same now and later, however often the model is offered anew.
    pub fn was_server(
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

    /// The block in which a root was anchored for an epoch.
    pub fn anchored(&self, epoch: Epoch, root: &Digest) -> Option<BlockNumber> {
        self.anchors.get(&(epoch, *root)).copied()
    }

    /// The hash of the block after one in which something was anchored or ordered, once it exists:
    /// randomness that was not known when the thing was sent.
    pub fn hash_after(&self, block: BlockNumber) -> Option<Digest> {
        self.hash_after.get(&block).copied().filter(|hash| *hash != Digest::ZERO)
    }

    /// A beacon; `None` until its block exists.
    pub fn seed(&self, epoch: Epoch, purpose: Purpose) -> Option<Digest> {
        self.seeds.get(&(epoch, purpose)).copied()
    }

    /// The settlement of an epoch.
    pub fn settlement(&self, epoch: Epoch) -> Option<&SettlementState> {
        self.settlements.get(&epoch)
    }

    /// Whose proposals for an epoch fell, and when each last did.
    pub fn defeats(&self, epoch: Epoch) -> impl Iterator<Item = (AccountId, BlockNumber)> {
        let all = (epoch, AccountId(0))..=(epoch, AccountId(u64::MAX));
        self.defeats.range(all).map(|((_, proposer), fell)| (*proposer, *fell))
    }

    /// The last block in which an account may not propose for an epoch again: others have a challenge
    /// window for it after its own proposal fell.
    pub fn barred_until(&self, epoch: Epoch, proposer: AccountId) -> Option<BlockNumber> {
        let fell = self.defeats.get(&(epoch, proposer))?;
        Some(fell.after(self.schedule.challenge_blocks))
    }

    /// The block from which on another proposal may take the place of one that nobody made final in the
    /// window after its challenge window; `None` while an objection to it waits for the arbiter.
    pub fn lapses_at(&self, state: &SettlementState) -> Option<BlockNumber> {
        let lapsed = state.open_since.after(self.schedule.challenge_blocks.times(2)).next();
        (!state.is_final && state.objector.is_none()).then_some(lapsed)
    }

    /// The last final settlement.
    pub fn last_final(&self) -> Option<&SettlementState> {
        self.settlements.values().rev().find(|state| state.is_final)
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

    /// Everything that a consumer's receipts have paid to a serving account.
    pub fn redeemed(&self, payer: EvmAddress, payee: AccountId) -> Amount {
        let of_pair = |item: &&Redemption| item.payer == payer && item.payee == payee;
        self.redemptions.iter().rev().find(of_pair).map_or(Amount::ZERO, |item| item.to)
    }

    /// Everything ever paid to an account.
    pub fn claimed(&self, account: AccountId) -> Amount {
        self.claimed.get(&account).copied().unwrap_or_default()
    }
}
