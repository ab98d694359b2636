//! Models: ordering, offering, using and measuring them.

use protocol::{AccountId, Amount, DatanetId, Digest, EvmAddress, Hash, ModelId};
use serde::{Deserialize, Serialize};

use super::node::RunStatus;

/// A training run, and the offer of its model.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ModelInfo {
    /// Its id on chain.
    pub id: ModelId,
    /// The account that ordered it.
    pub developer: AccountId,
    /// The Datanet that it trains on.
    pub datanet: DatanetId,
    /// Rounds in all.
    pub rounds: Option<u32>,
    /// What was paid for it.
    pub escrow: Amount,
    /// What of that its verified parts were paid so far.
    pub spent: Amount,
    /// Why no node works on it, where none does.
    pub refused: Option<String>,
    /// Its state at this node.
    pub run: Option<RunStatus>,
    /// The offer, once it is published.
    pub offer: Option<Offer>,
}

/// A finished model offered for use.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Offer {
    /// The model that is offered.
    pub model: ModelId,
    /// The checkpoint that is served.
    pub checkpoint: Hash,
    /// Merkle root of the attribution sketches.
    pub sketch_root: Digest,
    /// The account that serves it.
    pub server: AccountId,
    /// Price of 1,000 prompt tokens.
    pub price_in: Amount,
    /// Price of 1,000 generated tokens.
    pub price_out: Amount,
    /// Fixed part of the price of one use.
    pub price_use: Amount,
}

/// An adapter of a base model, to be trained.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainAdapter {
    /// The start of the name or of the hash of a base on the machine of the node that orders.
    pub base: String,
    /// Inner width of what is added; a power of two up to 64.
    #[serde(default = "TrainAdapter::usual_rank")]
    pub rank: u32,
    /// The factor of what is added, times the rank.
    #[serde(default = "TrainAdapter::usual_alpha")]
    pub alpha: u32,
    /// The linear maps of each layer that it adds to.
    #[serde(default = "TrainAdapter::usual_targets")]
    pub targets: Vec<String>,
}

impl TrainAdapter {
    /// The rank where nothing is said.
    pub const fn usual_rank() -> u32 {
        8
    }

    /// The factor where nothing is said.
    pub const fn usual_alpha() -> u32 {
        16
    }

    /// The linear maps where nothing is said: queries and values.
    pub fn usual_targets() -> Vec<String> {
        ["q_proj", "v_proj"].map(str::to_owned).to_vec()
    }
}

/// What a run does, where it is not what the preset says.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainNumbers {
    /// Rounds of training.
    pub rounds: Option<u32>,
    /// Optimiser steps of a shard.
    pub steps: Option<u32>,
    /// Sequences of an optimiser step.
    pub batch: Option<u32>,
    /// Tokens of a sequence.
    pub context: Option<u32>,
    /// Learning rate of the first round, in billionths.
    pub learning_rate: Option<u32>,
}

/// Orders a training run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Train {
    /// The Datanet to train on.
    pub datanet: DatanetId,
    /// The owner of the developer's account; the node itself if nobody is named.
    pub owner: Option<EvmAddress>,
    /// The adapter that is trained; a model from nothing if none is given.
    #[serde(default)]
    pub adapter: Option<TrainAdapter>,
    /// Seed of the initial weights.
    pub seed: u64,
    /// What it does, where it is not what the preset says.
    #[serde(default)]
    pub numbers: TrainNumbers,
    /// What is paid for it, in the smallest unit; the network's price if nothing is given. Less buys fewer
    /// slots in each round.
    pub budget: Option<Amount>,
}

/// What a run would cost that is ordered now.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct RunPrice {
    /// The price of a run with as many slots in a round as it may have now.
    pub price: Amount,
    /// Slots of a round of such a run; at most one for each node that weighs as much as the others.
    pub slots: u32,
    /// The price of a run with as few slots as a round needs.
    pub least: Amount,
}

/// Offers a finished model for use, served by this node.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Publish {
    /// Price of 1,000 prompt tokens.
    pub price_in: Amount,
    /// Price of 1,000 generated tokens.
    pub price_out: Amount,
    /// Fixed part of the price of one use.
    pub price_use: Amount,
}

/// Asks for the price of a use.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AskQuote {
    /// The address that pays.
    pub payer: EvmAddress,
    /// The text that the model goes on from.
    pub prompt: String,
    /// Tokens to generate.
    pub max_tokens: u32,
}

/// A price, and what the payer has promised and paid so far.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct PricedQuote {
    /// The price, in the smallest unit.
    pub price: Amount,
    /// The account that serves.
    pub payee: AccountId,
    /// What this consumer has promised it so far. A receipt has to be for what lies above it, and for
    /// nothing else.
    pub promised: Amount,
    /// Length of the prompt in tokens.
    pub tokens_in: u32,
    /// What of the promises was redeemed on chain.
    pub redeemed: Amount,
    /// What is left of the deposit beside all that was promised, as the node has read the chain.
    pub available: Amount,
}

/// A paid request.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Infer {
    /// The consumer's signed receipt: its canonical bytes in hexadecimal.
    pub receipt: String,
    /// The text that the model goes on from.
    pub prompt: String,
    /// Tokens to generate.
    pub max_tokens: u32,
    /// Seed of the draws.
    pub seed: u64,
}

/// An answer and where it came from.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct InferReport {
    /// The generated text.
    pub text: String,
    /// Length of the prompt in tokens.
    pub tokens_in: u32,
    /// Length of the answer in tokens.
    pub tokens_out: u32,
    /// What is paid, in ppm of the contributors' share.
    pub shares: Vec<(AccountId, u32)>,
    /// What gradient influence alone would pay, in ppm.
    pub gradient: Vec<(AccountId, u32)>,
    /// What verbatim spans alone would pay, in ppm.
    pub span_shares: Vec<(AccountId, u32)>,
    /// The leader of the same evidence with its owners shuffled: what chance looks like.
    pub permuted_leader: Option<AccountId>,
    /// Weight of the spans, in ppm.
    pub lambda_ppm: u32,
    /// The verbatim spans.
    pub spans: Vec<SpanReport>,
    /// The units with most evidence.
    pub top_units: Vec<UnitReport>,
    /// Id of the attribution record.
    pub record: Digest,
    /// What the use cost.
    pub fee: Amount,
}

/// A verbatim span of an answer.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SpanReport {
    /// First token in the answer.
    pub start: u32,
    /// Length in tokens.
    pub len: u32,
    /// The account that owns it.
    pub owner: AccountId,
    /// Evidence beyond chance, in thousandths of a bit.
    pub millibits: u64,
    /// The span itself.
    pub text: String,
}

/// A unit behind an answer.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct UnitReport {
    /// BLAKE3 hash of its text.
    pub unit: Hash,
    /// The account that is paid for it.
    pub owner: AccountId,
    /// Its influence: positive when training on it made the exchange likelier.
    pub score: i64,
    /// Evidence of its spans, in thousandths of a bit.
    pub span_millibits: u64,
    /// The beginning of its text.
    pub text: String,
}

/// Text that the model has not seen.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Evaluate {
    /// The texts, UTF-8.
    pub held_out: Vec<String>,
}

/// Losses on the same held-out text, in millionths of a nat per token.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Evaluation {
    /// Of the untrained model.
    pub loss_first: u64,
    /// Of the trained model.
    pub loss_last: u64,
    /// Of a unigram model of the training data.
    pub unigram: u64,
    /// Of a bigram model of the training data.
    pub bigram: u64,
}
