//! [`Transaction`]s as calls of our contracts.

use alloy::primitives::{Address, Bytes, FixedBytes, U256};
use alloy::sol_types::SolCall;
use protocol::chain::{
    Challenge, Contribution, DatanetUse, DisputeAnswer, Model, ModelPublication, PayoutLeaf,
    ProposalAct, Registration, Settlement, Transaction,
};
use protocol::hash::keccak;
use protocol::merkle::{Path, SumNode};
use protocol::receipt::SignedReceipt;
use protocol::record::{SignedRecord, batch};
use protocol::{AccountId, Amount, BlockNumber, Digest, Epoch, EvmAddress};

use super::address;
use crate::bindings::{
    Coordinator, DatanetRegistry, Disputes, ModelRegistry, Registry, RewardVault, Settlements,
    UsageEscrow,
};
use crate::deployment::Deployment;

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

/// Encodes a transaction.
pub(crate) fn encode(tx: &Transaction, at: &Deployment) -> Encoded {
    let call = match tx {
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
        Transaction::SetPayout { account, payout } => {
            let payout = address(*payout);
            call(at.registry, &Registry::setPayoutCall { account: account.0, payout })
        }
        Transaction::CreateDatanet { owner, name, domain, licence } => {
            call(at.datanets, &create_datanet(*owner, name, domain, *licence))
        }
        Transaction::Contribute(contribution) => call(at.datanets, &contribute(contribution)),
        Transaction::TakeBackDeposit { contribution: number } => {
            call(at.datanets, &DatanetRegistry::takeBackCall { contribution: *number })
        }
        Transaction::CreateModel(model) => call(at.models, &create_model(model)),
        Transaction::RegisterBase(base) => call(at.models, &register_base(base)),
        Transaction::PublishModel(publication) => call(at.models, &publish(publication)),
        Transaction::Deposit { payee, amount } => {
            call(at.escrow, &UsageEscrow::depositCall { payee: payee.0, amount: amount.0 })
        }
        Transaction::RequestWithdrawal { escrow, payee } => {
            call(*escrow, &UsageEscrow::requestWithdrawalCall { payee: payee.0 })
        }
        Transaction::Withdraw { escrow, payee } => {
            call(*escrow, &UsageEscrow::withdrawCall { payee: payee.0 })
        }
        Transaction::Redeem(signed) => call(signed.receipt.escrow, &redeem(signed)),
        Transaction::Include { epoch, records } => call(at.coordinator, &include(*epoch, records)),
        Transaction::Propose { proposer, settlement: s } => {
            let (proposer, settlement) = (proposer.0, settlement(s));
            call(at.settlements, &Settlements::proposeCall { proposer, settlement })
        }
        Transaction::Claim { account, balance, index, count, path } => {
            let siblings = path.iter().map(claim_node).collect();
            let (account, free, lane) = (account.0, balance.free.0, balance.lane.0);
            let leaf = RewardVault::Leaf { account, free, lane, index: *index, siblings };
            call(at.vault, &RewardVault::claimCall { leaf, count: *count })
        }
        Transaction::AboutProposal { settlement: s, act } => about_proposal(act, at, settlement(s)),
        Transaction::CloseContested { number } => {
            let number = U256::from(*number);
            call(at.settlements, &Settlements::closeContestedCall { number })
        }
        Transaction::OpenDispute { accuser, commit, at: block, cell } => {
            let to = at.disputes_of(commit.record.epoch);
            call(to, &open_dispute(*accuser, commit, *block, *cell))
        }
        Transaction::AnswerDispute(answer) => {
            call(at.disputes_of(answer.epoch), &answer_dispute(answer))
        }
        Transaction::ExpireDispute { epoch, account, commit, cell } => {
            call(at.disputes_of(*epoch), &expire_dispute((*epoch, *account), commit, *cell))
        }
    };
    Encoded { call, spends: spends(tx, at) }
}

/// What a contract takes from the sender's OPEN, which has to be approved before.
fn spends(tx: &Transaction, at: &Deployment) -> Option<Amount> {
    match tx {
        Transaction::StakeFor { amount, .. } | Transaction::Deposit { amount, .. } => Some(*amount),
        Transaction::CreateModel(model) => Some(model.escrow),
        Transaction::Contribute(made) => Some(at.data_deposit.of(&made.packs)),
        _ => None,
    }
}

fn call(to: EvmAddress, call: &impl SolCall) -> Call {
    Call { to: address(to), data: call.abi_encode().into() }
}

fn word(digest: &Digest) -> FixedBytes<32> {
    FixedBytes(digest.0)
}

fn create_datanet(
    owner: AccountId,
    name: &str,
    domain: &str,
    licence: u32,
) -> DatanetRegistry::createDatanetCall {
    DatanetRegistry::createDatanetCall {
        name: name.to_owned(),
        domain: domain.to_owned(),
        licence,
        // Open: what is contributed is admitted at once.
        policy: 0,
        owner: owner.0,
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

fn create_model(model: &Model) -> ModelRegistry::createModelCall {
    ModelRegistry::createModelCall {
        developer: model.developer.0,
        datanet: model.datanet.0,
        escrow: model.escrow.0,
        config: Bytes::copy_from_slice(&model.config),
    }
}

fn register_base(base: &Registration) -> ModelRegistry::registerBaseCall {
    let (developer, config) = (base.developer.0, Bytes::copy_from_slice(&base.config));
    ModelRegistry::registerBaseCall { developer, config }
}

fn include(epoch: Epoch, records: &[SignedRecord]) -> Coordinator::includeCall {
    Coordinator::includeCall { epoch: epoch.0, batch: batch::encode(records).into() }
}

fn publish(publication: &ModelPublication) -> ModelRegistry::publishCall {
    ModelRegistry::publishCall {
        id: publication.model.0,
        checkpoint: FixedBytes(publication.checkpoint.0),
        sketchRoot: word(&publication.sketch_root),
        server: publication.server.0,
        priceIn: publication.price_in.0,
        priceOut: publication.price_out.0,
        priceUse: publication.price_use.0,
    }
}

fn redeem(signed: &SignedReceipt) -> UsageEscrow::redeemCall {
    UsageEscrow::redeemCall {
        receipt: UsageEscrow::Receipt {
            payer: address(signed.receipt.payer),
            payee: signed.receipt.payee.0,
            model: signed.receipt.model.0,
            cumulative: U256::from(signed.receipt.cumulative.0),
            price: U256::from(signed.receipt.price.0),
            nonce: signed.receipt.nonce,
            request: word(&signed.receipt.request),
        },
        signature: Bytes::copy_from_slice(&signed.signature.0),
    }
}

fn open_dispute(
    accuser: AccountId,
    commit: &SignedRecord,
    at: BlockNumber,
    cell: u32,
) -> Disputes::openDisputeCall {
    let made = &commit.record;
    let body = made.body.to_bytes();
    Disputes::openDisputeCall {
        accuser: accuser.0,
        record: Disputes::Record {
            kind: made.body.kind().tag(),
            epoch: made.epoch.0,
            account: made.account.0,
            subject: word(&made.subject),
            body: word(&keccak(&[&body])),
        },
        signature: Bytes::copy_from_slice(&commit.signature.0),
        body: body.into(),
        signedAt: at.0,
        cell,
    }
}

fn expire_dispute(
    (epoch, account): (Epoch, AccountId),
    commit: &Digest,
    cell: u32,
) -> Disputes::expireDisputeCall {
    let (epoch, account, commitment) = (epoch.0, account.0, word(commit));
    Disputes::expireDisputeCall { epoch, account, commitment, cell }
}

fn answer_dispute(answer: &DisputeAnswer) -> Disputes::answerDisputeCall {
    let opening = &answer.opening;
    let (index, count, siblings) = &opening.inventory;
    Disputes::answerDisputeCall {
        epoch: answer.epoch.0,
        account: answer.account.0,
        commitment: word(&answer.commit),
        opening: Disputes::CellOpening {
            pack: FixedBytes(opening.pack.hash.0),
            length: opening.pack.length,
            packIndex: *index,
            packCount: *count,
            inventory: siblings.iter().map(sum_node).collect(),
            row: merkle_path(&opening.row),
            chunk: Bytes::copy_from_slice(&opening.slice.chunk),
            slice: opening.slice.siblings.iter().map(word).collect(),
        },
    }
}

fn about_proposal(act: &ProposalAct, at: &Deployment, settlement: Settlements::Settlement) -> Call {
    match act {
        ProposalAct::Finalise { uses } => call(
            at.settlements,
            &Settlements::finaliseCall { settlement, uses: uses.iter().map(datanet_use).collect() },
        ),
        ProposalAct::Object { account, reason } => call(
            at.settlements,
            &Settlements::objectCall { settlement, account: account.0, reason: word(reason) },
        ),
        ProposalAct::Challenge(proof) => challenge(proof, at, settlement),
        ProposalAct::Close => call(at.settlements, &Settlements::closeCall { settlement }),
        ProposalAct::Rule { uphold } => {
            call(at.settlements, &Settlements::ruleCall { settlement, uphold: *uphold })
        }
    }
}

fn challenge(proof: &Challenge, at: &Deployment, settlement: Settlements::Settlement) -> Call {
    match proof {
        Challenge::Total { count, top } => {
            let (count, top) = (*count, payout_node(top));
            call(at.settlements, &Settlements::challengeTotalCall { settlement, count, top })
        }
        Challenge::Order { count, left, right } => {
            let (count, left, right) = (*count, payout_leaf(left), payout_leaf(right));
            call(
                at.settlements,
                &Settlements::challengeOrderCall { settlement, count, left, right },
            )
        }
        Challenge::Loss { count_before, before, count, found } => call(
            at.settlements,
            &Settlements::challengeLossCall {
                settlement,
                countBefore: *count_before,
                before: payout_leaf(before),
                count: *count,
                found: found.iter().map(payout_leaf).collect(),
            },
        ),
    }
}

fn payout_leaf(leaf: &PayoutLeaf) -> Settlements::Leaf {
    Settlements::Leaf {
        account: leaf.account.0,
        free: leaf.balance.free.0,
        lane: leaf.balance.lane.0,
        index: leaf.index,
        siblings: leaf.siblings.iter().map(payout_node).collect(),
    }
}

fn settlement(s: &Settlement) -> Settlements::Settlement {
    Settlements::Settlement {
        epoch: s.epoch.0,
        parent: word(&s.parent),
        records: word(&s.records),
        payoutRoot: word(&s.payout_root),
        total: s.total.0,
        balances: FixedBytes(s.balances.0),
        balancesLength: s.balances_length,
        uses: word(&s.uses),
        replicasProven: s.replicas_proven,
        storageFaults: s.storage_faults,
        shardsVerified: s.shards_verified,
        shardsRejected: s.shards_rejected,
    }
}

const fn datanet_use(item: &DatanetUse) -> Settlements::DatanetUse {
    Settlements::DatanetUse { datanet: item.datanet.0, shards: item.shards, outputs: item.outputs }
}

fn sum_node(node: &SumNode) -> Disputes::SumNode {
    Disputes::SumNode { hash: word(&node.hash), sum: node.sum }
}

fn payout_node(node: &SumNode) -> Settlements::SumNode {
    Settlements::SumNode { hash: word(&node.hash), sum: node.sum }
}

fn claim_node(node: &SumNode) -> RewardVault::SumNode {
    RewardVault::SumNode { hash: word(&node.hash), sum: node.sum }
}

fn merkle_path(path: &Path) -> Disputes::Path {
    Disputes::Path {
        index: path.index,
        count: path.count,
        siblings: path.siblings.iter().map(word).collect(),
    }
}
