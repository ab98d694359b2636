//! What a consumer asks and what it is told.

use protocol::AccountId;
use protocol::attribution::{UnitEvidence, leader};
use protocol::node::Failure;
use protocol::receipt::SignedReceipt;
use protocol::{Amount, Digest, Hash};
use serde::{Deserialize, Serialize};

use super::attributor::{Evidence, weigh_units};
use super::run_data::RunData;
use super::transcript::{Transcript, pairs};

/// Units that an answer names.
const TOP_UNITS: usize = 5;

/// A request while it is being served.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) receipt: SignedReceipt,
    pub(crate) prompt: Vec<u32>,
    pub(crate) max_tokens: u32,
    pub(crate) temperature_ppm: u32,
    pub(crate) seed: u64,
}

/// A verbatim span of an answer.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SpanReport {
    /// First token in the answer.
    pub start: u32,
    /// Tokens.
    pub len: u32,
    /// Who owns it.
    pub owner: AccountId,
    /// Evidence beyond chance, in thousandths of a bit.
    pub millibits: u64,
    /// The span itself.
    pub text: String,
}

/// A unit behind an answer.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct UnitReport {
    /// Its hash.
    pub unit: Hash,
    /// Who is paid for it.
    pub owner: AccountId,
    /// Its influence.
    pub score: i64,
    /// Evidence of its spans, in thousandths of a bit.
    pub span_millibits: u64,
    /// Its beginning.
    pub text: String,
}

/// An answer and where it came from.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct InferReport {
    /// The generated text.
    pub text: String,
    /// Prompt tokens.
    pub tokens_in: u32,
    /// Generated tokens.
    pub tokens_out: u32,
    /// What is paid, in ppm of the contributors' share.
    pub shares: Vec<(AccountId, u32)>,
    /// What gradient influence alone would pay.
    pub gradient: Vec<(AccountId, u32)>,
    /// What verbatim spans alone would pay.
    pub span_shares: Vec<(AccountId, u32)>,
    /// The leader of the same evidence with its owners dealt out anew: what chance looks like.
    pub permuted_leader: Option<AccountId>,
    /// Weight of the spans, in ppm.
    pub lambda_ppm: u32,
    /// The verbatim spans.
    pub spans: Vec<SpanReport>,
    /// The units with most evidence.
    pub top_units: Vec<UnitReport>,
    /// Id of the attribution record; zero until it is made.
    pub record: Digest,
    /// What the use cost.
    pub fee: Amount,
}

/// Puts evidence into words.
pub(crate) fn report(
    run: &RunData,
    transcript: &Transcript,
    evidence: &Evidence,
) -> Result<InferReport, Failure> {
    let decode = |tokens: &[u32]| run.tokenizer.decode(tokens).map_err(|_| Failure::Invalid);
    let spans = evidence.spans.spans.iter().map(|span| {
        let (from, to) = (span.start as usize, (span.start + span.len) as usize);
        let tokens = transcript.output.get(from..to).unwrap_or_default();
        let owner = run.units.get(span.unit as usize).map(|unit| unit.owner).unwrap_or_default();
        let (start, len, millibits) = (span.start, span.len, span.millibits);
        Ok(SpanReport { start, len, owner, millibits, text: decode(tokens)? })
    });
    let spans = spans.collect::<Result<_, Failure>>()?;
    let permuted = permuted(&evidence.units, &transcript.query);
    let permuted = weigh_units(&permuted, evidence.spans.output_millibits);
    let count = |tokens: &[u32]| u32::try_from(tokens.len()).unwrap_or(u32::MAX);
    Ok(InferReport {
        text: decode(&transcript.output)?,
        tokens_in: count(&transcript.prompt),
        tokens_out: count(&transcript.output),
        shares: pairs(&evidence.weights.shares),
        gradient: pairs(&evidence.weights.gradient),
        span_shares: pairs(&evidence.weights.spans),
        permuted_leader: permuted.ok().and_then(|weights| leader(&weights.shares)),
        lambda_ppm: evidence.weights.lambda_ppm,
        spans,
        top_units: top_units(run, &evidence.units),
        record: Digest::ZERO,
        fee: Amount::ZERO,
    })
}

fn top_units(run: &RunData, units: &[UnitEvidence]) -> Vec<UnitReport> {
    let mut ranked: Vec<_> = units.iter().zip(&run.units).collect();
    ranked.sort_by_key(|(unit, _)| (std::cmp::Reverse(unit.score), unit.unit));
    ranked
        .into_iter()
        .take(TOP_UNITS)
        .map(|(unit, data)| UnitReport {
            unit: unit.unit,
            owner: unit.owner,
            score: unit.score,
            span_millibits: unit.span_millibits,
            text: data.text.chars().take(160).collect(),
        })
        .collect()
}

/// The same evidence with the owners dealt out anew, differently for every output.
fn permuted(units: &[UnitEvidence], query: &[u8]) -> Vec<UnitEvidence> {
    let salt = protocol::hash::keccak(&[query]);
    let draw = |unit: &UnitEvidence| protocol::hash::keccak(&[&salt.0, &unit.unit.0]);
    let mut owners: Vec<_> = units.iter().map(|unit| (draw(unit), unit.owner)).collect();
    owners.sort_unstable();
    units.iter().zip(owners).map(|(unit, (_, owner))| UnitEvidence { owner, ..*unit }).collect()
}
