//! The Gram matrix of a snapshot's sketches, as exact integers, in parts.
//!
//! A sketch's block is a vector of small integers times a power of two. Per block and **per exponent**
//! the outer products are summed as they are, so a part of a snapshot gives the same integers on
//! every machine, parts add up in any order to the matrix of the whole, and a verifier checks a part
//! by [`GramCheck`](crate::attribute::GramCheck) without forming a single product of columns. Only
//! [`Preconditioner::fit`](crate::attribute::Preconditioner::fit) turns the sums into floats.
//!
//! Layout of a part, big-endian: magic `OLGM`, `u16` version, spec (32), sketch part (32), `u32`
//! first rank, `u32` units, `u16` blocks, `u16` values of a block; per block a `u8` number of
//! exponents and, per exponent in ascending order, the `i8` exponent and the upper triangle row by
//! row, as `i32` below 2¹⁷ units and as `i64` from there on.

use std::collections::BTreeMap;

use burn::tensor::{Device, Tensor, TensorData};
use protocol::Hash;

use super::cover::{CoverError, cover};
use super::part::SketchPart;
use super::quantise::{EXPONENTS, Sketch};
use super::set::SketchSet;
use super::spec::SketchSpec;

const MAGIC: &[u8; 4] = b"OLGM";
const VERSION: u16 = 1;
const HEADER: usize = 4 + 2 + 32 + 32 + 4 + 4 + 2 + 2;
/// Rows multiplied at once: their sums stay below 2²⁴, so that floats hold them exactly.
const EXACT_ROWS: usize = 1 << 10;
/// Units from which on an entry may need more than 32 bits.
const WIDE_UNITS: u32 = 1 << 17;
/// Largest product of two sketch values.
const LARGEST_PRODUCT: i64 = 1 << 14;

/// The sums of one block: by exponent `e` the upper triangle, row by row, of `Σ s sᵀ` over the units
/// whose block has that exponent; it stands for itself times `2^(2e)`.
pub(crate) type BlockGram = BTreeMap<i8, Vec<i64>>;

/// The Gram matrices of the sketches of consecutive units: the result of one Gram shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GramPart {
    /// Name of the spec of the sketches.
    pub spec: Hash,
    /// Hash of the sketch part that was read.
    pub sketches: Hash,
    /// Rank of the first unit.
    pub first: u32,
    /// Number of units.
    pub units: u32,
    /// Per block the sums.
    pub(crate) blocks: Vec<BlockGram>,
}

/// The Gram matrices of a whole snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gram {
    pub(crate) spec: SketchSpec,
    pub(crate) units: u32,
    pub(crate) blocks: Vec<BlockGram>,
}

/// Why sketches have no Gram matrices.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SumError {
    /// The device failed.
    #[error("the device did not return the Gram matrix")]
    Device,
    /// The sketches don't have the shape of their spec.
    #[error("the sketches have another shape than their spec")]
    Shape,
}

/// Why bytes are no Gram part of a spec.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum GramError {
    /// The bytes don't begin as Gram matrices do.
    #[error("these are not Gram matrices of this version")]
    Magic,
    /// Gram matrices of other sketches.
    #[error("the Gram matrices belong to spec {found}, not {expected}")]
    Spec {
        /// The spec asked for.
        expected: Hash,
        /// The spec found.
        found: Hash,
    },
    /// The header's sizes are not those of the spec.
    #[error("the Gram matrices have another shape than their spec")]
    Shape,
    /// Shorter or longer than what they announce.
    #[error("the Gram matrices end too early or too late")]
    Length,
    /// Exponents out of range or out of order.
    #[error("block {0} has exponents out of range or out of order")]
    Exponents(usize),
    /// An entry is larger than so many units can make it.
    #[error("an entry of block {0} is larger than the units can make it")]
    Bound(usize),
}

impl GramPart {
    /// The Gram matrices of a part's sketches.
    pub fn of(part: &SketchPart, spec: &SketchSpec) -> Result<Self, SumError> {
        if !part.fits(spec) {
            return Err(SumError::Shape);
        }
        let blocks = block_grams(&part.sketches, spec)?;
        let units = part.sketches.len() as u32;
        Ok(Self { spec: part.spec, sketches: part.hash(), first: part.first, units, blocks })
    }

    /// The part as bytes.
    pub fn encode(&self, spec: &SketchSpec) -> Vec<u8> {
        let mut out = Vec::new();
        out.extend(MAGIC);
        out.extend(VERSION.to_be_bytes());
        out.extend(self.spec.0);
        out.extend(self.sketches.0);
        out.extend(self.first.to_be_bytes());
        out.extend(self.units.to_be_bytes());
        out.extend((spec.blocks() as u16).to_be_bytes());
        out.extend((spec.block() as u16).to_be_bytes());
        for block in &self.blocks {
            out.push(block.len() as u8);
            for (exponent, entries) in block {
                out.push(*exponent as u8);
                match self.units < WIDE_UNITS {
                    true => out.extend(entries.iter().flat_map(|&e| (e as i32).to_be_bytes())),
                    false => out.extend(entries.iter().flat_map(|e| e.to_be_bytes())),
                }
            }
        }
        out
    }

    /// Reads a part of that spec. Allocates no more than a small multiple of `bytes`.
    pub fn decode(bytes: &[u8], spec: &SketchSpec) -> Result<Self, GramError> {
        let (header, mut rest) = bytes.split_first_chunk::<HEADER>().ok_or(GramError::Length)?;
        if header[..4] != *MAGIC || header[4..6] != VERSION.to_be_bytes() {
            return Err(GramError::Magic);
        }
        let hash = |at: usize| Hash::from_slice(&header[at..at + 32]).ok_or(GramError::Magic);
        let u32_at = |at: usize| u32::from_be_bytes([0, 1, 2, 3].map(|i| header[at + i]));
        let u16_at = |at: usize| usize::from(u16::from_be_bytes([header[at], header[at + 1]]));
        let (expected, found) = (spec.id(), hash(6)?);
        if expected != found {
            return Err(GramError::Spec { expected, found });
        }
        if (u16_at(78), u16_at(80)) != (spec.blocks(), spec.block()) {
            return Err(GramError::Shape);
        }
        let units = u32_at(74);
        let blocks = (0..spec.blocks())
            .map(|block| read_block(&mut rest, block, spec.block(), units))
            .collect::<Result<_, _>>()?;
        match rest.is_empty() {
            true => Ok(Self { spec: found, sketches: hash(38)?, first: u32_at(70), units, blocks }),
            false => Err(GramError::Length),
        }
    }

    /// The first block with an entry that so many units can't sum up to.
    pub(crate) fn out_of_bounds(&self) -> Option<usize> {
        let limit = bound(self.units);
        let is_out = |block: &BlockGram| {
            block.values().flatten().any(|entry| !(-limit..=limit).contains(entry))
        };
        self.blocks.iter().position(is_out)
    }
}

impl Gram {
    /// The Gram matrices of all sketches of a snapshot, computed here.
    pub fn of(set: &SketchSet) -> Result<Self, SumError> {
        let spec = set.spec().clone();
        let blocks = block_grams(set.sketches(), &spec)?;
        Ok(Self { spec, units: set.sketches().len() as u32, blocks })
    }

    /// Adds up parts, in any order, that cover the `units` of a snapshot exactly once. What
    /// [`of`](Self::of) gives for the whole, entry by entry.
    pub fn sum(spec: SketchSpec, units: u32, mut parts: Vec<GramPart>) -> Result<Self, CoverError> {
        let expected = spec.id();
        if let Some(part) = parts.iter().find(|part| part.spec != expected) {
            return Err(CoverError::Spec { expected, found: part.spec });
        }
        parts.sort_by_key(|part| (part.first, part.units));
        cover(units, parts.iter().map(|part| (part.first, part.units)))?;
        let mut blocks = vec![BlockGram::new(); spec.blocks()];
        for part in parts {
            if part.blocks.len() != blocks.len() {
                return Err(CoverError::Shape(part.first));
            }
            for (sums, block) in blocks.iter_mut().zip(part.blocks) {
                add_block(sums, block, triangle(spec.block()))
                    .ok_or(CoverError::Shape(part.first))?;
            }
        }
        Ok(Self { spec, units, blocks })
    }
}

fn block_grams(sketches: &[Sketch], spec: &SketchSpec) -> Result<Vec<BlockGram>, SumError> {
    (0..spec.blocks()).map(|block| block_gram(sketches, block, spec.block())).collect()
}

/// Exact sums of one block.
pub(crate) fn block_gram(
    sketches: &[Sketch],
    block: usize,
    size: usize,
) -> Result<BlockGram, SumError> {
    let mut rows: BTreeMap<i8, Vec<f32>> = BTreeMap::new();
    for sketch in sketches {
        let (exponent, values) = sketch.block(block, size);
        rows.entry(exponent).or_default().extend(values.iter().map(|&value| f32::from(value)));
    }
    rows.into_iter().map(|(exponent, rows)| Ok((exponent, outer_sum(&rows, size)?))).collect()
}

/// The upper triangle of `Σ s sᵀ` over `rows` of small integers. Float products are exact here:
/// every partial sum is an integer of at most 24 bits, whatever the order of the additions.
fn outer_sum(rows: &[f32], size: usize) -> Result<Vec<i64>, SumError> {
    let mut sums = vec![0i64; triangle(size)];
    for rows in rows.chunks(EXACT_ROWS * size) {
        let shape = [rows.len() / size, size];
        let rows = Tensor::<2>::from_data(TensorData::new(rows.to_vec(), shape), &Device::flex());
        let full = rows.clone().transpose().matmul(rows);
        let full: Vec<f32> = full.try_into_vec_as().map_err(|_| SumError::Device)?;
        let upper = full.chunks_exact(size).enumerate().flat_map(|(row, line)| &line[row..]);
        sums.iter_mut().zip(upper).for_each(|(sum, &value)| *sum += value as i64);
    }
    Ok(sums)
}

/// `1/N Σ s sᵀ` of one block, row-major; equal bits on every machine.
pub(crate) fn dense(sums: &BlockGram, units: usize, size: usize) -> Vec<f64> {
    let mut matrix = vec![0.0; size * size];
    for (&exponent, entries) in sums {
        let scale = f64::powi(2.0, 2 * i32::from(exponent)) / units.max(1) as f64;
        let mut entries = entries.iter();
        for row in 0..size {
            for (column, &entry) in (row..size).zip(&mut entries) {
                matrix[row * size + column] += entry as f64 * scale;
            }
        }
    }
    for row in 0..size {
        for column in 0..row {
            matrix[row * size + column] = matrix[column * size + row];
        }
    }
    matrix
}

/// Entries of an upper triangle.
fn triangle(size: usize) -> usize {
    size * (size + 1) / 2
}

/// The largest entry that so many units can sum up to.
fn bound(units: u32) -> i64 {
    i64::from(units) * LARGEST_PRODUCT
}

fn add_block(sums: &mut BlockGram, block: BlockGram, entries: usize) -> Option<()> {
    for (exponent, part) in block {
        let sum = sums.entry(exponent).or_insert_with(|| vec![0; entries]);
        if part.len() != entries {
            return None;
        }
        sum.iter_mut().zip(part).for_each(|(sum, value)| *sum += value);
    }
    Some(())
}

fn read_block(
    rest: &mut &[u8],
    block: usize,
    size: usize,
    units: u32,
) -> Result<BlockGram, GramError> {
    let mut take = |bytes: usize| {
        let (taken, left) = rest.split_at_checked(bytes).ok_or(GramError::Length)?;
        *rest = left;
        Ok::<_, GramError>(taken)
    };
    let mut sums = BlockGram::new();
    for _ in 0..take(1)?[0] {
        let exponent = take(1)?[0] as i8;
        let is_next = sums.last_key_value().is_none_or(|(&last, _)| last < exponent);
        if !is_next || !EXPONENTS.contains(&exponent) {
            return Err(GramError::Exponents(block));
        }
        let entries: Vec<i64> = match units < WIDE_UNITS {
            true => {
                let bytes = take(triangle(size) * 4)?.as_chunks::<4>().0;
                bytes.iter().map(|b| i32::from_be_bytes(*b).into()).collect()
            }
            false => {
                let bytes = take(triangle(size) * 8)?.as_chunks::<8>().0;
                bytes.iter().map(|b| i64::from_be_bytes(*b)).collect()
            }
        };
        let limit = bound(units);
        if !entries.iter().all(|entry| (-limit..=limit).contains(entry)) {
            return Err(GramError::Bound(block));
        }
        sums.insert(exponent, entries);
    }
    Ok(sums)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sketch(exponent: i8, values: [i8; 3]) -> Sketch {
        let (unit, exponents) = (Hash::ZERO, vec![exponent]);
        Sketch { unit, tokens: 1, exponents, values: values.to_vec() }
    }

    #[test]
    fn sums_beyond_the_floats_are_exact() {
        // 3,001 products of 2^14 and one of 1 need more bits than a float has.
        let mut sketches = vec![sketch(2, [i8::MIN, i8::MIN, 127]); 3 * EXACT_ROWS];
        sketches.push(sketch(2, [1, 0, 1]));
        sketches.push(sketch(-3, [5, -6, 7]));
        let n = 3 * EXACT_ROWS as i64;
        let sums = block_gram(&sketches, 0, 3).unwrap();
        let large = [n << 14, n << 14, n * -128 * 127, n << 14, n * -128 * 127, n * 127 * 127];
        let ones = [1, 0, 1, 0, 0, 1];
        let expected: Vec<i64> = large.iter().zip(ones).map(|(sum, one)| sum + one).collect();
        assert_eq!(sums[&2], expected);
        assert_eq!(sums[&-3], [25, -30, 35, 36, -42, 49]);
        assert_eq!(sums.len(), 2);
    }

    #[test]
    fn dense_matrices_apply_exponents_and_the_mean() {
        let sums = block_gram(&[sketch(1, [1, 2, 0]), sketch(0, [0, 3, -1])], 0, 3).unwrap();
        // (4 [1 2 0]' [1 2 0] + [0 3 -1]' [0 3 -1]) / 2
        assert_eq!(dense(&sums, 2, 3), [2.0, 4.0, 0.0, 4.0, 12.5, -1.5, 0.0, -1.5, 0.5]);
        assert_eq!(dense(&BlockGram::new(), 0, 1), [0.0]);
    }

    #[test]
    fn large_parts_have_wide_entries() {
        let spec = SketchSpec { checkpoint: Hash::ZERO, seed: 1, side: 1, linears: vec![0] };
        for units in [WIDE_UNITS - 1, WIDE_UNITS] {
            let blocks = vec![BlockGram::from([(4, vec![bound(units)])])];
            let part = GramPart { spec: spec.id(), sketches: Hash::ZERO, first: 7, units, blocks };
            let bytes = part.encode(&spec);
            let width = if units < WIDE_UNITS { 4 } else { 8 };
            assert_eq!(bytes.len(), HEADER + 1 + 1 + width);
            assert_eq!(GramPart::decode(&bytes, &spec), Ok(part));
        }
    }
}
