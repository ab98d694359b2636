//! [`Transaction`]s as calls of our contracts.

use alloy::primitives::{Address, Bytes, FixedBytes, U256};
use alloy::sol_types::SolCall;
use protocol::chain::{Contribution, DatanetUse, Settlement, Transaction};
use protocol::hash::keccak;
use protocol::merkle::{Path, SumNode};
use protocol::record::SignedRecord;
use protocol::{Amount, Digest, Epoch, EvmAddress};

use super::address;
use crate::bindings::{Coordinator, DatanetRegistry, ModelRegistry, Registry, UsageEscrow};
use crate::deployment::Deployment;

/// Why a transaction could not be put into the contracts' terms.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// It is about the proposal of an epoch, and there is none.
    #[error("epoch {0} has no live proposal; wait for one")]
    NoProposal(Epoch),
}

/// One call of a contract.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Call {
    pub(crate) to: Address,
    pub(crate) data: Bytes,
}

/// A call with what it takes from the sender's OPEN, which must be approved for the callee first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Encoded {
    pub(crate) call: Call,
    pub(crate) spends: Option<Amount>,
}

/// The epoch whose live proposal [`encode`] needs.
pub(crate) const fn needs_proposal(tx: &Transaction) -> Option<Epoch> {
    match tx {
        Transaction::Finalise { epoch, .. }
        | Transaction::ChallengeOmission { epoch, .. }
        | Transaction::ChallengeSignature { epoch, .. }
        | Transaction::ChallengeDoubleCount { epoch, .. }
        | Transaction::Object { epoch, .. }
        | Transaction::Rule { epoch, .. } => Some(*epoch),
        _ => None,
    }
}

/// Encodes a transaction; `proposal` is that of [`needs_proposal`].
pub(crate) fn encode(
    tx: &Transaction,
    at: &Deployment,
    proposal: Option<&Settlement>,
) -> Result<Encoded, EncodeError> {
    let spends = match tx {
        Transaction::StakeFor { amount, .. } | Transaction::Deposit { amount, .. } => Some(*amount),
        _ => None,
    };
    let call = match tx {
        Transaction::Register { .. }
        | Transaction::StakeFor { .. }
        | Transaction::SetPayout { .. } => registry(tx, at),
        Transaction::CreateDatanet { .. }
        | Transaction::Contribute(_)
        | Transaction::CreateModel(_)
        | Transaction::PublishModel(_) => catalogue(tx, at),
        Transaction::Deposit { .. } | Transaction::Redeem(_) => escrow(tx, at),
        Transaction::Anchor { .. }
        | Transaction::Propose { .. }
        | Transaction::Claim { .. }
        | Transaction::AnswerDispute { .. } => coordinator(tx, at),
        Transaction::Finalise { .. }
        | Transaction::Object { .. }
        | Transaction::Rule { .. }
        | Transaction::ChallengeOmission { .. }
        | Transaction::ChallengeSignature { .. }
        | Transaction::ChallengeDoubleCount { .. } => {
            let epoch = needs_proposal(tx).unwrap_or_default();
            let proposal = proposal.filter(|proposal| proposal.epoch == epoch);
            about_proposal(tx, at, settlement(proposal.ok_or(EncodeError::NoProposal(epoch))?))
        }
    };
    Ok(Encoded { call, spends })
}

fn call(to: EvmAddress, call: &impl SolCall) -> Call {
    Call { to: address(to), data: call.abi_encode().into() }
}

fn word(digest: &Digest) -> FixedBytes<32> {
    FixedBytes(digest.0)
}

fn registry(tx: &Transaction, at: &Deployment) -> Call {
    match tx {
        Transaction::Register { owner, operator, payout, node, binding } => call(
            at.registry,
            &Registry::registerCall {
                owner: address(*owner),
                operator: address(*operator),
                payout: address(*payout),
                nodeId: FixedBytes(node.0),
                binding: Bytes::copy_from_slice(binding),
            },
        ),
        Transaction::StakeFor { account, amount } => {
            call(at.registry, &Registry::stakeForCall { account: account.0, amount: amount.0 })
        }
        Transaction::SetPayout { account, payout } => call(
            at.registry,
            &Registry::setPayoutCall { account: account.0, payout: address(*payout) },
        ),
        _ => unreachable!("`encode` sends only the Registry's transactions here"),
    }
}

fn catalogue(tx: &Transaction, at: &Deployment) -> Call {
    match tx {
        Transaction::CreateDatanet { owner, name, domain, licence } => call(
            at.datanets,
            &DatanetRegistry::createDatanetCall {
                name: name.clone(),
                domain: domain.clone(),
                licence: *licence,
                // Open: what is contributed is admitted at once.
                policy: 0,
                owner: owner.0,
            },
        ),
        Transaction::Contribute(contribution) => call(at.datanets, &contribute(contribution)),
        Transaction::CreateModel(model) => call(
            at.models,
            &ModelRegistry::createModelCall {
                developer: model.developer.0,
                datanet: model.datanet.0,
                config: Bytes::copy_from_slice(&model.config),
            },
        ),
        Transaction::PublishModel(publication) => call(
            at.models,
            &ModelRegistry::publishCall {
                id: publication.model.0,
                checkpoint: FixedBytes(publication.checkpoint.0),
                sketchRoot: word(&publication.sketch_root),
                server: publication.server.0,
                priceIn: publication.price_in.0,
                priceOut: publication.price_out.0,
                priceUse: publication.price_use.0,
            },
        ),
        _ => unreachable!("`encode` sends only the catalogues' transactions here"),
    }
}

fn contribute(contribution: &Contribution) -> DatanetRegistry::contributeCall {
    DatanetRegistry::contributeCall {
        id: contribution.datanet.0,
        account: contribution.account.0,
        manifest: FixedBytes(contribution.manifest.0),
        packs: contribution.packs.iter().map(|pack| FixedBytes(pack.hash.0)).collect(),
        lengths: contribution.packs.iter().map(|pack| pack.length).collect(),
        units: contribution.units,
    }
}

fn escrow(tx: &Transaction, at: &Deployment) -> Call {
    match tx {
        Transaction::Deposit { payee, amount } => {
            call(at.escrow, &UsageEscrow::depositCall { payee: payee.0, amount: amount.0 })
        }
        Transaction::Redeem(signed) => call(
            at.escrow,
            &UsageEscrow::redeemCall {
                receipt: UsageEscrow::Receipt {
                    payer: address(signed.receipt.payer),
                    payee: signed.receipt.payee.0,
                    model: signed.receipt.model.0,
                    cumulative: U256::from(signed.receipt.cumulative.0),
                    nonce: signed.receipt.nonce,
                    request: word(&signed.receipt.request),
                },
                signature: Bytes::copy_from_slice(&signed.signature.0),
            },
        ),
        _ => unreachable!("`encode` sends only the escrow's transactions here"),
    }
}

fn coordinator(tx: &Transaction, at: &Deployment) -> Call {
    match tx {
        Transaction::Anchor { epoch, root } => {
            call(at.coordinator, &Coordinator::anchorCall { epoch: epoch.0, root: word(root) })
        }
        Transaction::Propose { proposer, settlement: s } => call(
            at.coordinator,
            &Coordinator::proposeCall { proposer: proposer.0, settlement: settlement(s) },
        ),
        Transaction::Claim { account, cumulative, index, count, path } => call(
            at.coordinator,
            &Coordinator::claimCall {
                account: account.0,
                cumulative: cumulative.0,
                index: *index,
                count: *count,
                siblings: path.iter().map(sum_node).collect(),
            },
        ),
        Transaction::AnswerDispute { epoch, account, pack, inventory, row, slice } => call(
            at.coordinator,
            &Coordinator::answerDisputeCall {
                epoch: epoch.0,
                account: account.0,
                opening: Coordinator::CellOpening {
                    pack: FixedBytes(pack.hash.0),
                    length: pack.length,
                    packIndex: inventory.0,
                    packCount: inventory.1,
                    inventory: inventory.2.iter().map(sum_node).collect(),
                    row: merkle_path(row),
                    chunk: Bytes::copy_from_slice(&slice.chunk),
                    slice: slice.siblings.iter().map(word).collect(),
                },
            },
        ),
        _ => unreachable!("`encode` sends only the Coordinator's transactions here"),
    }
}

fn about_proposal(tx: &Transaction, at: &Deployment, settlement: Coordinator::Settlement) -> Call {
    match tx {
        Transaction::Finalise { uses, .. } => call(
            at.coordinator,
            &Coordinator::finaliseCall { settlement, uses: uses.iter().map(datanet_use).collect() },
        ),
        Transaction::Object { account, reason, .. } => call(
            at.coordinator,
            &Coordinator::objectCall { settlement, account: account.0, reason: word(reason) },
        ),
        Transaction::Rule { uphold, .. } => {
            call(at.coordinator, &Coordinator::ruleCall { settlement, uphold: *uphold })
        }
        Transaction::ChallengeSignature { record, path, .. } => call(
            at.coordinator,
            &Coordinator::challengeSignatureCall {
                settlement,
                record: header(record),
                signature: Bytes::copy_from_slice(&record.signature.0),
                path: merkle_path(path),
            },
        ),
        Transaction::ChallengeDoubleCount { first, second, .. } => call(
            at.coordinator,
            &Coordinator::challengeDoubleCountCall {
                settlement,
                first: listed(first),
                second: listed(second),
            },
        ),
        Transaction::ChallengeOmission { record, anchor, before, after, .. } => call(
            at.coordinator,
            &Coordinator::challengeOmissionCall {
                settlement,
                record: header(record),
                signature: Bytes::copy_from_slice(&record.signature.0),
                anchored: merkle_path(anchor),
                neighbours: before.iter().chain(after).map(listed_leaf).collect(),
            },
        ),
        _ => unreachable!("`encode` sends only what names a proposal here"),
    }
}

fn listed_leaf((id, signature, path): &(Digest, Digest, Path)) -> Coordinator::ListedLeaf {
    Coordinator::ListedLeaf {
        id: word(id),
        signatureHash: word(signature),
        path: merkle_path(path),
    }
}

fn settlement(s: &Settlement) -> Coordinator::Settlement {
    Coordinator::Settlement {
        epoch: s.epoch.0,
        parent: word(&s.parent),
        recordsRoot: word(&s.records_root),
        payoutRoot: word(&s.payout_root),
        total: s.total.0,
        log: FixedBytes(s.log.0),
        logLength: s.log_length,
        uses: word(&s.uses),
        replicasProven: s.replicas_proven,
        storageFaults: s.storage_faults,
        shardsVerified: s.shards_verified,
        shardsRejected: s.shards_rejected,
    }
}

const fn datanet_use(item: &DatanetUse) -> Coordinator::DatanetUse {
    Coordinator::DatanetUse { datanet: item.datanet.0, shards: item.shards, outputs: item.outputs }
}

fn sum_node(node: &SumNode) -> Coordinator::SumNode {
    Coordinator::SumNode { hash: word(&node.hash), sum: node.sum }
}

fn merkle_path(path: &Path) -> Coordinator::Path {
    Coordinator::Path {
        index: path.index,
        count: path.count,
        siblings: path.siblings.iter().map(word).collect(),
    }
}

fn header(signed: &SignedRecord) -> Coordinator::Record {
    let record = &signed.record;
    Coordinator::Record {
        kind: record.body.kind().tag(),
        epoch: record.epoch.0,
        account: record.account.0,
        subject: word(&record.subject),
        body: word(&keccak(&[&record.body.to_bytes()])),
    }
}

fn listed((signed, path): &(SignedRecord, Path)) -> Coordinator::Listed {
    Coordinator::Listed {
        record: header(signed),
        signatureHash: word(&keccak(&[&signed.signature.0])),
        path: merkle_path(path),
    }
}
