//! Settlements that differ from the right one, each in another way.

use protocol::chain::Settlement;
use protocol::codec::Wire;
use protocol::hash::{blake3, keccak};
use protocol::merkle::{self, SumNode, SumTree};
use protocol::settle::{Outcome, encode_balances, payout_tree};
use protocol::{AccountId, Amount, Balance, Digest, Hash};

pub(super) type Balances = Vec<(AccountId, Balance)>;

/// Something false that is proposed.
pub(super) struct Lie {
    pub(super) name: &'static str,
    pub(super) settlement: Settlement,
    /// The list behind it, where its proposer publishes one.
    pub(super) published: Option<Balances>,
    /// Whether the contract can see it by itself, by what a node has or is shown. Of nodes and leaves of a
    /// tree it can as well, but only who built the tree has the proof.
    pub(super) is_computable: bool,
}

/// All of them, about an epoch in which something was earned, after one with at least three balances.
pub(super) fn all(right: &Outcome, before: &Balances) -> Vec<Lie> {
    assert!(before.len() > 2, "{before:?}");
    let earned_before = payout_tree(before).sum();
    assert!(right.settlement.total.0 > earned_before + 1, "nothing was earned");
    let mut lies = computable(right, before);
    lies.extend(others(right, before));
    lies
}

/// What the contract can see.
fn computable(right: &Outcome, before: &Balances) -> Vec<Lie> {
    let good = right.settlement;
    let unpublished =
        |name, settlement| Lie { name, settlement, published: None, is_computable: true };
    let mut lies = vec![
        unpublished("more in all", Settlement { total: Amount(good.total.0 + 1), ..good }),
        unpublished("less in all", Settlement { total: Amount(good.total.0 - 1), ..good }),
        unpublished("nobody", Settlement { payout_root: Digest::ZERO, ..good }),
        unpublished("as before", Settlement { payout_root: payout_tree(before).root(), ..good }),
    ];
    let first = before.first().map(|leaf| leaf.0);
    let middle = before.get(before.len() / 2).map(|leaf| leaf.0);
    let last = before.last().map(|leaf| leaf.0);
    let victims = [("no first", first), ("no middle", middle), ("no last", last)];
    lies.extend(
        victims.map(|(name, victim)| listed(name, right, without(&right.leaves, victim.unwrap()))),
    );
    let (victim, had) = before[0];
    let mut less = right.leaves.clone();
    let taken = shrink(&mut less, victim, had);
    give(&mut less, victim, taken);
    let mut held = right.leaves.clone();
    let taken = shrink(&mut held, victim, had);
    let place = place_of(&held, victim);
    held[place].1.lane.0 += taken;
    let mut twice = right.leaves.clone();
    twice[0].1.free.0 -= 1;
    twice.insert(1, (twice[0].0, free(1)));
    let mut swapped = right.leaves.clone();
    swapped.swap(0, 1);
    let lists = [("less", less), ("held", held), ("twice", twice), ("swapped", swapped)];
    lies.extend(lists.map(|(name, list)| listed(name, right, list)));
    lies
}

/// What only a recomputation shows, or nobody but who proposes it could.
fn others(right: &Outcome, before: &Balances) -> Vec<Lie> {
    let good = right.settlement;
    let mut friend = right.leaves.clone();
    friend[1].1.free.0 += 1;
    // Another than the one that is published.
    let mut hidden = without(&right.leaves, before[0].0);
    give(&mut hidden, before[1].0, 1);
    let hidden = listed("", right, hidden).settlement;
    let nothing = listed("", right, before.clone());
    let lies = [
        ("a friend", listed("", right, friend)),
        ("nothing earned", nothing),
        ("a hidden list", unlisted(hidden)),
        ("any root", unlisted(Settlement { payout_root: Digest([7; 32]), ..good })),
        ("a node", unlisted(crooked(&good, node(&right.leaves)))),
        ("a leaf", unlisted(crooked(&good, leaf(&right.leaves)))),
        ("another list", unlisted(Settlement { balances: Hash([7; 32]), ..good })),
        (
            "a longer list",
            unlisted(Settlement { balances_length: good.balances_length + 1, ..good }),
        ),
        ("uses", unlisted(Settlement { uses: Digest([7; 32]), ..good })),
        ("replicas", unlisted(Settlement { replicas_proven: good.replicas_proven ^ 1, ..good })),
        ("faults", unlisted(Settlement { storage_faults: good.storage_faults ^ 1, ..good })),
        ("shards", unlisted(Settlement { shards_verified: good.shards_verified ^ 1, ..good })),
        ("rejected", unlisted(Settlement { shards_rejected: good.shards_rejected ^ 1, ..good })),
    ];
    lies.into_iter().map(|(name, lie)| Lie { name, is_computable: false, ..lie }).collect()
}

const fn unlisted(settlement: Settlement) -> Lie {
    Lie { name: "", settlement, published: None, is_computable: false }
}

/// A settlement that pays by another list, which is published.
fn listed(name: &'static str, right: &Outcome, list: Balances) -> Lie {
    let (tree, bytes) = (payout_tree(&list), encode_balances(&list));
    let settlement = Settlement {
        payout_root: tree.root(),
        total: Amount(tree.sum()),
        balances: blake3(&bytes),
        balances_length: bytes.len() as u64,
        ..right.settlement
    };
    Lie { name, settlement, published: Some(list), is_computable: true }
}

const fn free(amount: u128) -> Balance {
    Balance { free: Amount(amount), lane: Amount::ZERO }
}

fn place_of(list: &Balances, account: AccountId) -> usize {
    list.iter().position(|(id, _)| *id == account).expect("nobody's balance is gone")
}

/// Leaves somebody out, and gives what it has to another.
fn without(list: &Balances, victim: AccountId) -> Balances {
    let mut list = list.clone();
    let (_, had) = list.remove(place_of(&list, victim));
    give(&mut list, victim, had.total().0);
    list
}

/// Takes from somebody until it has one less than before; how much.
fn shrink(list: &mut Balances, victim: AccountId, had: Balance) -> u128 {
    let place = place_of(list, victim);
    let taken = list[place].1.free.0 + 1 - had.free.0;
    list[place].1.free.0 -= taken;
    taken
}

/// Gives something to somebody else.
fn give(list: &mut Balances, but: AccountId, amount: u128) {
    let other = list.iter_mut().find(|(id, _)| *id != but).expect("there are others");
    other.1.free.0 += amount;
}

fn crooked(good: &Settlement, (payout_root, total): (Digest, u128)) -> Settlement {
    Settlement { payout_root, total: Amount(total), ..*good }
}

/// A tree in which a leaf counts for more than it says; its root and sum.
fn leaf(leaves: &Balances) -> (Digest, u128) {
    let mut all: Vec<_> = leaves.iter().map(|leaf| (leaf.to_bytes(), leaf.1.total().0)).collect();
    all[0].1 += 1;
    let tree = SumTree::new(&all);
    (tree.root(), tree.sum())
}

/// A tree in which the node above the first two leaves has more than is below it; its root and sum.
fn node(leaves: &Balances) -> (Digest, u128) {
    let of = |leaf: &(AccountId, Balance)| SumNode {
        hash: merkle::leaf(&leaf.to_bytes()),
        sum: leaf.1.total().0,
    };
    let join = |l: &SumNode, r: &SumNode, more: u128| SumNode {
        hash: keccak(&[&[1], &l.hash.0, &l.sum.to_be_bytes(), &r.hash.0, &r.sum.to_be_bytes()]),
        sum: l.sum + r.sum + more,
    };
    let mut level: Vec<_> = leaves.iter().map(of).collect();
    let mut more = 1;
    while level.len() > 1 {
        let pairs = level.chunks(2).map(|pair| match pair {
            [l, r] => join(l, r, std::mem::take(&mut more)),
            lone => lone[0],
        });
        level = pairs.collect();
    }
    let (count, top) = (leaves.len() as u64, level[0]);
    let root = keccak(&[&[2], &count.to_be_bytes(), &top.hash.0, &top.sum.to_be_bytes()]);
    (root, top.sum)
}
