//! The node itself: its state, its tickets, its pins.

use protocol::{AccountId, Amount, Digest, Hash, ModelId, NodeId, Round};
use serde::{Deserialize, Serialize};

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
    pub node: NodeId,
    /// The device that computes.
    pub device: String,
    /// Why a better device is not used.
    pub refused_device: Option<String>,
    /// Shards that it finished since it started.
    pub shards_done: u64,
    /// How many peers it is connected to.
    pub peers: usize,
    /// Whether others can reach it: `unknown`, `public` or `private`.
    pub reachability: String,
    /// Multiaddresses by which others can join through it.
    pub bootstrap: Vec<String>,
    /// Bytes received over the data plane.
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
    /// What a claim would bring now.
    pub pending: Amount,
    /// Earned in the newcomers' lane, and held until it is the account's stake.
    pub held: Amount,
    /// The stake, own or earned in the lane, that would free what is held.
    pub missing: Amount,
    /// Why it idles.
    pub waiting: Vec<String>,
    /// The training runs of the network.
    pub runs: Vec<RunStatus>,
    /// Rounds that closed since it started.
    pub rounds_closed: Vec<Closed>,
    /// Storage faults that this node caught.
    pub faults_seen: u64,
    /// Shards that this node's replays rejected.
    pub shards_rejected_seen: u64,
}

/// A training run as this node sees it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RunStatus {
    /// The model that it trains.
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

/// A round that closed.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Closed {
    /// The model whose run it belongs to.
    pub model: ModelId,
    /// Its number, from 0.
    pub round: Round,
    /// The checkpoint after it.
    pub checkpoint: Hash,
    /// How many payloads it is made of.
    pub shards: u32,
}

/// A ticket as text.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Ticket {
    /// One string that survives copy and paste.
    pub ticket: String,
}

/// Names a blob to be kept.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pin {
    /// The blob's BLAKE3 hash.
    pub hash: Hash,
}

/// What was pinned.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Pinned {
    /// The blob's BLAKE3 hash.
    pub hash: Hash,
    /// Its length in bytes.
    pub bytes: u64,
}
