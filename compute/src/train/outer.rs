//! The outer step: many updates become one next checkpoint, the same bits on every node.
//!
//! Updates are summed as integers, so their order cannot matter; the mean enters the parameters
//! by one IEEE multiplication and one subtraction on the CPU, whatever trained the shards. An update
//! whose norm exceeds the median is scaled down to it: no single node pulls harder than the
//! middle one. (DiLoCo's outer loop with sparse updates: Douillard et al., arXiv 2311.08105; Sarfi et
//! al., SparseLoCo, arXiv 2508.15706. Unlike theirs it is integer-exact, and it keeps no momentum.)

use super::update::{CHUNK, FIXED_BITS, Payload};
use crate::formats::{Checkpoint, CheckpointError};

/// Fractional bits of the factor that clips a norm.
const CLIP_BITS: u32 = 16;
/// The most updates that one step takes; sums of that many fit 64 bits.
pub(crate) const MAX_PAYLOADS: usize = 1 << 20;

/// Why an outer step is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OuterError {
    /// There is no update, or there are too many.
    #[error("{0} updates: an outer step takes between 1 and {MAX_PAYLOADS}")]
    Count(usize),
    /// An update is for a model of another size.
    #[error("update {index} is for {found} parameters, the model has {expected}")]
    Parameters {
        /// The place of the update in the list.
        index: usize,
        /// Parameters of the model.
        expected: u64,
        /// Parameters that the update is for.
        found: u32,
    },
    /// The step size is zero or above ten.
    #[error("a step size of {0} millionths is not between 1 and 10,000,000")]
    Alpha(u32),
    /// The parameters left the range of finite numbers.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
}

/// The next checkpoint: `values - alpha · mean(clipped updates)`. The order of the updates does not
/// matter.
pub fn step(
    checkpoint: &Checkpoint,
    payloads: &[Payload],
    alpha_ppm: u32,
) -> Result<Checkpoint, OuterError> {
    let values = next_values(checkpoint.values(), payloads, alpha_ppm)?;
    Ok(Checkpoint::from_values(checkpoint.config(), checkpoint.tokenizer(), values)?)
}

/// The same for any parameters in their one order, be they a model's or an adapter's.
pub(crate) fn next_values(
    values: &[f32],
    payloads: &[Payload],
    alpha_ppm: u32,
) -> Result<Vec<f32>, OuterError> {
    if payloads.is_empty() || payloads.len() > MAX_PAYLOADS {
        return Err(OuterError::Count(payloads.len()));
    }
    if alpha_ppm == 0 || alpha_ppm > 10_000_000 {
        return Err(OuterError::Alpha(alpha_ppm));
    }
    let expected = values.len() as u64;
    for (index, payload) in payloads.iter().enumerate() {
        let found = payload.parameters();
        if u64::from(found) != expected {
            return Err(OuterError::Parameters { index, expected, found });
        }
    }
    // One f32 multiplication and one subtraction a value: IEEE fixes both bit for bit, and nothing here
    // may be fused or reordered.
    let sums = sum(payloads, values.len());
    let count = payloads.len() as i64;
    let alpha = alpha_ppm as f32 / 1_000_000.0;
    let unit = 1.0 / (1u64 << FIXED_BITS) as f32;
    let next = values.iter().zip(sums).map(|(value, sum)| {
        let mean = (sum / count) as f32 * unit;
        value - alpha * mean
    });
    Ok(next.collect())
}

fn sum(payloads: &[Payload], parameters: usize) -> Vec<i64> {
    let mut sums = vec![0i64; parameters];
    for (payload, factor) in payloads.iter().zip(clip_factors(payloads)) {
        for (number, chunk) in payload.chunks().iter().enumerate() {
            let sums = &mut sums[number * CHUNK..];
            for (index, value) in chunk.values() {
                let magnitude = (value.unsigned_abs() * factor) >> CLIP_BITS;
                sums[usize::from(index)] += value.signum() * magnitude as i64;
            }
        }
    }
    sums
}

/// For each update, `min(1, median norm / its norm)` in units of 2^-16.
fn clip_factors(payloads: &[Payload]) -> Vec<u64> {
    let norms: Vec<u128> = payloads.iter().map(|p| p.square_norm().isqrt()).collect();
    let mut sorted = norms.clone();
    sorted.sort_unstable();
    // The lower middle of an even number: a norm that an update really has.
    let median = sorted[(sorted.len() - 1) / 2];
    let one = 1u128 << CLIP_BITS;
    norms
        .iter()
        .map(|norm| (median << CLIP_BITS).checked_div(*norm).unwrap_or(one).min(one) as u64)
        .collect()
}
