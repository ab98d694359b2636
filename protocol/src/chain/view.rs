//! The chain's state as far as the protocol needs it, folded from blocks.

use alloc::{collections::BTreeMap, string::String, sync::Arc, vec::Vec};

use super::{BlockHeader, ChainEvent, Contribution, Model, ModelPublication, Settlement};
use crate::{
    eip712::{Domain, address_word, word},
    hash::keccak,
    identity::Binding,
    ids::{
        AccountId, Amount, BlockNumber, DatanetId, Digest, Epoch, EvmAddress, Hash, ModelId, NodeId,
    },
    params::{Params, Schedule},
    placement::{NodeSeed, PackSeed, Placement, rank},
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
    /// The consumer.
    pub payer: EvmAddress,
    /// The serving account.
    pub payee: AccountId,
    /// Paid before.
    pub from: Amount,
    /// Paid now.
    pub to: Amount,
    /// In which block.
    pub block: BlockNumber,
}

/// A settlement on its way.
#[derive(Debug, Clone, Copy)]
pub struct SettlementState {
    /// Who proposed.
    pub proposer: AccountId,
    /// What.
    pub settlement: Settlement,
    /// When.
    pub proposed: BlockNumber,
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
    params: Params,
    head: Option<BlockHeader>,
    accounts: BTreeMap<AccountId, Account>,
    by_node: BTreeMap<NodeId, AccountId>,
    datanets: BTreeMap<DatanetId, (AccountId, String)>,
    contributions: Vec<(BlockNumber, Contribution)>,
    packs: BTreeMap<Hash, Pack>,
    models: BTreeMap<ModelId, (BlockNumber, Model)>,
    publications: BTreeMap<ModelId, ModelPublication>,
    anchors: BTreeMap<(Epoch, Digest), BlockNumber>,
    settlements: BTreeMap<Epoch, SettlementState>,
    redemptions: Vec<Redemption>,
    claimed: BTreeMap<AccountId, Amount>,
    seeds: BTreeMap<(Epoch, Purpose), Digest>,
    /// Hash of the block after one in which something was anchored or ordered.
    hash_after: BTreeMap<BlockNumber, Digest>,
    placements: BTreeMap<Epoch, Arc<Placement>>,
    audits: BTreeMap<Epoch, Arc<BTreeMap<AccountId, Vec<AccountId>>>>,
    /// The rank of each proposer of an epoch's settlement.
    proposers: BTreeMap<Epoch, BTreeMap<AccountId, usize>>,
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
            redemptions: Vec::new(),
            claimed: BTreeMap::new(),
            seeds: BTreeMap::new(),
            hash_after: BTreeMap::new(),
            placements: BTreeMap::new(),
            audits: BTreeMap::new(),
            proposers: BTreeMap::new(),
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
                    chain_id: self.domain.chain_id,
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
                self.publications.insert(publication.model, *publication);
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
                    block,
                });
            }
            ChainEvent::Claimed { account, cumulative, .. } => {
                self.claimed.insert(*account, *cumulative);
            }
            ChainEvent::Proposed { .. }
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
                        proposed: block,
                        is_final: false,
                    },
                );
            }
            ChainEvent::Defeated { epoch, id }
                if self.settlements.get(epoch).is_some_and(|s| s.settlement.id() == *id) =>
            {
                self.settlements.remove(epoch);
            }
            ChainEvent::Finalised { epoch, .. } => {
                if let Some(state) = self.settlements.get_mut(epoch) {
                    state.is_final = true;
                }
            }
            _ => {}
        }
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
        for (hash, length) in &contribution.packs {
            // The earliest contribution owns a pack; a later copy brings nothing new.
            self.packs.entry(*hash).or_insert(Pack {
                length: *length,
                contribution: contribution.id,
                admitted,
            });
        }
        self.contributions.push((block, contribution.clone()));
    }

    /// Draws every seed whose block this is, and what follows from it.
    fn draw_seeds(&mut self, header: BlockHeader) {
        let epoch = self.schedule.epoch_of(header.number);
        if header.number == self.schedule.start(epoch) {
            self.seeds
                .insert((epoch, Purpose::Commit), self.seed_from(epoch, Purpose::Commit, header));
            if let Some(previous) = epoch.0.checked_sub(1).map(Epoch) {
                let seed = self.seed_from(previous, Purpose::Settle, header);
                self.seeds.insert((previous, Purpose::Settle), seed);
                self.proposers.insert(previous, self.draw_proposers(header.number, &seed));
            }
            let next = self.place(epoch.next());
            self.placements.insert(epoch.next(), Arc::new(next));
        }
        if header.number == self.schedule.commit_deadline(epoch) {
            let seed = self.seed_from(epoch, Purpose::Open, header);
            self.seeds.insert((epoch, Purpose::Open), seed);
            self.audits.insert(epoch, Arc::new(self.draw_auditors(epoch, &seed)));
        }
    }

    fn seed_from(&self, epoch: Epoch, purpose: Purpose, header: BlockHeader) -> Digest {
        keccak(&[
            &word(u128::from(self.domain.chain_id)),
            &address_word(&self.domain.coordinator),
            &word(u128::from(epoch.0)),
            &word(u128::from(purpose as u8)),
            &header.hash.0,
        ])
    }

    /// The placement of an epoch: packs and nodes registered at least two epochs before it, so that
    /// there was a whole epoch in which to fetch.
    fn place(&self, epoch: Epoch) -> Placement {
        let Some(newest) = epoch.0.checked_sub(2).map(Epoch) else { return Placement::default() };
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
        let snapshot = self.schedule.start(newest.next());
        let nodes: Vec<_> = self
            .accounts
            .iter()
            .filter(|(_, account)| account.node != NodeId::ZERO && account.registered < snapshot)
            .filter_map(|(id, account)| {
                let seed = seed_after(self.schedule.epoch_of(account.registered))?;
                Some(NodeSeed { account: *id, stake: account.stake_at(snapshot), seed })
            })
            .collect();
        Placement::compute(&packs, &nodes, self.params.holding.replicas)
    }

    /// The proposers of a settlement by rank, as of the first block after its epoch: members with
    /// stake, all members if none has any.
    fn draw_proposers(&self, end: BlockNumber, seed: &Digest) -> BTreeMap<AccountId, usize> {
        let members = self.members_at(end);
        let has_stake =
            |id: &AccountId| self.account(*id).is_some_and(|account| account.stake_at(end).0 > 0);
        let staked: Vec<_> = members.iter().copied().filter(has_stake).collect();
        let candidates = if staked.is_empty() { members } else { staked };
        let order = rank(seed, b"proposer", &candidates);
        order.into_iter().zip(0usize..).collect()
    }

    /// For each auditor, whose storage it audits in an epoch.
    fn draw_auditors(&self, epoch: Epoch, seed: &Digest) -> BTreeMap<AccountId, Vec<AccountId>> {
        let members = self.members_at(self.schedule.start(epoch));
        let mut duties = BTreeMap::<AccountId, Vec<AccountId>>::new();
        for (holder, _) in self.placement(epoch).holders() {
            for auditor in storage_auditors(seed, holder, &members, self.params.holding.auditors) {
                duties.entry(auditor).or_default().push(holder);
            }
        }
        duties
    }

    /// The network's parameters.
    pub const fn params(&self) -> &Params {
        &self.params
    }

    /// The newest block; `None` before the first.
    pub const fn head(&self) -> Option<BlockHeader> {
        self.head
    }

    /// The epoch of the newest block.
    pub fn epoch(&self) -> Epoch {
        self.head.map_or(Epoch(0), |head| self.schedule.epoch_of(head.number))
    }

    /// An account.
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

    /// All Datanets.
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

    /// The offer of a finished model.
    pub fn publication(&self, id: ModelId) -> Option<&ModelPublication> {
        self.publications.get(&id)
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

    /// Who holds what in an epoch. Known one epoch ahead; empty before.
    pub fn placement(&self, epoch: Epoch) -> Arc<Placement> {
        self.placements.get(&epoch).cloned().unwrap_or_default()
    }

    /// Whose storage each account audits in an epoch; empty until the commit deadline.
    pub fn audit_duties(&self, epoch: Epoch) -> Arc<BTreeMap<AccountId, Vec<AccountId>>> {
        self.audits.get(&epoch).cloned().unwrap_or_default()
    }

    /// An account's turn to propose the settlement of an epoch, from 0; `None` when it has none, or
    /// the epoch is not over.
    pub fn proposer_rank(&self, epoch: Epoch, account: AccountId) -> Option<usize> {
        let drawn = self.proposers.get(&epoch)?;
        if !drawn.is_empty() {
            return drawn.get(&account).copied();
        }
        // An epoch that nobody saw must be settled all the same, by whoever came since.
        let now = self.head?.number.next();
        let seed = self.seed(epoch, Purpose::Settle)?;
        self.draw_proposers(now, &seed).get(&account).copied()
    }

    /// The settlement of an epoch.
    pub fn settlement(&self, epoch: Epoch) -> Option<&SettlementState> {
        self.settlements.get(&epoch)
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

    /// What a consumer's receipts had paid to a serving account before a block.
    pub fn redeemed_before(
        &self,
        payer: EvmAddress,
        payee: AccountId,
        block: BlockNumber,
    ) -> Amount {
        let earlier =
            |item: &&Redemption| item.payer == payer && item.payee == payee && item.block < block;
        self.redemptions.iter().rev().find(earlier).map_or(Amount::ZERO, |item| item.to)
    }

    /// Everything ever paid to an account.
    pub fn claimed(&self, account: AccountId) -> Amount {
        self.claimed.get(&account).copied().unwrap_or_default()
    }
}

/// The auditors of one holder's storage, drawn among `members` without the holder.
fn storage_auditors(
    seed: &Digest,
    holder: AccountId,
    members: &[AccountId],
    count: u32,
) -> Vec<AccountId> {
    let others: Vec<_> = members.iter().copied().filter(|member| *member != holder).collect();
    let own_seed = keccak(&[&seed.0, &holder.0.to_be_bytes()]);
    let mut ranked = rank(&own_seed, b"storage auditor", &others);
    ranked.truncate(usize::try_from(count).unwrap_or(usize::MAX));
    ranked
}
