//! An answer of a model, with the evidence for where it came from in words.

use compute::formats::Tokenizer;
use compute::serve::{Evidence, Transcript, pairs};
use protocol::attribution::UnitEvidence;
use protocol::node::Failure;
use protocol::{AccountId, Hash};

use super::run_data::RunData;

/// Units that an answer names.
const TOP_UNITS: usize = 5;

/// A verbatim span of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnswerSpan {
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
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnswerUnit {
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

/// An answer, and where it came from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Answer {
    /// The generated text.
    pub text: String,
    /// Length of the prompt in tokens.
    pub tokens_in: u32,
    /// Length of the answer in tokens.
    pub tokens_out: u32,
    /// What is paid, in ppm of the contributors' share.
    pub shares: Vec<(AccountId, u32)>,
    /// What gradient influence alone would pay.
    pub gradient: Vec<(AccountId, u32)>,
    /// What verbatim spans alone would pay.
    pub span_shares: Vec<(AccountId, u32)>,
    /// The leader of the same evidence with its owners shuffled: what chance looks like.
    pub permuted_leader: Option<AccountId>,
    /// Weight of the spans, in ppm.
    pub lambda_ppm: u32,
    /// The verbatim spans.
    pub spans: Vec<AnswerSpan>,
    /// The units with most evidence.
    pub top_units: Vec<AnswerUnit>,
}

/// Puts evidence into words.
pub(crate) fn describe(
    run: &RunData,
    transcript: &Transcript,
    evidence: &Evidence,
) -> Result<Answer, Failure> {
    let decode = |tokens: &[u32]| run.tokenizer.decode(tokens).map_err(|_| Failure::Invalid);
    let spans = evidence.spans.spans.iter().map(|span| {
        let (from, to) = (span.start as usize, (span.start + span.len) as usize);
        let tokens = transcript.output.get(from..to).unwrap_or_default();
        let owner = run.units.get(span.unit as usize).map(|unit| unit.owner).unwrap_or_default();
        let (start, len, millibits) = (span.start, span.len, span.millibits);
        Ok(AnswerSpan { start, len, owner, millibits, text: decode(tokens)? })
    });
    let spans = spans.collect::<Result<_, Failure>>()?;
    let count = |tokens: &[u32]| u32::try_from(tokens.len()).unwrap_or(u32::MAX);
    Ok(Answer {
        text: decode(&transcript.output)?,
        tokens_in: count(&transcript.prompt),
        tokens_out: count(&transcript.output),
        shares: pairs(&evidence.weights.shares),
        gradient: pairs(&evidence.weights.gradient),
        span_shares: pairs(&evidence.weights.spans),
        permuted_leader: evidence.permuted_leader(&transcript.query),
        lambda_ppm: evidence.weights.lambda_ppm,
        spans,
        top_units: top_units(run, &evidence.units),
    })
}

/// An answer of a model of which nothing is attributed.
pub(crate) fn unattributed(
    tokenizer: &Tokenizer,
    transcript: &Transcript,
) -> Result<Answer, Failure> {
    let count = |tokens: &[u32]| u32::try_from(tokens.len()).unwrap_or(u32::MAX);
    Ok(Answer {
        text: tokenizer.decode(&transcript.output).map_err(|_| Failure::Invalid)?,
        tokens_in: count(&transcript.prompt),
        tokens_out: count(&transcript.output),
        ..Answer::default()
    })
}

fn top_units(run: &RunData, units: &[UnitEvidence]) -> Vec<AnswerUnit> {
    let mut ranked: Vec<_> = units.iter().zip(&run.units).collect();
    ranked.sort_by_key(|(unit, _)| (std::cmp::Reverse(unit.score), unit.unit));
    ranked
        .into_iter()
        .take(TOP_UNITS)
        .map(|(unit, data)| AnswerUnit {
            unit: unit.unit,
            owner: unit.owner,
            score: unit.score,
            span_millibits: unit.span_millibits,
            text: data.text.chars().take(160).collect(),
        })
        .collect()
}
