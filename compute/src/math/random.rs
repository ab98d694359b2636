//! Seeded random integers whose every output is specified (ChaCha8), and initial weights made of
//! them with IEEE operations only, so that all machines agree on every bit.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// A stream of random integers; the label keeps streams of one seed apart.
pub struct Stream(ChaCha8Rng);

impl Stream {
    /// The stream of a seed and a label.
    pub fn new(label: &str, seed: &[u8]) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key("openledger compute stream v1");
        hasher.update(&(label.len() as u64).to_be_bytes());
        hasher.update(label.as_bytes());
        hasher.update(seed);
        Self(ChaCha8Rng::from_seed(*hasher.finalize().as_bytes()))
    }

    /// A uniform integer below `bound` (at least 1).
    pub fn below(&mut self, bound: u64) -> u64 {
        // The high half of a 64 × 64 bit product: a bias below bound / 2^64 is accepted.
        ((u128::from(self.0.next_u64()) * u128::from(bound)) >> 64) as u64
    }

    /// A uniform number in [0, 1) with 53 bits.
    pub fn unit(&mut self) -> f64 {
        (self.0.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// The numbers `0..length` in random order.
    pub fn permutation(&mut self, length: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..length).collect();
        for i in (1..length).rev() {
            order.swap(i, self.below(i as u64 + 1) as usize);
        }
        order
    }

    /// A bell-shaped value of the given standard deviation: the sum of four uniform 16-bit
    /// integers, centred, exact in f32 until one final multiplication.
    pub fn bell(&mut self, deviation: f32) -> f32 {
        /// Standard deviation of the sum of four uniform 16-bit integers, 65536 / sqrt(3).
        const SUM_DEVIATION: f32 = 37_837.227;
        let bits = self.0.next_u64();
        let sum: i32 = (0..4).map(|i| ((bits >> (16 * i)) & 0xffff) as i32).sum();
        (sum - 2 * 65_535) as f32 * (deviation / SUM_DEVIATION)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_streams_are_fixed() {
        let mut a = Stream::new("test", &[1]);
        let values: Vec<u64> = (0..4).map(|_| a.below(1000)).collect();
        assert_eq!(values, Stream::new("test", &[1]).take4());
        assert_ne!(values, Stream::new("test", &[2]).take4());
        assert_ne!(values, Stream::new("other", &[1]).take4());
    }

    #[test]
    fn bells_have_the_stated_deviation_and_permutations_are_complete() {
        let mut stream = Stream::new("bell", &[]);
        let n = 20_000;
        let squares: f64 = (0..n).map(|_| f64::from(stream.bell(0.5)).powi(2)).sum();
        assert!(((squares / f64::from(n)).sqrt() - 0.5).abs() < 0.01);
        let mut order = stream.permutation(100);
        order.sort_unstable();
        assert_eq!(order, (0..100).collect::<Vec<_>>());
    }

    impl Stream {
        fn take4(mut self) -> Vec<u64> {
            (0..4).map(|_| self.below(1000)).collect()
        }
    }
}
