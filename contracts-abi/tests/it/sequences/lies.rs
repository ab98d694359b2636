//! Settlements that differ from the right one.

use protocol::chain::Settlement;
use protocol::codec::Wire;
use protocol::hash::{blake3, keccak};
use protocol::merkle::{self, SumNode, SumTree};
use protocol::settle::{Outcome, encode_balances, payout_tree};
use protocol::{AccountId, Amount, Balance, Digest, Hash};

use super::network::{Balances, Draw, THIEVES};

/// How a settlement is false.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lie {
    /// Another total than the payouts have.
    Total,
    /// No payouts at all.
    Nobody,
    /// The payouts of the settlement before, with the new total.
    OldPayouts,
    /// Somebody is left out, in a list that was published.
    LeftOut,
    /// Somebody has less than before.
    Less,
    /// Somebody stands there twice, or two in the wrong order.
    Order,
    /// Somebody is left out, and nobody has the list.
    Hidden,
    /// A thief has too much.
    Inflated,
    /// A root of nothing that anybody has.
    Root,
    /// A node of the tree has more than is below it.
    Node,
    /// A leaf counts for more than it says.
    Leaf,
    /// Another list of balances, or another length of it.
    List,
    /// Other uses of Datanets.
    Uses,
    /// Other counts of what was done.
    Counts,
}

impl Lie {
    /// What the contract can see of by itself, by what a node has or was shown.
    pub(super) const COMPUTABLE: &[&str] =
        &["Total", "Nobody", "OldPayouts", "LeftOut", "Less", "Order"];
    pub(super) const OTHERS: &[&str] =
        &["Hidden", "Inflated", "Root", "Node", "Leaf", "List", "Uses", "Counts"];
    const ALL: [Self; 14] = [
        Self::Total,
        Self::Nobody,
        Self::OldPayouts,
        Self::LeftOut,
        Self::Less,
        Self::Order,
        Self::Hidden,
        Self::Inflated,
        Self::Root,
        Self::Node,
        Self::Leaf,
        Self::List,
        Self::Uses,
        Self::Counts,
    ];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Total => "Total",
            Self::Nobody => "Nobody",
            Self::OldPayouts => "OldPayouts",
            Self::LeftOut => "LeftOut",
            Self::Less => "Less",
            Self::Order => "Order",
            Self::Hidden => "Hidden",
            Self::Inflated => "Inflated",
            Self::Root => "Root",
            Self::Node => "Node",
            Self::Leaf => "Leaf",
            Self::List => "List",
            Self::Uses => "Uses",
            Self::Counts => "Counts",
        }
    }

    pub(super) fn is_computable(self) -> bool {
        Self::COMPUTABLE.contains(&self.name())
    }
}

/// A lie with the list behind it, where its proposer published one.
pub(super) struct Told {
    pub(super) lie: Lie,
    pub(super) settlement: Settlement,
    pub(super) published: Option<Balances>,
}

/// Says something false about an epoch; `None` where there is nothing to say it about.
pub(super) fn tell(draw: &mut Draw, right: &Outcome, before: &Balances) -> Option<Told> {
    let lie = draw.of(&Lie::ALL);
    let good = right.settlement;
    let mut published = None;
    let settlement = match lie {
        Lie::Total => {
            let by = 1 + draw.below(1_000) as u128;
            let total = if draw.is_in(70) {
                good.total.0 + by
            } else {
                good.total.0 - by.min(good.total.0)
            };
            Settlement { total: Amount(total), ..good }
        }
        Lie::Nobody => Settlement { payout_root: Digest::ZERO, ..good },
        Lie::OldPayouts => Settlement { payout_root: payout_tree(before).root(), ..good },
        Lie::LeftOut | Lie::Less | Lie::Order | Lie::Hidden | Lie::Inflated => {
            let list = changed(draw, lie, &right.leaves, before)?;
            let (tree, bytes) = (payout_tree(&list), encode_balances(&list));
            published = (lie != Lie::Hidden).then_some(list);
            Settlement {
                payout_root: tree.root(),
                total: Amount(tree.sum()),
                balances: blake3(&bytes),
                balances_length: bytes.len() as u64,
                ..good
            }
        }
        Lie::Root => Settlement { payout_root: draw.digest(), ..good },
        Lie::Node | Lie::Leaf => {
            let (payout_root, total) = crooked(lie, &right.leaves)?;
            Settlement { payout_root, total, ..good }
        }
        Lie::List if draw.is_in(50) => Settlement { balances: Hash(draw.digest().0), ..good },
        Lie::List => Settlement { balances_length: good.balances_length ^ 1, ..good },
        Lie::Uses => Settlement { uses: draw.digest(), ..good },
        Lie::Counts => match draw.below(4) {
            0 => Settlement { replicas_proven: good.replicas_proven ^ 1, ..good },
            1 => Settlement { storage_faults: good.storage_faults ^ 1, ..good },
            2 => Settlement { shards_verified: good.shards_verified ^ 1, ..good },
            _ => Settlement { shards_rejected: good.shards_rejected ^ 1, ..good },
        },
    };
    (settlement != good).then_some(Told { lie, settlement, published })
}

/// A false list of balances that adds up to no less than before.
fn changed(draw: &mut Draw, lie: Lie, right: &Balances, before: &Balances) -> Option<Balances> {
    let mut list = right.clone();
    if lie == Lie::Inflated {
        let place = draw.below(list.len().max(1));
        list.get_mut(place)?.1.free.0 += 1;
        return Some(list);
    }
    if lie == Lie::Order {
        let place = draw.below(list.len().max(1));
        let leaf = list.get_mut(place)?;
        leaf.1.free.0 = leaf.1.free.0.checked_sub(1)?;
        let again = (leaf.0, free(1));
        list.insert(place + 1, again);
        return Some(list);
    }
    // What somebody had goes to a thief.
    let (victim, had) = *before.get(draw.below(before.len().max(1)))?;
    let place = list.iter().position(|(account, _)| *account == victim)?;
    let has = list[place].1;
    let taken = match lie {
        Lie::Less => has.free.0 - had.free.0.checked_sub(1)?,
        _ => has.total().0,
    };
    list[place].1.free.0 = has.free.0.saturating_sub(taken);
    // What it had is held instead.
    if lie == Lie::Less && draw.is_in(30) {
        list[place].1.lane.0 += taken;
        return Some(list);
    }
    if lie != Lie::Less {
        list.remove(place);
    }
    let thief = *THIEVES.iter().find(|thief| **thief != victim)?;
    give(&mut list, thief, taken);
    Some(list)
}

const fn free(amount: u128) -> Balance {
    Balance { free: Amount(amount), lane: Amount::ZERO }
}

fn give(list: &mut Balances, account: AccountId, amount: u128) {
    match list.binary_search_by_key(&account, |(id, _)| *id) {
        Ok(place) => list[place].1.free.0 += amount,
        Err(place) => list.insert(place, (account, free(amount))),
    }
}

/// A tree in which a leaf or the node above the first two has more than it should; its root and sum.
fn crooked(lie: Lie, leaves: &Balances) -> Option<(Digest, Amount)> {
    let payload = |leaf: &(AccountId, Balance)| leaf.to_bytes();
    if lie == Lie::Leaf {
        let mut all: Vec<_> = leaves.iter().map(|leaf| (payload(leaf), leaf.1.total().0)).collect();
        all.first_mut()?.1 += 1;
        let tree = SumTree::new(&all);
        return Some((tree.root(), Amount(tree.sum())));
    }
    let [first, second, ..] = leaves.as_slice() else { return None };
    let node = |leaf: &(AccountId, Balance)| SumNode {
        hash: merkle::leaf(&payload(leaf)),
        sum: leaf.1.total().0,
    };
    let join = |l: &SumNode, r: &SumNode, more: u128| SumNode {
        hash: keccak(&[&[1], &l.hash.0, &l.sum.to_be_bytes(), &r.hash.0, &r.sum.to_be_bytes()]),
        sum: l.sum + r.sum + more,
    };
    let mut level = vec![join(&node(first), &node(second), 1)];
    let rest = leaves[2..].chunks(2).map(|pair| match pair {
        [l, r] => join(&node(l), &node(r), 0),
        lone => node(&lone[0]),
    });
    level.extend(rest);
    while level.len() > 1 {
        level = level
            .chunks(2)
            .map(|pair| match pair {
                [l, r] => join(l, r, 0),
                lone => lone[0],
            })
            .collect();
    }
    let (count, top) = (leaves.len() as u64, level[0]);
    let root = keccak(&[&[2], &count.to_be_bytes(), &top.hash.0, &top.sum.to_be_bytes()]);
    Some((root, Amount(top.sum)))
}
