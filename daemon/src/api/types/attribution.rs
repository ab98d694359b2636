//! What an attribution says, as programs read it.
//!
//! Positions are bytes of the text that they point into, always on character boundaries.

use protocol::{AccountId, DatanetId, Digest, EvmAddress, Hash, ModelId};
use serde::{Deserialize, Serialize};

/// Asks where a text comes from.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AttributeRequest {
    /// The text that comes before.
    pub prompt: String,
    /// A text that somebody wrote after the prompt; without one the model writes it.
    pub output: Option<String>,
    /// Tokens to generate.
    pub max_tokens: u32,
    /// Seed of the draws.
    pub seed: u64,
    /// Units to be shown with their text, besides those that own a span.
    pub units: u32,
    /// Whether to list the evidence of every unit.
    pub is_full: bool,
}

/// What speaks for a unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EvidenceKind {
    /// Training on it made the exchange likelier.
    Gradient,
    /// The output holds a run of its words.
    Span,
    /// Both of these.
    Both,
    /// Nothing stands out anywhere, so that it is paid for its length.
    Pool,
    /// Nothing that is worth a millionth of the output.
    None,
}

/// An account and its part of the contributors' share.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContributorReport {
    /// The contributor's account.
    pub account: AccountId,
    /// Its owner's address.
    pub address: EvmAddress,
    /// What it would be paid, in ppm.
    pub share_ppm: u32,
    /// What gradient influence alone would pay.
    pub gradient_ppm: u32,
    /// What verbatim spans alone would pay.
    pub span_ppm: u32,
    /// How sure the share is, where that is known.
    pub confidence_ppm: Option<u32>,
}

/// A run of the output that a unit holds verbatim.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MarkedSpan {
    /// First byte in the output.
    pub from: usize,
    /// First byte after it.
    pub to: usize,
    /// Its length in tokens.
    pub tokens: u32,
    /// The earliest unit that holds it.
    pub unit: Hash,
    /// The account that owns it.
    pub owner: AccountId,
    /// How often it occurs in the data.
    pub count: u32,
    /// Evidence beyond chance, in thousandths of a bit.
    pub millibits: u64,
}

/// Where a span stands in a unit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// Index of the span.
    pub span: usize,
    /// First byte in the unit's text.
    pub from: usize,
    /// First byte after it.
    pub to: usize,
}

/// The evidence for one unit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnitLine {
    /// BLAKE3 hash of its text.
    pub unit: Hash,
    /// Its rank in the order of commitment.
    pub rank: u32,
    /// The account that is paid for it.
    pub owner: AccountId,
    /// Its length in tokens.
    pub tokens: u32,
    /// Its cluster of duplicates.
    pub cluster: u64,
    /// Its influence: positive when training on it made the exchange likelier.
    pub score: i64,
    /// Evidence of the spans that it owns, in thousandths of a bit.
    pub span_millibits: u64,
    /// What speaks for it.
    pub kind: EvidenceKind,
    /// Its part of the contributors' share, in ppm; all units together make up one million.
    pub share_ppm: u32,
    /// The document that it begins in; only of the units that are shown.
    pub document: Option<String>,
    /// Its text; only of the units that are shown.
    pub text: Option<String>,
    /// The spans in its text.
    pub places: Vec<Place>,
}

/// What the numbers follow from: anyone with the same data gets the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sources {
    /// Hash of the checkpoint that answered.
    pub checkpoint: Hash,
    /// The root of the sketches of all units.
    pub sketch_root: Digest,
    /// Hash of the units in the order of commitment.
    pub snapshot: Hash,
    /// Hash of the tokenizer.
    pub tokenizer: Hash,
    /// How many parameters the model has.
    pub parameters: u64,
    /// How many units the snapshot has.
    pub units: usize,
    /// How many accounts own them.
    pub owners: usize,
}

/// The constants of the rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleReport {
    /// Influence per token below which it counts as noise.
    pub floor_per_token: u64,
    /// Most of the weight that spans may take, in ppm.
    pub lambda_max_ppm: u32,
    /// Least evidence of a span, in thousandths of a bit.
    pub span_min_millibits: u64,
    /// Most occurrences of a span.
    pub span_max_count: u32,
    /// Information from which on a repetition of the prompt is an echo, in thousandths of a bit.
    pub echo_millibits: u64,
}

/// The whole record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttributionReport {
    /// Version of this schema.
    pub schema: u32,
    /// The model that was asked.
    pub model: ModelId,
    /// The Datanet that it was trained on.
    pub datanet: DatanetId,
    /// The prompt as it was given.
    pub prompt: String,
    /// The text that is attributed.
    pub output: String,
    /// Seed of the draws when the model wrote the output; none when it was given.
    pub seed: Option<u64>,
    /// Length of the prompt in tokens.
    pub tokens_in: usize,
    /// Length of the output in tokens.
    pub tokens_out: usize,
    /// The contributors by falling share.
    pub contributors: Vec<ContributorReport>,
    /// The part of the shares that spans decide, in ppm.
    pub lambda_ppm: u32,
    /// Nothing was significant: the shares are everybody's part of the data.
    pub is_pool: bool,
    /// Information of the output, in thousandths of a bit.
    pub output_millibits: u64,
    /// The verbatim spans in the order of the output.
    pub spans: Vec<MarkedSpan>,
    /// The units by falling share.
    pub units: Vec<UnitLine>,
    /// What the numbers follow from.
    pub sources: Sources,
    /// The constants of the rule.
    pub rule: RuleReport,
}
