//! How sure one can be that an owner's evidence is more than noise.
//!
//! **Gradient.** Scores of units that had no part in an output scatter evenly around zero, so what
//! units *lose* shows what noise would let them *win*. All clusters together give the mean `m` and the
//! second moment `v` of that mirrored gain per token; noise would give an owner
//! of `n` tokens the gain `n·m`, with a variance of at most `n·v`. If its gain exceeds that by `z`
//! standard deviations, its confidence is `z² / (z² + 9)`: none at the mean, one half at three
//! deviations. Whatever the distribution of the noise, Cantelli's inequality bounds how many
//! owners noise alone lifts to a confidence `c`: at most `(1 − c) / (1 + 8c)` of them, a tenth to one
//! half and one in 82 to nine tenths. Of the others' gains the least one counts as noise too, so that
//! a handful of units without a loser among them proves nothing. A higher score raises an owner's
//! gain or lowers the noise: more evidence never lowers its confidence.
//!
//! **Spans.** Their evidence is counted in bits beyond chance: `b` bits stand for a probability of
//! at most `2^-b` that the match is accidental.
//!
//! Either kind suffices: the confidence of a share is `1 − (1 − gradient)(1 − spans)`. It says how sure
//! it is that the owner's data had a part in the output, not how large that part is. It pays nothing.

use alloc::collections::BTreeMap;

use super::UnitEvidence;
use crate::ids::AccountId;
use crate::math::{PPM, mul_div};

/// Standard deviations, squared, at which the confidence is one half.
const HALF_AT: u128 = 9;
/// Bits that gains are scaled to, so that sums of their squares fit.
const GAIN_BITS: u32 = 40;

/// What confidence needs to know about the clusters of one owner.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tails {
    /// Tokens of all clusters.
    tokens: u128,
    /// Sum of the gains above the floor.
    gain: u128,
    /// Sum of the mirrored gains: what clusters lose beyond the floor.
    loss: u128,
    /// Sum of the squares of those.
    loss_squared: u128,
    /// The least gain above zero.
    least: Option<u128>,
}

impl Tails {
    fn add(&mut self, other: &Self) {
        self.tokens = self.tokens.saturating_add(other.tokens);
        self.gain = self.gain.saturating_add(other.gain);
        self.loss = self.loss.saturating_add(other.loss);
        self.loss_squared = self.loss_squared.saturating_add(other.loss_squared);
        self.least = self.least.into_iter().chain(other.least).min();
    }
}

/// The tails of every owner, over canonical clusters.
pub(super) fn tails(clusters: &[UnitEvidence], floor_per_token: u64) -> BTreeMap<AccountId, Tails> {
    let largest = clusters.iter().map(|c| c.score.unsigned_abs()).max().unwrap_or(0);
    let shift = u64::BITS.saturating_sub(largest.leading_zeros()).saturating_sub(GAIN_BITS);
    let mut owners: BTreeMap<AccountId, Tails> = BTreeMap::new();
    for cluster in clusters {
        let tokens = u128::from(cluster.tokens);
        let floor = u128::from(floor_per_token).saturating_mul(tokens);
        let beyond = u128::from(cluster.score.unsigned_abs()).saturating_sub(floor) >> shift;
        let (gain, loss) = if cluster.score > 0 { (beyond, 0) } else { (0, beyond) };
        owners.entry(cluster.owner).or_default().add(&Tails {
            tokens,
            gain,
            loss,
            loss_squared: loss.saturating_mul(loss),
            least: (gain > 0).then_some(gain),
        });
    }
    owners
}

/// The confidence, in ppm, that each owner's gradient evidence is more than noise.
pub(super) fn of_gradient(owners: &BTreeMap<AccountId, Tails>) -> BTreeMap<AccountId, u32> {
    let mut all = Tails::default();
    owners.values().for_each(|own| all.add(own));
    // The two least gains, so that each owner finds the least of the others.
    let mut least: [Option<(u128, AccountId)>; 2] = [None; 2];
    for (account, own) in owners {
        let Some(gain) = own.least else { continue };
        let [first, second] = least;
        let entry = Some((gain, *account));
        least = match (first, second) {
            (None, _) => [entry, None],
            (Some(f), _) if gain < f.0 => [entry, first],
            (_, None) => [first, entry],
            (_, Some(s)) if gain < s.0 => [first, entry],
            _ => least,
        };
    }
    owners
        .iter()
        .map(|(account, own)| {
            let of_others = least.iter().flatten().find(|(_, owner)| owner != account);
            (*account, above_noise(own, &all, of_others.map_or(0, |(gain, _)| *gain)))
        })
        .collect()
}

/// `z² / (z² + 9)` in ppm, where noise is what all clusters lose and the one gain that counts as
/// noise too.
fn above_noise(own: &Tails, all: &Tails, least: u128) -> u32 {
    let loss = all.loss.saturating_add(least);
    let squared = all.loss_squared.saturating_add(least.saturating_mul(least));
    let by_tokens = |sum| mul_div(sum, own.tokens, all.tokens).unwrap_or(u128::MAX);
    let above = own.gain.saturating_sub(by_tokens(loss));
    let signal = above.saturating_mul(above);
    let noise = by_tokens(squared).saturating_mul(HALF_AT);
    ratio_ppm(signal, signal.saturating_add(noise))
}

/// The confidence, in ppm, that spans of that evidence are no accident.
pub(super) fn of_spans(millibits: u128) -> u32 {
    let bits = u32::try_from(millibits.checked_div(1000).unwrap_or(0)).unwrap_or(u32::MAX);
    PPM.saturating_sub(PPM.checked_shr(bits).unwrap_or(0))
}

/// `1 − (1 − a)(1 − b)`.
pub(super) fn either(a: u32, b: u32) -> u32 {
    let (not_a, not_b) = (u64::from(PPM.saturating_sub(a)), u64::from(PPM.saturating_sub(b)));
    let neither = not_a.saturating_mul(not_b).checked_div(u64::from(PPM)).unwrap_or(0);
    assert!(neither <= u64::from(PPM), "two doubts together are at most certain");
    PPM.saturating_sub(u32::try_from(neither).unwrap_or(PPM))
}

fn ratio_ppm(part: u128, whole: u128) -> u32 {
    mul_div(part, u128::from(PPM), whole).and_then(|ppm| u32::try_from(ppm).ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use proptest::prelude::*;

    use super::*;
    use crate::ids::Hash;

    fn cluster(owner: u64, score: i64) -> UnitEvidence {
        UnitEvidence {
            unit: Hash::ZERO,
            owner: AccountId(owner),
            cluster: 0,
            tokens: 256,
            score,
            span_millibits: 0,
        }
    }

    fn confidence(clusters: &[UnitEvidence]) -> BTreeMap<AccountId, u32> {
        of_gradient(&tails(clusters, 0))
    }

    /// Sums of twelve uniform numbers around zero: near enough to a bell curve.
    fn noise(state: &mut u64) -> i64 {
        (0..12)
            .map(|_| {
                *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                ((*state >> 40) as i64) - (1 << 23)
            })
            .sum()
    }

    #[test]
    fn the_statistic_on_a_small_case() {
        // One of the three loses 100, and the others win 20 at least: for a third of the tokens noise
        // has the mean gain (100 + 20) / 3 = 40 and the variance (10000 + 400) / 3.
        let clusters = [cluster(1, 660), cluster(2, -100), cluster(3, 20)];
        let signal = 620.0f64 * 620.0;
        let expected = signal / (signal + 9.0 * 3466.0) * 1e6;
        assert_eq!(confidence(&clusters)[&AccountId(1)], expected as u32);
        assert_eq!(confidence(&clusters)[&AccountId(2)], 0);
    }

    #[test]
    fn two_units_prove_nothing() {
        assert!(confidence(&[cluster(1, 5), cluster(1, -9)])[&AccountId(1)] == 0);
        assert!(confidence(&[cluster(1, 5), cluster(2, 6)])[&AccountId(2)] < 150_000);
    }

    #[test]
    fn noise_alone_gives_low_confidence_and_a_signal_high() {
        let mut state = 7;
        let (mut sum, mut half, mut count) = (0u64, 0u32, 0u32);
        for _ in 0..200 {
            let clusters: Vec<_> = (0..200).map(|i| cluster(i % 10, noise(&mut state))).collect();
            for ppm in confidence(&clusters).into_values() {
                sum += u64::from(ppm);
                half += u32::from(ppm >= PPM / 2);
                count += 1;
            }
        }
        assert!(sum / u64::from(count) < 60_000, "mean {}", sum / u64::from(count));
        assert!(half * 10 <= count, "{half} of {count} reach one half");
        // Twenty units, each moved up by two standard deviations of the noise.
        let deviation = 1i64 << 24;
        let clusters: Vec<_> = (0..200)
            .map(|i| cluster(i % 10, noise(&mut state) + i64::from(i % 10 == 3) * 2 * deviation))
            .collect();
        assert!(confidence(&clusters)[&AccountId(3)] > 800_000);
    }

    #[test]
    fn bits_of_spans_halve_the_doubt() {
        assert_eq!(of_spans(0), 0);
        assert_eq!(of_spans(1_000), 500_000);
        assert_eq!(of_spans(16_000), 999_985);
        assert_eq!(of_spans(u128::MAX), PPM);
        assert_eq!(either(500_000, 500_000), 750_000);
        assert_eq!(either(0, 123), 123);
        assert_eq!(either(PPM, 0), PPM);
    }

    proptest! {
        #[test]
        fn more_evidence_never_lowers_confidence(
            scores in proptest::collection::vec((0u64..4, -1_000_000i64..1_000_000), 2..40),
            pick: proptest::sample::Index,
            more in 1i64..10_000_000,
        ) {
            let mut clusters: Vec<_> = scores.iter().map(|&(o, s)| cluster(o, s)).collect();
            let index = pick.index(clusters.len());
            let owner = clusters[index].owner;
            let before = confidence(&clusters)[&owner];
            clusters[index].score += more;
            prop_assert!(confidence(&clusters)[&owner] >= before);
        }

        #[test]
        fn extreme_scores_stay_in_range(
            scores in proptest::collection::vec((0u64..4, any::<i64>(), any::<u32>()), 1..40),
            floor: u64,
        ) {
            let clusters: Vec<_> = scores
                .iter()
                .map(|&(o, s, tokens)| UnitEvidence { tokens, ..cluster(o, s) })
                .collect();
            for ppm in of_gradient(&tails(&clusters, floor)).into_values() {
                prop_assert!(ppm <= PPM);
            }
        }
    }
}
