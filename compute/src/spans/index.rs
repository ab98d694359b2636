//! The suffix array of a snapshot, and lookups in it.

use std::cmp::Ordering;
use std::ops::Range;

use libsais_rs::libsais_int;
use protocol::Hash;

use super::bits::log2_millibits;

/// Most symbols (tokens and separators) of one index: positions fit into 31 bits.
pub(crate) const MAX_SYMBOLS: usize = i32::MAX as usize - 8192;
/// Largest vocabulary: symbols fit into 24 bits.
pub(crate) const MAX_VOCAB: u32 = 1 << 24;
/// Free space that makes the construction fast, in multiples of the alphabet.
const FREE_SPACE: usize = 6;

/// One unit to be indexed.
#[derive(Clone, Copy, Debug)]
pub struct SpanUnit<'a> {
    /// The unit's hash.
    pub hash: Hash,
    /// Its token ids.
    pub tokens: &'a [u32],
}

/// A unit's place in the indexed text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) hash: Hash,
    pub(crate) start: u32,
    pub(crate) len: u32,
}

/// A suffix array over the token ids of the units of one snapshot.
///
/// Units are **listed in the order of commitment**: the earliest unit that holds a span owns it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpanIndex {
    pub(crate) tokenizer: Hash,
    pub(crate) vocab: u32,
    pub(crate) entries: Vec<Entry>,
    /// Token ids plus one; each unit is followed by the separator 0.
    pub(crate) text: Vec<i32>,
    /// Positions of `text`, by the suffixes that start there.
    pub(crate) order: Vec<u32>,
    /// How often each token occurs.
    pub(crate) counts: Vec<u32>,
}

/// Why a snapshot could not be indexed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BuildError {
    /// There is nothing to index.
    #[error("the snapshot holds no units")]
    NoUnits,
    /// A unit has no tokens.
    #[error("unit {0} has no tokens")]
    EmptyUnit(Hash),
    /// A unit is listed twice.
    #[error("unit {0} is listed twice")]
    DuplicateUnit(Hash),
    /// A token lies outside the vocabulary: the unit was cut with another tokenizer.
    #[error("unit {unit} holds token {token}, outside the vocabulary of {vocab}")]
    Token {
        /// The unit.
        unit: Hash,
        /// The token id.
        token: u32,
        /// Ids of the vocabulary.
        vocab: u32,
    },
    /// The vocabulary is empty or larger than symbols can be.
    #[error("a vocabulary of {0} ids can't be indexed")]
    Vocabulary(u32),
    /// More tokens than one index can address.
    #[error("{0} tokens are too many for one index: index the snapshot in parts")]
    TooLarge(usize),
}

impl SpanIndex {
    /// Indexes `units`, given in the order of commitment, cut by the tokenizer of that hash.
    pub fn build(tokenizer: Hash, vocab: u32, units: &[SpanUnit<'_>]) -> Result<Self, BuildError> {
        let (entries, mut text) = lay_out(vocab, units)?;
        let counts = count(vocab, &text);
        let free = FREE_SPACE * (vocab as usize + 1);
        let mut order = vec![0i32; text.len() + free];
        let code = libsais_int(&mut text, &mut order, vocab as i32 + 1, free as i32);
        assert_eq!(code, 0, "sizes were checked, and nothing else can fail");
        order.truncate(text.len());
        let order = order.into_iter().map(|position| position as u32).collect();
        Ok(Self { tokenizer, vocab, entries, text, order, counts })
    }

    /// Number of indexed units.
    pub fn units(&self) -> usize {
        self.entries.len()
    }

    /// Number of indexed tokens.
    pub fn tokens(&self) -> usize {
        self.text.len() - self.entries.len()
    }

    /// The hash of the unit of that rank.
    pub fn unit_hash(&self, unit: u32) -> Option<Hash> {
        self.entries.get(unit as usize).map(|entry| entry.hash)
    }

    /// The tokenizer whose ids are indexed.
    pub fn tokenizer(&self) -> Hash {
        self.tokenizer
    }

    /// What was indexed: binds the tokenizer, the units and their order, but not the array, which
    /// follows from them.
    pub fn snapshot(&self) -> Hash {
        let mut hasher = blake3::Hasher::new_derive_key("openledger span snapshot v1");
        hasher.update(&self.tokenizer.0).update(&self.vocab.to_be_bytes());
        for entry in &self.entries {
            hasher.update(&entry.hash.0).update(&entry.len.to_be_bytes());
        }
        Hash(*hasher.finalize().as_bytes())
    }

    /// Information of a token under the smoothed unigram model of the snapshot.
    pub(crate) fn token_millibits(&self, token: u32) -> u64 {
        let all = self.tokens() as u64 + u64::from(self.vocab);
        let count = self.counts.get(token as usize).copied().unwrap_or(0);
        log2_millibits(all).saturating_sub(log2_millibits(u64::from(count) + 1))
    }

    /// Length of the longest prefix of `query` that some unit holds.
    pub(crate) fn longest(&self, query: &[u32]) -> usize {
        let rank = self.order.partition_point(|&at| self.compare(at, query) == Ordering::Less);
        let neighbours = [rank.checked_sub(1), Some(rank)];
        let at = |rank: Option<usize>| rank.and_then(|r| self.order.get(r));
        neighbours.iter().filter_map(|&r| at(r)).map(|&p| self.common(p, query)).max().unwrap_or(0)
    }

    /// Ranks of the suffixes that begin with all of `query`.
    pub(crate) fn occurrences(&self, query: &[u32]) -> Range<usize> {
        let low = self.order.partition_point(|&at| self.compare(at, query) == Ordering::Less);
        let more = self.order[low..].partition_point(|&at| self.common(at, query) == query.len());
        low..low + more
    }

    /// The rank of the unit in which a text position lies, and the position within it.
    pub(crate) fn locate(&self, position: u32) -> (u32, u32) {
        let unit = self.entries.partition_point(|entry| entry.start <= position) - 1;
        (unit as u32, position - self.entries[unit].start)
    }

    /// Order of the suffix at `at` and `query`; a suffix that begins with `query` is greater.
    fn compare(&self, at: u32, query: &[u32]) -> Ordering {
        let same = self.common(at, query);
        match query.get(same) {
            None => Ordering::Greater,
            Some(&token) => {
                let symbol = self.text.get(at as usize + same).copied().unwrap_or(-1);
                symbol.cmp(&(token as i32 + 1))
            }
        }
    }

    fn common(&self, at: u32, query: &[u32]) -> usize {
        let suffix = &self.text[at as usize..];
        suffix.iter().zip(query).take_while(|&(&s, &q)| s == q as i32 + 1).count()
    }
}

/// Checks the units and writes them one after the other.
fn lay_out(vocab: u32, units: &[SpanUnit<'_>]) -> Result<(Vec<Entry>, Vec<i32>), BuildError> {
    if vocab == 0 || vocab > MAX_VOCAB {
        return Err(BuildError::Vocabulary(vocab));
    }
    if units.is_empty() {
        return Err(BuildError::NoUnits);
    }
    let symbols = units.iter().map(|unit| unit.tokens.len() + 1).sum();
    if symbols > MAX_SYMBOLS {
        return Err(BuildError::TooLarge(symbols));
    }
    let mut hashes: Vec<Hash> = units.iter().map(|unit| unit.hash).collect();
    hashes.sort_unstable();
    if let Some(pair) = hashes.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(BuildError::DuplicateUnit(pair[0]));
    }
    let mut entries = Vec::with_capacity(units.len());
    let mut text = Vec::with_capacity(symbols);
    for unit in units {
        if unit.tokens.is_empty() {
            return Err(BuildError::EmptyUnit(unit.hash));
        }
        if let Some(&token) = unit.tokens.iter().find(|&&token| token >= vocab) {
            return Err(BuildError::Token { unit: unit.hash, token, vocab });
        }
        let (start, len) = (text.len() as u32, unit.tokens.len() as u32);
        entries.push(Entry { hash: unit.hash, start, len });
        text.extend(unit.tokens.iter().map(|&token| token as i32 + 1));
        text.push(0);
    }
    Ok((entries, text))
}

pub(crate) fn count(vocab: u32, text: &[i32]) -> Vec<u32> {
    let mut counts = vec![0u32; vocab as usize];
    for &symbol in text.iter().filter(|&&symbol| symbol > 0) {
        counts[symbol as usize - 1] += 1;
    }
    counts
}
