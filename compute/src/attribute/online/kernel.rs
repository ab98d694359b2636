//! The integer products behind every score, on the CPU.
//!
//! One kernel serves units and contributors: rows of eight-bit values against the sixteen-bit values
//! of a query, one exact product per row and block. A sketch is one row; an aggregate, of sixteen
//! bits a value, is two ([`Aggregate`]). Exponents take no part: they are applied to the products
//! afterwards ([`fixed_point`](super::fixed_point::fixed_point)), by integers too, so that a score is the same on every node and on
//! every device that runs this kernel ([`GpuKernel`](super::GpuKernel) is the other one).

use super::aggregate::Aggregate;
use super::query::{Query, ScoreError};
use crate::attribute::sketch::{Sketch, SketchSet};

/// Values whose products are summed in 32 bits: 256 · 2⁷ · 2¹⁵ = 2³⁰.
pub(crate) const CHUNK: usize = 256;

const _: () = assert!((CHUNK as u64) << 22 < 1 << 31, "a chunk's sum fits into 32 bits");

/// The left side of a scoring: rows of `blocks · block` values.
#[derive(Clone, Debug)]
pub struct Rows<'a> {
    block: usize,
    blocks: usize,
    rows: Vec<&'a [i8]>,
}

impl<'a> Rows<'a> {
    /// One row per unit of a snapshot.
    pub fn units(set: &'a SketchSet) -> Self {
        Self::sketches(set.sketches(), set.spec().blocks(), set.spec().block())
    }

    /// Two rows per contributor, upper and lower digits.
    pub fn contributors(set: &SketchSet, sums: &'a [Aggregate]) -> Result<Self, ScoreError> {
        let (block, blocks) = (set.spec().block(), set.spec().blocks());
        if !sums.iter().all(|sum| sum.has_shape(blocks, block * blocks)) {
            return Err(ScoreError::Shape);
        }
        let rows = sums.iter().flat_map(|sum| [&sum.upper[..], &sum.lower[..]]).collect();
        Ok(Self::raw(rows, blocks, block))
    }

    pub(crate) fn sketches(sketches: &'a [Sketch], blocks: usize, block: usize) -> Self {
        Self::raw(sketches.iter().map(|sketch| &sketch.values[..]).collect(), blocks, block)
    }

    /// Rows of `blocks · block` values each.
    pub(crate) fn raw(rows: Vec<&'a [i8]>, blocks: usize, block: usize) -> Self {
        debug_assert!(rows.iter().all(|row| row.len() == blocks * block), "rows of one length");
        Self { block, blocks, rows }
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Blocks of a row.
    pub fn blocks(&self) -> usize {
        self.blocks
    }

    /// Values of a block.
    pub fn block(&self) -> usize {
        self.block
    }

    #[cfg(feature = "gpu")]
    pub(crate) fn rows(&self) -> &[&'a [i8]] {
        &self.rows
    }

    /// The exact products with the query's values: row by row, one per block.
    pub fn products(&self, query: &Query) -> Result<Vec<i64>, ScoreError> {
        if query.values.len() != self.block * self.blocks {
            return Err(ScoreError::Shape);
        }
        let mut products = Vec::with_capacity(self.rows.len() * self.blocks);
        for row in &self.rows {
            let blocks = row.chunks_exact(self.block).zip(query.values.chunks_exact(self.block));
            products.extend(blocks.map(|(row, query)| dot(row, query)));
        }
        Ok(products)
    }
}

/// Exact product of two vectors, summed in 32 bits within chunks.
fn dot(row: &[i8], query: &[i16]) -> i64 {
    // Chunks of a length known beforehand are summed twice as fast.
    let ((rows, row), (queries, query)) = (row.as_chunks::<CHUNK>(), query.as_chunks::<CHUNK>());
    let whole = rows.iter().zip(queries).map(|(row, query)| i64::from(chunk_dot(row, query)));
    whole.sum::<i64>() + i64::from(chunk_dot(row, query))
}

/// At most a chunk, in eight lanes: a form that compilers turn into multiply-add instructions of any
/// machine.
fn chunk_dot(row: &[i8], query: &[i16]) -> i32 {
    let product = |row: i8, query: i16| i32::from(row) * i32::from(query);
    let ((rows, row), (queries, query)) = (row.as_chunks::<8>(), query.as_chunks::<8>());
    let mut lanes = [0i32; 8];
    for (row, query) in rows.iter().zip(queries) {
        for lane in 0..8 {
            lanes[lane] += product(row[lane], query[lane]);
        }
    }
    let rest: i32 = row.iter().zip(query).map(|(&row, &query)| product(row, query)).sum();
    lanes.iter().sum::<i32>() + rest
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_largest_products_are_exact() {
        for count in [1, CHUNK, CHUNK + 1, 4096] {
            let expected = count as i64 * (1 << 22);
            assert_eq!(dot(&vec![i8::MIN; count], &vec![i16::MIN; count]), expected);
        }
    }

    proptest! {
        #[test]
        fn products_are_those_of_wide_integers(
            pairs in proptest::collection::vec(any::<(i8, i16)>(), 0..700),
        ) {
            let (row, query): (Vec<i8>, Vec<i16>) = pairs.iter().copied().unzip();
            let wide: i64 = pairs.iter().map(|&(r, q)| i64::from(r) * i64::from(q)).sum();
            prop_assert_eq!(dot(&row, &query), wide);
        }
    }
}
