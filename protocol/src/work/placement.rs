//! Which nodes hold which pack: stake-weighted rendezvous hashing.
//!
//! `score = -log2(H(pack seed, node seed, pack, account)) / weight`, lowest `r` win; the seeds are
//! fixed after both the pack and the node were registered, so neither can be ground to fit. A name
//! holds one replica of a pack, so one with more than a part of `1/r` of all stake holds less than its
//! part; however it is divided over names, they hold no more than their part of the stake together.
//! Whoever keeps one copy under many names is assigned other packs under each, so the names earn
//! nothing by it.
//!
//! **The newcomers' lane.** Nodes without the least stake that counts are weighed alike, and one of
//! them holds the last replica of some packs, which the packs' seeds draw: so many that newcomers have
//! a given part of all replicas, however many names they are. Durability rests on the other replicas,
//! and what newcomers are paid is bounded again where it is settled.
//!
//! Rendezvous hashing is by Thaler and Ravishankar (1998, "Using Name-Based Mappings to Increase Hit
//! Rates"), the division of a logarithm by a weight by Schindelhauer and Schomaker (2005, "Weighted
//! Distributed Hash Tables").

use alloc::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    vec::Vec,
};

use crate::{
    blob::BlobRef,
    hash::{keccak, leading_u64},
    ids::{AccountId, Amount, Digest, Hash},
    math::{BPS, neg_log2},
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
    /// Its stake, if it counts; zero for a newcomer.
    pub weight: Amount,
    /// S1 of the epoch after its registration.
    pub seed: Digest,
}

impl NodeSeed {
    fn is_newcomer(&self) -> bool {
        self.weight == Amount::ZERO
    }
}

/// How many replicas there are, and for whom.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Replication {
    /// Replicas of a pack.
    pub replicas: u32,
    /// The part of all replicas that newcomers may hold, in basis points; at most one of a pack.
    pub newcomers_bps: u32,
}

impl Replication {
    fn replicas(self) -> usize {
        usize::try_from(self.replicas).unwrap_or(usize::MAX)
    }

    /// Whether a newcomer may hold a replica of a pack.
    fn admits_newcomer(self, pack: &PackSeed) -> bool {
        let draw = leading_u64(&keccak(&[&pack.seed.0, b"newcomer", &pack.hash.0]));
        let share = u128::from(self.newcomers_bps).saturating_mul(u128::from(self.replicas));
        u128::from(draw).checked_rem(BPS).is_some_and(|draw| draw < share)
    }
}

/// Who holds what during one epoch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Placement {
    by_account: BTreeMap<AccountId, Vec<BlobRef>>,
    newcomers: BTreeSet<AccountId>,
    replicas: u64,
    bytes: u128,
    newcomers_bytes: u128,
}

impl Placement {
    /// Assigns every pack to the nodes of lowest score.
    pub fn compute(packs: &[PackSeed], nodes: &[NodeSeed], rule: Replication) -> Self {
        let mut placement = Self::default();
        for pack in packs {
            placement.assign(pack, &Holders::find(pack, None, nodes, rule), rule);
        }
        placement.sort();
        placement
    }

    fn assign(&mut self, pack: &PackSeed, holders: &Holders, rule: Replication) {
        let held = BlobRef::new(pack.hash, pack.length);
        let places = rule.replicas().saturating_sub(usize::from(holders.newcomer.is_some()));
        for (_, account) in holders.staked.iter().take(places) {
            self.give(*account, held);
        }
        if let Some((_, account)) = holders.newcomer {
            self.give(account, held);
            self.newcomers.insert(account);
            self.newcomers_bytes = self.newcomers_bytes.saturating_add(u128::from(pack.length));
        }
    }

    fn give(&mut self, account: AccountId, pack: BlobRef) {
        self.by_account.entry(account).or_default().push(pack);
        self.replicas = self.replicas.saturating_add(1);
        self.bytes = self.bytes.saturating_add(u128::from(pack.length));
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

    /// Whether an account holds what it does as a newcomer.
    pub fn is_newcomer(&self, account: AccountId) -> bool {
        self.newcomers.contains(&account)
    }

    /// All assigned replicas.
    pub const fn replicas(&self) -> u64 {
        self.replicas
    }

    /// Bytes of all assigned replicas.
    pub const fn bytes(&self) -> u128 {
        self.bytes
    }

    /// Bytes of the replicas that newcomers hold.
    pub const fn newcomers_bytes(&self) -> u128 {
        self.newcomers_bytes
    }
}

type Scored = (u128, AccountId);

/// The best of both kinds for a pack.
#[derive(Debug, Clone, Default)]
struct Holders {
    /// As many as there are replicas, the lowest score first.
    staked: Vec<Scored>,
    /// Who has the place of the last of them; nobody where the pack admits none or there is none.
    newcomer: Option<Scored>,
}

impl Holders {
    /// Those of lowest score among some that are known and further nodes.
    fn find(pack: &PackSeed, known: Option<Self>, nodes: &[NodeSeed], rule: Replication) -> Self {
        let Self { staked, newcomer } = known.unwrap_or_default();
        let of = |is_new: bool| nodes.iter().filter(move |node| node.is_newcomer() == is_new);
        let newcomer = match rule.admits_newcomer(pack) {
            true => lowest(pack, newcomer.into_iter().collect(), of(true), 1).pop(),
            false => None,
        };
        Self { staked: lowest(pack, staked, of(false), rule.replicas()), newcomer }
    }

    fn has_any(&self, is_it: impl Fn(&AccountId) -> bool) -> bool {
        self.staked.iter().chain(&self.newcomer).any(|(_, account)| is_it(account))
    }
}

/// The `count` lowest of some that are scored already and of further nodes, in order.
fn lowest<'a>(
    pack: &PackSeed,
    mut ranked: Vec<Scored>,
    nodes: impl Iterator<Item = &'a NodeSeed>,
    count: usize,
) -> Vec<Scored> {
    ranked.extend(nodes.map(|node| (score(pack, node), node.account)));
    if let Some(last) = count.checked_sub(1).filter(|last| *last < ranked.len()) {
        ranked.select_nth_unstable(last);
    }
    ranked.truncate(count);
    ranked.sort_unstable();
    assert!(ranked.len() <= count, "a pack has no more holders than paid replicas");
    ranked
}

/// Placements of successive epochs: a pack keeps its holders unless one of them changed or a node
/// that changed scores lower, so an epoch costs what is new in it.
#[derive(Debug, Clone)]
pub(crate) struct Placer {
    nodes: Vec<NodeSeed>,
    packs: Vec<PackSeed>,
    rule: Replication,
    holders: BTreeMap<Hash, Holders>,
    placement: Option<Arc<Placement>>,
}

impl Placer {
    /// Before the first epoch.
    pub(crate) const fn new() -> Self {
        Self {
            nodes: Vec::new(),
            packs: Vec::new(),
            rule: Replication { replicas: 0, newcomers_bps: 0 },
            holders: BTreeMap::new(),
            placement: None,
        }
    }

    /// [`Placement::compute`] over packs sorted by hash and nodes sorted by account.
    pub(crate) fn place(
        &mut self,
        packs: Vec<PackSeed>,
        nodes: Vec<NodeSeed>,
        rule: Replication,
    ) -> Arc<Placement> {
        if let Some(last) = &self.placement
            && self.packs == packs
            && self.nodes == nodes
            && self.rule == rule
        {
            return Arc::clone(last);
        }
        if self.rule != rule {
            self.holders.clear();
        }
        let is_sorted = packs.is_sorted_by(|a, b| a.hash < b.hash);
        assert!(is_sorted, "packs are distinct and sorted by hash, or some would be placed anew");
        let is_sorted = nodes.is_sorted_by(|a, b| a.account < b.account);
        assert!(is_sorted, "nodes are distinct and sorted by account, or changes would be missed");
        let new = missing_from(&nodes, &self.nodes);
        let gone = missing_from(&self.nodes, &nodes);
        let is_gone = |id: &AccountId| gone.binary_search_by_key(id, |node| node.account).is_ok();
        let mut placement = Placement::default();
        let mut holders = BTreeMap::new();
        for pack in &packs {
            let is_known = self.packs.binary_search_by_key(&pack.hash, |known| known.hash);
            let is_same = is_known.is_ok_and(|place| self.packs.get(place) == Some(pack));
            let before = self.holders.remove(&pack.hash);
            let before = before.filter(|before| is_same && !before.has_any(is_gone));
            let among = if before.is_some() { &new } else { &nodes };
            let chosen = Holders::find(pack, before, among, rule);
            placement.assign(pack, &chosen, rule);
            holders.insert(pack.hash, chosen);
        }
        placement.sort();
        assert!(holders.len() == packs.len(), "every pack is placed once");
        *self = Self { nodes, packs, rule, holders, placement: Some(Arc::new(placement)) };
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
    let weight = node.weight.0.max(Amount::ONE_OPEN.0) >> 40;
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
                (prop::collection::btree_map(1u64..12, 0u128..6, 0..12), 0u16..12, 1u32..4),
                1..6,
            ),
        ) {
            let mut placer = Placer::new();
            for (stakes, count, replicas) in epochs {
                let rule = Replication { replicas, newcomers_bps: 3000 };
                let nodes: Vec<_> = stakes.into_iter().map(|(id, stake)| node(id, stake)).collect();
                let mut listed = packs(count);
                listed.sort_unstable_by_key(|pack| pack.hash);
                let fresh = Placement::compute(&listed, &nodes, rule);
                prop_assert_eq!(&*placer.place(listed, nodes, rule), &fresh);
            }
        }
    }

    const fn replicas(replicas: u32) -> Replication {
        Replication { replicas, newcomers_bps: 1000 }
    }

    fn node(id: u64, stake: u128) -> NodeSeed {
        let weight = Amount(stake * Amount::ONE_OPEN.0);
        NodeSeed { account: AccountId(id), weight, seed: Digest([id as u8; 32]) }
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
        let placement = Placement::compute(&packs(50), &nodes, replicas(3));
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
        assert_eq!(Placement::compute(&packs(5), &nodes[..2], replicas(3)).replicas(), 10);
    }

    #[test]
    fn replicas_follow_stake_and_stay_when_others_join() {
        let mut nodes: Vec<_> = (1..=10).map(|id| node(id, 10)).collect();
        nodes[0].weight = Amount(40 * Amount::ONE_OPEN.0);
        let before = Placement::compute(&packs(2000), &nodes, replicas(1));
        let heavy = before.packs_of(AccountId(1)).len();
        // Expected 40/130 of 2,000 = 615; five standard deviations are 103.
        assert!((512..=718).contains(&heavy), "{heavy}");
        nodes.push(node(11, 10));
        let after = Placement::compute(&packs(2000), &nodes, replicas(1));
        for (account, held) in after.holders().filter(|(account, _)| *account != AccountId(11)) {
            let old = before.packs_of(account);
            assert!(
                held.iter().all(|pack| old.contains(pack)),
                "a join moves packs only to itself"
            );
        }
    }

    /// However many names come without stake, they hold one replica of a pack at most, and a tenth of
    /// all; whoever has stake is not driven out.
    #[test]
    fn names_without_stake_have_their_lane_and_no_more() {
        let honest = (1..=10).map(|id| node(id, 10));
        for names in [1, 40, 400] {
            let nodes: Vec<_> =
                honest.clone().chain((11..11 + names).map(|id| node(id, 0))).collect();
            let placement = Placement::compute(&packs(3000), &nodes, replicas(3));
            assert_eq!(placement.replicas(), 9000);
            let mut of_pack = BTreeMap::<Hash, u32>::new();
            for (account, held) in placement.holders().filter(|(account, _)| account.0 > 10) {
                assert!(placement.is_newcomer(account));
                held.iter().for_each(|pack| *of_pack.entry(pack.hash).or_default() += 1);
            }
            assert!(of_pack.values().all(|count| *count == 1));
            // Expected 900 of 9,000; five standard deviations of 3,000 draws are 126.
            assert!((774..=1026).contains(&of_pack.len()), "{names}: {}", of_pack.len());
            assert_eq!(placement.newcomers_bytes(), 100 * of_pack.len() as u128);
            assert!((1..=10).all(|id| !placement.is_newcomer(AccountId(id))));
        }
    }

    /// Where one name has half of all stake, dividing it gives no more than half of the replicas.
    #[test]
    fn stake_that_is_divided_over_names_holds_no_more_than_its_part() {
        let of_names = |names: u64| {
            let party = (1..=names).map(|id| node(id, 1000 / u128::from(names)));
            let nodes: Vec<_> = party.chain((200..210).map(|id| node(id, 100))).collect();
            let placement = Placement::compute(&packs(2000), &nodes, replicas(3));
            let theirs = placement.holders().filter(|(account, _)| account.0 < 200);
            theirs.map(|(_, held)| held.len()).sum::<usize>()
        };
        // Half of 6,000; five standard deviations are 194.
        assert!(of_names(1) <= 2000);
        assert!([10, 100].into_iter().all(|names| (2_000..=3_194).contains(&of_names(names))));
    }
}
