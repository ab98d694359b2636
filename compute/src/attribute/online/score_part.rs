//! The products of a range of units with a query: the result of one scoring shard.
//!
//! A shard gives the exact integer product of every unit and block. Exponents are applied by whoever
//! assembles the parts ([`SketchSet::combine`]); they are part of the committed leaves, and products
//! alone are linear in the sketches, which is what [`ScoreCheck`](super::ScoreCheck) needs.
//!
//! Layout, big-endian: magic `OLSP`, `u16` version, spec (32), sketch part (32), query (32), `u32`
//! first rank, `u32` units, `u16` blocks; per unit and block the `i64` product.

use protocol::Hash;

use super::kernel::Rows;
use super::query::{Query, ScoreError};
use crate::attribute::sketch::cover::{CoverError, cover};
use crate::attribute::sketch::{SketchPart, SketchSet, SketchSpec};

const MAGIC: &[u8; 4] = b"OLSP";
const VERSION: u16 = 1;
const HEADER: usize = 4 + 2 + 32 + 32 + 32 + 4 + 4 + 2;

/// The products of the sketches of consecutive units with one query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScorePart {
    /// Name of the spec of sketches and query.
    pub spec: Hash,
    /// Hash of the sketch part that was read.
    pub sketches: Hash,
    /// Name of the query.
    pub query: Hash,
    /// Rank of the first unit.
    pub first: u32,
    /// Unit by unit, one product per block.
    pub products: Vec<i64>,
}

/// Why bytes are no products of a spec.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ScorePartError {
    /// The bytes don't begin as products do.
    #[error("these are not products of this version")]
    Magic,
    /// Products of other sketches.
    #[error("the products belong to spec {found}, not {expected}")]
    Spec {
        /// The spec asked for.
        expected: Hash,
        /// The spec found.
        found: Hash,
    },
    /// The header's number of blocks is not the spec's.
    #[error("the products have another shape than their spec")]
    Shape,
    /// Shorter or longer than the header says.
    #[error("the products have {found} bytes and should have {expected}")]
    Length {
        /// Bytes that the header announces.
        expected: u64,
        /// Bytes that were given.
        found: u64,
    },
    /// A product is larger than a block's values can make it.
    #[error("a product of unit {0} of the part is larger than a block's values can make it")]
    Bound(u32),
}

impl ScorePart {
    /// The products of a part's sketches, computed here.
    pub fn of(part: &SketchPart, spec: &SketchSpec, query: &Query) -> Result<Self, ScoreError> {
        query.check(spec)?;
        if !part.fits(spec) {
            return Err(ScoreError::Shape);
        }
        let rows = Rows::sketches(&part.sketches, spec.blocks(), spec.block());
        Ok(Self {
            spec: part.spec,
            sketches: part.hash(),
            query: query.id(),
            first: part.first,
            products: rows.products(query)?,
        })
    }

    /// Number of units, under a spec of so many blocks.
    pub(crate) fn units(&self, blocks: usize) -> Option<u32> {
        let units = u32::try_from(self.products.len() / blocks.max(1)).ok()?;
        self.products.len().is_multiple_of(blocks.max(1)).then_some(units)
    }

    /// The part as bytes.
    pub fn encode(&self, spec: &SketchSpec) -> Vec<u8> {
        let blocks = spec.blocks();
        let mut out = Vec::with_capacity(HEADER + 8 * self.products.len());
        out.extend(MAGIC);
        out.extend(VERSION.to_be_bytes());
        out.extend(self.spec.0);
        out.extend(self.sketches.0);
        out.extend(self.query.0);
        out.extend(self.first.to_be_bytes());
        out.extend(((self.products.len() / blocks.max(1)) as u32).to_be_bytes());
        out.extend((blocks as u16).to_be_bytes());
        out.extend(self.products.iter().flat_map(|product| product.to_be_bytes()));
        out
    }

    /// Reads a part of that spec. Allocates no more than a small multiple of `bytes`.
    pub fn decode(bytes: &[u8], spec: &SketchSpec) -> Result<Self, ScorePartError> {
        let found = bytes.len() as u64;
        let Some((header, body)) = bytes.split_first_chunk::<HEADER>() else {
            return Err(ScorePartError::Length { expected: HEADER as u64, found });
        };
        if header[..4] != *MAGIC || header[4..6] != VERSION.to_be_bytes() {
            return Err(ScorePartError::Magic);
        }
        let hash = |at: usize| Hash::from_slice(&header[at..at + 32]).ok_or(ScorePartError::Magic);
        let u32_at = |at: usize| u32::from_be_bytes([0, 1, 2, 3].map(|i| header[at + i]));
        let (expected, named) = (spec.id(), hash(6)?);
        if expected != named {
            return Err(ScorePartError::Spec { expected, found: named });
        }
        let blocks = u16::from_be_bytes([header[110], header[111]]);
        if usize::from(blocks) != spec.blocks() {
            return Err(ScorePartError::Shape);
        }
        let expected = HEADER as u64 + u64::from(u32_at(106)) * u64::from(blocks) * 8;
        if expected != found {
            return Err(ScorePartError::Length { expected, found });
        }
        let products: Vec<i64> =
            body.as_chunks::<8>().0.iter().map(|bytes| i64::from_be_bytes(*bytes)).collect();
        let limit = bound(spec.block());
        match products.iter().position(|product| !(-limit..=limit).contains(product)) {
            Some(at) => Err(ScorePartError::Bound((at / usize::from(blocks)) as u32)),
            None => Ok(Self {
                spec: named,
                sketches: hash(38)?,
                query: hash(70)?,
                first: u32_at(102),
                products,
            }),
        }
    }
}

impl SketchSet {
    /// The scores of all units from parts, in any order, that cover the snapshot exactly once. What
    /// [`scores`](SketchSet::scores) gives.
    pub fn combine(
        &self,
        query: &Query,
        mut parts: Vec<ScorePart>,
    ) -> Result<Vec<i64>, CombineError> {
        query.check(self.spec())?;
        let (spec, name, blocks) = (self.spec().id(), query.id(), self.spec().blocks());
        for part in &parts {
            if part.spec != spec {
                return Err(CoverError::Spec { expected: spec, found: part.spec }.into());
            }
            if part.query != name {
                return Err(CoverError::Query { expected: name, found: part.query }.into());
            }
            part.units(blocks).ok_or(CoverError::Shape(part.first))?;
        }
        parts.sort_by_key(|part| (part.first, part.products.len()));
        let ranges = parts.iter().map(|part| (part.first, part.units(blocks).unwrap_or(0)));
        cover(self.sketches().len() as u32, ranges)?;
        let products: Vec<i64> = parts.into_iter().flat_map(|part| part.products).collect();
        Ok(self.scores_of(query, &products)?)
    }
}

/// Why parts don't give the scores of a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CombineError {
    /// The parts don't cover the snapshot, or belong to something else.
    #[error(transparent)]
    Cover(#[from] CoverError),
    /// The query does not belong to the sketches.
    #[error(transparent)]
    Score(#[from] ScoreError),
}

/// The largest product of a sketch's and a query's block of so many values.
pub(crate) fn bound(block: usize) -> i64 {
    (block as i64) << 22
}
