//! Which nodes hold which pack: stake-weighted rendezvous hashing.
//!
//! `score = -log2(H(pack seed, node seed, pack, account)) / weight`, lowest `r` win; the seeds are
//! fixed after both the pack and the node were registered, so neither can be ground to fit. Random
//! assignment is what makes keeping one copy under many names worthless (storage.md §7).

use alloc::{collections::BTreeMap, vec::Vec};

use crate::{
    hash::{keccak, leading_u64},
    ids::{AccountId, Amount, Digest, Hash},
    math::neg_log2,
};

/// A pack that wants replicas.
#[derive(Debug, Clone, Copy)]
pub struct PackSeed {
    /// Its address.
    pub hash: Hash,
    /// Its length in bytes.
    pub length: u64,
    /// S1 of the epoch after its admission.
    pub seed: Digest,
}

/// A node that may hold replicas.
#[derive(Debug, Clone, Copy)]
pub struct NodeSeed {
    /// Its account.
    pub account: AccountId,
    /// Its stake; nodes without stake weigh as one OPEN.
    pub stake: Amount,
    /// S1 of the epoch after its registration.
    pub seed: Digest,
}

/// Who holds what during one epoch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Placement {
    by_account: BTreeMap<AccountId, Vec<(Hash, u64)>>,
    replicas: u64,
    bytes: u128,
}

impl Placement {
    /// Assigns every pack to the `replicas` nodes of lowest score.
    pub fn compute(packs: &[PackSeed], nodes: &[NodeSeed], replicas: u32) -> Self {
        let replicas = usize::try_from(replicas).unwrap_or(usize::MAX);
        let mut placement = Self::default();
        for pack in packs {
            let mut ranked: Vec<_> =
                nodes.iter().map(|node| (score(pack, node), node.account)).collect();
            let chosen = replicas.min(ranked.len());
            if chosen == 0 {
                continue;
            }
            if chosen < ranked.len() {
                ranked.select_nth_unstable(chosen.saturating_sub(1));
            }
            for (_, account) in ranked.iter().take(chosen) {
                placement.by_account.entry(*account).or_default().push((pack.hash, pack.length));
                placement.replicas = placement.replicas.saturating_add(1);
                placement.bytes = placement.bytes.saturating_add(u128::from(pack.length));
            }
        }
        for packs in placement.by_account.values_mut() {
            packs.sort_unstable();
            packs.dedup();
        }
        placement
    }

    /// The packs of an account with their lengths, sorted by hash.
    pub fn packs_of(&self, account: AccountId) -> &[(Hash, u64)] {
        self.by_account.get(&account).map_or(&[], Vec::as_slice)
    }

    /// Every account that holds something.
    pub fn holders(&self) -> impl Iterator<Item = (AccountId, &[(Hash, u64)])> {
        self.by_account.iter().map(|(account, packs)| (*account, packs.as_slice()))
    }

    /// All assigned replicas.
    pub const fn replicas(&self) -> u64 {
        self.replicas
    }

    /// Bytes of all assigned replicas.
    pub const fn bytes(&self) -> u128 {
        self.bytes
    }
}

fn score(pack: &PackSeed, node: &NodeSeed) -> u128 {
    let draw = keccak(&[&pack.seed.0, &node.seed.0, &pack.hash.0, &node.account.0.to_be_bytes()]);
    let weight = node.stake.0.max(Amount::ONE_OPEN.0) >> 40;
    // 2^38 · 2^80 fits; the shift keeps the quotient fine for the largest stakes.
    (u128::from(neg_log2(leading_u64(&draw))) << 80).checked_div(weight).unwrap_or(u128::MAX)
}

/// Ranks accounts by a seeded draw, lowest first: leaders, proposers, auditors.
pub fn rank(seed: &Digest, purpose: &[u8], accounts: &[AccountId]) -> Vec<AccountId> {
    let mut ranked: Vec<_> = accounts
        .iter()
        .map(|account| (keccak(&[&seed.0, purpose, &account.0.to_be_bytes()]), *account))
        .collect();
    ranked.sort_unstable();
    ranked.into_iter().map(|(_, account)| account).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(id: u64, stake: u128) -> NodeSeed {
        let stake = Amount(stake * Amount::ONE_OPEN.0);
        NodeSeed { account: AccountId(id), stake, seed: Digest([id as u8; 32]) }
    }

    fn packs(count: u16) -> Vec<PackSeed> {
        (0..count)
            .map(|i| PackSeed {
                hash: crate::hash::blake3(&i.to_be_bytes()),
                length: 100,
                seed: Digest([1; 32]),
            })
            .collect()
    }

    #[test]
    fn every_pack_has_r_distinct_holders() {
        let nodes: Vec<_> = (1..=7).map(|id| node(id, 5)).collect();
        let placement = Placement::compute(&packs(50), &nodes, 3);
        assert_eq!(placement.replicas(), 150);
        assert_eq!(placement.bytes(), 15_000);
        let mut copies = BTreeMap::<Hash, u32>::new();
        for (_, held) in placement.holders() {
            assert!(held.windows(2).all(|w| w[0] < w[1]));
            for (pack, _) in held {
                *copies.entry(*pack).or_default() += 1;
            }
        }
        assert!(copies.len() == 50 && copies.values().all(|n| *n == 3));
        assert_eq!(Placement::compute(&packs(5), &nodes[..2], 3).replicas(), 10);
    }

    #[test]
    fn replicas_follow_stake_and_stay_when_others_join() {
        let mut nodes: Vec<_> = (1..=10).map(|id| node(id, 10)).collect();
        nodes[0].stake = Amount(40 * Amount::ONE_OPEN.0);
        let before = Placement::compute(&packs(2000), &nodes, 1);
        let heavy = before.packs_of(AccountId(1)).len();
        // Expected 40/130 of 2,000 = 615; five standard deviations are 103.
        assert!((512..=718).contains(&heavy), "{heavy}");
        nodes.push(node(11, 10));
        let after = Placement::compute(&packs(2000), &nodes, 1);
        for (account, held) in after.holders().filter(|(account, _)| *account != AccountId(11)) {
            let old = before.packs_of(account);
            assert!(
                held.iter().all(|pack| old.contains(pack)),
                "a join moves packs only to itself"
            );
        }
    }
}
