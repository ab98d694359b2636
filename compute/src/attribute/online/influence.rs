//! From sketches to integer scores.
//!
//! The preconditioner is `F + λI` per block, `F` the mean outer product of the units' sketches. It is
//! applied to the query alone, in floats; the query is then quantised and published, and the
//! score of a unit is the exact integer product of two committed vectors.

use protocol::Hash;

use super::kernel::{Rows, fixed_point, shifted};
use crate::attribute::capture::OutputSketch;
use crate::attribute::sketch::gram::{BlockGram, Gram, block_gram, dense};
use crate::attribute::sketch::quantise::{EXPONENTS, Sketch, scale};
use crate::attribute::sketch::{SketchSet, SketchSpec};

/// Bits kept below the largest scale while sketches are summed.
const AGGREGATE_BITS: i32 = 16;
/// Largest value of an aggregate: two signed digits of eight bits.
const AGGREGATE_LIMIT: i64 = 127 * DIGIT + 127;
/// What one step of the upper digit of an aggregate is worth.
const DIGIT: i64 = 256;

/// The inverse of the damped Fisher matrix of a snapshot's sketches, block by block.
#[derive(Clone, Debug)]
pub struct Preconditioner {
    spec: SketchSpec,
    /// Lower Cholesky factors, row-major.
    factors: Vec<Vec<f64>>,
}

/// Why no preconditioner could be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FitError {
    /// Without damping the matrix may have no inverse.
    #[error("damping must be positive")]
    Damping,
    /// The device failed.
    #[error("the device did not return the Gram matrix")]
    Device,
    /// The sketches don't have the shape of their spec.
    #[error("the sketches have another shape than their spec")]
    Shape,
    /// The matrix of a block has no inverse.
    #[error("block {0} is not positive definite: raise the damping")]
    Singular(usize),
}

/// A preconditioned, quantised output sketch: what is published of an output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    /// Name of the spec.
    pub spec: Hash,
    /// Per block the exponent `e`: a value stands for itself times `2^e`.
    pub exponents: Vec<i8>,
    /// The values, block by block.
    pub values: Vec<i16>,
}

/// Why an output sketch or the bytes of a query were refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum QueryError {
    /// The output was sketched under another spec: another model, projection or layers.
    #[error("the output was sketched under spec {found}, not {expected}: another model?")]
    Spec {
        /// The spec asked for.
        expected: Hash,
        /// The spec found.
        found: Hash,
    },
    /// The query is not finite.
    #[error("the preconditioned query is not finite")]
    NotFinite,
    /// Bytes of the wrong length, or a scale out of range.
    #[error("these bytes are no query of this spec")]
    Malformed,
}

/// Why scores could not be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ScoreError {
    /// Query and sketches belong to different families.
    #[error("the query belongs to spec {found}, the sketches to {expected}")]
    Spec {
        /// The sketches' spec.
        expected: Hash,
        /// The query's spec.
        found: Hash,
    },
    /// A vector has the wrong shape.
    #[error("the query has another shape than its spec")]
    Shape,
}

/// The sum of many sketches: the influence of everything that one contributor gave, in one vector
/// of sixteen bits a value. The upper and the lower digits are two rows for the one kernel that also
/// scores units.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Aggregate {
    /// Per block the exponent `e`: a value stands for itself times `2^e`.
    exponents: Vec<i16>,
    /// A value is `256 · upper + lower`.
    pub(crate) upper: Vec<i8>,
    pub(crate) lower: Vec<i8>,
}

impl Preconditioner {
    /// Three tenths of the mean eigenvalue. A thirtieth of that names the right contributor as often or
    /// a little more often, and predicts retraining worse; three times as much, the other way round.
    pub const DAMPING_PPM: u32 = 300_000;

    /// Fits to the sketches of a snapshot; `damping_ppm` is relative to the mean eigenvalue of each
    /// block. The Gram matrices are exact integers, so equal sketches give equal factors on every
    /// machine.
    pub fn fit(set: &SketchSet, damping_ppm: u32) -> Result<Self, FitError> {
        let (sketches, size) = (set.sketches(), set.spec().block());
        // Block by block: the sums of a block are large and are needed once.
        let gram = |block| block_gram(sketches, block, size);
        Self::factor(set.spec(), sketches.len(), damping_ppm, gram)
    }

    /// Fits to Gram matrices that were summed from parts: the same as [`fit`](Self::fit) on the
    /// sketches themselves.
    pub fn fit_gram(gram: &Gram, damping_ppm: u32) -> Result<Self, FitError> {
        let block = |block: usize| Ok(gram.blocks[block].clone());
        Self::factor(&gram.spec, gram.units as usize, damping_ppm, block)
    }

    fn factor(
        spec: &SketchSpec,
        units: usize,
        damping_ppm: u32,
        gram: impl Fn(usize) -> Result<BlockGram, FitError>,
    ) -> Result<Self, FitError> {
        if damping_ppm == 0 {
            return Err(FitError::Damping);
        }
        let damping = f64::from(damping_ppm) / 1e6;
        let size = spec.block();
        let factors = (0..spec.blocks())
            .map(|block| {
                let mut fisher = dense(&gram(block)?, units, size);
                let trace: f64 = (0..size).map(|i| fisher[i * size + i]).sum();
                let mean = trace / size as f64;
                let lambda = if mean > 0.0 { damping * mean } else { 1.0 };
                (0..size).for_each(|i| fisher[i * size + i] += lambda);
                cholesky(&mut fisher, size).ok_or(FitError::Singular(block))?;
                Ok(fisher)
            })
            .collect::<Result<_, _>>()?;
        Ok(Self { spec: spec.clone(), factors })
    }

    /// Preconditions and quantises an output's sketch.
    pub fn query(&self, output: &OutputSketch) -> Result<Query, QueryError> {
        let (expected, found) = (self.spec.id(), output.spec);
        if expected != found || output.values.len() != self.spec.dims() {
            return Err(QueryError::Spec { expected, found });
        }
        let mut query = Query { spec: expected, exponents: Vec::new(), values: Vec::new() };
        for (factor, block) in self.factors.iter().zip(output.values.chunks(self.spec.block())) {
            let solved = solve(factor, block);
            let (exponent, values) =
                scale(&solved, f32::from(i16::MAX)).ok_or(QueryError::NotFinite)?;
            query.exponents.push(exponent);
            query.values.extend(values.map(|value| value as i16));
        }
        Ok(query)
    }
}

impl Query {
    /// The query as bytes, big-endian: exponents, then values.
    pub fn encode(&self) -> Vec<u8> {
        let exponents = self.exponents.iter().map(|&e| e as u8);
        exponents.chain(self.values.iter().flat_map(|value| value.to_be_bytes())).collect()
    }

    /// Reads a query of that spec.
    pub fn decode(bytes: &[u8], spec: &SketchSpec) -> Result<Self, QueryError> {
        if bytes.len() != spec.blocks() + 2 * spec.dims() {
            return Err(QueryError::Malformed);
        }
        let (exponents, values) = bytes.split_at(spec.blocks());
        let exponents: Vec<i8> = exponents.iter().map(|&byte| byte as i8).collect();
        if !exponents.iter().all(|e| EXPONENTS.contains(e)) {
            return Err(QueryError::Malformed);
        }
        let values = values.as_chunks::<2>().0.iter().map(|v| i16::from_be_bytes(*v)).collect();
        Ok(Self { spec: spec.id(), exponents, values })
    }

    /// The name of the query, which the results of scoring shards bear.
    pub fn id(&self) -> Hash {
        let mut hasher = blake3::Hasher::new_derive_key("openledger query v1");
        hasher.update(&self.spec.0).update(&self.encode());
        Hash(*hasher.finalize().as_bytes())
    }

    /// Cosine of two queries in parts per million: how an auditor's own query is compared with the
    /// published one. None when they differ in shape.
    pub fn cosine_ppm(&self, other: &Self) -> Option<i32> {
        if self.spec != other.spec || self.values.len() != other.values.len() {
            return None;
        }
        let (mut ab, mut aa, mut bb) = (0.0f64, 0.0f64, 0.0f64);
        for (a, b) in self.dequantised().zip(other.dequantised()) {
            (ab, aa, bb) = (ab + a * b, aa + a * a, bb + b * b);
        }
        let norm = (aa * bb).sqrt();
        (norm > 0.0).then(|| (ab / norm * 1e6).round() as i32)
    }

    fn dequantised(&self) -> impl Iterator<Item = f64> {
        let block = self.values.len().checked_div(self.exponents.len()).unwrap_or(1).max(1);
        let scales = self.exponents.iter().map(|&e| f64::powi(2.0, i32::from(e)));
        self.values
            .chunks(block)
            .zip(scales)
            .flat_map(|(values, scale)| values.iter().map(move |&v| f64::from(v) * scale))
    }

    pub(crate) fn check(&self, spec: &SketchSpec) -> Result<(), ScoreError> {
        let expected = spec.id();
        if self.spec != expected {
            return Err(ScoreError::Spec { expected, found: self.spec });
        }
        if self.exponents.len() != spec.blocks() || self.values.len() != spec.dims() {
            return Err(ScoreError::Shape);
        }
        Ok(())
    }
}

impl Aggregate {
    /// The values with their exponents, block by block.
    pub fn blocks(&self) -> impl Iterator<Item = (i16, Vec<i32>)> + '_ {
        let size = self.upper.len().checked_div(self.exponents.len()).unwrap_or(1).max(1);
        let digits = self.upper.chunks(size).zip(self.lower.chunks(size));
        self.exponents.iter().zip(digits).map(|(&exponent, (upper, lower))| {
            let value = |(&u, &l): (&i8, &i8)| i32::from(u) * DIGIT as i32 + i32::from(l);
            (exponent, upper.iter().zip(lower).map(value).collect())
        })
    }

    pub(crate) fn has_shape(&self, blocks: usize, dims: usize) -> bool {
        let lengths = (self.exponents.len(), self.upper.len(), self.lower.len());
        lengths == (blocks, dims, dims)
    }
}

impl SketchSet {
    /// The influence of every unit on the output of `query`, in the order of commitment, in units
    /// of 2⁻¹⁶. Exact integers: equal on every node.
    pub fn scores(&self, query: &Query) -> Result<Vec<i64>, ScoreError> {
        query.check(self.spec())?;
        self.scores_of(query, &Rows::units(self).products(query)?)
    }

    /// The same from products that a kernel or shards have computed for [`Rows::units`].
    pub fn scores_of(&self, query: &Query, products: &[i64]) -> Result<Vec<i64>, ScoreError> {
        query.check(self.spec())?;
        let blocks = self.spec().blocks();
        if products.len() != self.sketches().len() * blocks {
            return Err(ScoreError::Shape);
        }
        let score = |(sketch, products): (&Sketch, &[i64])| {
            let exponents = sketch.exponents.iter().zip(&query.exponents);
            let exponents = exponents.map(|(&left, &right)| i32::from(left) + i32::from(right));
            fixed_point(exponents.zip(products.iter().copied()))
        };
        Ok(self.sketches().iter().zip(products.chunks_exact(blocks)).map(score).collect())
    }

    /// Sums the sketches of the units of those ranks; ranks beyond the snapshot count nothing.
    pub fn aggregate(&self, ranks: &[u32]) -> Aggregate {
        let members: Vec<&Sketch> =
            ranks.iter().filter_map(|&rank| self.sketches().get(rank as usize)).collect();
        let mut sum = Aggregate { exponents: vec![], upper: vec![], lower: vec![] };
        for block in 0..self.spec().blocks() {
            let (exponent, values) = sum_block(&members, block, self.spec().block());
            sum.exponents.push(exponent);
            for value in values {
                let upper = (value + DIGIT / 2).div_euclid(DIGIT);
                sum.upper.push(upper as i8);
                sum.lower.push((value - upper * DIGIT) as i8);
            }
        }
        sum
    }

    /// The influence of each contributor's aggregate on the output of `query`, on the scale of
    /// [`scores`](Self::scores): the sum over its units, up to rounding, at the cost of two units.
    pub fn score_contributors(
        &self,
        contributors: &[Aggregate],
        query: &Query,
    ) -> Result<Vec<i64>, ScoreError> {
        query.check(self.spec())?;
        let products = Rows::contributors(self, contributors)?.products(query)?;
        self.contributor_scores_of(contributors, query, &products)
    }

    /// The same from products that a kernel has computed for [`Rows::contributors`].
    pub fn contributor_scores_of(
        &self,
        contributors: &[Aggregate],
        query: &Query,
        products: &[i64],
    ) -> Result<Vec<i64>, ScoreError> {
        query.check(self.spec())?;
        let (blocks, dims) = (self.spec().blocks(), self.spec().dims());
        let has_shape = contributors.iter().all(|sum| sum.has_shape(blocks, dims));
        if !has_shape || products.len() != 2 * contributors.len() * blocks {
            return Err(ScoreError::Shape);
        }
        let score = |(sum, products): (&Aggregate, &[i64])| {
            let (upper, lower) = products.split_at(blocks);
            let products = upper.iter().zip(lower).map(|(&upper, &lower)| upper * DIGIT + lower);
            let exponents = sum.exponents.iter().zip(&query.exponents);
            let exponents = exponents.map(|(&left, &right)| i32::from(left) + i32::from(right));
            fixed_point(exponents.zip(products))
        };
        Ok(contributors.iter().zip(products.chunks_exact(2 * blocks)).map(score).collect())
    }
}

/// The sum of one block over `members`, rounded to the digits of an aggregate.
fn sum_block(members: &[&Sketch], block: usize, size: usize) -> (i16, Vec<i64>) {
    let exponents = members.iter().map(|sketch| i32::from(sketch.exponents[block]));
    let Some(largest) = exponents.max() else { return (0, vec![0; size]) };
    let base = largest - AGGREGATE_BITS;
    let mut sums = vec![0i64; size];
    for sketch in members {
        let (exponent, values) = sketch.block(block, size);
        let shift = i32::from(exponent) - base;
        for (sum, &value) in sums.iter_mut().zip(values) {
            *sum += shifted(value.into(), shift) as i64;
        }
    }
    let peak = sums.iter().map(|sum| sum.abs()).max().unwrap_or(0);
    let rounded = |value: i64, drop: u32| (value + (1i64 << drop >> 1)) >> drop;
    let fits = |drop: &u32| rounded(peak, *drop) <= AGGREGATE_LIMIT;
    let drop = (0..62).find(fits).expect("sums of so many sketches are below 2^60");
    (base as i16 + drop as i16, sums.into_iter().map(|sum| rounded(sum, drop)).collect())
}

/// Replaces a symmetric positive definite matrix by its lower Cholesky factor.
fn cholesky(matrix: &mut [f64], size: usize) -> Option<()> {
    for row in 0..size {
        let (above, current) = matrix.split_at_mut(row * size);
        let current = &mut current[..size];
        for column in 0..row {
            let other = &above[column * size..column * size + size];
            let dot = dot(&current[..column], &other[..column]);
            current[column] = (current[column] - dot) / other[column];
        }
        let rest = current[row] - dot(&current[..row], &current[..row]);
        if rest <= 0.0 || !rest.is_finite() {
            return None;
        }
        current[row] = rest.sqrt();
    }
    Some(())
}

/// Solves `L Lᵀ x = b`.
fn solve(factor: &[f64], b: &[f32]) -> Vec<f32> {
    let size = b.len();
    let mut x: Vec<f64> = b.iter().map(|&value| f64::from(value)).collect();
    for row in 0..size {
        let line = &factor[row * size..row * size + row];
        x[row] = (x[row] - dot(line, &x[..row])) / factor[row * size + row];
    }
    for row in (0..size).rev() {
        x[row] /= factor[row * size + row];
        let (above, value) = (&factor[row * size..row * size + row], x[row]);
        x[..row].iter_mut().zip(above).for_each(|(x, l)| *x -= l * value);
    }
    x.into_iter().map(|value| value as f32).collect()
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cholesky_solves_a_small_system() {
        // [[4, 2], [2, 3]] x = [2, 5] has the solution [-0.5, 2].
        let mut matrix = vec![4.0, 2.0, 2.0, 3.0];
        cholesky(&mut matrix, 2).unwrap();
        assert_eq!(solve(&matrix, &[2.0, 5.0]), [-0.5, 2.0]);
        assert_eq!(cholesky(&mut [1.0, 2.0, 2.0, 1.0], 2), None);
    }

    #[test]
    fn the_digits_of_an_aggregate_hold_its_largest_values() {
        for value in [-AGGREGATE_LIMIT, -129, -128, -1, 0, 127, 128, AGGREGATE_LIMIT] {
            let upper = (value + DIGIT / 2).div_euclid(DIGIT);
            let lower = value - upper * DIGIT;
            assert!(i8::try_from(upper).is_ok() && i8::try_from(lower).is_ok(), "{value}");
        }
    }
}
