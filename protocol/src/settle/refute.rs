//! Which proof the contract takes that a settlement is false.

use alloc::vec::Vec;

use super::payout_tree;
use crate::{
    balance::Balance,
    chain::{Challenge, PayoutLeaf, Settlement},
    ids::{AccountId, Digest},
    merkle::{SumNode, SumTree},
};

/// A payout tree with the list that it is of.
struct Payouts<'a> {
    leaves: &'a [(AccountId, Balance)],
    tree: SumTree,
}

impl<'a> Payouts<'a> {
    fn new(leaves: &'a [(AccountId, Balance)]) -> Self {
        Self { leaves, tree: payout_tree(leaves) }
    }

    const fn count(&self) -> u64 {
        self.leaves.len() as u64
    }

    fn leaf(&self, index: usize) -> Option<PayoutLeaf> {
        let (account, balance) = *self.leaves.get(index)?;
        let index = u64::try_from(index).ok()?;
        let siblings = self.tree.prove(index)?;
        Some(PayoutLeaf { account, balance, index, siblings })
    }
}

/// The challenge that ends a settlement, where the contract can see by itself that it is false. `None` where it
/// cannot: then somebody has to object.
///
/// `before` are the balances of the final settlement before. The payouts of the settlement are looked for in
/// them, in none at all, and in `lists`: what one came to oneself, and what its proposer published. Of a right
/// settlement there is no challenge, whatever is given.
pub fn refute(
    settlement: &Settlement,
    before: &[(AccountId, Balance)],
    lists: &[&[(AccountId, Balance)]],
) -> Option<Challenge> {
    let known = [&[][..], before].into_iter().chain(lists.iter().copied());
    let payouts = known.map(Payouts::new).find(|p| p.tree.root() == settlement.payout_root)?;
    let wrong = wrong_total(settlement, &payouts).or_else(|| wrong_order(&payouts));
    wrong.or_else(|| loss(&Payouts::new(before), &payouts))
}

fn wrong_total(settlement: &Settlement, payouts: &Payouts<'_>) -> Option<Challenge> {
    let top = match payouts.tree.top() {
        Some(top) => top,
        None => SumNode { hash: Digest::ZERO, sum: 0 },
    };
    let count = payouts.count();
    (top.sum != settlement.total.0).then_some(Challenge::Total { count, top })
}

fn wrong_order(payouts: &Payouts<'_>) -> Option<Challenge> {
    let is_wrong =
        |pair: &[(AccountId, Balance)]| matches!(pair, [(left, _), (right, _)] if left >= right);
    let first = payouts.leaves.windows(2).position(is_wrong)?;
    let (left, right) = (payouts.leaf(first)?, payouts.leaf(first.checked_add(1)?)?);
    Some(Challenge::Order { count: payouts.count(), left, right })
}

/// Of payouts that are in order.
fn loss(before: &Payouts<'_>, payouts: &Payouts<'_>) -> Option<Challenge> {
    for (place, (account, had)) in before.leaves.iter().enumerate() {
        let found = match payouts.leaves.binary_search_by_key(account, |(id, _)| *id) {
            Ok(index) if payouts.leaves.get(index).is_some_and(|(_, has)| keeps(has, had)) => {
                continue;
            }
            Ok(index) => [Some(index), None],
            Err(next) => {
                let is_there = |index: &usize| *index < payouts.leaves.len();
                [next.checked_sub(1), Some(next).filter(is_there)]
            }
        };
        let found = found.into_iter().flatten();
        return Some(Challenge::Loss {
            count_before: before.count(),
            before: before.leaf(place)?,
            count: payouts.count(),
            found: found.map(|index| payouts.leaf(index)).collect::<Option<Vec<_>>>()?,
        });
    }
    None
}

/// Whether nothing shrank, of what is free and of what is held.
const fn keeps(has: &Balance, had: &Balance) -> bool {
    has.free.0 >= had.free.0 && has.lane.0 >= had.lane.0
}
