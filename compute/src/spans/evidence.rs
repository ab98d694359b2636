//! From matches to evidence: bits beyond chance, credited once.
//!
//! A snapshot may be indexed in parts, consecutive in the order of commitment. What is asked of
//! them together is what one index of all would answer: counts add up, the first part that holds a
//! span holds its owner, and the longest match is the longest of any part.

use std::ops::Range;

use protocol::Hash;

use super::bits::log2_millibits;
use super::echo::Echo;
use super::index::SpanIndex;

/// Longest output or prompt that is attributed, in tokens.
const MAX_QUERY_TOKENS: usize = 1 << 16;

/// The constants of span evidence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpanParams {
    /// Least evidence that counts, in thousandths of a bit.
    pub min_millibits: u64,
    /// Most occurrences of a span; what occurs more often is boilerplate and belongs to nobody.
    pub max_count: u32,
    /// Tokens of a run that also stands in the prompt and carries this much information, in
    /// thousandths of a bit, are an echo and earn nothing.
    pub echo_millibits: u64,
}

impl SpanParams {
    /// Sixteen bits beyond chance, at most 64 occurrences, echoes from sixteen bits on.
    pub const DEFAULT: Self = Self { min_millibits: 16_000, max_count: 64, echo_millibits: 16_000 };
}

/// A run of output tokens that a unit holds verbatim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// First token in the output.
    pub start: u32,
    /// Number of tokens.
    pub len: u32,
    /// Rank, by commitment, of the earliest unit that holds it: its owner.
    pub unit: u32,
    /// First token in that unit.
    pub position: u32,
    /// Occurrences in the whole snapshot.
    pub count: u32,
    /// Evidence beyond chance, in thousandths of a bit.
    pub millibits: u64,
}

/// A run of output tokens that some unit holds, and no longer run around it is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MaximalSpan {
    /// First token in the output.
    pub start: u32,
    /// Number of tokens.
    pub len: u32,
    /// Occurrences in the whole snapshot.
    pub count: u32,
}

/// The verbatim evidence of one output.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attributed {
    /// Disjoint spans in the order of the output.
    pub spans: Vec<Span>,
    /// Information of the output under the unigram model, in thousandths of a bit; like the spans,
    /// without echoes of the prompt: what is repeated dilutes nobody's evidence.
    pub output_millibits: u64,
}

impl Attributed {
    /// Evidence per unit, by rank; zero where a unit owns no span.
    pub fn by_unit(&self, units: usize) -> Vec<u64> {
        let mut totals = vec![0u64; units];
        for span in &self.spans {
            totals[span.unit as usize] += span.millibits;
        }
        totals
    }
}

/// Why an output could not be attributed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum QueryError {
    /// The output was written with another tokenizer than the snapshot.
    #[error("the output's tokenizer is {found}, the index was built with {expected}")]
    Tokenizer {
        /// The index's tokenizer.
        expected: Hash,
        /// The output's tokenizer.
        found: Hash,
    },
    /// A token lies outside the vocabulary.
    #[error("token {token} lies outside the vocabulary of {vocab}")]
    Token {
        /// The token id.
        token: u32,
        /// Ids of the vocabulary.
        vocab: u32,
    },
    /// The output or the prompt is too long.
    #[error("{found} tokens are too many: at most {MAX_QUERY_TOKENS} are attributed")]
    TooLong {
        /// Tokens of the longer of output and prompt.
        found: usize,
    },
}

/// The verbatim evidence of `output` in a snapshot of these parts, of which there is at least one.
///
/// Greedy: the span with the most evidence is credited first, then what is left of the output on
/// either side of it.
pub(crate) fn attribute<B: AsRef<[u8]>>(
    parts: &[SpanIndex<B>],
    tokenizer: Hash,
    prompt: &[u32],
    output: &[u32],
    params: SpanParams,
) -> Result<Attributed, QueryError> {
    check(&parts[0], tokenizer, prompt, output)?;
    let snapshot = Snapshot::new(parts);
    let query = Query::new(&snapshot, prompt, output, params);
    let mut spans = Vec::new();
    let mut open: Vec<Range<usize>> = std::iter::once(0..output.len()).collect();
    while let Some(part) = open.pop() {
        if let Some(best) = query.best(part.clone()) {
            let (start, end) = (best.start as usize, (best.start + best.len) as usize);
            open.push(part.start..start);
            open.push(end..part.end);
            spans.push(best);
        }
    }
    spans.sort_unstable_by_key(|span| span.start);
    Ok(Attributed { spans, output_millibits: query.output_millibits() })
}

/// All maximal spans of `output` that occur at most `max_count` times, however little they say.
pub(crate) fn maximal<B: AsRef<[u8]>>(
    parts: &[SpanIndex<B>],
    tokenizer: Hash,
    output: &[u32],
    max_count: u32,
) -> Result<Vec<MaximalSpan>, QueryError> {
    check(&parts[0], tokenizer, &[], output)?;
    let snapshot = Snapshot::new(parts);
    let mut reached = 0;
    let mut spans = Vec::new();
    for start in 0..output.len() {
        let end = start + snapshot.longest(&output[start..]);
        if end > reached.max(start) {
            reached = end;
            let count = snapshot.count(&output[start..end], u64::from(max_count));
            let (start, len) = (start as u32, (end - start) as u32);
            spans.extend(count.map(|count| MaximalSpan { start, len, count: count as u32 }));
        }
    }
    Ok(spans)
}

fn check<B: AsRef<[u8]>>(
    index: &SpanIndex<B>,
    tokenizer: Hash,
    prompt: &[u32],
    output: &[u32],
) -> Result<(), QueryError> {
    if tokenizer != index.tokenizer() {
        return Err(QueryError::Tokenizer { expected: index.tokenizer(), found: tokenizer });
    }
    let found = prompt.len().max(output.len());
    if found > MAX_QUERY_TOKENS {
        return Err(QueryError::TooLong { found });
    }
    let vocab = index.vocab();
    match prompt.iter().chain(output).find(|&&token| token >= vocab) {
        Some(&token) => Err(QueryError::Token { token, vocab }),
        None => Ok(()),
    }
}

/// All parts with their sums.
pub(super) struct Snapshot<'a, B> {
    parts: &'a [SpanIndex<B>],
    tokens: u64,
}

impl<'a, B: AsRef<[u8]>> Snapshot<'a, B> {
    pub(super) fn new(parts: &'a [SpanIndex<B>]) -> Self {
        Self { parts, tokens: parts.iter().map(|part| part.tokens() as u64).sum() }
    }

    /// Information of a token under the smoothed unigram model of the snapshot.
    pub(super) fn token_millibits(&self, token: u32) -> u64 {
        let all = self.tokens + u64::from(self.parts[0].vocab());
        let count: u64 = self.parts.iter().map(|part| part.count(token)).sum();
        log2_millibits(all).saturating_sub(log2_millibits(count + 1))
    }

    fn longest(&self, query: &[u32]) -> usize {
        self.parts.iter().map(|part| part.longest(query)).max().unwrap_or(0)
    }

    /// Occurrences of `query`; `None` when there are more than `limit`.
    fn count(&self, query: &[u32], limit: u64) -> Option<u64> {
        self.parts.iter().try_fold(0, |total, part| {
            let ranks = part.occurrences(query, limit - total);
            Some(total + ranks.end - ranks.start).filter(|&total| total <= limit)
        })
    }

    /// Rank of the owner, position in its unit and number of occurrences of `query`; `None` when it
    /// doesn't occur, or more than `limit` times.
    fn owner(&self, query: &[u32], limit: u64) -> Option<(u64, u64, u64)> {
        let (mut owner, mut total, mut units) = (None, 0, 0);
        for part in self.parts {
            let ranks = part.occurrences(query, limit - total);
            total += ranks.end - ranks.start;
            if total > limit {
                return None;
            }
            if owner.is_none() {
                let found = part.earliest(ranks).and_then(|position| part.locate(position));
                owner = found.map(|(unit, position)| (units + unit, position));
            }
            units += part.units() as u64;
        }
        owner.map(|(unit, position)| (unit, position, total))
    }
}

/// One output with what is known about each of its tokens.
struct Query<'a, B> {
    snapshot: &'a Snapshot<'a, B>,
    output: &'a [u32],
    params: SpanParams,
    /// Length of the longest match that starts at each token.
    longest: Vec<usize>,
    /// Running sums of the information of tokens that are no echo.
    information: Vec<u64>,
}

impl<'a, B: AsRef<[u8]>> Query<'a, B> {
    fn new(
        snapshot: &'a Snapshot<'a, B>,
        prompt: &[u32],
        output: &'a [u32],
        params: SpanParams,
    ) -> Self {
        let longest = (0..output.len()).map(|start| snapshot.longest(&output[start..])).collect();
        let millibits: Vec<u64> = output.iter().map(|&t| snapshot.token_millibits(t)).collect();
        let echo = Echo::new(prompt).mark(output, &millibits, params.echo_millibits);
        let mut information = vec![0];
        for (bits, echo) in millibits.iter().zip(echo) {
            let sum = information[information.len() - 1];
            information.push(if echo { sum } else { sum + bits });
        }
        Self { snapshot, output, params, longest, information }
    }

    fn output_millibits(&self) -> u64 {
        self.information[self.output.len()]
    }

    /// The maximal span inside `part` with the most evidence; the earliest of equals.
    fn best(&self, part: Range<usize>) -> Option<Span> {
        let mut best: Option<Span> = None;
        let mut reached = part.start;
        for start in part.clone() {
            let end = (start + self.longest[start]).min(part.end);
            if end <= reached {
                continue;
            }
            reached = end;
            // What can't win is not looked up.
            let bound = self.information[end] - self.information[start];
            if best.is_some_and(|b| bound <= b.millibits) || bound < self.params.min_millibits {
                continue;
            }
            if let Some(span) = self.evidence(start..end)
                && best.is_none_or(|b| span.millibits > b.millibits)
            {
                best = Some(span);
            }
        }
        best
    }

    /// The evidence of one matched span, unless it is boilerplate or chance.
    fn evidence(&self, span: Range<usize>) -> Option<Span> {
        let limit = u64::from(self.params.max_count);
        let (unit, position, count) = self.snapshot.owner(&self.output[span.clone()], limit)?;
        let rarity = self.information[span.end] - self.information[span.start];
        let chance = log2_millibits(self.snapshot.tokens) + log2_millibits(count);
        let millibits = rarity.checked_sub(chance)?;
        if millibits < self.params.min_millibits {
            return None;
        }
        Some(Span {
            start: span.start as u32,
            len: span.len() as u32,
            unit: u32::try_from(unit).ok()?,
            position: position as u32,
            count: count as u32,
            millibits,
        })
    }
}
