//! From sketches to integer scores.
//!
//! The preconditioner is `F + λI` per block, `F` the mean outer product of the units' sketches. It is
//! applied to the query alone, in floats; the query is then quantised and published, and the
//! score of a unit is the exact integer product of two committed vectors.

use burn::tensor::{Device, Tensor, TensorData};
use protocol::Hash;

use super::capture::OutputSketch;
use super::quantise::{EXPONENTS, Sketch, scale};
use super::set::SketchSet;
use super::spec::SketchSpec;

/// Fractional bits of a score.
const SCORE_BITS: i32 = 16;
/// Fractional bits kept below those of a score while blocks are summed.
const GUARD_BITS: i32 = 32;
/// Bits kept below the largest scale while sketches are summed.
const AGGREGATE_BITS: i32 = 16;
/// Largest value of an aggregate.
const AGGREGATE_LIMIT: i64 = (1 << 30) - 1;

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

/// The sum of many sketches: the influence of everything that one contributor gave, in one vector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Aggregate {
    exponents: Vec<i16>,
    values: Vec<i32>,
}

impl Preconditioner {
    /// Damping that did best on held-out prompts of the demo's texts.
    pub const DAMPING_PPM: u32 = 10_000;

    /// Fits to the sketches of a snapshot; `damping_ppm` is relative to the mean eigenvalue of each
    /// block.
    pub fn fit(set: &SketchSet, damping_ppm: u32) -> Result<Self, FitError> {
        if damping_ppm == 0 {
            return Err(FitError::Damping);
        }
        let damping = f64::from(damping_ppm) / 1e6;
        let size = set.spec().block();
        let factors = (0..set.spec().blocks())
            .map(|block| {
                let mut fisher = gram(set, block)?;
                let trace: f64 = (0..size).map(|i| fisher[i * size + i]).sum();
                let mean = trace / size as f64;
                let lambda = if mean > 0.0 { damping * mean } else { 1.0 };
                (0..size).for_each(|i| fisher[i * size + i] += lambda);
                cholesky(&mut fisher, size).ok_or(FitError::Singular(block))?;
                Ok(fisher)
            })
            .collect::<Result<_, _>>()?;
        Ok(Self { spec: set.spec().clone(), factors })
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

    fn check(&self, spec: &SketchSpec) -> Result<(), ScoreError> {
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

impl SketchSet {
    /// The influence of every unit on the output of `query`, in the order of commitment, in units
    /// of 2⁻¹⁶. Exact integers: equal on every node.
    pub fn scores(&self, query: &Query) -> Result<Vec<i64>, ScoreError> {
        query.check(self.spec())?;
        let size = self.spec().block();
        let score = |sketch: &Sketch| {
            fixed_point(query, size, |block, values| {
                let (exponent, sketch) = sketch.block(block, size);
                let products = sketch.iter().zip(values);
                let dot = products.map(|(&s, &q)| i64::from(i32::from(s) * i32::from(q))).sum();
                (i32::from(exponent), dot)
            })
        };
        Ok(self.sketches().iter().map(score).collect())
    }

    /// Sums the sketches of the units of those ranks; ranks beyond the snapshot count nothing.
    pub fn aggregate(&self, ranks: &[u32]) -> Aggregate {
        let members: Vec<&Sketch> =
            ranks.iter().filter_map(|&rank| self.sketches().get(rank as usize)).collect();
        let mut sum = Aggregate { exponents: Vec::new(), values: Vec::new() };
        for block in 0..self.spec().blocks() {
            let (exponent, values) = sum_block(&members, block, self.spec().block());
            sum.exponents.push(exponent);
            sum.values.extend(values);
        }
        sum
    }

    /// The influence of each contributor's aggregate on the output of `query`, on the scale of
    /// [`scores`](Self::scores): the sum over its units, at the cost of one.
    pub fn score_contributors(
        &self,
        contributors: &[Aggregate],
        query: &Query,
    ) -> Result<Vec<i64>, ScoreError> {
        query.check(self.spec())?;
        let size = self.spec().block();
        let score = |sum: &Aggregate| {
            fixed_point(query, size, |block, values| {
                let sums = &sum.values[block * size..(block + 1) * size];
                let dot = sums.iter().zip(values).map(|(&s, &q)| i64::from(s) * i64::from(q)).sum();
                (i32::from(sum.exponents[block]), dot)
            })
        };
        let has_shape = |sum: &Aggregate| sum.values.len() == self.spec().dims();
        if !contributors.iter().all(has_shape) {
            return Err(ScoreError::Shape);
        }
        Ok(contributors.iter().map(score).collect())
    }
}

/// Sums the blocks' products, each with the exponent of its left side, in fixed point.
fn fixed_point(query: &Query, size: usize, product: impl Fn(usize, &[i16]) -> (i32, i64)) -> i64 {
    let mut sum = 0i128;
    for (block, (values, &exponent)) in
        query.values.chunks_exact(size).zip(&query.exponents).enumerate()
    {
        let (left, dot) = product(block, values);
        let shift = left + i32::from(exponent) + SCORE_BITS + GUARD_BITS;
        sum = sum.saturating_add(shifted(dot, shift));
    }
    (sum >> GUARD_BITS).clamp(i64::MIN.into(), i64::MAX.into()) as i64
}

/// `value · 2^shift`, rounded down, saturating.
fn shifted(value: i64, shift: i32) -> i128 {
    match shift {
        0..=62 => i128::from(value) << shift,
        63.. => {
            i128::from(value).saturating_mul(1 << 62).saturating_mul(1 << (shift - 62).min(100))
        }
        _ => i128::from(value) >> (-shift).min(64),
    }
}

/// The sum of one block over `members`, scaled to fit 31 bits.
fn sum_block(members: &[&Sketch], block: usize, size: usize) -> (i16, Vec<i32>) {
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
    let drop = (0..63).find(|drop| peak >> drop <= AGGREGATE_LIMIT).unwrap_or(63);
    (base as i16 + drop as i16, sums.into_iter().map(|sum| (sum >> drop) as i32).collect())
}

/// `1/N Σ s sᵀ` of one block, on the CPU.
fn gram(set: &SketchSet, block: usize) -> Result<Vec<f64>, FitError> {
    let size = set.spec().block();
    let count = set.sketches().len();
    let mut rows = Vec::with_capacity(count * size);
    for sketch in set.sketches() {
        let (exponent, values) = sketch.block(block, size);
        let scale = f32::powi(2.0, exponent.into());
        rows.extend(values.iter().map(|&value| f32::from(value) * scale));
    }
    let rows = Tensor::<2>::from_data(TensorData::new(rows, [count, size]), &Device::flex());
    let gram = rows.clone().transpose().matmul(rows);
    let gram: Vec<f32> = gram.try_into_vec_as().map_err(|_| FitError::Device)?;
    Ok(gram.into_iter().map(|value| f64::from(value) / count as f64).collect())
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
    fn shifts_round_down_and_saturate() {
        assert_eq!(shifted(-3, -1), -2);
        assert_eq!(shifted(3, 2), 12);
        assert_eq!(shifted(-1, -500), -1);
        assert_eq!(shifted(i64::MAX, 500), i128::MAX);
        assert_eq!(shifted(i64::MIN, 500), i128::MIN);
    }
}
