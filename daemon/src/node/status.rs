//! What a person can see of a running node.

use std::collections::BTreeMap;
use std::sync::Arc;

use protocol::balance::{Balance, Due};
use protocol::chain::ChainView;
use protocol::node::{Progress, Waiting};
use protocol::settle::{Source, Unpaid};
use protocol::{AccountId, Amount, BlockNumber, Digest, Epoch, Hash, ModelId, Round};

use crate::net::NetStatus;

/// What the loop shows of itself after every step.
#[derive(Debug, Clone)]
pub(crate) struct Snapshot {
    pub(crate) account: Option<AccountId>,
    pub(crate) chain: Arc<ChainView>,
    pub(crate) progress: Vec<Progress>,
    pub(crate) waiting: Vec<Waiting>,
    pub(crate) seen: Seen,
}

impl Snapshot {
    /// Before the first block is read.
    pub(crate) fn at_start(chain: Arc<ChainView>) -> Self {
        let (progress, waiting) = (Vec::new(), Vec::new());
        Self { account: None, chain, progress, waiting, seen: Seen::default() }
    }

    /// The training runs as this node sees them.
    pub(crate) fn runs(&self) -> Vec<RunProgress> {
        let run = |run: &Progress| RunProgress {
            model: run.model,
            round: run.round,
            rounds: run.rounds,
            checkpoint: run.checkpoint,
            is_ready: run.is_ready,
            sketch_root: self.seen.ready.get(&run.model).map(|(_, root)| *root),
        };
        self.progress.iter().map(run).collect()
    }
}

/// What this node saw since it started.
#[derive(Debug, Clone, Default)]
pub(crate) struct Seen {
    pub(crate) storage_faults: u64,
    pub(crate) shards_rejected: u64,
    pub(crate) objections: u64,
    pub(crate) closed: Vec<ClosedRound>,
    /// Checkpoint and sketch root of the runs that are finished.
    pub(crate) ready: BTreeMap<ModelId, (Hash, Digest)>,
}

/// A round that closed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClosedRound {
    /// The model whose run it belongs to.
    pub model: ModelId,
    /// Its number, from 0.
    pub round: Round,
    /// The checkpoint after it.
    pub checkpoint: Hash,
    /// How many payloads it is made of.
    pub shards: u32,
}

/// A training run as this node sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunProgress {
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

/// What the node computes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceStatus {
    /// Its name, as the driver gives it.
    pub name: String,
    /// Why a better device is not used.
    pub refused: Option<String>,
    /// Shards that it finished since the node started.
    pub shards_done: u64,
}

/// How full the node's store is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoreStatus {
    /// Packs of the network.
    pub packs: usize,
    /// Bytes of all blobs.
    pub bytes: u64,
    /// Most bytes of blobs; none if the disk is the limit.
    pub limit: Option<u64>,
}

/// The answer to "how is my node?".
#[derive(Debug, Clone)]
pub struct NodeStatus {
    /// Its account, once it is registered.
    pub account: Option<AccountId>,
    /// The network as seen from here.
    pub net: NetStatus,
    /// Multiaddresses by which others can join through it.
    pub bootstrap: Vec<String>,
    /// What it computes on.
    pub device: DeviceStatus,
    /// How full its store is.
    pub store: StoreStatus,
    /// The current epoch.
    pub epoch: Epoch,
    /// The newest block.
    pub block: BlockNumber,
    /// The first block of the next epoch.
    pub next_epoch_block: BlockNumber,
    /// Earned so far in final settlements that this node has seen.
    pub earned: Balance,
    /// Claimed so far.
    pub claimed: Balance,
    /// What a claim would do now.
    pub due: Due,
    /// Why it idles.
    pub waiting: Vec<String>,
    /// The training runs of the network.
    pub runs: Vec<RunProgress>,
    /// Rounds that closed since it started.
    pub rounds_closed: Vec<ClosedRound>,
    /// Storage faults that it caught.
    pub storage_faults: u64,
    /// Shards that its replays rejected.
    pub shards_rejected: u64,
}

/// A line of an account's statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StatementLine {
    /// The epoch that was settled.
    pub epoch: Epoch,
    /// The kind of work.
    pub source: Source,
    /// The record behind it; zero where there is none.
    pub record: Digest,
    /// What it earned, or why nothing.
    pub paid: Result<Amount, Unpaid>,
    /// Whether it was earned in the newcomers' lane, and becomes stake.
    pub is_held: bool,
}
