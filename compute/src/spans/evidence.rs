//! From matches to evidence: bits beyond chance, credited once.

use std::ops::Range;

use protocol::Hash;

use super::bits::log2_millibits;
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

/// The verbatim evidence of one output.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attributed {
    /// Disjoint spans in the order of the output.
    pub spans: Vec<Span>,
    /// Information of the whole output under the unigram model, in thousandths of a bit.
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
        /// Tokens found.
        found: usize,
    },
}

impl SpanIndex {
    /// The verbatim evidence of `output`, written after `prompt` with the tokenizer of that hash.
    ///
    /// Greedy: the span with the most evidence is credited first, then what is left of the output
    /// on either side of it.
    pub fn attribute(
        &self,
        tokenizer: Hash,
        prompt: &[u32],
        output: &[u32],
        params: SpanParams,
    ) -> Result<Attributed, QueryError> {
        self.check(tokenizer, prompt, output)?;
        let query = Query::new(self, prompt, output, params);
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
        let output_millibits = output.iter().map(|&token| self.token_millibits(token)).sum();
        Ok(Attributed { spans, output_millibits })
    }

    fn check(&self, tokenizer: Hash, prompt: &[u32], output: &[u32]) -> Result<(), QueryError> {
        if tokenizer != self.tokenizer {
            return Err(QueryError::Tokenizer { expected: self.tokenizer, found: tokenizer });
        }
        let found = prompt.len().max(output.len());
        if found > MAX_QUERY_TOKENS {
            return Err(QueryError::TooLong { found });
        }
        match prompt.iter().chain(output).find(|&&token| token >= self.vocab) {
            Some(&token) => Err(QueryError::Token { token, vocab: self.vocab }),
            None => Ok(()),
        }
    }
}

/// One output with what is known about each of its tokens.
struct Query<'a> {
    index: &'a SpanIndex,
    output: &'a [u32],
    params: SpanParams,
    /// Length of the longest match that starts at each token.
    longest: Vec<usize>,
    /// Running sums of the information of tokens that are no echo.
    information: Vec<u64>,
}

impl<'a> Query<'a> {
    fn new(index: &'a SpanIndex, prompt: &[u32], output: &'a [u32], params: SpanParams) -> Self {
        let longest = (0..output.len()).map(|start| index.longest(&output[start..])).collect();
        let millibits: Vec<u64> = output.iter().map(|&t| index.token_millibits(t)).collect();
        let echo = echoes(prompt, output, &millibits, params.echo_millibits);
        let mut information = vec![0];
        for (bits, echo) in millibits.iter().zip(echo) {
            let sum = information[information.len() - 1];
            information.push(if echo { sum } else { sum + bits });
        }
        Self { index, output, params, longest, information }
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
        let ranks = self.index.occurrences(&self.output[span.clone()]);
        let count = ranks.len();
        if count == 0 || count > self.params.max_count as usize {
            return None;
        }
        let rarity = self.information[span.end] - self.information[span.start];
        let chance = log2_millibits(self.index.tokens() as u64) + log2_millibits(count as u64);
        let millibits = rarity.checked_sub(chance)?;
        if millibits < self.params.min_millibits {
            return None;
        }
        let first = self.index.order[ranks].iter().min()?;
        let (unit, position) = self.index.locate(*first);
        Some(Span {
            start: span.start as u32,
            len: span.len() as u32,
            unit,
            position,
            count: count as u32,
            millibits,
        })
    }
}

/// Which output tokens lie in a run that the prompt also holds and that is too informative to be
/// chance.
fn echoes(prompt: &[u32], output: &[u32], millibits: &[u64], least: u64) -> Vec<bool> {
    let mut echo = vec![false; output.len()];
    // Lengths of the common runs that end at the previous output token and each prompt token.
    let mut previous = vec![0usize; prompt.len() + 1];
    for (end, token) in output.iter().enumerate() {
        let mut current = vec![0usize; prompt.len() + 1];
        let mut longest = 0;
        for (i, _) in prompt.iter().enumerate().filter(|(_, p)| *p == token) {
            current[i + 1] = previous[i] + 1;
            longest = longest.max(current[i + 1]);
        }
        let run = end + 1 - longest..end + 1;
        if millibits[run.clone()].iter().sum::<u64>() >= least {
            echo[run].fill(true);
        }
        previous = current;
    }
    echo
}
