//! Whether two updates are the same work, up to the float noise of different hardware.
//!
//! Three integer measures in parts per million, and the tolerances that separate honest noise from
//! one swapped sample or a skipped step.

use serde::{Deserialize, Serialize};

use super::{Chunk, Payload, square};

/// The least share of kept positions that two honest runs have in common.
pub const REPLAY_MIN_OVERLAP_PPM: u32 = 920_000;
/// The least cosine of two honest runs.
pub const REPLAY_MIN_COSINE_PPM: i32 = 995_000;
/// The least ratio of the norms of two honest runs.
pub const REPLAY_MIN_NORM_RATIO_PPM: u32 = 970_000;
/// The greatest ratio of the norms of two honest runs.
pub const REPLAY_MAX_NORM_RATIO_PPM: u32 = 1_030_000;

const PPM: u128 = 1_000_000;

/// How alike two updates are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplayReport {
    /// Share of kept positions in common.
    pub overlap_ppm: u32,
    /// Cosine of the two updates.
    pub cosine_ppm: i32,
    /// Norm of the claimed update over the norm of the replayed one, at most `u32::MAX`.
    pub norm_ratio_ppm: u32,
}

/// Why two updates cannot be compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CompareError {
    /// They are for models of different size, or keep different numbers of values.
    #[error("the updates are of different runs")]
    Shape,
}

impl ReplayReport {
    /// Whether the claimed update is what an honest run gives.
    pub fn passes(&self) -> bool {
        self.overlap_ppm >= REPLAY_MIN_OVERLAP_PPM
            && self.cosine_ppm >= REPLAY_MIN_COSINE_PPM
            && (REPLAY_MIN_NORM_RATIO_PPM..=REPLAY_MAX_NORM_RATIO_PPM)
                .contains(&self.norm_ratio_ppm)
    }
}

/// Compares a claimed update with a replayed one.
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
        overlap_ppm: (common * PPM / kept) as u32,
        cosine_ppm: cosine_ppm(dot, a, b),
        norm_ratio_ppm: (a * PPM).checked_div(b).map_or(u32::MAX, saturate),
    })
}

fn saturate(value: u128) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}

/// Two zero updates are alike; a zero and a non-zero one are not.
fn cosine_ppm(dot: i128, a: u128, b: u128) -> i32 {
    let magnitude = (dot.unsigned_abs() * PPM)
        .checked_div(a * b)
        .unwrap_or(if a == b { PPM } else { 0 })
        .min(PPM) as i32;
    if dot < 0 { -magnitude } else { magnitude }
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
