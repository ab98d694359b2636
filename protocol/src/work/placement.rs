//! Which nodes hold which pack: stake-weighted rendezvous hashing.
//!
//! `score = -log2(H(pack seed, node seed, pack, account)) / weight`, lowest `r` win; the seeds are
//! fixed after both the pack and the node were registered, so neither can be ground to fit. Whoever
//! keeps one copy under many names is assigned other packs under each, so the names earn nothing by it.
//!
//! Rendezvous hashing is by Thaler and Ravishankar (1998, "Using Name-Based Mappings to Increase Hit
//! Rates"), the division of a logarithm by a weight by Schindelhauer and Schomaker (2005, "Weighted
//! Distributed Hash Tables").

use alloc::{collections::BTreeMap, sync::Arc, vec::Vec};

use crate::{
    blob::BlobRef,
    hash::{keccak, leading_u64},
    ids::{AccountId, Amount, Digest, Hash},
    math::neg_log2,
};

/// A pack that wants replicas.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PackSeed {
    /// BLAKE3 hash of the pack.
    pub hash: Hash,
    /// Its length in bytes.
    pub length: u64,
    /// S1 of the epoch after its admission.
    pub seed: Digest,
}

/// A node that may hold replicas.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NodeSeed {
    /// The account that runs the node.
    pub account: AccountId,
    /// Its stake; nodes without stake weigh as one OPEN.
    pub stake: Amount,
    /// S1 of the epoch after its registration.
    pub seed: Digest,
}

/// Who holds what during one epoch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Placement {
    by_account: BTreeMap<AccountId, Vec<BlobRef>>,
    replicas: u64,
    bytes: u128,
}

impl Placement {
    /// Assigns every pack to the `replicas` nodes of lowest score.
    pub fn compute(packs: &[PackSeed], nodes: &[NodeSeed], replicas: u32) -> Self {
        let replicas = usize::try_from(replicas).unwrap_or(usize::MAX);
        let mut placement = Self::default();
        for pack in packs {
            placement.assign(pack, &lowest(pack, Vec::new(), nodes, replicas));
        }
        placement.sort();
        placement
    }

    fn assign(&mut self, pack: &PackSeed, holders: &[(u128, AccountId)]) {
        for (_, account) in holders {
            self.by_account.entry(*account).or_default().push(BlobRef::new(pack.hash, pack.length));
            self.replicas = self.replicas.saturating_add(1);
            self.bytes = self.bytes.saturating_add(u128::from(pack.length));
        }
    }

    fn sort(&mut self) {
        for packs in self.by_account.values_mut() {
            packs.sort_unstable();
            packs.dedup();
        }
    }

    /// The packs of an account with their lengths, sorted by hash.
    pub fn packs_of(&self, account: AccountId) -> &[BlobRef] {
        self.by_account.get(&account).map_or(&[], Vec::as_slice)
    }

    /// Every account that holds something.
    pub fn holders(&self) -> impl Iterator<Item = (AccountId, &[BlobRef])> {
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

/// The `replicas` lowest of some that are scored already and of further nodes.
fn lowest(
    pack: &PackSeed,
    mut ranked: Vec<(u128, AccountId)>,
    nodes: &[NodeSeed],
    replicas: usize,
) -> Vec<(u128, AccountId)> {
    ranked.extend(nodes.iter().map(|node| (score(pack, node), node.account)));
    if let Some(last) = replicas.checked_sub(1).filter(|last| *last < ranked.len()) {
        ranked.select_nth_unstable(last);
    }
    ranked.truncate(replicas);
    assert!(ranked.len() <= replicas, "a pack has no more holders than paid replicas");
    ranked
}

/// Placements of successive epochs: a pack keeps its holders unless one of them changed or a node
/// that changed scores lower, so an epoch costs what is new in it.
#[derive(Debug, Clone)]
pub struct Placer {
    nodes: Vec<NodeSeed>,
    packs: Vec<PackSeed>,
    replicas: u32,
    holders: BTreeMap<Hash, Vec<(u128, AccountId)>>,
    placement: Option<Arc<Placement>>,
}

impl Placer {
    /// Before the first epoch.
    pub const fn new() -> Self {
        Self {
            nodes: Vec::new(),
            packs: Vec::new(),
            replicas: 0,
            holders: BTreeMap::new(),
            placement: None,
        }
    }

    /// [`Placement::compute`] over packs sorted by hash and nodes sorted by account.
    pub fn place(
        &mut self,
        packs: Vec<PackSeed>,
        nodes: Vec<NodeSeed>,
        replicas: u32,
    ) -> Arc<Placement> {
        if let Some(last) = &self.placement
            && self.packs == packs
            && self.nodes == nodes
            && self.replicas == replicas
        {
            return Arc::clone(last);
        }
        if self.replicas != replicas {
            self.holders.clear();
        }
        let is_sorted = packs.is_sorted_by(|a, b| a.hash < b.hash);
        assert!(is_sorted, "packs are distinct and sorted by hash, or some would be placed anew");
        let is_sorted = nodes.is_sorted_by(|a, b| a.account < b.account);
        assert!(is_sorted, "nodes are distinct and sorted by account, or changes would be missed");
        let count = usize::try_from(replicas).unwrap_or(usize::MAX);
        let new = missing_from(&nodes, &self.nodes);
        let gone = missing_from(&self.nodes, &nodes);
        let is_gone = |id: &AccountId| gone.binary_search_by_key(id, |node| node.account).is_ok();
        let mut placement = Placement::default();
        let mut holders = BTreeMap::new();
        for pack in &packs {
            let is_known = self.packs.binary_search_by_key(&pack.hash, |known| known.hash);
            let is_same = is_known.is_ok_and(|place| self.packs.get(place) == Some(pack));
            let before = self
                .holders
                .remove(&pack.hash)
                .filter(|before| is_same && !before.iter().any(|(_, account)| is_gone(account)));
            let chosen = match before {
                Some(before) => lowest(pack, before, &new, count),
                None => lowest(pack, Vec::new(), &nodes, count),
            };
            placement.assign(pack, &chosen);
            holders.insert(pack.hash, chosen);
        }
        placement.sort();
        assert!(holders.len() == packs.len(), "every pack is placed once");
        *self = Self { nodes, packs, replicas, holders, placement: Some(Arc::new(placement)) };
        self.placement.clone().unwrap_or_default()
    }
}

impl Default for Placer {
    fn default() -> Self {
        Self::new()
    }
}

/// The nodes of one sorted list that the other has not, or has otherwise.
fn missing_from(nodes: &[NodeSeed], other: &[NodeSeed]) -> Vec<NodeSeed> {
    let is_there = |node: &&NodeSeed| {
        let found = other.binary_search_by_key(&node.account, |other| other.account);
        found.is_ok_and(|place| other.get(place) == Some(*node))
    };
    nodes.iter().filter(|node| !is_there(node)).copied().collect()
}

fn score(pack: &PackSeed, node: &NodeSeed) -> u128 {
    let draw = keccak(&[&pack.seed.0, &node.seed.0, &pack.hash.0, &node.account.0.to_be_bytes()]);
    let weight = node.stake.0.max(Amount::ONE_OPEN.0) >> 40;
    assert!(weight > 0, "a node weighs at least as much as one OPEN");
    // 2^38 · 2^80 fits; the shift keeps the quotient fine for the largest stakes.
    (u128::from(neg_log2(leading_u64(&draw))) << 80).checked_div(weight).unwrap_or(u128::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Whatever comes, goes or changes its stake, the placer says what a fresh computation says.
        #[test]
        fn placements_of_successive_epochs_equal_fresh_ones(
            epochs in prop::collection::vec(
                (prop::collection::btree_map(1u64..12, 1u128..50, 0..12), 0u16..12, 1u32..4),
                1..6,
            ),
        ) {
            let mut placer = Placer::new();
            for (stakes, count, replicas) in epochs {
                let nodes: Vec<_> = stakes.into_iter().map(|(id, stake)| node(id, stake)).collect();
                let mut listed = packs(count);
                listed.sort_unstable_by_key(|pack| pack.hash);
                let fresh = Placement::compute(&listed, &nodes, replicas);
                prop_assert_eq!(&*placer.place(listed, nodes, replicas), &fresh);
            }
        }

    }

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
            for pack in held {
                *copies.entry(pack.hash).or_default() += 1;
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
