//! From units to the bytes of an index.
//!
//! Suffixes are sorted as those of *separate* units: a comparison ends at the unit's end, where the
//! earlier unit is the smaller. So no order depends on what happens to stand next, and a dispute
//! about it never reaches beyond a unit.

use libsais_rs::libsais_int;
use libsais_rs::libsais64::libsais64_int;
use protocol::Hash;

use super::format::{Header, MAX_VOCAB, Shape, seal, snapshot, starts};
use super::index::SpanIndex;
use super::ints::{Width, write};
use super::layout::Layout;

/// Most symbols of one index at all: nobody has more memory to build it.
const MAX_SYMBOLS: u64 = 1 << 40;
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
        /// The unit that holds the token.
        unit: Hash,
        /// The token id.
        token: u32,
        /// Ids of the vocabulary.
        vocab: u32,
    },
    /// The vocabulary is empty or larger than symbols can be.
    #[error("a vocabulary of {0} ids can't be indexed")]
    Vocabulary(u32),
    /// More symbols than one index, or the layout asked for, can address.
    #[error("{0} symbols are too many for one index: index the snapshot in parts")]
    TooLarge(u64),
    /// The layout asked for can't hold the vocabulary or the positions.
    #[error("the layout {0:?} can't hold this snapshot")]
    Layout(Layout),
}

impl SpanIndex {
    /// Indexes `units`, given in the order of commitment, cut by the tokenizer of that hash, in the
    /// smallest layout.
    pub fn build(tokenizer: Hash, vocab: u32, units: &[SpanUnit<'_>]) -> Result<Self, BuildError> {
        Self::build_as(Layout::smallest(vocab, symbols_of(units)), tokenizer, vocab, units)
    }

    /// The same in a chosen layout: wider than needed costs space and changes no result.
    pub fn build_as(
        layout: Layout,
        tokenizer: Hash,
        vocab: u32,
        units: &[SpanUnit<'_>],
    ) -> Result<Self, BuildError> {
        let symbols = symbols_of(units);
        check(vocab, units, symbols)?;
        if !layout.holds(Layout::smallest(vocab, symbols)) {
            return Err(BuildError::Layout(layout));
        }
        let shape = Shape { vocab, units: units.len() as u64, symbols, layout };
        let mut out = Vec::with_capacity(shape.length().unwrap_or(0) as usize);
        let snapshot = snapshot(tokenizer, vocab, units.iter().map(hash_and_length));
        Header { snapshot, tokenizer, shape }.write(&mut out);
        write_units(&mut out, units);
        let counts = counts(vocab, units);
        write(&mut out, Width::Eight, starts(units.len(), &counts).into_iter());
        write_text(&mut out, layout.symbol, units);
        sort(&mut out, layout.position, vocab, units, symbols as usize);
        seal(&mut out);
        Ok(Self::from_parts(out, Header { snapshot, tokenizer, shape }))
    }
}

fn symbols_of(units: &[SpanUnit<'_>]) -> u64 {
    units.iter().map(|unit| unit.tokens.len() as u64 + 1).sum()
}

fn hash_and_length(unit: &SpanUnit<'_>) -> (Hash, u32) {
    (unit.hash, unit.tokens.len() as u32)
}

fn check(vocab: u32, units: &[SpanUnit<'_>], symbols: u64) -> Result<(), BuildError> {
    if vocab == 0 || vocab > MAX_VOCAB {
        return Err(BuildError::Vocabulary(vocab));
    }
    if units.is_empty() {
        return Err(BuildError::NoUnits);
    }
    let longest = units.iter().map(|unit| unit.tokens.len() as u64).max().unwrap_or(0);
    if symbols > MAX_SYMBOLS || longest > u64::from(u32::MAX) {
        return Err(BuildError::TooLarge(symbols));
    }
    let mut hashes: Vec<Hash> = units.iter().map(|unit| unit.hash).collect();
    hashes.sort_unstable();
    if let Some(pair) = hashes.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(BuildError::DuplicateUnit(pair[0]));
    }
    for unit in units {
        if unit.tokens.is_empty() {
            return Err(BuildError::EmptyUnit(unit.hash));
        }
        if let Some(&token) = unit.tokens.iter().find(|&&token| token >= vocab) {
            return Err(BuildError::Token { unit: unit.hash, token, vocab });
        }
    }
    Ok(())
}

fn write_units(out: &mut Vec<u8>, units: &[SpanUnit<'_>]) {
    let mut start = 0u64;
    for unit in units {
        out.extend(unit.hash.0);
        out.extend(start.to_be_bytes());
        start += unit.tokens.len() as u64 + 1;
    }
}

fn counts(vocab: u32, units: &[SpanUnit<'_>]) -> Vec<u64> {
    let mut counts = vec![0; vocab as usize];
    for &token in units.iter().flat_map(|unit| unit.tokens) {
        counts[token as usize] += 1;
    }
    counts
}

/// Sorts all suffixes; appends the array.
///
/// The integer sorter is the one for text of either width: on token ids it is 2.5 times as fast as
/// the 16-bit one, whose buckets outgrow the cache.
fn sort(out: &mut Vec<u8>, position: Width, vocab: u32, units: &[SpanUnit<'_>], symbols: usize) {
    let alphabet = units.len() + vocab as usize;
    let free = FREE_SPACE * alphabet;
    if position == Width::Four {
        let free = free.min(i32::MAX as usize - symbols);
        sort_as(out, position, units, (symbols, free), |text, order| {
            libsais_int(text, order, alphabet as i32, free as i32).into()
        });
    } else {
        sort_as(out, position, units, (symbols, free), |text, order| {
            libsais64_int(text, order, alphabet as i64, free as i64)
        });
    }
}

/// Sorts with integers of one width, with so much free space behind the symbols; `sorter` returns zero
/// when it has succeeded.
fn sort_as<T: TryFrom<usize> + Into<i64> + Copy + Default>(
    out: &mut Vec<u8>,
    position: Width,
    units: &[SpanUnit<'_>],
    (symbols, free): (usize, usize),
    sorter: impl FnOnce(&mut [T], &mut [T]) -> i64,
) {
    let mut order = vec![T::default(); symbols + free];
    let mut text: Vec<T> = distinct(units, symbols);
    let code = sorter(&mut text, &mut order);
    assert_eq!(code, 0, "sizes were checked, and nothing else can fail");
    drop(text);
    order.truncate(symbols);
    write(out, position, order.into_iter().map(|position| position.into() as u64));
}

/// Appends the text: ids plus one, and the separator 0 after each unit.
fn write_text(out: &mut Vec<u8>, symbol: Width, units: &[SpanUnit<'_>]) {
    for unit in units {
        write(out, symbol, unit.tokens.iter().map(|&token| u64::from(token) + 1));
        write(out, symbol, std::iter::once(0));
    }
}

/// The text with a separator of its own for each unit, which sorts the suffixes as those of separate
/// units.
fn distinct<T: TryFrom<usize>>(units: &[SpanUnit<'_>], symbols: usize) -> Vec<T> {
    let int = |value: usize| T::try_from(value).ok().expect("the alphabet was checked to fit");
    let mut text = Vec::with_capacity(symbols);
    for (rank, unit) in units.iter().enumerate() {
        text.extend(unit.tokens.iter().map(|&token| int(units.len() + token as usize)));
        text.push(int(rank));
    }
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// All positions, sorted by the suffixes of separate units; the earlier unit ends first.
    fn naive(texts: &[Vec<u32>]) -> Vec<u64> {
        let mut suffixes = Vec::new();
        let mut start = 0;
        for text in texts {
            for at in 0..=text.len() {
                suffixes.push((&text[at..], start + at as u64));
            }
            start += text.len() as u64 + 1;
        }
        suffixes.sort_unstable();
        suffixes.into_iter().map(|(_, position)| position).collect()
    }

    fn build(layout: Layout, vocab: u32, texts: &[Vec<u32>]) -> SpanIndex {
        let name = |rank: usize| protocol::hash::blake3(&rank.to_be_bytes());
        let units: Vec<_> =
            (0..).zip(texts).map(|(rank, tokens)| SpanUnit { hash: name(rank), tokens }).collect();
        SpanIndex::build_as(layout, Hash([0; 32]), vocab, &units).unwrap()
    }

    const LAYOUTS: [Layout; 4] = [
        Layout { symbol: Width::Two, position: Width::Four },
        Layout { symbol: Width::Two, position: Width::Eight },
        Layout { symbol: Width::Four, position: Width::Four },
        Layout { symbol: Width::Four, position: Width::Eight },
    ];

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn every_layout_sorts_as_comparison_does(
            texts in proptest::collection::vec(proptest::collection::vec(0u32..3, 1..25), 1..8),
        ) {
            for layout in LAYOUTS {
                let index = build(layout, 3, &texts);
                prop_assert_eq!(index.array().iter().collect::<Vec<_>>(), naive(&texts));
            }
        }
    }

    #[test]
    fn a_larger_text_with_repeats_is_sorted_in_every_layout() {
        // Long enough for the sorters to recurse; every third unit repeats an earlier one.
        let mut seed = 1u64;
        let mut draw = |below: u64| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_041);
            (seed >> 33) % below
        };
        let mut texts: Vec<Vec<u32>> = Vec::new();
        for rank in 0..300 {
            let fresh = (0..100)
                .map(|_| {
                    let below = draw(60_000) + 1;
                    draw(below) as u32
                })
                .collect();
            let copied = texts.get(rank / 2).cloned().unwrap_or_default();
            texts.push(if rank % 3 == 2 { copied } else { fresh });
        }
        let expected = naive(&texts);
        for layout in LAYOUTS {
            assert!(build(layout, 60_001, &texts).array().iter().eq(expected.iter().copied()));
        }
    }
}
