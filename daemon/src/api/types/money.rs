//! Accounts, rewards, claims and settlements.

use protocol::{AccountId, Amount, Digest, Epoch, EvmAddress, Hash, NodeId};
use serde::{Deserialize, Serialize};

/// An account of the Registry.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct AccountInfo {
    /// Its id in the Registry.
    pub id: AccountId,
    /// Its cold key.
    pub owner: EvmAddress,
    /// Its hot key now.
    pub operator: Option<EvmAddress>,
    /// Where claims pay.
    pub payout: EvmAddress,
    /// Its node; zero when it has none.
    pub node: NodeId,
    /// What it has at stake.
    pub stake: Amount,
    /// What it was paid so far.
    pub claimed: Amount,
}

/// Asks for an account that this node operates for somebody.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Register {
    /// The cold key, which is also where claims pay until it says otherwise.
    pub owner: EvmAddress,
}

/// An id that the chain assigned.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Created<T> {
    /// The id of what was created.
    pub id: T,
}

/// A transaction in a block.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct TxReport {
    /// The block that holds it.
    pub block: u64,
    /// Gas that it used.
    pub gas: u64,
    /// Id of the account, Datanet, contribution or model that it created.
    pub created: Option<u64>,
}

/// A line of an account's statement.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RewardLine {
    /// The epoch that was settled.
    pub epoch: u64,
    /// The kind of work: `storage`, `shards`, `audits`, `attribution`, `model`, `serving`, `stake`
    /// or `treasury`.
    pub source: String,
    /// What it earned, in the smallest unit; zero where `reason` says why.
    pub amount: Amount,
    /// The record behind it; zero where there is none.
    pub record: Digest,
    /// Whether it was earned in the newcomers' lane, and becomes stake instead of being paid.
    pub held: bool,
    /// Why it earned nothing.
    pub reason: Option<String>,
}

/// Asks for a payment.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Claim {
    /// The account to be paid; the node's own if none is named.
    pub account: Option<AccountId>,
}

/// What a claim did.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Claimed {
    /// The account that was paid.
    pub account: AccountId,
    /// The transaction; none when there was nothing to claim.
    pub transaction: Option<TxReport>,
    /// What it paid.
    pub paid: Amount,
    /// What became the account's stake.
    pub staked: Amount,
    /// What was earned without enough stake, and is still held.
    pub held: Amount,
    /// The stake, own or earned in the lane, that would free it.
    pub missing: Amount,
}

/// A settlement as the chain has it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SettlementInfo {
    /// The epoch that it settles.
    pub epoch: Epoch,
    /// The hash that names it on chain.
    pub id: Digest,
    /// Whether it is final.
    pub is_final: bool,
    /// The account that proposed it.
    pub proposer: AccountId,
    /// What was proposed.
    pub settlement: ProposedSettlement,
}

/// One epoch's result, as proposed to the Coordinator.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct ProposedSettlement {
    /// The epoch that is settled.
    pub epoch: Epoch,
    /// Id of the final settlement that this one builds on; zero for the first.
    pub parent: Digest,
    /// The fold over the ids of the records that the chain included.
    pub records: Digest,
    /// Merkle-sum root over (account, cumulative amount), sorted by account.
    pub payout_root: Digest,
    /// Sum of all cumulative amounts.
    pub total: Amount,
    /// BLAKE3 hash of the list of all balances.
    pub balances: Hash,
    /// Length of that list in bytes.
    pub balances_length: u64,
    /// Hash of the list of Datanet uses.
    pub uses: Digest,
    /// Replicas proven in this epoch.
    pub replicas_proven: u32,
    /// Nodes whose storage proof failed.
    pub storage_faults: u32,
    /// Shards that passed their audit.
    pub shards_verified: u32,
    /// Shards that failed it.
    pub shards_rejected: u32,
}
