//! Settlements that take from somebody what an earlier one gave.

use protocol::chain::Settlement;
use protocol::merkle::SumTree;
use protocol::{Amount, Digest, Epoch};

use super::settlements::{LEAVES, abi_of, defeat as defeats, leaf_of};
use super::world::{OPEN, Settlements, World, sum_nodes};

/// A payout tree with its leaves.
struct Payouts {
    leaves: Vec<(u64, u128, u128)>,
    tree: SumTree,
}

impl Payouts {
    fn new(leaves: Vec<(u64, u128)>) -> Self {
        Self::with_lane(leaves.into_iter().map(|(account, free)| (account, free, 0)).collect())
    }

    fn with_lane(leaves: Vec<(u64, u128, u128)>) -> Self {
        let tree = leaves.iter().map(|(account, free, lane)| leaf_of(*account, (*free, *lane)));
        let tree = SumTree::new(&tree.collect::<Vec<_>>());
        Self { leaves, tree }
    }

    fn place(&self, index: usize) -> Settlements::Leaf {
        let (account, free, lane) = self.leaves[index];
        let siblings = sum_nodes!(Settlements, &self.tree.prove(index as u64).unwrap());
        Settlements::Leaf { account, free, lane, index: index as u64, siblings }
    }

    fn count(&self) -> u64 {
        self.leaves.len() as u64
    }
}

/// Of the epoch after the one that is final: each kind of loss is proposed, and defeated from its roots
/// alone; gives the gas.
pub(super) fn defeat(
    world: &mut World<'_>,
    last: &Settlement,
    before: &SumTree,
) -> Vec<(&'static str, u64)> {
    world.chain.advance_to(world.cutoff(1));
    let total = last.total.0;
    let had = Settlements::Leaf {
        account: 2,
        free: 600 * OPEN,
        lane: 0,
        index: 1,
        siblings: sum_nodes!(Settlements, &before.prove(1).unwrap()),
    };
    let bad = |payouts: &Payouts| Settlement {
        epoch: Epoch(1),
        parent: last.id(),
        records: Digest::ZERO,
        payout_root: payouts.tree.root(),
        total: Amount(payouts.tree.sum()),
        ..*last
    };
    let loss = |settlement: &Settlement, payouts: &Payouts, found: Vec<Settlements::Leaf>| {
        Settlements::challengeLossCall {
            settlement: abi_of(settlement),
            countBefore: LEAVES,
            before: had.clone(),
            count: payouts.count(),
            found,
        }
    };
    // Less than before, for the thief's own good.
    let less = Payouts::new(vec![(1, 1), (2, 600 * OPEN - 1), (3, total)]);
    let gas = defeats(world, &bad(&less), &loss(&bad(&less), &less, vec![less.place(1)]));
    // As much in all, but not to be had before there is a stake.
    let held = Payouts::with_lane(vec![(1, 1, 0), (2, 600 * OPEN - 1, 1), (3, total, 0)]);
    defeats(world, &bad(&held), &loss(&bad(&held), &held, vec![held.place(1)]));
    // Not there at all: between two others, before the first, after the last.
    let between = Payouts::new(vec![(1, 1), (3, total), (4, 0)]);
    let places = vec![between.place(0), between.place(1)];
    defeats(world, &bad(&between), &loss(&bad(&between), &between, places));
    let first = Payouts::new(vec![(3, total)]);
    defeats(world, &bad(&first), &loss(&bad(&first), &first, vec![first.place(0)]));
    let twice = Payouts::new(vec![(1, 1), (2, 700 * OPEN), (2, total)]);
    let order = Settlements::challengeOrderCall {
        settlement: abi_of(&bad(&twice)),
        count: twice.count(),
        left: twice.place(1),
        right: twice.place(2),
    };
    let order_gas = defeats(world, &bad(&twice), &order);
    withstands(world, &bad, &loss, total);
    vec![("challenge_loss", gas), ("challenge_order", order_gas)]
}

/// Nobody lost anything: no place in the tree says otherwise.
fn withstands(
    world: &mut World<'_>,
    of: &dyn Fn(&Payouts) -> Settlement,
    loss: &dyn Fn(&Settlement, &Payouts, Vec<Settlements::Leaf>) -> Settlements::challengeLossCall,
    total: u128,
) {
    let kept = Payouts::new(vec![(1, 1), (2, 600 * OPEN), (3, total)]);
    let settlement = of(&kept);
    let settlements = world.settlements;
    let propose = Settlements::proposeCall { proposer: 2, settlement: abi_of(&settlement) };
    world.send(2, settlements, &propose);
    let tries = [
        vec![],
        vec![kept.place(0)],
        vec![kept.place(1)],
        vec![kept.place(2)],
        vec![kept.place(0), kept.place(1)],
        vec![kept.place(0), kept.place(2)],
        vec![kept.place(1), kept.place(2)],
    ];
    for found in tries {
        let call = loss(&settlement, &kept, found);
        world.fails::<Settlements::Unfounded, _>(7, settlements, &call);
    }
}
