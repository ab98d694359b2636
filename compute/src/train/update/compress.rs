//! Choosing and rounding the values that an update keeps.

use super::{CHUNK, Chunk, MAX_LEVEL, Payload, kept_of, to_bf16};

/// Why an update could not be compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CompressError {
    /// The number of values per chunk is odd, zero or more than a chunk holds.
    #[error("{0} values per chunk: it must be even and between 2 and 4096")]
    K(u32),
    /// Too many parameters for one payload, or none.
    #[error("{0} parameters do not fit one update")]
    Parameters(usize),
    /// A change is not a number, or too large for any honest training.
    #[error("the change of parameter {index} is not finite or not below {MAX_LEVEL}")]
    Value {
        /// The place of the parameter in the one order.
        index: usize,
    },
}

/// Keeps the `k` largest changes of every chunk; ties go to the lower index.
pub fn compress(change: &[f32], k: u32) -> Result<Payload, CompressError> {
    if k < 2 || k as usize > CHUNK || !k.is_multiple_of(2) {
        return Err(CompressError::K(k));
    }
    let parameters = u32::try_from(change.len()).ok().filter(|n| *n > 0);
    let parameters = parameters.ok_or(CompressError::Parameters(change.len()))?;
    // Rounding to bf16 must not reach the bound either.
    let bound = MAX_LEVEL as f32 * 0.99;
    if let Some(index) = change.iter().position(|v| !v.is_finite() || v.abs() >= bound) {
        return Err(CompressError::Value { index });
    }
    let chunks = change.chunks(CHUNK).map(|values| chunk(values, k)).collect();
    Ok(Payload { parameters, k, chunks })
}

fn chunk(values: &[f32], k: u32) -> Chunk {
    let kept = kept_of(k, values.len());
    let indices = largest(values, kept);
    let magnitudes: Vec<f64> =
        indices.iter().map(|&i| f64::from(values[usize::from(i)].abs())).collect();
    let (small, large) = levels(&magnitudes);
    let middle = (small + large) / 2.0;
    let codes = indices
        .iter()
        .map(|&i| values[usize::from(i)])
        .map(|v| u8::from(v < 0.0) << 1 | u8::from(f64::from(v.abs()) > middle))
        .collect();
    Chunk { small: to_bf16(small as f32), large: to_bf16(large as f32), indices, codes }
}

/// The positions of the largest magnitudes, ascending.
fn largest(values: &[f32], kept: usize) -> Vec<u16> {
    // The bits of a non-negative float order as the float does; complemented, the largest is first.
    let mut keys: Vec<u64> = values
        .iter()
        .enumerate()
        .map(|(i, v)| u64::from(!v.abs().to_bits()) << 32 | i as u64)
        .collect();
    if kept < keys.len() {
        keys.select_nth_unstable(kept);
        keys.truncate(kept);
    }
    let mut indices: Vec<u16> = keys.iter().map(|key| (key & 0xffff) as u16).collect();
    indices.sort_unstable();
    indices
}

/// Two magnitudes that stand for all: the means of the two halves of a few Lloyd steps.
fn levels(magnitudes: &[f64]) -> (f64, f64) {
    let mean = |sum: f64, n: usize| if n == 0 { None } else { Some(sum / n as f64) };
    let all = mean(magnitudes.iter().sum(), magnitudes.len()).unwrap_or(0.0);
    // A few rounds of Lloyd's iteration in one dimension, from the mean as the border.
    let (mut small, mut large) = (all, all);
    let mut middle = all;
    for _ in 0..4 {
        let (mut sums, mut counts) = ([0.0; 2], [0usize; 2]);
        for &m in magnitudes {
            let side = usize::from(m > middle);
            sums[side] += m;
            counts[side] += 1;
        }
        small = mean(sums[0], counts[0]).unwrap_or(all);
        large = mean(sums[1], counts[1]).unwrap_or(small).max(small);
        middle = (small + large) / 2.0;
    }
    (small, large)
}
