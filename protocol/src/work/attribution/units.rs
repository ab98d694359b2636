//! What each unit brought its owner: the statement behind a share.

use alloc::collections::BTreeMap;
use alloc::vec;
use alloc::vec::Vec;

use super::{Share, UnitEvidence, WeighParams, Weights, gain, part};
use crate::ids::AccountId;
use crate::math::PPM;

/// A unit's part of the contributors' share of one output, in ppm, by what speaks for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UnitShare {
    /// For its influence.
    pub gradient_ppm: u32,
    /// For the verbatim spans that its cluster owns.
    pub span_ppm: u32,
    /// For its length, where nothing was significant.
    pub pool_ppm: u32,
}

impl UnitShare {
    /// All of it.
    pub const fn ppm(&self) -> u32 {
        self.gradient_ppm.saturating_add(self.span_ppm).saturating_add(self.pool_ppm)
    }
}

/// Divides the shares of `weights` among the units that they were weighed from.
///
/// Every owner's share goes to its clusters as the rule weighed them, to the last part per million;
/// the earliest unit of a cluster stands for all of it. One entry per unit, in the order of `units`.
pub fn unit_shares(
    units: &[UnitEvidence],
    weights: &Weights,
    params: WeighParams,
) -> Vec<UnitShare> {
    let mut shares = vec![UnitShare::default(); units.len()];
    for (owner, clusters) in by_owner(units) {
        let total = part(&weights.shares, owner);
        let divide = |total: u128, weight: &dyn Fn(&UnitEvidence) -> u128| {
            let weights: Vec<u128> = clusters.iter().map(|(_, cluster)| weight(cluster)).collect();
            super::divide(total, &weights).unwrap_or_else(|| vec![0; clusters.len()])
        };
        if weights.pool {
            let parts = divide(total, &|cluster| cluster.tokens.into());
            for ((rank, _), ppm) in clusters.iter().zip(parts) {
                set(&mut shares, *rank, |share| share.pool_ppm = narrow(ppm));
            }
            continue;
        }
        let of = |list: &[Share], weight: u32| part(list, owner).saturating_mul(u128::from(weight));
        let spans = of(&weights.spans, weights.lambda_ppm);
        let gradient = of(&weights.gradient, PPM.saturating_sub(weights.lambda_ppm));
        let halves = super::divide(total, &[gradient, spans]);
        let (gradient, spans) = match halves.as_deref() {
            Some([gradient, spans]) => (*gradient, *spans),
            _ => (0, 0),
        };
        let gains = divide(gradient, &|cluster| gain(cluster, params.floor_per_token));
        let bits = divide(spans, &|cluster| cluster.span_millibits.into());
        for ((rank, _), (gain, bits)) in clusters.iter().zip(gains.into_iter().zip(bits)) {
            set(&mut shares, *rank, |share| {
                share.gradient_ppm = narrow(gain);
                share.span_ppm = narrow(bits);
            });
        }
    }
    let sum = shares.iter().fold(0u64, |sum, share| sum.saturating_add(share.ppm().into()));
    assert!(sum <= u64::from(PPM), "units divide one whole at most");
    assert!(shares.len() == units.len(), "every unit has its share");
    shares
}

/// The clusters of every owner, each with the rank of its earliest unit, by rank.
fn by_owner(units: &[UnitEvidence]) -> BTreeMap<AccountId, Vec<(usize, UnitEvidence)>> {
    let mut first = BTreeMap::<u64, (usize, UnitEvidence)>::new();
    for (rank, unit) in units.iter().enumerate() {
        first
            .entry(unit.cluster)
            .and_modify(|(_, first)| first.absorb(unit))
            .or_insert((rank, *unit));
    }
    let mut clusters: Vec<_> = first.into_values().collect();
    clusters.sort_unstable_by_key(|(rank, _)| *rank);
    let mut owned = BTreeMap::<AccountId, Vec<_>>::new();
    for (rank, cluster) in clusters {
        owned.entry(cluster.owner).or_default().push((rank, cluster));
    }
    owned
}

fn set(shares: &mut [UnitShare], rank: usize, change: impl FnOnce(&mut UnitShare)) {
    if let Some(share) = shares.get_mut(rank) {
        change(share);
    }
}

/// A part of at most one million.
fn narrow(ppm: u128) -> u32 {
    u32::try_from(ppm).unwrap_or(PPM)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::attribution::weigh;
    use crate::ids::Hash;

    fn unit(rank: u16, owner: u64, score: i64, span_millibits: u64) -> UnitEvidence {
        let mut hash = [0; 32];
        hash[..2].copy_from_slice(&rank.to_be_bytes());
        UnitEvidence {
            unit: Hash(hash),
            owner: AccountId(owner),
            cluster: u64::from(rank),
            tokens: 100 + u32::from(rank),
            score,
            span_millibits,
        }
    }

    fn shares(units: &[UnitEvidence]) -> (Weights, Vec<UnitShare>) {
        let weights = weigh(units, 100_000, WeighParams::DEFAULT).unwrap();
        let shares = unit_shares(units, &weights, WeighParams::DEFAULT);
        (weights, shares)
    }

    #[test]
    fn a_copy_is_paid_through_the_first_of_its_cluster() {
        let copy = UnitEvidence { cluster: 1, ..unit(3, 2, 900, 7_000) };
        let units = [unit(0, 1, 300, 0), unit(1, 1, 100, 0), unit(2, 2, 130, 33_000), copy];
        let (weights, shares) = shares(&units);
        assert_eq!(shares[3], UnitShare::default());
        assert!(
            shares[1].gradient_ppm > 0 && shares[1].span_ppm > 0,
            "the copy's spans are its own"
        );
        assert_eq!(shares[0].span_ppm, 0);
        // Influence 300 to 100 of one owner.
        assert_eq!(shares[0].gradient_ppm / shares[1].gradient_ppm, 3);
        assert!(!weights.pool && shares[2].ppm() > 0);
    }

    #[test]
    fn a_pool_pays_units_for_their_length() {
        let (weights, shares) = shares(&[unit(0, 1, -1, 0), unit(1, 1, 0, 0), unit(2, 2, -5, 0)]);
        assert!(weights.pool);
        assert!(shares.iter().all(|share| share.pool_ppm > 0 && share.pool_ppm == share.ppm()));
        assert_eq!(shares.iter().map(UnitShare::ppm).sum::<u32>(), PPM);
    }

    proptest! {
        #[test]
        fn units_divide_their_owners_shares_to_the_last_part(
            drawn in proptest::collection::vec(
                (1u64..5, 0u64..12, -1_000i64..1_000, prop_oneof![Just(0u64), 1u64..90_000]), 1..24),
        ) {
            let units: Vec<_> = (0u16..)
                .zip(drawn)
                .map(|(rank, (owner, cluster, score, bits))| {
                    UnitEvidence { cluster, ..unit(rank, owner, score, bits) }
                })
                .collect();
            let (weights, shares) = shares(&units);
            for share in &weights.shares {
                let own = units.iter().zip(&shares).filter(|(unit, _)| unit.owner == share.account);
                prop_assert_eq!(own.map(|(_, share)| share.ppm()).sum::<u32>(), share.ppm);
            }
            prop_assert_eq!(shares.iter().map(UnitShare::ppm).sum::<u32>(), PPM);
        }
    }
}
