//! Tier 1: the inverse Fisher matrix of a snapshot's sketches, fitted once per checkpoint.
//!
//! It is `F + λI` per block, `F` the mean outer product of the units' sketches. It is applied to the
//! query alone, in floats; the query is then quantised and published, and the score of a unit is the
//! exact integer product of two committed vectors. (Preconditioned products of projected gradients:
//! Park et al., TRAK, arXiv 2303.14186.)

use crate::attribute::capture::OutputSketch;
use crate::attribute::online::{Query, QueryError};
use crate::attribute::sketch::gram::{BlockGram, Gram, SumError, block_gram, dense};
use crate::attribute::sketch::quantise::scale;
use crate::attribute::sketch::{SketchSet, SketchSpec};

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
    /// The Gram matrices could not be computed.
    #[error(transparent)]
    Gram(#[from] SumError),
    /// The matrix of a block has no inverse.
    #[error("block {0} is not positive definite: raise the damping")]
    Singular(usize),
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
        gram: impl Fn(usize) -> Result<BlockGram, SumError>,
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
            .collect::<Result<_, FitError>>()?;
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
}
