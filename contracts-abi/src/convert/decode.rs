//! Logs of our contracts as [`ChainEvent`]s.

use alloy::primitives::{Address, Log, U256};
use alloy::sol_types::SolEvent;
use protocol::chain::{ChainEvent, Contribution, Model, ModelPublication, Settlement};
use protocol::{
    AccountId, Amount, BlobRef, DatanetId, Digest, Epoch, EvmAddress, Hash, ModelId, NodeId,
};

use super::address;
use crate::bindings::{Coordinator, DatanetRegistry, ModelRegistry, Registry, UsageEscrow};
use crate::deployment::Deployment;

/// A log that claims to be one of ours and is not.
#[expect(missing_docs, reason = "a message names its fields")]
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LogError {
    /// The data does not decode as the event that the topic names.
    #[error("a log of {contract} does not decode: {reason}")]
    Malformed { contract: EvmAddress, reason: String },
    /// A value is out of the protocol's range.
    #[error("a log of {0} holds a value that is out of range")]
    Range(EvmAddress),
}

/// Decodes a log. `None` for events that the protocol does not follow and for other contracts.
pub(crate) fn decode_log(log: &Log, at: &Deployment) -> Result<Option<ChainEvent>, LogError> {
    match log.address {
        from if from == address(at.registry) => registry(log),
        from if from == address(at.datanets) => datanets(log),
        from if from == address(at.models) => models(log),
        from if from == address(at.coordinator) => coordinator(log),
        from if from == address(at.escrow) => escrow(log),
        _ => Ok(None),
    }
}

fn is<E: SolEvent>(log: &Log) -> bool {
    log.topics().first() == Some(&E::SIGNATURE_HASH)
}

fn read<E: SolEvent>(log: &Log) -> Result<E, LogError> {
    E::decode_raw_log_validate(log.topics().iter().copied(), &log.data.data).map_err(|error| {
        LogError::Malformed { contract: evm(log.address), reason: error.to_string() }
    })
}

fn evm(address: Address) -> EvmAddress {
    EvmAddress(address.into())
}

fn amount(value: U256, log: &Log) -> Result<Amount, LogError> {
    u128::try_from(value).map(Amount).map_err(|_| LogError::Range(evm(log.address)))
}

fn registry(log: &Log) -> Result<Option<ChainEvent>, LogError> {
    Ok(Some(if is::<Registry::AccountRegistered>(log) {
        let e: Registry::AccountRegistered = read(log)?;
        let binding = <[u8; 64]>::try_from(e.binding.as_ref());
        ChainEvent::AccountRegistered {
            account: AccountId(e.account),
            owner: evm(e.owner),
            operator: evm(e.operator),
            payout: evm(e.payout),
            node: NodeId(e.nodeId.0),
            binding: binding.map_err(|_| LogError::Range(evm(log.address)))?,
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
        ChainEvent::StakeChanged { account: AccountId(e.account), stake: amount(e.stake, log)? }
    } else if is::<Registry::UnstakeRequested>(log) {
        let e: Registry::UnstakeRequested = read(log)?;
        ChainEvent::UnstakeRequested { account: AccountId(e.account), leaving: Amount(e.amount) }
    } else if is::<Registry::Slashed>(log) {
        let e: Registry::Slashed = read(log)?;
        ChainEvent::Slashed { account: AccountId(e.account), amount: Amount(e.amount) }
    } else {
        return Ok(None);
    }))
}

fn datanets(log: &Log) -> Result<Option<ChainEvent>, LogError> {
    Ok(Some(if is::<DatanetRegistry::DatanetCreated>(log) {
        let e: DatanetRegistry::DatanetCreated = read(log)?;
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
            return Err(LogError::Range(evm(log.address)));
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
        return Ok(None);
    }))
}

fn models(log: &Log) -> Result<Option<ChainEvent>, LogError> {
    Ok(Some(if is::<ModelRegistry::ModelCreated>(log) {
        let e: ModelRegistry::ModelCreated = read(log)?;
        ChainEvent::ModelCreated(Model {
            id: ModelId(e.model),
            developer: AccountId(e.developer),
            datanet: DatanetId(e.datanet),
            config: e.config.to_vec(),
        })
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
        return Ok(None);
    }))
}

fn coordinator(log: &Log) -> Result<Option<ChainEvent>, LogError> {
    Ok(Some(if is::<Coordinator::Anchored>(log) {
        let e: Coordinator::Anchored = read(log)?;
        ChainEvent::Anchored { epoch: Epoch(e.epoch), root: Digest(e.root.0) }
    } else if is::<Coordinator::Proposed>(log) {
        let e: Coordinator::Proposed = read(log)?;
        let proposer = AccountId(e.proposer);
        ChainEvent::Proposed { proposer, settlement: settlement(&e.settlement) }
    } else if is::<Coordinator::Objected>(log) {
        let e: Coordinator::Objected = read(log)?;
        let (epoch, account) = (Epoch(e.epoch), AccountId(e.account));
        ChainEvent::Objected { epoch, id: Digest(e.id.0), account }
    } else if is::<Coordinator::Ruled>(log) {
        let e: Coordinator::Ruled = read(log)?;
        ChainEvent::Ruled { epoch: Epoch(e.epoch), id: Digest(e.id.0), upheld: e.upheld }
    } else if is::<Coordinator::Defeated>(log) {
        let e: Coordinator::Defeated = read(log)?;
        ChainEvent::Defeated { epoch: Epoch(e.epoch), id: Digest(e.id.0) }
    } else if is::<Coordinator::Finalised>(log) {
        let e: Coordinator::Finalised = read(log)?;
        ChainEvent::Finalised { epoch: Epoch(e.epoch), id: Digest(e.id.0) }
    } else if is::<Coordinator::Claimed>(log) {
        let e: Coordinator::Claimed = read(log)?;
        ChainEvent::Claimed {
            account: AccountId(e.account),
            amount: Amount(e.amount),
            cumulative: Amount(e.cumulative),
        }
    } else if is::<Coordinator::DisputeOpened>(log) {
        let e: Coordinator::DisputeOpened = read(log)?;
        let (epoch, account) = (Epoch(e.epoch), AccountId(e.account));
        ChainEvent::DisputeOpened { epoch, account, cell: e.cell }
    } else {
        return Ok(None);
    }))
}

fn escrow(log: &Log) -> Result<Option<ChainEvent>, LogError> {
    if !is::<UsageEscrow::Redeemed>(log) {
        return Ok(None);
    }
    let e: UsageEscrow::Redeemed = read(log)?;
    Ok(Some(ChainEvent::Redeemed {
        payer: evm(e.payer),
        payee: AccountId(e.payee),
        cumulative: Amount(e.cumulative),
        amount: Amount(e.amount),
    }))
}

fn settlement(s: &Coordinator::Settlement) -> Settlement {
    Settlement {
        epoch: Epoch(s.epoch),
        parent: Digest(s.parent.0),
        records_root: Digest(s.recordsRoot.0),
        payout_root: Digest(s.payoutRoot.0),
        total: Amount(s.total),
        log: Hash(s.log.0),
        log_length: s.logLength,
        uses: Digest(s.uses.0),
        replicas_proven: s.replicasProven,
        storage_faults: s.storageFaults,
        shards_verified: s.shardsVerified,
        shards_rejected: s.shardsRejected,
    }
}
