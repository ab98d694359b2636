//! A digest of what a model computed for an answer, by which others see whether they compute the same.
//!
//! What enters the last norm behind each token of the answer, `h`, scaled to length one, is projected by random
//! signs `P` and summed over [`CHUNK`] tokens with a sign of each token and column:
//! `d_j = Σ_i s_ij (h_i · P_j)`. The distance of two digests estimates that of all their states (Johnson and
//! Lindenstrauss), so it stays small where arithmetic rounds otherwise, and grows where the weights do differ. The
//! idea is TOPLOC's (Ong et al. 2025, arXiv 2501.16007), which keeps the largest values instead.

use crate::math::Stream;

/// Tokens that share the numbers of a digest.
const CHUNK: usize = 32;
/// Numbers of a chunk.
const NUMBERS: usize = 16;
/// The distance is never greater, in ppm of what was expected.
pub(super) const FARTHEST_PPM: u32 = 10_000_000;

/// The fixed signs of a width.
pub(super) struct Signs(Vec<[f32; NUMBERS]>);

impl Signs {
    /// For states of so many values.
    pub(super) fn of(width: u32) -> Self {
        let mut random = Stream::new("activation digest", &width.to_be_bytes());
        Self((0..width).map(|_| signs(&mut random)).collect())
    }
}

fn signs(random: &mut Stream) -> [f32; NUMBERS] {
    std::array::from_fn(|_| if random.below(2) == 0 { -1.0 } else { 1.0 })
}

/// The digest of an answer that is growing.
pub(super) struct Activations {
    tokens: usize,
    signs: Stream,
    chunks: Vec<[f64; NUMBERS]>,
}

impl Activations {
    pub(super) fn new() -> Self {
        let signs = Stream::new("activation digest of tokens", &[]);
        Self { tokens: 0, signs, chunks: Vec::new() }
    }

    /// Adds the state behind which the next token was drawn.
    pub(super) fn add(&mut self, state: &[f32], signs_of: &Signs) {
        if self.tokens.is_multiple_of(CHUNK) {
            self.chunks.push([0.0; NUMBERS]);
        }
        self.tokens += 1;
        let signs = signs(&mut self.signs);
        let length = state.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>().sqrt();
        let mut projected = [0.0_f32; NUMBERS];
        for (value, row) in state.iter().zip(&signs_of.0) {
            projected.iter_mut().zip(row).for_each(|(sum, sign)| *sum += value * sign);
        }
        if let Some(chunk) = self.chunks.last_mut() {
            for ((sum, projected), sign) in chunk.iter_mut().zip(projected).zip(signs) {
                *sum += f64::from(projected) * f64::from(sign) / length;
            }
        }
    }

    /// Its numbers in millionths; of a state that is no number, the smallest.
    pub(super) fn digest(&self) -> Vec<i32> {
        let integer = |value: &f64| match value.is_finite() {
            true => (value * 1e6).round() as i32,
            false => i32::MIN,
        };
        self.chunks.iter().flatten().map(integer).collect()
    }
}

/// How far a published digest is from one's own, in ppm of one's own, in the chunk where that is most.
pub(super) fn distance_ppm(published: &[i32], own: &[i32]) -> u32 {
    if published.len() != own.len() {
        return FARTHEST_PPM;
    }
    let square = |value: i64| (value as f64).powi(2);
    let chunks = published.chunks(NUMBERS).zip(own.chunks(NUMBERS));
    let far = chunks.map(|(published, own)| {
        let pairs = published.iter().zip(own);
        let apart: f64 = pairs.map(|(p, o)| square(i64::from(*p) - i64::from(*o))).sum();
        let all: f64 = own.iter().map(|o| square(i64::from(*o))).sum();
        (apart / all.max(1.0)).sqrt()
    });
    let most = far.fold(0.0, f64::max) * 1e6;
    (most.ceil() as u32).min(FARTHEST_PPM)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn states(count: usize, width: u32, noise: f32) -> Vec<i32> {
        let (signs, mut activations) = (Signs::of(width), Activations::new());
        let (mut state, mut other) = (Stream::new("state", &[]), Stream::new("noise", &[]));
        for _ in 0..count {
            let state: Vec<f32> =
                (0..width).map(|_| state.bell(3.0) + other.bell(3.0 * noise)).collect();
            activations.add(&state, &signs);
        }
        activations.digest()
    }

    #[test]
    fn the_distance_is_about_that_of_the_states() {
        let own = states(70, 64, 0.0);
        assert_eq!(own.len(), 3 * NUMBERS);
        assert_eq!(distance_ppm(&own, &own), 0);
        for noise in [1e-4_f32, 1e-2, 0.1] {
            let found = f64::from(distance_ppm(&states(70, 64, noise), &own)) / 1e6;
            let ratio = found / f64::from(noise);
            assert!((0.7..2.0).contains(&ratio), "{noise}: {found}");
        }
        assert_eq!(distance_ppm(&own[..32], &own), FARTHEST_PPM);
        assert!(distance_ppm(&states(70, 64, f32::NAN), &own) > 1_000_000);
    }
}
