//! A snapshot in one part or in many.

use protocol::Hash;

use super::evidence::{Attributed, MaximalSpan, QueryError, SpanParams, attribute, maximal};
use super::format::snapshot;
use super::index::SpanIndex;
use super::novel::novel;

/// The parts of a snapshot, each an index of its own, asked as one.
///
/// Parts hold **consecutive units in the order of commitment**, so the first part with a span holds
/// its owner. The answers are those of one index of all units.
#[derive(Clone, Debug)]
pub struct SpanSet<B = Vec<u8>> {
    parts: Vec<SpanIndex<B>>,
}

/// Why parts are no snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SetError {
    /// There are no parts.
    #[error("a snapshot has at least one part")]
    Empty,
    /// Part {part} was built with another tokenizer or vocabulary than the first.
    #[error("part {part} was built with tokenizer {found}, the first with {expected}")]
    Tokenizer {
        /// The part, counted from zero.
        part: usize,
        /// The tokenizer of the first part.
        expected: Hash,
        /// The tokenizer of this part.
        found: Hash,
    },
    /// A unit stands in two parts.
    #[error("unit {0} stands in two parts")]
    DuplicateUnit(Hash),
    /// Together the parts are another snapshot: one is missing, foreign, or out of order.
    #[error("the parts are snapshot {found}, not {expected}: one is missing, foreign or misplaced")]
    Snapshot {
        /// The snapshot asked for.
        expected: Hash,
        /// The snapshot that these parts are.
        found: Hash,
    },
}

impl<B: AsRef<[u8]>> SpanSet<B> {
    /// Joins the parts of the snapshot that the caller wants.
    pub fn assemble(parts: Vec<SpanIndex<B>>, expected: &Hash) -> Result<Self, SetError> {
        let first = parts.first().ok_or(SetError::Empty)?;
        let (tokenizer, vocab) = (first.tokenizer(), first.vocab());
        let is_other = |part: &SpanIndex<B>| part.tokenizer() != tokenizer || part.vocab() != vocab;
        if let Some(part) = parts.iter().position(is_other) {
            let found = parts[part].tokenizer();
            return Err(SetError::Tokenizer { part, expected: tokenizer, found });
        }
        let found = snapshot(tokenizer, vocab, parts.iter().flat_map(SpanIndex::unit_list));
        if found != *expected {
            return Err(SetError::Snapshot { expected: *expected, found });
        }
        let mut hashes: Vec<Hash> =
            parts.iter().flat_map(SpanIndex::unit_list).map(|(hash, _)| hash).collect();
        hashes.sort_unstable();
        match hashes.windows(2).find(|pair| pair[0] == pair[1]) {
            Some(pair) => Err(SetError::DuplicateUnit(pair[0])),
            None => Ok(Self { parts }),
        }
    }

    /// Number of indexed units.
    pub fn units(&self) -> usize {
        self.parts.iter().map(SpanIndex::units).sum()
    }

    /// Number of indexed tokens.
    pub fn tokens(&self) -> usize {
        self.parts.iter().map(SpanIndex::tokens).sum()
    }
}

/// What a snapshot answers about outputs, whether its index is one or in parts.
pub trait Spans {
    /// What keeps the bytes of an index.
    type Bytes: AsRef<[u8]>;

    /// The parts, in the order of commitment; at least one.
    fn parts(&self) -> &[SpanIndex<Self::Bytes>];

    /// The verbatim evidence of `output`, written after `prompt` with the tokenizer of that hash.
    fn attribute(
        &self,
        tokenizer: Hash,
        prompt: &[u32],
        output: &[u32],
        params: SpanParams,
    ) -> Result<Attributed, QueryError> {
        attribute(self.parts(), tokenizer, prompt, output, params)
    }

    /// All maximal spans of `output` that occur at most `max_count` times, in its order.
    fn maximal(
        &self,
        tokenizer: Hash,
        output: &[u32],
        max_count: u32,
    ) -> Result<Vec<MaximalSpan>, QueryError> {
        maximal(self.parts(), tokenizer, output, max_count)
    }

    /// The output without long runs that its prompt holds too, for capturing the influence on an
    /// exchange: a passage that was put into the prompt to be repeated counts once, not twice. Of an
    /// output that is nothing but an echo the last token stays.
    fn without_echo(&self, prompt: &[u32], output: &[u32], params: SpanParams) -> Vec<u32> {
        novel(self.parts(), prompt, output, params)
    }
}

impl<B: AsRef<[u8]>> Spans for SpanSet<B> {
    type Bytes = B;

    fn parts(&self) -> &[SpanIndex<B>] {
        &self.parts
    }
}

impl<B: AsRef<[u8]>> Spans for SpanIndex<B> {
    type Bytes = B;

    fn parts(&self) -> &[Self] {
        std::slice::from_ref(self)
    }
}
