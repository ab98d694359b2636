//! Draws by what they are for, without state: the same question always has the same answer, whoever
//! asks and when. A node that is not asked costs nothing.

use super::Purpose;

/// A source of draws.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Draws(u64);

impl Draws {
    /// All draws of a seed.
    pub fn new(seed: u64) -> Self {
        let key = blake3::derive_key("openledger simnet draws v1", &seed.to_be_bytes());
        Self(u64::from_le_bytes(*key.first_chunk().expect("32 bytes have eight")))
    }

    /// 64 bits for a purpose and what it is about.
    pub const fn word(self, purpose: Purpose, about: u64, which: u64) -> u64 {
        let about = mix((self.0 ^ mix(purpose as u64 + 1)).wrapping_add(about));
        mix(about.wrapping_add(which.wrapping_mul(0x9e37_79b9_7f4a_7c15)))
    }

    /// A number from 0 to below 1.
    pub fn share(self, purpose: Purpose, about: u64, which: u64) -> f64 {
        ratio(self.word(purpose, about, which))
    }

    /// A number below `bound` (below one for zero).
    pub fn below(self, purpose: Purpose, about: u64, which: u64, bound: u64) -> u64 {
        scale(self.word(purpose, about, which), bound)
    }
}

/// The finaliser of SplitMix64 (Steele, Lea, Flood, OOPSLA 2014).
const fn mix(word: u64) -> u64 {
    let mut z = word.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A word as a number from 0 to below 1: its upper 53 bits.
#[expect(clippy::cast_precision_loss, reason = "53 bits are exact")]
pub fn ratio(word: u64) -> f64 {
    (word >> 11) as f64 / (1u64 << 53) as f64
}

/// A word as a number below `bound`: multiplied, not divided.
pub fn scale(word: u64, bound: u64) -> u64 {
    let wide = u128::from(word) * u128::from(bound.max(1));
    u64::try_from(wide >> 64).expect("the upper half of a product of two words is a word")
}

/// A standard normal number from two uniform words (Box and Muller, 1958).
pub fn normal(one: u64, other: u64) -> f64 {
    let radius = (-2.0 * (1.0 - ratio(one)).ln()).sqrt();
    radius * (std::f64::consts::TAU * ratio(other)).cos()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_differ_by_seed_purpose_and_both_numbers() {
        let draws = Draws::new(7);
        let word = draws.word(Purpose::Gossip, 3, 4);
        assert_eq!(word, Draws::new(7).word(Purpose::Gossip, 3, 4));
        let others = [
            Draws::new(8).word(Purpose::Gossip, 3, 4),
            draws.word(Purpose::Request, 3, 4),
            draws.word(Purpose::Gossip, 4, 3),
            draws.word(Purpose::Gossip, 3, 5),
        ];
        assert!(others.iter().all(|other| *other != word));
    }

    #[test]
    fn neighbouring_questions_have_unrelated_answers() {
        let draws = Draws::new(1);
        let mean = |of: &dyn Fn(u64) -> f64| (0..10_000).map(of).sum::<f64>() / 10_000.0;
        // Five standard deviations of a mean of 10,000 uniform draws are 0.0144.
        assert!((mean(&|i| draws.share(Purpose::Gossip, i, 0)) - 0.5).abs() < 0.0144);
        assert!((mean(&|i| draws.share(Purpose::Gossip, 0, i)) - 0.5).abs() < 0.0144);
        let product =
            |i| draws.share(Purpose::Gossip, i, 0) * draws.share(Purpose::Gossip, i + 1, 0);
        assert!((mean(&product) - 0.25).abs() < 0.012);
        let square = |i| {
            let words = (draws.word(Purpose::Access, i, 0), draws.word(Purpose::Access, i, 1));
            normal(words.0, words.1).powi(2)
        };
        // The variance of a squared normal is 2, so five standard deviations are 0.071.
        assert!((mean(&square) - 1.0).abs() < 0.071);
    }
}
