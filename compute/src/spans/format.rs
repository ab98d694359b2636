//! The file of an index: a checked header, then units, starts, text, array and a checksum.
//!
//! Layout, big-endian: magic `OLSA`, `u16` version, bytes of a symbol (`u8`, 2 or 4) and of a
//! position (`u8`, 4 or 8), snapshot (32), tokenizer (32), `u32` vocabulary, `u64` units, `u64`
//! symbols; per unit hash (32) and `u64` start in the text; per token, and once more, the `u64` rank
//! of the first suffix that begins with it; the text; the array; BLAKE3 of all that (32).
//!
//! The file is the index: it is read in place, and its BLAKE3 hash is its address. It is equal on
//! every node.

use std::ops::Range;

use protocol::Hash;

use super::build::{Layout, starts};
use super::index::SpanIndex;
use super::ints::{Ints, Width};

/// The version that this code writes and reads.
pub const FORMAT_VERSION: u16 = 2;

/// Largest vocabulary: symbols fit into 24 bits and some.
pub(crate) const MAX_VOCAB: u32 = 1 << 24;
/// Bytes of one entry of the unit table.
pub(crate) const UNIT: usize = 32 + 8;

const MAGIC: &[u8; 4] = b"OLSA";
const HEADER: usize = 4 + 2 + 1 + 1 + 32 + 32 + 4 + 8 + 8;
const CHECKSUM: usize = 32;

/// Why bytes are not the index that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    /// The bytes don't begin as an index does.
    #[error("this is not a span index")]
    Magic,
    /// Written by another version of the format.
    #[error("span index format {found}; this build reads {FORMAT_VERSION}: rebuild the index")]
    Version {
        /// The version found.
        found: u16,
    },
    /// An index, but of other data.
    #[error("the index is of snapshot {found}, not of {expected}: rebuild or fetch it")]
    Snapshot {
        /// The snapshot asked for.
        expected: Hash,
        /// The snapshot found.
        found: Hash,
    },
    /// Shorter or longer than its header says.
    #[error("the index has {found} bytes and should have {expected}: it was cut or extended")]
    Length {
        /// Bytes that the header announces.
        expected: u64,
        /// Bytes found.
        found: u64,
    },
    /// Some byte was changed.
    #[error("the index does not match its checksum: fetch or rebuild it")]
    Checksum,
    /// Well-formed bytes that describe no index.
    #[error("the index contradicts itself: {0}")]
    Inconsistent(&'static str),
}

/// The sizes of an index, from which every section's place follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    pub(crate) vocab: u32,
    pub(crate) units: u64,
    pub(crate) symbols: u64,
    pub(crate) layout: Layout,
}

impl Shape {
    /// Bytes of the whole file; `None` when no computer could hold it.
    pub(crate) fn length(&self) -> Option<u64> {
        let width = (self.layout.symbol.bytes() + self.layout.position.bytes()) as u64;
        let units = self.units.checked_mul(UNIT as u64)?;
        let symbols = self.symbols.checked_mul(width)?;
        let fixed = (HEADER + CHECKSUM) as u64 + (u64::from(self.vocab) + 1) * 8;
        usize::try_from(fixed.checked_add(units)?.checked_add(symbols)?).ok().map(|n| n as u64)
    }

    pub(crate) const fn unit_bytes(&self) -> Range<usize> {
        HEADER..HEADER + self.units as usize * UNIT
    }

    pub(crate) const fn start_bytes(&self) -> Range<usize> {
        let start = self.unit_bytes().end;
        start..start + (self.vocab as usize + 1) * 8
    }

    pub(crate) const fn text_bytes(&self) -> Range<usize> {
        let start = self.start_bytes().end;
        start..start + self.symbols as usize * self.layout.symbol.bytes()
    }

    pub(crate) const fn array_bytes(&self) -> Range<usize> {
        let start = self.text_bytes().end;
        start..start + self.symbols as usize * self.layout.position.bytes()
    }
}

/// What stands before the sections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) snapshot: Hash,
    pub(crate) tokenizer: Hash,
    pub(crate) shape: Shape,
}

impl Header {
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        let Shape { vocab, units, symbols, layout } = self.shape;
        out.extend(MAGIC);
        out.extend(FORMAT_VERSION.to_be_bytes());
        out.extend([layout.symbol.bytes() as u8, layout.position.bytes() as u8]);
        out.extend(self.snapshot.0);
        out.extend(self.tokenizer.0);
        out.extend(vocab.to_be_bytes());
        out.extend(units.to_be_bytes());
        out.extend(symbols.to_be_bytes());
    }

    fn read(bytes: &[u8]) -> Result<Self, FormatError> {
        if !bytes.starts_with(MAGIC) {
            return Err(FormatError::Magic);
        }
        if bytes.len() < HEADER + CHECKSUM {
            let expected = (HEADER + CHECKSUM) as u64;
            return Err(FormatError::Length { expected, found: bytes.len() as u64 });
        }
        let found = u16::from_be_bytes([bytes[4], bytes[5]]);
        if found != FORMAT_VERSION {
            return Err(FormatError::Version { found });
        }
        let hash = |at: usize| Hash::from_slice(&bytes[at..at + 32]).expect("32 bytes were taken");
        let int = |range: Range<usize>| bytes[range].iter().fold(0, |n, &b| n << 8 | u64::from(b));
        let vocab = int(72..76) as u32;
        let widths = (Width::of(bytes[6]), Width::of(bytes[7]));
        let layout = match widths {
            (Some(symbol), Some(position)) => Layout { symbol, position },
            _ => return Err(FormatError::Inconsistent("a width is none that is written")),
        };
        let (units, symbols) = (int(76..84), int(84..92));
        let is_layout = layout.holds(Layout::smallest(vocab, symbols));
        if vocab == 0 || vocab > MAX_VOCAB || units == 0 || units >= symbols || !is_layout {
            return Err(FormatError::Inconsistent("a size is out of bounds"));
        }
        let shape = Shape { vocab, units, symbols, layout };
        Ok(Self { snapshot: hash(8), tokenizer: hash(40), shape })
    }
}

/// Appends the checksum.
pub(crate) fn seal(out: &mut Vec<u8>) {
    let checksum = blake3::hash(out);
    out.extend(checksum.as_bytes());
}

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
