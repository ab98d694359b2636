//! The suffix array of one part of a snapshot, and lookups in it.

use std::fmt;
use std::ops::Range;

use protocol::Hash;

use super::format::{Header, UNIT, snapshot};
use super::ints::{Ints, Width};
use super::layout::Layout;

/// A suffix array over the token ids of units.
///
/// Units are **listed in the order of commitment**: the earliest unit that holds a span owns it.
///
/// The index is its file: `B` is whatever keeps those bytes, a vector, a slice or a mapped file
/// ([`super::FileBytes`]).
#[derive(Clone, PartialEq, Eq)]
pub struct SpanIndex<B = Vec<u8>> {
    bytes: B,
    header: Header,
}

impl<B> fmt::Debug for SpanIndex<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SpanIndex").field("header", &self.header).finish_non_exhaustive()
    }
}

impl<B: AsRef<[u8]>> SpanIndex<B> {
    /// Joins bytes with the header that describes them.
    pub(crate) const fn from_parts(bytes: B, header: Header) -> Self {
        Self { bytes, header }
    }

    /// The whole file: header, sections and checksum.
    pub fn bytes(&self) -> &[u8] {
        self.bytes.as_ref()
    }

    /// The address of the file. Hashes all of it.
    pub fn address(&self) -> Hash {
        protocol::hash::blake3(self.bytes())
    }

    /// Number of indexed units.
    pub const fn units(&self) -> usize {
        self.header.shape.units as usize
    }

    /// Number of indexed tokens.
    pub const fn tokens(&self) -> usize {
        (self.header.shape.symbols - self.header.shape.units) as usize
    }

    /// Ids of the vocabulary.
    pub const fn vocab(&self) -> u32 {
        self.header.shape.vocab
    }

    /// Widths of what is stored.
    pub const fn layout(&self) -> Layout {
        self.header.shape.layout
    }

    /// The tokenizer whose ids are indexed.
    pub const fn tokenizer(&self) -> Hash {
        self.header.tokenizer
    }

    /// What was indexed: binds the tokenizer, the units and their order, but not the array, which
    /// follows from them.
    pub const fn snapshot(&self) -> Hash {
        self.header.snapshot
    }

    /// Hash and length of every unit.
    pub(crate) fn unit_list(&self) -> impl Iterator<Item = (Hash, u32)> {
        (0..self.header.shape.units).map_while(|unit| {
            let end = self.unit_start(unit + 1).unwrap_or(self.header.shape.symbols);
            let length = end.checked_sub(self.unit_start(unit)? + 1)?;
            let hash = Hash::from_slice(&self.unit_entry(unit)?[..32])?;
            Some((hash, u32::try_from(length).ok()?))
        })
    }

    /// The snapshot as the unit table says it, which unchecked bytes may contradict.
    pub(crate) fn units_hash(&self) -> Hash {
        snapshot(self.tokenizer(), self.vocab(), self.unit_list())
    }

    /// First symbol of a unit.
    pub(crate) fn unit_start(&self, unit: u64) -> Option<u64> {
        let entry = self.unit_entry(unit)?;
        entry.last_chunk().map(|start| u64::from_be_bytes(*start))
    }

    fn unit_entry(&self, unit: u64) -> Option<&[u8; UNIT]> {
        let table = &self.bytes()[self.header.shape.unit_bytes()];
        table.as_chunks().0.get(usize::try_from(unit).ok()?)
    }

    /// The bytes of the unit table.
    pub(crate) fn table_bytes(&self) -> &[u8] {
        &self.bytes()[self.header.shape.unit_bytes()]
    }

    /// The bytes of the text: token ids plus one; each unit is followed by the separator 0.
    pub(crate) fn text_bytes(&self) -> &[u8] {
        &self.bytes()[self.header.shape.text_bytes()]
    }

    /// The bytes of the array: positions of the text, by the suffixes that start there.
    pub(crate) fn array_bytes(&self) -> &[u8] {
        &self.bytes()[self.header.shape.array_bytes()]
    }

    pub(crate) fn text(&self) -> Ints<'_> {
        Ints::new(self.text_bytes(), self.layout().symbol)
    }

    pub(crate) fn array(&self) -> Ints<'_> {
        Ints::new(self.array_bytes(), self.layout().position)
    }

    /// Per token the rank of the first suffix that begins with it, and the number of symbols.
    pub(crate) fn starts(&self) -> Ints<'_> {
        Ints::new(&self.bytes()[self.header.shape.start_bytes()], Width::Eight)
    }

    /// How often a token occurs.
    pub(crate) fn count(&self, token: u32) -> u64 {
        let bucket = self.bucket(token);
        bucket.end - bucket.start
    }

    /// Ranks of the suffixes that begin with `token`.
    fn bucket(&self, token: u32) -> Range<u64> {
        let starts = self.starts();
        let bounds = (starts.get(token as usize), starts.get(token as usize + 1));
        match bounds {
            (Some(start), Some(end)) if start <= end && end <= self.header.shape.symbols => {
                start..end
            }
            _ => 0..0,
        }
    }

    /// Where `query` belongs in the order: the number of suffixes below it, and how much of it the
    /// longest match among the two neighbours of that place holds. Each step of the search compares
    /// beyond what both bounds already share with the query.
    pub(crate) fn seek(&self, query: &[u32]) -> (u64, usize) {
        let Some(&first) = query.first() else { return (0, 0) };
        let (text, array) = (self.text(), self.array());
        let Range { start: mut low, end: mut high } = self.bucket(first);
        let (mut left, mut right) = (0, 0);
        while low < high {
            let middle = low + (high - low) / 2;
            let at = array.get(middle as usize).unwrap_or(u64::MAX) as usize;
            // All suffixes between the bounds share what both bounds share with the query (Manber and
            // Myers 1993): it is not compared again.
            let known: usize = left.min(right);
            let same = known + text.common(at.saturating_add(known), &query[known..]);
            let symbol = text.get(at.saturating_add(same)).unwrap_or(0);
            if query.get(same).is_some_and(|&token| symbol < u64::from(token) + 1) {
                (low, left) = (middle + 1, same);
            } else {
                (high, right) = (middle, same);
            }
        }
        (low, left.max(right))
    }

    /// Length of the longest prefix of `query` that some unit holds.
    pub(crate) fn longest(&self, query: &[u32]) -> usize {
        self.seek(query).1
    }

    /// Ranks of the suffixes that begin with all of `query`; of more than `limit`, at least
    /// `limit + 1` are given.
    pub(crate) fn occurrences(&self, query: &[u32], limit: u64) -> Range<u64> {
        let (low, longest) = self.seek(query);
        if query.is_empty() || longest < query.len() {
            return low..low;
        }
        let (text, array) = (self.text(), self.array());
        let begins = |rank: u64| {
            let at = array.get(rank as usize).and_then(|at| usize::try_from(at).ok());
            at.is_some_and(|at| text.common(at, query) == query.len())
        };
        // Most spans are rare: the end is near.
        let mut reach = 1;
        while reach <= limit && begins(low + reach) {
            reach *= 2;
        }
        let (mut from, mut to) = (low + reach / 2, low + reach.min(limit.saturating_add(1)));
        while from < to {
            let middle = from + (to - from) / 2;
            if begins(middle) { from = middle + 1 } else { to = middle }
        }
        low..from
    }

    /// The earliest position among some ranks.
    pub(crate) fn earliest(&self, ranks: Range<u64>) -> Option<u64> {
        ranks.filter_map(|rank| self.array().get(rank as usize)).min()
    }

    /// The rank of the unit in which a text position lies, and the position within it.
    pub(crate) fn locate(&self, position: u64) -> Option<(u64, u64)> {
        let (mut low, mut high) = (0, self.header.shape.units);
        while low < high {
            let middle = low + (high - low) / 2;
            if self.unit_start(middle)? <= position { low = middle + 1 } else { high = middle }
        }
        let unit = low.checked_sub(1)?;
        Some((unit, position - self.unit_start(unit)?))
    }
}
