//! An index from bytes that were checked before, or from anybody's.

use protocol::Hash;

use super::format::{CHECKSUM, FormatError, Header, starts};
use super::index::SpanIndex;
use super::ints::Ints;

impl<B: AsRef<[u8]>> SpanIndex<B> {
    /// Takes bytes whose content was checked before, by their address or by [`Self::decode`], as the
    /// index of the snapshot that the caller wants. Reads the header only.
    ///
    /// Lookups in bytes that nobody checked may be wrong, but never panic.
    pub fn attach(bytes: B, snapshot: &Hash) -> Result<Self, FormatError> {
        let header = Header::read(bytes.as_ref())?;
        if header.snapshot != *snapshot {
            return Err(FormatError::Snapshot { expected: *snapshot, found: header.snapshot });
        }
        let found = bytes.as_ref().len() as u64;
        let expected = header.shape.length().unwrap_or(u64::MAX);
        if expected != found {
            return Err(FormatError::Length { expected, found });
        }
        Ok(Self::from_parts(bytes, header))
    }

    /// Takes bytes from anybody: all but the order of the array is checked. Whoever doubts that
    /// order builds the index again, or looks for a [`Fraud`](super::proof::Fraud).
    ///
    /// Allocates no more than a bit per symbol and eight bytes per id of the vocabulary.
    pub fn decode(bytes: B, snapshot: &Hash) -> Result<Self, FormatError> {
        let index = Self::attach(bytes, snapshot)?;
        let (body, checksum) = index.bytes().split_at(index.bytes().len() - CHECKSUM);
        if blake3::hash(body).as_bytes() != checksum {
            return Err(FormatError::Checksum);
        }
        check_units(&index)?;
        check_starts(&index)?;
        check_permutation(index.array())?;
        match index.units_hash() == *snapshot {
            true => Ok(index),
            false => Err(FormatError::Inconsistent("the header names another snapshot")),
        }
    }
}

/// Units must cover the text exactly, each closed by a separator.
fn check_units<B: AsRef<[u8]>>(index: &SpanIndex<B>) -> Result<(), FormatError> {
    let (text, units) = (index.text(), index.units() as u64);
    let mut unit = 0;
    let mut start = 0;
    for (at, symbol) in text.iter().enumerate().map(|(at, symbol)| (at as u64, symbol)) {
        if at == start && (index.unit_start(unit) != Some(start) || symbol == 0) {
            return Err(FormatError::Inconsistent("units and text differ"));
        }
        if symbol == 0 {
            unit += 1;
            start = at + 1;
        }
    }
    match unit == units && start == text.len() as u64 {
        true => Ok(()),
        false => Err(FormatError::Inconsistent("units and text differ")),
    }
}

/// Symbols must lie in the vocabulary, and the starts must count them.
fn check_starts<B: AsRef<[u8]>>(index: &SpanIndex<B>) -> Result<(), FormatError> {
    let mut counts = vec![0u64; index.vocab() as usize];
    for symbol in index.text().iter().filter(|&symbol| symbol > 0) {
        match counts.get_mut(symbol as usize - 1) {
            Some(count) => *count += 1,
            None => return Err(FormatError::Inconsistent("a token lies outside the vocabulary")),
        }
    }
    match index.starts().iter().eq(starts(index.units(), &counts)) {
        true => Ok(()),
        false => Err(FormatError::Inconsistent("the starts don't count the text")),
    }
}

/// Every position occurs once, so lookups stay inside the text.
fn check_permutation(array: Ints<'_>) -> Result<(), FormatError> {
    let mut seen = vec![0u64; array.len().div_ceil(64)];
    for position in array.iter() {
        let bit = 1u64 << (position % 64);
        let place = usize::try_from(position / 64).ok().and_then(|at| seen.get_mut(at));
        match place.filter(|seen| position < array.len() as u64 && **seen & bit == 0) {
            Some(seen) => *seen |= bit,
            None => return Err(FormatError::Inconsistent("the array is no permutation")),
        }
    }
    Ok(())
}
