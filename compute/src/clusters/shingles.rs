//! Texts as symbols, and the hashes of their runs.

use std::collections::HashSet;

/// Letters and digits in lower case: what is left when layout and punctuation are taken away.
pub(super) fn normalise(text: &str) -> Vec<char> {
    text.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

/// A hash of each run of `length` symbols, in order; none when there are fewer symbols.
pub(super) fn windows(symbols: &[char], length: usize, key: u64) -> Vec<u64> {
    symbols.windows(length.max(1)).map(|run| hash(run, key)).collect()
}

fn hash(run: &[char], key: u64) -> u64 {
    let folded = run.iter().fold(key, |state, &symbol| {
        (state.rotate_left(23) ^ u64::from(u32::from(symbol))).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    });
    // Mixed, so that every bit depends on every symbol (the finaliser of splitmix64).
    let mixed = (folded ^ (folded >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// A family of hash functions; two sets have the same least value under one of them with a
/// probability that is their Jaccard similarity.
pub(super) struct MinHash {
    key: u64,
    /// An odd factor and a summand for each function.
    functions: Vec<(u64, u64)>,
}

impl MinHash {
    pub(super) fn new(key: &[u8; 32], functions: usize) -> Self {
        let mut stream = blake3::Hasher::new_keyed(key).finalize_xof();
        let mut next = || {
            let mut bytes = [0; 8];
            stream.fill(&mut bytes);
            u64::from_le_bytes(bytes)
        };
        Self { key: next(), functions: (0..functions).map(|_| (next() | 1, next())).collect() }
    }

    /// The key of the windows' hashes.
    pub(super) fn key(&self) -> u64 {
        self.key
    }

    /// The least value under each function, joined with the function's number; none of no hashes.
    pub(super) fn bands(&self, hashes: &[u64]) -> Vec<u64> {
        if hashes.is_empty() {
            return Vec::new();
        }
        let least = |(factor, summand): &(u64, u64)| {
            let value = |hash: &u64| hash.wrapping_mul(*factor).wrapping_add(*summand);
            hashes.iter().map(value).min().unwrap_or(0)
        };
        let number = |(i, least): (usize, u64)| least.rotate_left(17) ^ ((i as u64) << 48);
        self.functions.iter().map(least).enumerate().map(number).collect()
    }
}

/// A unit that others are laid over.
pub(super) struct Shingles<'a> {
    symbols: &'a [char],
    run: usize,
}

impl<'a> Shingles<'a> {
    pub(super) fn new(symbols: &'a [char], run: usize) -> Self {
        Self { symbols, run: run.max(1) }
    }

    /// Which symbols stand in a run that `other` holds too.
    pub(super) fn covered_by(&self, other: &[char]) -> Vec<bool> {
        let held: HashSet<&[char]> = other.windows(self.run).collect();
        let mut covered = vec![false; self.symbols.len()];
        for (start, run) in self.symbols.windows(self.run).enumerate() {
            if held.contains(run) {
                covered[start..start + self.run].fill(true);
            }
        }
        covered
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layout_case_and_punctuation_are_taken_away() {
        let plain: String = normalise("And GOD said,\n “Let there be light” -- 1").iter().collect();
        assert_eq!(plain, "andgodsaidlettherebelight1");
        assert!(normalise(" …--\n").is_empty());
    }

    #[test]
    fn runs_of_both_texts_are_covered() {
        let (a, b) = (normalise("abcdefgh"), normalise("xxcdeyyfgh"));
        let covered = Shingles::new(&a, 3).covered_by(&b);
        assert_eq!(covered, [false, false, true, true, true, true, true, true]);
        assert!(!Shingles::new(&a, 4).covered_by(&b).contains(&true));
    }

    #[test]
    fn bands_agree_as_often_as_sets_are_alike() {
        let (low, high): (Vec<u64>, Vec<u64>) = ((0..300).collect(), (100..400).collect());
        let spread = |set: &[u64]| -> Vec<u64> {
            set.iter().map(|i| hash(&[char::from_u32(*i as u32 + 1).unwrap()], 1)).collect()
        };
        let family = MinHash::new(&[5; 32], 512);
        let pairs = family.bands(&spread(&low)).into_iter().zip(family.bands(&spread(&high)));
        let equal = pairs.filter(|(a, b)| a == b).count();
        // 200 of 400 are common: one half, with a standard deviation of eleven.
        assert!((200..312).contains(&equal), "{equal}");
        assert!(family.bands(&[]).is_empty());
    }
}
