//! Bodies of requests and answers, shared by server and client.

use protocol::{AccountId, Amount, DatanetId, Digest, Epoch, EvmAddress, Hash, ModelId, NodeId};
use serde::{Deserialize, Serialize};

use crate::ingest::Document;

/// An account of the Registry.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct AccountInfo {
    /// Its id.
    pub id: AccountId,
    /// Its cold key.
    pub owner: EvmAddress,
    /// Its hot key now.
    pub operator: Option<EvmAddress>,
    /// Where claims pay.
    pub payout: EvmAddress,
    /// Its node; zero when it has none.
    pub node: NodeId,
    /// Its stake.
    pub stake: Amount,
    /// What it was paid so far.
    pub claimed: Amount,
}

/// A Datanet.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DatanetInfo {
    /// Its id.
    pub id: DatanetId,
    /// Its name.
    pub name: String,
    /// Who owns it.
    pub owner: AccountId,
    /// Contributions so far.
    pub contributions: Vec<ContributionInfo>,
}

/// A contribution.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ContributionInfo {
    /// Its number, in order of commitment.
    pub id: u64,
    /// Who is paid for it.
    pub account: AccountId,
    /// Its manifest.
    pub manifest: Hash,
    /// Its packs with their lengths.
    pub packs: Vec<(Hash, u64)>,
    /// Its units.
    pub units: u32,
    /// The block that admitted it.
    pub block: u64,
}

/// A training run, and the offer of its model.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ModelInfo {
    /// Its id.
    pub id: ModelId,
    /// Who ordered it.
    pub developer: AccountId,
    /// What it trains on.
    pub datanet: DatanetId,
    /// Rounds in all.
    pub rounds: Option<u32>,
    /// Its state at this node.
    pub run: Option<crate::node::RunStatus>,
    /// The offer, once it is published.
    pub offer: Option<protocol::chain::ModelPublication>,
}

/// Asks for a Datanet.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CreateDatanet {
    /// Its name.
    pub name: String,
    /// What it is about.
    pub domain: String,
    /// Licence bits.
    pub licence: u32,
}

/// Asks for an account that this node operates for somebody.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Register {
    /// The cold key, which is also where claims pay until it says otherwise.
    pub owner: EvmAddress,
}

/// Publishes documents.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Contribute {
    /// For whom; the node itself if nobody is named.
    pub owner: Option<EvmAddress>,
    /// What.
    pub documents: Vec<Document>,
}

/// Orders a training run.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Train {
    /// On what.
    pub datanet: DatanetId,
    /// For whom; the node itself if nobody is named.
    pub owner: Option<EvmAddress>,
    /// Seed of the initial weights.
    pub seed: u64,
    /// Rounds, where not the preset's.
    pub rounds: Option<u32>,
    /// Steps of a shard, where not the preset's.
    pub steps: Option<u32>,
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
    /// Who pays.
    pub payer: EvmAddress,
    /// The prompt.
    pub prompt: String,
    /// Tokens to generate.
    pub max_tokens: u32,
}

/// A price, and how the books between the two stand.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct PricedQuote {
    /// The price, the payee, and what was promised so far.
    #[serde(flatten)]
    pub quote: crate::node::Quote,
    /// What of the promises was redeemed on chain.
    pub redeemed: Amount,
}

/// A paid request.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Infer {
    /// The consumer's signed receipt: its canonical bytes in hexadecimal.
    pub receipt: String,
    /// The prompt.
    pub prompt: String,
    /// Tokens to generate.
    pub max_tokens: u32,
    /// Seed of the draws.
    pub seed: u64,
}

/// Text that the model has not seen.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Evaluate {
    /// The texts.
    pub held_out: Vec<String>,
}

/// Names a blob.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pin {
    /// Which.
    pub hash: Hash,
}

/// What was pinned.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Pinned {
    /// Which.
    pub hash: Hash,
    /// Its length.
    pub bytes: u64,
}

/// Asks for a payment.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Claim {
    /// To whom; the node itself if nobody is named.
    pub account: Option<AccountId>,
}

/// What a claim did.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Claimed {
    /// To whom.
    pub account: AccountId,
    /// The transaction; none when there was nothing to claim.
    pub transaction: Option<crate::node::TxReport>,
}

/// An id that the chain assigned.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Created<T> {
    /// The id.
    pub id: T,
}

/// A ticket as text.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Ticket {
    /// The ticket.
    pub ticket: String,
}

/// A settlement as the chain has it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SettlementInfo {
    /// Its epoch.
    pub epoch: Epoch,
    /// Its id.
    pub id: Digest,
    /// Whether it is final.
    pub is_final: bool,
    /// Who proposed it.
    pub proposer: AccountId,
    /// What was proposed.
    pub settlement: protocol::chain::Settlement,
}
