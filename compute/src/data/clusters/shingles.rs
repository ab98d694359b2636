//! Texts as symbols, and the hashes of their runs.

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

/// Most places of one run in a text that are looked at, so that monotonous text costs no more.
const PLACES: usize = 4;

/// The runs of one unit, which those of others are laid over.
pub(super) struct Runs {
    hashes: Vec<u64>,
    symbols: usize,
    run: usize,
    drift: usize,
    key: u64,
}

impl Runs {
    /// Runs of `run` symbols; a copy's may drift by less than `drift` symbols against the original.
    pub(super) fn new(symbols: &[char], run: usize, drift: usize, key: u64) -> Self {
        let run = run.max(1);
        Self { hashes: windows(symbols, run, key), symbols: symbols.len(), run, drift, key }
    }

    /// Which symbols stand in a run that `other` holds too, **in step**: of all ways to lay the texts
    /// over each other, give or take the drift, that under which most runs meet; of equals that which
    /// lays `other` furthest back. Phrases that two texts share by chance meet out of step.
    pub(super) fn covered_by(&self, other: &[char]) -> Vec<bool> {
        let mut held: Vec<(u64, i64)> =
            windows(other, self.run, self.key).into_iter().zip(0..).collect();
        held.sort_unstable();
        let mut meets: Vec<(i64, usize)> = Vec::new();
        for (start, hash) in self.hashes.iter().enumerate() {
            let from = held.partition_point(|(other, _)| other < hash);
            let places = held[from..].iter().take_while(|(other, _)| other == hash);
            meets.extend(places.take(PLACES).map(|(_, place)| (start as i64 - place, start)));
        }
        meets.sort_unstable();
        let in_step = |from: usize| {
            let past = meets[from].0 + self.drift as i64;
            from..meets.partition_point(|(step, _)| *step < past)
        };
        let widest = (0..meets.len()).map(in_step).rev().max_by_key(std::ops::Range::len);
        let mut covered = vec![false; self.symbols];
        for (_, start) in &meets[widest.unwrap_or(0..0)] {
            covered[*start..start + self.run].fill(true);
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
    fn runs_that_meet_in_step_are_covered() {
        let covered = |a: &str, b: &str, run, drift| {
            let (a, b) = (normalise(a), normalise(b));
            let marks = Runs::new(&a, run, drift, 1).covered_by(&b);
            marks.into_iter().map(|mark| if mark { 'x' } else { '.' }).collect::<String>()
        };
        assert_eq!(covered("abcdefgh", "xxcdeyyfgh", 3, 64), "..xxxxxx");
        assert_eq!(covered("abcdefgh", "xxcdeyyfgh", 4, 64), "........");
        // "cde" stands where it stood, "fgh" two places further on: not in one step, and of equals
        // the furthest on counts.
        assert_eq!(covered("abcdefgh", "xxcdeyyfgh", 3, 1), ".....xxx");
        // Swapped halves never meet in step.
        assert_eq!(covered("abcdefgh", "efghabcd", 3, 2), "xxxx....");
        assert_eq!(covered("ab", "ab", 3, 2), "..");
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
