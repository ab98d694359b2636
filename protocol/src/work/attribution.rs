//! From evidence to weights: the quotient-linear rule.
//!
//! An output of a model carries two kinds of evidence about the units that it was made from:
//! gradient influence (a signed integer score per unit) and verbatim spans (bits beyond chance,
//! each token of the output credited once). [`weigh`] turns both into shares of one million parts.
//!
//! The rule, and why each part of it is there:
//! - Duplicates form **clusters** and the earliest unit of a cluster stands for it: a copy has no
//!   evidence of its own, so copying raises nobody's payout.
//! - A cluster's weight is the **positive part** of its un-normalised score above a noise floor per
//!   token, taken per cluster and only **then** summed to owners: spreading one's units over many
//!   names changes nothing, and harmful units can't be hidden under a second name.
//! - **Power one**: a larger power would pay for merging, a smaller one for splitting.
//! - Spans weigh as much as they explain of the output: `lambda` is the part of the output's bits
//!   that the spans cover, capped by a parameter.
//! - Without significant evidence the output pays the **declared pool**: every canonical unit by
//!   its tokens.
//!
//! - Every share comes with a **confidence**: how sure it is that its evidence is more than noise.
//!
//! Integers throughout; every list of shares sums to exactly [`PPM`].

mod confidence;
mod units;

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use crate::ids::{AccountId, Hash};
use crate::limits::MAX_SHARES;
use crate::math::{PPM, SplitError, split};
use crate::params::Attribution;

pub use units::{UnitShare, unit_shares};

/// What is known about one unit and one output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnitEvidence {
    /// The unit's hash.
    pub unit: Hash,
    /// The account that contributed it.
    pub owner: AccountId,
    /// The duplicate cluster it belongs to; units that resemble nothing have one of their own.
    pub cluster: u64,
    /// Its length in tokens.
    pub tokens: u32,
    /// Its influence on the output: positive when training on it made the output likelier.
    pub score: i64,
    /// Evidence of the verbatim spans of the output that it owns, in thousandths of a bit.
    pub span_millibits: u64,
}

impl UnitEvidence {
    /// Takes over the span evidence of a copy.
    const fn absorb(&mut self, copy: &Self) {
        self.span_millibits = self.span_millibits.saturating_add(copy.span_millibits);
    }
}

/// What an auditor found who repeated one use of a model, its answer and its attribution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RepeatedUse {
    /// How far the auditor's logits are, in millionths of a nat, from some that draw exactly the tokens of the
    /// answer with the published seed.
    pub token_slack_ppm: u32,
    /// How far the published digest of what the model computed is from the auditor's, in ppm of the latter.
    pub activation_distance_ppm: u32,
    /// Cosine between the published query and the auditor's own, in ppm; none where they can't be
    /// compared. Queries come from float arithmetic, which differs by hardware.
    pub query_cosine_ppm: Option<i32>,
    /// Whether the published query gives the published shares: integers, equal on every node.
    pub has_same_shares: bool,
}

impl RepeatedUse {
    /// Whether published and repeated use are the same up to the arithmetic of other hardware.
    pub fn accepts(&self, limits: &Attribution) -> bool {
        let least = i64::from(limits.min_query_cosine_ppm);
        let is_close = self.query_cosine_ppm.is_some_and(|cosine| i64::from(cosine) >= least);
        let is_drawn = self.token_slack_ppm <= limits.max_token_slack_ppm;
        let is_computed = self.activation_distance_ppm <= limits.max_activation_distance_ppm;
        is_drawn && is_computed && is_close && self.has_same_shares
    }
}

/// The constants of the rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WeighParams {
    /// Influence per token below which a cluster counts as noise, in units of
    /// [`UnitEvidence::score`].
    pub floor_per_token: u64,
    /// Most of the weight that spans may take, however much of the output they cover.
    pub lambda_max_ppm: u32,
}

impl WeighParams {
    /// No noise floor; spans take at most half.
    pub const DEFAULT: Self = Self { floor_per_token: 0, lambda_max_ppm: PPM / 2 };
}

/// One account's part of a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// The account whose data it stands for.
    pub account: AccountId,
    /// Its part in parts per million.
    pub ppm: u32,
}

/// The outcome of [`weigh`]: three lists by ascending account, each empty or summing to [`PPM`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Weights {
    /// What is paid.
    pub shares: Vec<Share>,
    /// For each of `shares`, in ppm, how sure it is that the account's data had a part in the output:
    /// zero when its evidence is what noise gives on average, one half when it is three standard
    /// deviations above that. All zero when `shares` is the declared pool. Pays nothing.
    pub confidence: Vec<u32>,
    /// What gradient influence alone would pay; empty without significant influence.
    pub gradient: Vec<Share>,
    /// What verbatim spans alone would pay; empty without spans.
    pub spans: Vec<Share>,
    /// The part of `shares` that spans decided.
    pub lambda_ppm: u32,
    /// Nothing was significant, and `shares` is the declared pool.
    pub pool: bool,
}

/// Why evidence could not be weighed.
#[expect(missing_docs, reason = "a message names its fields")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WeighError {
    /// There is no unit to pay.
    #[error("the snapshot holds no units: nothing can be attributed")]
    NoUnits,
    /// A unit has no tokens, or all of them together have none.
    #[error("unit {0} has no tokens")]
    EmptyUnit(Hash),
    /// A unit occurs twice in the evidence, and not as a copy in one cluster.
    #[error("unit {0} is listed twice, in different clusters")]
    DuplicateUnit(Hash),
    /// More owners than one record can carry.
    #[error("{found} owners, and one record carries at most {limit}")]
    TooManyOwners { found: usize, limit: usize },
    /// A parameter lies outside its range.
    #[error("lambda_max_ppm is {0}, above one million")]
    Lambda(u32),
}

/// The account with the largest share; the lower account wins a tie.
pub fn leader(shares: &[Share]) -> Option<AccountId> {
    shares
        .iter()
        .max_by_key(|share| (share.ppm, core::cmp::Reverse(share.account)))
        .map(|share| share.account)
}

/// Weighs the evidence of `units`, **listed in the order of commitment**, for one output that
/// carries `output_millibits` of information.
pub fn weigh(
    units: &[UnitEvidence],
    output_millibits: u64,
    params: WeighParams,
) -> Result<Weights, WeighError> {
    check(units, params)?;
    let clusters = clusters(units);
    let tallies = tally(&clusters, params.floor_per_token);
    if tallies.len() > MAX_SHARES {
        return Err(WeighError::TooManyOwners { found: tallies.len(), limit: MAX_SHARES });
    }
    let gradient = shares_of(&tallies, |t| t.influence);
    let spans = shares_of(&tallies, |t| t.span_millibits);
    let lambda_ppm = match (gradient.is_empty(), spans.is_empty()) {
        (_, true) => 0,
        (true, false) => PPM,
        (false, false) => lambda(&tallies, output_millibits, params.lambda_max_ppm),
    };
    let pool = gradient.is_empty() && spans.is_empty();
    let shares = if pool {
        shares_of(&tallies, |t| t.tokens)
    } else {
        mix(&tallies, &gradient, &spans, lambda_ppm)
    };
    let confidence = match pool {
        true => shares.iter().map(|_| 0).collect(),
        false => confidences(&shares, &clusters, &tallies, params.floor_per_token),
    };
    for list in [&shares, &gradient, &spans] {
        let sum = list.iter().fold(0u64, |sum, share| sum.saturating_add(share.ppm.into()));
        assert!(list.is_empty() || sum == u64::from(PPM), "shares of an output are a whole");
    }
    assert!(!shares.is_empty(), "an output with evidence or a pool pays somebody");
    assert!(confidence.len() == shares.len(), "every share has its confidence");
    assert!(lambda_ppm <= PPM, "spans decide at most all");
    Ok(Weights { shares, confidence, gradient, spans, lambda_ppm, pool })
}

/// The confidence of each share, by both kinds of evidence.
fn confidences(
    shares: &[Share],
    clusters: &[UnitEvidence],
    tallies: &BTreeMap<AccountId, Tally>,
    floor_per_token: u64,
) -> Vec<u32> {
    let gradient = confidence::of_gradient(&confidence::tails(clusters, floor_per_token));
    let of = |share: &Share| {
        let by_gradient = gradient.get(&share.account).copied().unwrap_or(0);
        let millibits = tallies.get(&share.account).map_or(0, |tally| tally.span_millibits);
        confidence::either(by_gradient, confidence::of_spans(millibits))
    };
    shares.iter().map(of).collect()
}

/// The noise floor per token that a set of scores declares about itself: scores of irrelevant units
/// scatter evenly around zero, so what the lowest `tail_ppm` of them lose is noise that the
/// others may have won.
pub fn noise_floor(units: &[UnitEvidence], tail_ppm: u32) -> u64 {
    let mut rates: Vec<i64> =
        units.iter().filter_map(|unit| unit.score.checked_div(i64::from(unit.tokens))).collect();
    rates.sort_unstable();
    let rank = u128::try_from(rates.len())
        .unwrap_or(u128::MAX)
        .saturating_mul(u128::from(tail_ppm))
        .checked_div(u128::from(PPM))
        .and_then(|rank| usize::try_from(rank).ok())
        .unwrap_or(usize::MAX);
    match rates.get(rank) {
        Some(rate) if *rate < 0 => rate.unsigned_abs(),
        _ => 0,
    }
}

fn check(units: &[UnitEvidence], params: WeighParams) -> Result<(), WeighError> {
    if params.lambda_max_ppm > PPM {
        return Err(WeighError::Lambda(params.lambda_max_ppm));
    }
    if units.is_empty() {
        return Err(WeighError::NoUnits);
    }
    if let Some(empty) = units.iter().find(|unit| unit.tokens == 0) {
        return Err(WeighError::EmptyUnit(empty.unit));
    }
    let mut names: Vec<(Hash, u64)> = units.iter().map(|unit| (unit.unit, unit.cluster)).collect();
    names.sort_unstable();
    match names.iter().zip(names.iter().skip(1)).find(|(a, b)| a.0 == b.0 && a.1 != b.1) {
        Some(((twice, _), _)) => Err(WeighError::DuplicateUnit(*twice)),
        None => Ok(()),
    }
}

/// One entry per cluster: the earliest unit, with the span evidence of all its copies.
fn clusters(units: &[UnitEvidence]) -> Vec<UnitEvidence> {
    let mut canonical: BTreeMap<u64, UnitEvidence> = BTreeMap::new();
    for unit in units {
        canonical.entry(unit.cluster).and_modify(|first| first.absorb(unit)).or_insert(*unit);
    }
    canonical.into_values().collect()
}

/// Sums over the clusters of one owner.
#[derive(Clone, Copy, Default)]
struct Tally {
    influence: u128,
    span_millibits: u128,
    tokens: u128,
}

fn tally(clusters: &[UnitEvidence], floor_per_token: u64) -> BTreeMap<AccountId, Tally> {
    let mut tallies: BTreeMap<AccountId, Tally> = BTreeMap::new();
    for cluster in clusters {
        let tally = tallies.entry(cluster.owner).or_default();
        tally.influence = tally.influence.saturating_add(gain(cluster, floor_per_token));
        tally.span_millibits =
            tally.span_millibits.saturating_add(u128::from(cluster.span_millibits));
        tally.tokens = tally.tokens.saturating_add(u128::from(cluster.tokens));
    }
    tallies
}

/// The positive part of a cluster's score above the noise floor.
fn gain(cluster: &UnitEvidence, floor_per_token: u64) -> u128 {
    let floor = u128::from(floor_per_token).saturating_mul(u128::from(cluster.tokens));
    u128::try_from(cluster.score).unwrap_or(0).saturating_sub(floor)
}

/// Shares in proportion to `weight`; empty when every weight is zero.
fn shares_of(tallies: &BTreeMap<AccountId, Tally>, weight: impl Fn(&Tally) -> u128) -> Vec<Share> {
    let weights: Vec<u128> = tallies.values().map(weight).collect();
    apportion(tallies, &weights)
}

/// A total divided by weights that are sums over units; `None` where nobody has any.
fn divide(total: u128, weights: &[u128]) -> Option<Vec<u128>> {
    let parts = split(total, weights);
    assert!(parts != Err(SplitError::Sum), "evidence of 64 bits a unit adds up within 128 bits");
    parts.ok()
}

fn apportion(tallies: &BTreeMap<AccountId, Tally>, weights: &[u128]) -> Vec<Share> {
    let Some(parts) = divide(u128::from(PPM), weights) else { return Vec::new() };
    let parts = parts.into_iter().map(|part| u32::try_from(part).unwrap_or(PPM));
    tallies
        .keys()
        .zip(parts)
        .filter(|(_, ppm)| *ppm > 0)
        .map(|(account, ppm)| Share { account: *account, ppm })
        .collect()
}

/// The part of the output's information that spans explain, capped.
fn lambda(tallies: &BTreeMap<AccountId, Tally>, output_millibits: u64, max_ppm: u32) -> u32 {
    let matched = tallies.values().fold(0u128, |sum, t| sum.saturating_add(t.span_millibits));
    let covered = matched.min(u128::from(output_millibits));
    covered
        .saturating_mul(u128::from(max_ppm))
        .checked_div(u128::from(output_millibits))
        .and_then(|ppm| u32::try_from(ppm).ok())
        .unwrap_or(max_ppm)
}

/// An account's part, in ppm, of shares that are sorted by account; zero where it has none.
fn part(shares: &[Share], account: AccountId) -> u128 {
    let found = shares.binary_search_by_key(&account, |share| share.account).ok();
    found.and_then(|index| shares.get(index)).map_or(0, |share| share.ppm.into())
}

fn mix(
    tallies: &BTreeMap<AccountId, Tally>,
    gradient: &[Share],
    spans: &[Share],
    lambda_ppm: u32,
) -> Vec<Share> {
    let (of_spans, of_gradient) =
        (u128::from(lambda_ppm), u128::from(PPM.saturating_sub(lambda_ppm)));
    let weights: Vec<u128> = tallies
        .keys()
        .map(|account| {
            let from_spans = part(spans, *account).saturating_mul(of_spans);
            from_spans.saturating_add(part(gradient, *account).saturating_mul(of_gradient))
        })
        .collect();
    apportion(tallies, &weights)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn unit(name: u16, owner: u64, score: i64, span_millibits: u64) -> UnitEvidence {
        let mut hash = [0; 32];
        hash[..2].copy_from_slice(&name.to_be_bytes());
        UnitEvidence {
            unit: Hash(hash),
            owner: AccountId(owner),
            cluster: u64::from(name),
            tokens: 256,
            score,
            span_millibits,
        }
    }

    fn ppm_of(shares: &[Share], owner: u64) -> u32 {
        shares.iter().find(|s| s.account == AccountId(owner)).map_or(0, |s| s.ppm)
    }

    fn any_units() -> impl Strategy<Value = Vec<UnitEvidence>> {
        let one = (1u64..6, -1_000_000i64..1_000_000, 0u64..40_000, 1u32..600, any::<bool>());
        proptest::collection::vec(one, 1..40).prop_map(|units| {
            units
                .into_iter()
                .enumerate()
                .map(|(name, (owner, score, bits, tokens, verbatim))| UnitEvidence {
                    tokens,
                    ..unit(name as u16, owner, score, if verbatim { bits } else { 0 })
                })
                .collect()
        })
    }

    const FLOOR: WeighParams = WeighParams { floor_per_token: 100, lambda_max_ppm: PPM / 2 };

    #[test]
    fn a_repeated_use_stands_by_its_tokens_its_query_and_its_shares() {
        let limits = crate::params::Params::mainnet().attribution;
        let honest = RepeatedUse {
            token_slack_ppm: limits.max_token_slack_ppm,
            activation_distance_ppm: limits.max_activation_distance_ppm,
            query_cosine_ppm: Some(995_000),
            has_same_shares: true,
        };
        assert!(honest.accepts(&limits));
        let tampered = [
            RepeatedUse { token_slack_ppm: honest.token_slack_ppm + 1, ..honest },
            RepeatedUse { activation_distance_ppm: honest.activation_distance_ppm + 1, ..honest },
            RepeatedUse { query_cosine_ppm: Some(994_999), ..honest },
            RepeatedUse { query_cosine_ppm: Some(-1_000_000), ..honest },
            RepeatedUse { query_cosine_ppm: None, ..honest },
            RepeatedUse { has_same_shares: false, ..honest },
        ];
        for used in tampered {
            assert!(!used.accepts(&limits), "{used:?}");
        }
    }

    #[test]
    fn the_rule_on_a_small_case() {
        // Account 1 has 300 above zero, account 2 has 100; harmful units count as nothing.
        let units = [unit(1, 1, 300, 0), unit(2, 2, 100, 8_000), unit(3, 2, -900, 0)];
        let weights = weigh(&units, 64_000, WeighParams::DEFAULT).unwrap();
        assert_eq!(ppm_of(&weights.gradient, 1), 750_000);
        assert_eq!(ppm_of(&weights.spans, 2), PPM);
        // Spans cover an eighth of the output and may take half: a sixteenth.
        assert_eq!(weights.lambda_ppm, 62_500);
        assert_eq!(ppm_of(&weights.shares, 1), 703_125);
        assert_eq!(leader(&weights.shares), Some(AccountId(1)));
        assert!(!weights.pool);
        // Eight bits leave a doubt of one in 256.
        assert!(weights.confidence[1] >= PPM - PPM / 256);
    }

    #[test]
    fn without_significant_evidence_the_pool_is_paid_by_canonical_tokens() {
        let mut copy = unit(3, 2, 10, 0);
        copy.cluster = 1;
        let units = [unit(1, 1, 10, 0), unit(2, 2, -5, 0), copy];
        let weights = weigh(&units, 64_000, FLOOR).unwrap();
        assert!(weights.pool && weights.gradient.is_empty() && weights.spans.is_empty());
        assert_eq!(ppm_of(&weights.shares, 1), 500_000);
        assert_eq!(ppm_of(&weights.shares, 2), 500_000);
        assert_eq!(weights.confidence, [0, 0]);
    }

    #[test]
    fn spans_alone_decide_where_influence_is_noise() {
        let units = [unit(1, 1, -10, 0), unit(2, 2, -10, 16_000)];
        let weights = weigh(&units, 64_000, WeighParams::DEFAULT).unwrap();
        assert_eq!(weights.lambda_ppm, PPM);
        assert_eq!(ppm_of(&weights.shares, 2), PPM);
    }

    #[test]
    fn the_noise_floor_is_the_mirrored_lower_tail() {
        let units: Vec<_> = (0..100).map(|i| unit(i, 1, 256 * (i64::from(i) - 50), 0)).collect();
        assert_eq!(noise_floor(&units, 50_000), 45);
        assert_eq!(noise_floor(&units, PPM), 0);
        assert_eq!(noise_floor(&[], 50_000), 0);
    }

    #[test]
    fn malformed_evidence_is_refused() {
        let good = unit(1, 1, 1, 0);
        assert_eq!(weigh(&[], 1, FLOOR), Err(WeighError::NoUnits));
        let elsewhere = UnitEvidence { cluster: 7, ..good };
        assert_eq!(weigh(&[good, elsewhere], 1, FLOOR), Err(WeighError::DuplicateUnit(good.unit)));
        assert_eq!(weigh(&[good, good], 1, FLOOR), weigh(&[good], 1, FLOOR), "a verbatim copy");
        let empty = UnitEvidence { tokens: 0, ..good };
        assert_eq!(weigh(&[empty], 1, FLOOR), Err(WeighError::EmptyUnit(good.unit)));
        let params = WeighParams { lambda_max_ppm: PPM + 1, ..FLOOR };
        assert_eq!(weigh(&[good], 1, params), Err(WeighError::Lambda(PPM + 1)));
        let crowd: Vec<_> = (0..=MAX_SHARES as u16).map(|i| unit(i, i.into(), 1, 0)).collect();
        assert_eq!(
            weigh(&crowd, 1, WeighParams::DEFAULT),
            Err(WeighError::TooManyOwners { found: MAX_SHARES + 1, limit: MAX_SHARES })
        );
    }

    #[test]
    fn extreme_numbers_neither_overflow_nor_lose_a_part() {
        let units: Vec<_> = (0..9)
            .map(|i| UnitEvidence { tokens: u32::MAX, ..unit(i, i.into(), i64::MAX, u64::MAX) })
            .chain([unit(9, 1, i64::MIN, 0)])
            .collect();
        for floor_per_token in [0, 1, u64::MAX] {
            for output in [0, 1, u64::MAX] {
                let params = WeighParams { floor_per_token, lambda_max_ppm: PPM };
                let weights = weigh(&units, output, params).unwrap();
                assert_eq!(weights.shares.iter().map(|s| s.ppm).sum::<u32>(), PPM);
            }
        }
    }

    proptest! {
        #[test]
        fn every_list_sums_to_one_million(units in any_units(), output in 0u64..200_000) {
            let weights = weigh(&units, output, FLOOR).unwrap();
            let sum = |shares: &[Share]| shares.iter().map(|s| s.ppm).sum::<u32>();
            prop_assert_eq!(sum(&weights.shares), PPM);
            prop_assert_eq!(weights.confidence.len(), weights.shares.len());
            prop_assert!(weights.confidence.iter().all(|ppm| *ppm <= PPM));
            for list in [&weights.gradient, &weights.spans] {
                prop_assert!(list.is_empty() || sum(list) == PPM);
            }
            prop_assert_eq!(weights.pool, weights.gradient.is_empty() && weights.spans.is_empty());
        }

        #[test]
        fn spreading_units_over_names_pays_the_same(
            units in any_units(),
            names in proptest::collection::vec(0u64..20, 40),
        ) {
            let before = weigh(&units, 100_000, FLOOR).unwrap();
            let mut spread = units;
            for (unit, name) in spread.iter_mut().zip(&names) {
                if unit.owner == AccountId(1) {
                    unit.owner = AccountId(100 + name);
                }
            }
            let after = weigh(&spread, 100_000, FLOOR).unwrap();
            let gained: u32 =
                after.shares.iter().filter(|s| s.account.0 >= 100).map(|s| s.ppm).sum();
            // Every share is rounded twice to a millionth.
            prop_assert!(gained.abs_diff(ppm_of(&before.shares, 1)) <= 42);
            prop_assert_eq!(before.lambda_ppm, after.lambda_ppm);
        }

        #[test]
        fn copying_units_changes_nothing(
            units in any_units(),
            picks in proptest::collection::vec((0usize..40, 1u64..9), 1..20),
        ) {
            let before = weigh(&units, 100_000, FLOOR).unwrap();
            let mut copied = units.clone();
            for (index, (pick, owner)) in picks.into_iter().enumerate() {
                let original = units[pick % units.len()];
                copied.push(UnitEvidence {
                    owner: AccountId(owner),
                    cluster: original.cluster,
                    span_millibits: 0,
                    ..unit(1000 + index as u16, owner, original.score, 0)
                });
            }
            prop_assert_eq!(before, weigh(&copied, 100_000, FLOOR).unwrap());
        }

        #[test]
        fn hiding_harmful_units_under_another_name_changes_nothing(units in any_units()) {
            let before = weigh(&units, 100_000, FLOOR).unwrap();
            let mut hidden = units;
            for unit in &mut hidden {
                if unit.owner == AccountId(1) && unit.score < 0 && unit.span_millibits == 0 {
                    unit.owner = AccountId(99);
                }
            }
            let after = weigh(&hidden, 100_000, FLOOR).unwrap();
            if !before.pool {
                prop_assert_eq!(before.shares, after.shares);
            }
        }

        #[test]
        fn more_influence_never_pays_less(units in any_units(), more in 1i64..1_000_000) {
            let before = weigh(&units, 100_000, FLOOR).unwrap();
            let mut raised = units.clone();
            raised[0].score += more;
            let after = weigh(&raised, 100_000, FLOOR).unwrap();
            let owner = units[0].owner.0;
            if !before.pool && !before.gradient.is_empty() {
                prop_assert!(ppm_of(&after.shares, owner) + 6 >= ppm_of(&before.shares, owner));
            }
        }

        #[test]
        fn the_order_within_a_cluster_decides_the_owner(score in 1i64..1000) {
            let mut late = unit(2, 2, score * 2, 0);
            late.cluster = 1;
            let weights = weigh(&[unit(1, 1, score, 0), late], 1, WeighParams::DEFAULT);
            prop_assert_eq!(ppm_of(&weights.unwrap().shares, 1), PPM);
        }
    }
}
