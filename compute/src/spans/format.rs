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

use super::ints::Width;
use super::layout::Layout;

/// The version that this code writes and reads.
pub(crate) const FORMAT_VERSION: u16 = 2;

/// Largest vocabulary: symbols fit into 24 bits and some.
pub(crate) const MAX_VOCAB: u32 = 1 << 24;
/// Bytes of one entry of the unit table.
pub(crate) const UNIT: usize = 32 + 8;

const MAGIC: &[u8; 4] = b"OLSA";
const HEADER: usize = 4 + 2 + 1 + 1 + 32 + 32 + 4 + 8 + 8;
pub(super) const CHECKSUM: usize = 32;

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
        /// Bytes that were given.
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

    pub(super) fn read(bytes: &[u8]) -> Result<Self, FormatError> {
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

/// What is indexed: binds the tokenizer, the units and their order, but not the array, which
/// follows from them.
pub(crate) fn snapshot(
    tokenizer: Hash,
    vocab: u32,
    units: impl Iterator<Item = (Hash, u32)>,
) -> Hash {
    let mut hasher = blake3::Hasher::new_derive_key("openledger span snapshot v1");
    hasher.update(&tokenizer.0).update(&vocab.to_be_bytes());
    for (hash, len) in units {
        hasher.update(&hash.0).update(&len.to_be_bytes());
    }
    Hash(*hasher.finalize().as_bytes())
}

/// The rank of the first suffix that begins with each token, and the number of symbols.
pub(crate) fn starts(units: usize, counts: &[u64]) -> Vec<u64> {
    let mut starts = Vec::with_capacity(counts.len() + 1);
    // The suffixes that are a mere separator sort first.
    let mut rank = units as u64;
    starts.push(rank);
    for count in counts {
        rank += count;
        starts.push(rank);
    }
    starts
}
