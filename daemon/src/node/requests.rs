//! What can be asked of a node, and what it answers.

use protocol::manifest::Manifest;
use protocol::receipt::SignedReceipt;
use protocol::{AccountId, Amount, DatanetId, Hash};
use serde::{Deserialize, Serialize};

/// A contribution, packed by [`crate::ingest`].
#[derive(Debug)]
pub struct AddRequest {
    /// Where it goes.
    pub datanet: DatanetId,
    /// Who is paid for it; its owner or operator must be this node's operator.
    pub account: AccountId,
    /// The manifest.
    pub manifest: Manifest,
    /// The packs, in the manifest's order.
    pub packs: Vec<Vec<u8>>,
}

/// What became of a contribution.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct AddReport {
    /// Its number.
    pub contribution: u64,
    /// Address of the manifest.
    pub manifest: Hash,
    /// Number of packs.
    pub packs: usize,
    /// Number of units.
    pub units: usize,
    /// Bytes of all packs.
    pub bytes: u64,
    /// The block that admitted it.
    pub block: u64,
}

/// A training run to be ordered.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct TrainRequest {
    /// The data.
    pub datanet: DatanetId,
    /// Who orders it; its operator must be this node's operator.
    pub developer: AccountId,
    /// Seed of the initial weights.
    pub seed: u64,
    /// Rounds; the preset's number if none is given.
    pub rounds: Option<u32>,
    /// Steps of a shard; the preset's number if none is given.
    pub steps: Option<u32>,
}

/// A paid request.
#[derive(Debug, Clone)]
pub struct InferRequest {
    /// The consumer's promise.
    pub receipt: SignedReceipt,
    /// The prompt.
    pub prompt: String,
    /// Tokens to generate.
    pub max_tokens: u32,
    /// Seed of the draws.
    pub seed: u64,
}

/// What a use costs.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Quote {
    /// The price, in the smallest unit.
    pub price: Amount,
    /// The account that serves.
    pub payee: AccountId,
    /// What this consumer has promised it so far.
    pub promised: Amount,
    /// Prompt tokens.
    pub tokens_in: u32,
}

/// Losses on the same held-out text, in millionths of a nat per token.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Evaluation {
    /// The untrained model.
    pub loss_first: u64,
    /// The model.
    pub loss_last: u64,
    /// A unigram model of the training data.
    pub unigram: u64,
    /// A bigram model of the training data.
    pub bigram: u64,
}

/// A transaction in a block.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct TxReport {
    /// The block.
    pub block: u64,
    /// Gas that it used.
    pub gas: u64,
    /// Id of the account, Datanet, contribution or model that it created.
    pub created: Option<u64>,
}
