//! Logs of our contracts as [`ChainEvent`]s.
//!
//! Anybody can have a contract of ours emit what a transaction may hold, so nothing in a log may stop
//! whoever follows the chain. One rule for all nodes: text that is not UTF-8 is read with U+FFFD in its
//! place, and a log that does not decode as the event that its topic names is skipped.

use alloy::primitives::{Address, Log, keccak256};
use alloy::sol_types::SolEvent;
use protocol::chain::{
    ChainEvent, Contribution, Model, ModelPublication, Registration, Settlement,
};
use protocol::record::batch;
use protocol::{
    AccountId, Amount, Balance, BlobRef, BlockNumber, DatanetId, Digest, Epoch, EvmAddress, Hash,
    ModelId, NodeId,
};

use super::address;
use crate::bindings::{
    Coordinator, DatanetRegistry, Disputes, ModelRegistry, Registry, RewardVault, Settlements,
    UsageEscrow,
};
use crate::deployment::Deployment;

/// Decodes a log of a block. `None` for events that the protocol does not follow, for contracts that have
/// no say in that block, and for what cannot be decoded.
pub(crate) fn decode_log(log: &Log, at: &Deployment, block: BlockNumber) -> Option<ChainEvent> {
    match log.address {
        from if from == address(at.registry) => registry(log),
        from if from == address(at.datanets) => datanets(log),
        from if from == address(at.models) => models(log),
        from if from == address(at.coordinator) => included(log),
        from if from == address(at.settlements_at(block)) => settlements(log),
        from if at.is_disputes(evm(from)) => disputes(log, at),
        from if from == address(at.vault) => vault(log, at),
        from if at.is_escrow(evm(from)) => escrow(log),
        _ => None,
    }
}

fn is<E: SolEvent>(log: &Log) -> bool {
    log.topics().first() == Some(&E::SIGNATURE_HASH)
}

fn read<E: SolEvent>(log: &Log) -> Option<E> {
    let event = E::decode_raw_log_validate(log.topics().iter().copied(), &log.data.data);
    event.inspect_err(|error| skipped(log, error)).ok()
}

/// Reads an event whose text a stranger chose: any bytes.
fn read_text<E: SolEvent>(log: &Log) -> Option<E> {
    let event = E::decode_raw_log(log.topics().iter().copied(), &log.data.data);
    event.inspect_err(|error| skipped(log, error)).ok()
}

fn skipped(log: &Log, error: &alloy::sol_types::Error) {
    tracing::warn!(contract = %log.address, %error, "a log does not decode and is skipped");
}

fn evm(address: Address) -> EvmAddress {
    EvmAddress(address.into())
}

fn registry(log: &Log) -> Option<ChainEvent> {
    Some(if is::<Registry::AccountRegistered>(log) {
        let e: Registry::AccountRegistered = read(log)?;
        ChainEvent::AccountRegistered {
            account: AccountId(e.account),
            owner: evm(e.owner),
            operator: evm(e.operator),
            payout: evm(e.payout),
            node: NodeId(e.nodeId.0),
            binding: e.binding.as_ref().try_into().ok()?,
        }
    } else if is::<Registry::OperatorRotated>(log) {
        let e: Registry::OperatorRotated = read(log)?;
        let (account, operator) = (AccountId(e.account), evm(e.operator));
        ChainEvent::OperatorRotated { account, operator }
    } else if is::<Registry::PayoutChanged>(log) {
        let e: Registry::PayoutChanged = read(log)?;
        ChainEvent::PayoutChanged { account: AccountId(e.account), payout: evm(e.payout) }
    } else if is::<Registry::StakeChanged>(log) {
        let e: Registry::StakeChanged = read(log)?;
        let stake = Amount(u128::try_from(e.stake).ok()?);
        ChainEvent::StakeChanged { account: AccountId(e.account), stake }
    } else if is::<Registry::UnstakeRequested>(log) {
        let e: Registry::UnstakeRequested = read(log)?;
        ChainEvent::UnstakeRequested { account: AccountId(e.account), leaving: Amount(e.amount) }
    } else if is::<Registry::Slashed>(log) {
        let e: Registry::Slashed = read(log)?;
        ChainEvent::Slashed { account: AccountId(e.account), amount: Amount(e.amount) }
    } else {
        return None;
    })
}

fn datanets(log: &Log) -> Option<ChainEvent> {
    Some(if is::<DatanetRegistry::DatanetCreated>(log) {
        let e: DatanetRegistry::DatanetCreated = read_text(log)?;
        ChainEvent::DatanetCreated {
            datanet: DatanetId(e.datanet),
            owner: AccountId(e.owner),
            name: e.name,
            domain: e.domain,
            licence: e.licence,
        }
    } else if is::<DatanetRegistry::ContributionAdmitted>(log) {
        let e: DatanetRegistry::ContributionAdmitted = read(log)?;
        if e.packs.len() != e.lengths.len() {
            return None;
        }
        ChainEvent::ContributionAdmitted(Contribution {
            id: e.contribution,
            datanet: DatanetId(e.datanet),
            account: AccountId(e.account),
            manifest: Hash(e.manifest.0),
            packs: e
                .packs
                .iter()
                .zip(e.lengths)
                .map(|(pack, length)| BlobRef::new(Hash(pack.0), length))
                .collect(),
            units: e.units,
        })
    } else {
        return None;
    })
}

fn models(log: &Log) -> Option<ChainEvent> {
    Some(if is::<ModelRegistry::ModelCreated>(log) {
        let e: ModelRegistry::ModelCreated = read(log)?;
        ChainEvent::ModelCreated(Model {
            id: ModelId(e.model),
            developer: AccountId(e.developer),
            datanet: DatanetId(e.datanet),
            escrow: Amount(e.escrow),
            config: e.config.to_vec(),
        })
    } else if is::<ModelRegistry::BaseRegistered>(log) {
        let e: ModelRegistry::BaseRegistered = read(log)?;
        let (id, developer) = (ModelId(e.model), AccountId(e.developer));
        ChainEvent::BaseRegistered(Registration { id, developer, config: e.config.to_vec() })
    } else if is::<ModelRegistry::ModelPublished>(log) {
        let e: ModelRegistry::ModelPublished = read(log)?;
        ChainEvent::ModelPublished(ModelPublication {
            model: ModelId(e.model),
            checkpoint: Hash(e.checkpoint.0),
            sketch_root: Digest(e.sketchRoot.0),
            server: AccountId(e.server),
            price_in: Amount(e.priceIn),
            price_out: Amount(e.priceOut),
            price_use: Amount(e.priceUse),
        })
    } else {
        return None;
    })
}

fn included(log: &Log) -> Option<ChainEvent> {
    if !is::<Coordinator::Included>(log) {
        return None;
    }
    let e: Coordinator::Included = read(log)?;
    // The contract emits whole records only.
    let records = batch::included(&e.batch, |place| e.accepted.bit(place)).ok()?;
    Some(ChainEvent::Included { epoch: Epoch(e.epoch), head: Digest(e.head.0), records })
}

fn settlements(log: &Log) -> Option<ChainEvent> {
    Some(if is::<Settlements::Proposed>(log) {
        let e: Settlements::Proposed = read(log)?;
        let proposer = AccountId(e.proposer);
        ChainEvent::Proposed { proposer, settlement: settlement(&e.settlement) }
    } else if is::<Settlements::Objected>(log) {
        let e: Settlements::Objected = read(log)?;
        let (epoch, account) = (Epoch(e.epoch), AccountId(e.account));
        ChainEvent::Objected { epoch, id: Digest(e.id.0), account }
    } else if is::<Settlements::Ruled>(log) {
        let e: Settlements::Ruled = read(log)?;
        ChainEvent::Ruled { epoch: Epoch(e.epoch), id: Digest(e.id.0), upheld: e.upheld }
    } else if is::<Settlements::Defeated>(log) {
        let e: Settlements::Defeated = read(log)?;
        ChainEvent::Defeated { epoch: Epoch(e.epoch), id: Digest(e.id.0) }
    } else if is::<Settlements::SetAside>(log) {
        let e: Settlements::SetAside = read(log)?;
        // Numbers are counted up one by one.
        let number = u64::try_from(e.number).ok()?;
        ChainEvent::SetAside { epoch: Epoch(e.epoch), id: Digest(e.id.0), number }
    } else if is::<Settlements::Closed>(log) {
        let e: Settlements::Closed = read(log)?;
        let (id, number) = (Digest(e.id.0), u64::try_from(e.number).ok()?);
        ChainEvent::Closed { id, number, is_right: e.isRight }
    } else {
        return None;
    })
}

fn disputes(log: &Log, at: &Deployment) -> Option<ChainEvent> {
    let event = any_disputes(log)?;
    let epoch = match &event {
        ChainEvent::DisputeOpened { epoch, .. }
        | ChainEvent::DisputeAnswered { epoch, .. }
        | ChainEvent::DisputeExpired { epoch, .. } => *epoch,
        _ => return None,
    };
    (at.disputes_of(epoch) == evm(log.address)).then_some(event)
}

fn any_disputes(log: &Log) -> Option<ChainEvent> {
    Some(if is::<Disputes::DisputeOpened>(log) {
        let e: Disputes::DisputeOpened = read(log)?;
        ChainEvent::DisputeOpened {
            epoch: Epoch(e.epoch),
            account: AccountId(e.account),
            accuser: AccountId(e.accuser),
            commit: Digest(e.commitment.0),
            cell: e.cell,
            until: BlockNumber(e.until),
        }
    } else if is::<Disputes::DisputeAnswered>(log) {
        let e: Disputes::DisputeAnswered = read(log)?;
        let (epoch, account) = (Epoch(e.epoch), AccountId(e.account));
        let (commit, cell) = (Digest(e.commitment.0), e.cell);
        ChainEvent::DisputeAnswered { epoch, account, commit, cell }
    } else if is::<Disputes::StorageFault>(log) {
        let e: Disputes::StorageFault = read(log)?;
        let (epoch, account) = (Epoch(e.epoch), AccountId(e.account));
        let (commit, cell) = (Digest(e.commitment.0), e.cell);
        ChainEvent::DisputeExpired { epoch, account, commit, cell }
    } else {
        return None;
    })
}

fn vault(log: &Log, at: &Deployment) -> Option<ChainEvent> {
    if let Some(contract) = named(log).filter(|contract| !at.speakers().contains(contract)) {
        return Some(ChainEvent::UnknownContract { contract });
    }
    Some(if is::<RewardVault::Finalised>(log) {
        let e: RewardVault::Finalised = read(log)?;
        ChainEvent::Finalised { epoch: Epoch(e.epoch), id: Digest(e.id.0) }
    } else if is::<RewardVault::SettlementsChanged>(log) {
        read::<RewardVault::SettlementsChanged>(log)?;
        ChainEvent::SettlementsChanged
    } else if is::<RewardVault::BudgetChanged>(log) {
        let e: RewardVault::BudgetChanged = read(log)?;
        ChainEvent::BudgetChanged { from: Epoch(e.fromEpoch), budget: Amount(e.budget) }
    } else if is::<RewardVault::Claimed>(log) {
        let e: RewardVault::Claimed = read(log)?;
        ChainEvent::Claimed {
            account: AccountId(e.account),
            paid: Balance { free: Amount(e.amount), lane: Amount(e.staked) },
        }
    } else {
        return None;
    })
}

/// The contract to which the vault gives a say.
fn named(log: &Log) -> Option<EvmAddress> {
    Some(if is::<RewardVault::SettlementsChanged>(log) {
        evm(read::<RewardVault::SettlementsChanged>(log)?.settlements)
    } else if is::<RewardVault::DisputesChanged>(log) {
        evm(read::<RewardVault::DisputesChanged>(log)?.disputes)
    } else if is::<RewardVault::RoleGranted>(log) {
        let granted: RewardVault::RoleGranted = read(log)?;
        if granted.role != keccak256("FEES_ROLE") {
            return None;
        }
        evm(granted.account)
    } else {
        return None;
    })
}

fn escrow(log: &Log) -> Option<ChainEvent> {
    let escrow = evm(log.address);
    Some(if is::<UsageEscrow::Deposited>(log) {
        let e: UsageEscrow::Deposited = read(log)?;
        ChainEvent::Deposited {
            escrow,
            payer: evm(e.payer),
            payee: AccountId(e.payee),
            balance: Amount(e.balance),
            redeemed: Amount(e.redeemed),
        }
    } else if is::<UsageEscrow::WithdrawalRequested>(log) {
        let e: UsageEscrow::WithdrawalRequested = read(log)?;
        ChainEvent::WithdrawalRequested {
            escrow,
            payer: evm(e.payer),
            payee: AccountId(e.payee),
            from: BlockNumber(e.unlockBlock),
            until: BlockNumber(e.expiryBlock),
        }
    } else if is::<UsageEscrow::Withdrawn>(log) {
        let e: UsageEscrow::Withdrawn = read(log)?;
        ChainEvent::Withdrawn { escrow, payer: evm(e.payer), payee: AccountId(e.payee) }
    } else if is::<UsageEscrow::Redeemed>(log) {
        let e: UsageEscrow::Redeemed = read(log)?;
        ChainEvent::Redeemed {
            escrow,
            payer: evm(e.payer),
            payee: AccountId(e.payee),
            cumulative: Amount(e.cumulative),
            amount: Amount(e.amount),
        }
    } else {
        return None;
    })
}

fn settlement(s: &Settlements::Settlement) -> Settlement {
    Settlement {
        epoch: Epoch(s.epoch),
        parent: Digest(s.parent.0),
        records: Digest(s.records.0),
        payout_root: Digest(s.payoutRoot.0),
        total: Amount(s.total),
        balances: Hash(s.balances.0),
        balances_length: s.balancesLength,
        uses: Digest(s.uses.0),
        replicas_proven: s.replicasProven,
        storage_faults: s.storageFaults,
        shards_verified: s.shardsVerified,
        shards_rejected: s.shardsRejected,
    }
}
