//! What a person can see of a running node.

use std::collections::BTreeMap;
use std::sync::Arc;

use protocol::chain::ChainView;
use protocol::node::{Progress, Waiting};
use protocol::{AccountId, Amount, Digest, Hash, ModelId, Round};
use serde::{Deserialize, Serialize};

/// What the loop shows of itself after every step.
#[derive(Debug, Clone)]
pub(crate) struct Snapshot {
    pub(crate) account: AccountId,
    pub(crate) chain: Arc<ChainView>,
    pub(crate) progress: Vec<Progress>,
    pub(crate) waiting: Vec<Waiting>,
    pub(crate) seen: Seen,
}

/// What this node saw since it started.
#[derive(Debug, Clone, Default)]
pub(crate) struct Seen {
    pub(crate) storage_faults: u64,
    pub(crate) shards_rejected: u64,
    pub(crate) objections: u64,
    pub(crate) closed: Vec<Closed>,
    pub(crate) ready: BTreeMap<ModelId, (Hash, Digest)>,
    pub(crate) syncs: usize,
}

/// A round that closed.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Closed {
    /// Of which run.
    pub model: ModelId,
    /// Which round.
    pub round: Round,
    /// The checkpoint after it.
    pub checkpoint: Hash,
    /// How many payloads it is made of.
    pub shards: u32,
}

/// A training run as this node sees it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RunStatus {
    /// Which.
    pub model: ModelId,
    /// The open round.
    pub round: Round,
    /// Training rounds in all.
    pub rounds: u32,
    /// The checkpoint now.
    pub checkpoint: Option<Hash>,
    /// Whether it can be served.
    pub is_ready: bool,
    /// The root of its attribution sketches, once ready.
    pub sketch_root: Option<Digest>,
}

/// The answer to "how is my node?".
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct StatusReport {
    /// Version of this schema.
    pub schema: u32,
    /// Version of the software.
    pub version: String,
    /// The node's account; zero until it is registered.
    pub account: AccountId,
    /// The node's id.
    pub node: protocol::NodeId,
    /// The device that computes.
    pub device: String,
    /// Why a better device is not used.
    pub refused_device: Option<String>,
    /// Shards that it finished since it started.
    pub shards_done: u64,
    /// Connected peers.
    pub peers: usize,
    /// Whether others can reach it.
    pub reachability: String,
    /// Multiaddresses by which others can join through it.
    pub bootstrap: Vec<String>,
    /// Payload bytes received over the data plane.
    pub quic_bytes_in: u64,
    /// Bytes sent over the data plane.
    pub quic_bytes_out: u64,
    /// Packs of the network in the store.
    pub packs: usize,
    /// Bytes in the store.
    pub stored_bytes: u64,
    /// Most bytes in the store; none if the disk is the limit.
    pub max_disk: Option<u64>,
    /// The current epoch.
    pub epoch: u64,
    /// The newest block.
    pub block: u64,
    /// The first block of the next epoch.
    pub next_epoch_block: u64,
    /// Earned so far in final settlements that this node has seen.
    pub earned: Amount,
    /// Claimed so far.
    pub claimed: Amount,
    /// Earned and not claimed.
    pub pending: Amount,
    /// Why it idles.
    pub waiting: Vec<String>,
    /// Training runs.
    pub runs: Vec<RunStatus>,
    /// Rounds that closed.
    pub rounds_closed: Vec<Closed>,
    /// Storage faults that this node caught.
    pub faults_seen: u64,
    /// Shards that this node's replays rejected.
    pub shards_rejected_seen: u64,
}

/// A line of a statement.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RewardLine {
    /// In which epoch.
    pub epoch: u64,
    /// For what.
    pub source: String,
    /// How much, in the smallest unit; zero where `reason` says why.
    pub amount: Amount,
    /// The record behind it.
    pub record: Digest,
    /// Why it earned nothing.
    pub reason: Option<String>,
}
