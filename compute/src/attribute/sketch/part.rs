//! The sketches of a range of units as canonical bytes: the result of one capture shard.
//!
//! Layout, big-endian: magic `OLSK`, `u16` version, spec (32), `u32` first rank, `u32` count, `u16`
//! blocks, `u16` values of a block; per sketch the unit's hash (32), `u32` tokens, one `i8`
//! exponent per block, the `i8` values.

use protocol::Hash;

use super::quantise::{EXPONENTS, Sketch};
use super::spec::SketchSpec;

const MAGIC: &[u8; 4] = b"OLSK";
const VERSION: u16 = 1;
const HEADER: usize = 4 + 2 + 32 + 4 + 4 + 2 + 2;

/// Sketches of consecutive units of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SketchPart {
    /// Name of the spec that they were captured under.
    pub spec: Hash,
    /// Rank of the first unit.
    pub first: u32,
    /// One sketch per unit.
    pub sketches: Vec<Sketch>,
}

/// Why bytes are not the part that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PartError {
    /// The bytes don't begin as sketches do.
    #[error("these are not sketches of this version")]
    Magic,
    /// Sketches of another checkpoint, projection or choice of layers.
    #[error("the sketches were captured under spec {found}, not {expected}")]
    Spec {
        /// The spec asked for.
        expected: Hash,
        /// The spec found.
        found: Hash,
    },
    /// The header's sizes are not those of the spec.
    #[error("the sketches have another shape than their spec")]
    Shape,
    /// Shorter or longer than the header says.
    #[error("the sketches have {found} bytes and should have {expected}")]
    Length {
        /// Bytes that the header announces.
        expected: u64,
        /// Bytes that were given.
        found: u64,
    },
    /// A scale is outside its range, or a unit has no tokens.
    #[error("sketch {0} of the part is out of range")]
    Range(u32),
}

impl SketchPart {
    /// The name of the part's bytes, which results that were computed from them bear.
    pub fn hash(&self) -> Hash {
        protocol::hash::blake3(&self.encode())
    }

    /// Whether these are sketches of that spec in its shape, as decoded ones always are.
    pub(crate) fn fits(&self, spec: &SketchSpec) -> bool {
        let has_shape = |sketch: &Sketch| {
            sketch.exponents.len() == spec.blocks() && sketch.values.len() == spec.dims()
        };
        self.spec == spec.id() && self.sketches.iter().all(has_shape)
    }

    /// The part as bytes.
    pub fn encode(&self) -> Vec<u8> {
        let (blocks, values) = self
            .sketches
            .first()
            .map_or((0, 0), |sketch| (sketch.exponents.len(), sketch.values.len()));
        let row = 36 + blocks + values;
        let mut out = Vec::with_capacity(HEADER + self.sketches.len() * row);
        out.extend(MAGIC);
        out.extend(VERSION.to_be_bytes());
        out.extend(self.spec.0);
        out.extend(self.first.to_be_bytes());
        out.extend((self.sketches.len() as u32).to_be_bytes());
        out.extend((blocks as u16).to_be_bytes());
        out.extend((values.checked_div(blocks).unwrap_or(0) as u16).to_be_bytes());
        self.sketches.iter().for_each(|sketch| sketch.encode(&mut out));
        out
    }

    /// Reads a part of that spec. Allocates no more than a small multiple of `bytes`.
    pub fn decode(bytes: &[u8], spec: &SketchSpec) -> Result<Self, PartError> {
        let Some((header, body)) = bytes.split_first_chunk::<HEADER>() else {
            return Err(PartError::Length { expected: HEADER as u64, found: bytes.len() as u64 });
        };
        if header[..4] != *MAGIC || header[4..6] != VERSION.to_be_bytes() {
            return Err(PartError::Magic);
        }
        let found = Hash::from_slice(&header[6..38]).ok_or(PartError::Magic)?;
        let expected = spec.id();
        if found != expected {
            return Err(PartError::Spec { expected, found });
        }
        let u32_at = |at: usize| u32::from_be_bytes([0, 1, 2, 3].map(|i| header[at + i]));
        let u16_at = |at: usize| usize::from(u16::from_be_bytes([header[at], header[at + 1]]));
        let (first, count) = (u32_at(38), u32_at(42));
        let shape = (u16_at(46), u16_at(48));
        let is_empty = count == 0 && shape == (0, 0);
        if !is_empty && shape != (spec.blocks(), spec.block()) {
            return Err(PartError::Shape);
        }
        let row = 36 + spec.blocks() + spec.dims();
        let expected = HEADER as u64 + u64::from(count) * row as u64;
        if expected != bytes.len() as u64 {
            return Err(PartError::Length { expected, found: bytes.len() as u64 });
        }
        let sketches = body
            .chunks_exact(row)
            .enumerate()
            .map(|(i, row)| read(row, spec.blocks()).ok_or(PartError::Range(i as u32)))
            .collect::<Result<_, _>>()?;
        Ok(Self { spec: found, first, sketches })
    }
}

fn read(row: &[u8], blocks: usize) -> Option<Sketch> {
    let (unit, rest) = row.split_first_chunk::<32>()?;
    let (tokens, rest) = rest.split_first_chunk::<4>()?;
    let (exponents, values) = rest.split_at_checked(blocks)?;
    let tokens = u32::from_be_bytes(*tokens);
    let exponents: Vec<i8> = exponents.iter().map(|&byte| byte as i8).collect();
    let is_sane = tokens > 0 && exponents.iter().all(|e| EXPONENTS.contains(e));
    is_sane.then(|| Sketch {
        unit: Hash(*unit),
        tokens,
        exponents,
        values: values.iter().map(|&byte| byte as i8).collect(),
    })
}
