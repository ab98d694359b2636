//! Whether two updates are the same work, up to the float noise of different hardware.
//!
//! Three integer measures in parts per million; the protocol's tolerances separate honest noise from
//! one swapped sample or a skipped step. Measured over units of 8 to 128 AdamW steps of a network of
//! 84,000 parameters: additions in another order, TF32 and bf16 inputs keep 0.99 of the indices and a
//! cosine of 0.9998; one of 64 samples swapped in every step leaves 0.75 to 0.84 of the indices.

use protocol::record::ReplayReport;

use super::{Chunk, Payload, square};

const PPM: u128 = 1_000_000;

/// Why two updates cannot be compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CompareError {
    /// They are for models of different size, or keep different numbers of values.
    #[error("the updates are of different runs")]
    Shape,
}

/// Compares a claimed update with a replayed one; the protocol's
/// [`ReplayReport::accepts`] holds the result against its tolerances.
pub fn compare(claimed: &Payload, replayed: &Payload) -> Result<ReplayReport, CompareError> {
    if claimed.parameters != replayed.parameters || claimed.k != replayed.k {
        return Err(CompareError::Shape);
    }
    let mut common = 0u128;
    let mut dot = 0i128;
    for (a, b) in claimed.chunks.iter().zip(&replayed.chunks) {
        let (count, product) = chunk_product(a, b);
        common += count;
        dot += product;
    }
    let norm = |p: &Payload| p.chunks.iter().flat_map(Chunk::values).map(|(_, v)| square(v)).sum();
    let (a, b): (u128, u128) = (norm(claimed), norm(replayed));
    let (a, b) = (a.isqrt(), b.isqrt());
    let kept = (replayed.kept() as u128).max(1);
    Ok(ReplayReport {
        overlap: (common * PPM / kept) as u32,
        cosine: cosine_ppm(dot, a, b),
        norm: (a * PPM).checked_div(b).map_or(u32::MAX, saturate),
    })
}

fn saturate(value: u128) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}

/// Opposite updates count as unlike ones, with cosine zero. Two zero updates are alike; a zero and
/// a non-zero one are not.
fn cosine_ppm(dot: i128, a: u128, b: u128) -> u32 {
    let zero = if a == b { PPM } else { 0 };
    let cosine = (dot.max(0).unsigned_abs() * PPM).checked_div(a * b).unwrap_or(zero);
    cosine.min(PPM) as u32
}

/// Positions in common, and the sum of products of their values.
fn chunk_product(a: &Chunk, b: &Chunk) -> (u128, i128) {
    let (mut count, mut sum) = (0, 0i128);
    let mut others = b.values().peekable();
    for (index, value) in a.values() {
        while others.next_if(|(other, _)| *other < index).is_some() {}
        if let Some((_, other)) = others.next_if(|(other, _)| *other == index) {
            count += 1;
            sum += i128::from(value) * i128::from(other);
        }
    }
    (count, sum)
}
