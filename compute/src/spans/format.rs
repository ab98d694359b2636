//! An index as bytes: a checked header, then units, tokens, array and a checksum.
//!
//! Layout, big-endian: magic `OLSA`, `u16` version, snapshot (32), tokenizer (32), `u32`
//! vocabulary, `u32` units, `u32` symbols; per unit hash (32) and `u32` length; per symbol a `u32`
//! text value and a `u32` array value; BLAKE3 of all that (32).

use protocol::Hash;

use super::index::{Entry, MAX_SYMBOLS, MAX_VOCAB, SpanIndex, count};

/// The version that this code writes and reads.
pub const FORMAT_VERSION: u16 = 1;

const MAGIC: &[u8; 4] = b"OLSA";
const HEADER: usize = 4 + 2 + 32 + 32 + 4 + 4 + 4;
const UNIT: usize = 32 + 4;
const SYMBOL: usize = 4 + 4;
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

impl SpanIndex {
    /// The index as bytes, equal on every node.
    pub fn encode(&self) -> Vec<u8> {
        let size = HEADER + self.entries.len() * UNIT + self.text.len() * SYMBOL + CHECKSUM;
        let mut out = Vec::with_capacity(size);
        out.extend(MAGIC);
        out.extend(FORMAT_VERSION.to_be_bytes());
        out.extend(self.snapshot().0);
        out.extend(self.tokenizer.0);
        out.extend(self.vocab.to_be_bytes());
        out.extend((self.entries.len() as u32).to_be_bytes());
        out.extend((self.text.len() as u32).to_be_bytes());
        for entry in &self.entries {
            out.extend(entry.hash.0);
            out.extend(entry.len.to_be_bytes());
        }
        out.extend(self.text.iter().flat_map(|symbol| symbol.to_be_bytes()));
        out.extend(self.order.iter().flat_map(|position| position.to_be_bytes()));
        let checksum = blake3::hash(&out);
        out.extend(checksum.as_bytes());
        out
    }

    /// Reads an index of the snapshot that the caller wants. Allocates no more than a small
    /// multiple of `bytes`.
    pub fn decode(bytes: &[u8], snapshot: &Hash) -> Result<Self, FormatError> {
        let header = Header::read(bytes)?;
        if header.snapshot != *snapshot {
            return Err(FormatError::Snapshot { expected: *snapshot, found: header.snapshot });
        }
        let (units, symbols) = (header.units as usize, header.symbols as usize);
        let expected = (HEADER + CHECKSUM) as u64
            + u64::from(header.units) * UNIT as u64
            + u64::from(header.symbols) * SYMBOL as u64;
        if expected != bytes.len() as u64 {
            return Err(FormatError::Length { expected, found: bytes.len() as u64 });
        }
        let (body, checksum) = bytes.split_at(bytes.len() - CHECKSUM);
        if blake3::hash(body).as_bytes() != checksum {
            return Err(FormatError::Checksum);
        }
        let (unit_bytes, symbol_bytes) = body[HEADER..].split_at(units * UNIT);
        let (text_bytes, order_bytes) = symbol_bytes.split_at(symbols * 4);
        let text: Vec<i32> = words(text_bytes).map(|word| word as i32).collect();
        let order: Vec<u32> = words(order_bytes).collect();
        let entries = read_units(unit_bytes, &text)?;
        check_text(header.vocab, &text)?;
        check_permutation(&order)?;
        let counts = count(header.vocab, &text);
        let tokenizer = header.tokenizer;
        let index = Self { tokenizer, vocab: header.vocab, entries, text, order, counts };
        match index.snapshot() == header.snapshot {
            true => Ok(index),
            false => Err(FormatError::Inconsistent("the header names another snapshot")),
        }
    }
}

struct Header {
    snapshot: Hash,
    tokenizer: Hash,
    vocab: u32,
    units: u32,
    symbols: u32,
}

impl Header {
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
        let mut numbers = words(&bytes[70..HEADER]);
        let mut next = || numbers.next().expect("the header holds three numbers");
        let (vocab, units, symbols) = (next(), next(), next());
        if vocab == 0 || vocab > MAX_VOCAB || symbols as usize > MAX_SYMBOLS {
            return Err(FormatError::Inconsistent("a size is out of bounds"));
        }
        Ok(Self { snapshot: hash(6), tokenizer: hash(38), vocab, units, symbols })
    }
}

fn words(bytes: &[u8]) -> impl Iterator<Item = u32> {
    bytes.as_chunks::<4>().0.iter().map(|word| u32::from_be_bytes(*word))
}

/// Units must cover the text exactly, each closed by a separator.
fn read_units(bytes: &[u8], text: &[i32]) -> Result<Vec<Entry>, FormatError> {
    const WRONG: FormatError = FormatError::Inconsistent("units and text differ");
    let mut entries = Vec::with_capacity(bytes.len() / UNIT);
    let mut start = 0usize;
    for unit in bytes.as_chunks::<UNIT>().0 {
        let hash = Hash::from_slice(&unit[..32]).ok_or(WRONG)?;
        let len = words(&unit[32..]).next().ok_or(WRONG)?;
        let end = start + len as usize;
        if len == 0 || text.get(end) != Some(&0) || text[start..end].contains(&0) {
            return Err(WRONG);
        }
        entries.push(Entry { hash, start: start as u32, len });
        start = end + 1;
    }
    if entries.is_empty() || start != text.len() { Err(WRONG) } else { Ok(entries) }
}

fn check_text(vocab: u32, text: &[i32]) -> Result<(), FormatError> {
    let fits = |symbol: &i32| (0..=vocab as i32).contains(symbol);
    if text.iter().all(fits) {
        Ok(())
    } else {
        Err(FormatError::Inconsistent("a token lies outside the vocabulary"))
    }
}

/// Every position occurs once, so lookups stay inside the text. Their order is not re-proved: the
/// file is content-addressed, and whoever doubts it builds it again.
fn check_permutation(order: &[u32]) -> Result<(), FormatError> {
    let mut seen = vec![false; order.len()];
    for &position in order {
        match seen.get_mut(position as usize) {
            Some(seen) if !*seen => *seen = true,
            _ => return Err(FormatError::Inconsistent("the array is no permutation")),
        }
    }
    Ok(())
}
