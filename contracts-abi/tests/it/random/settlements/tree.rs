//! Payout trees told level by level, some of which say what is not so.

use alloy::primitives::{B256, keccak256};

use crate::contracts::world::Settlements;

/// Account, what is free, and what it earned in the lane.
pub(super) type Leaf = (u64, u128, u128);

/// A node of a tree that says more than is below it: its level, its place, and by how much.
pub(super) type Crooked = (usize, usize, u128);

/// Hashes with their sums, the leaves first.
pub(super) struct Tree(Vec<Vec<(B256, u128)>>);

fn of_leaf((account, free, lane): Leaf) -> B256 {
    let words = [&[0][..], &account.to_be_bytes(), &free.to_be_bytes(), &lane.to_be_bytes()];
    keccak256(words.concat())
}

fn of_pair(left: (B256, u128), right: (B256, u128)) -> B256 {
    let (ls, rs) = (left.1.to_be_bytes(), right.1.to_be_bytes());
    keccak256([&[1][..], &left.0[..], &ls, &right.0[..], &rs].concat())
}

impl Tree {
    pub(super) fn new(leaves: &[Leaf], crooked: Option<Crooked>) -> Self {
        let more = |level: usize, place: usize| match crooked {
            Some((at, of, more)) if (at, of) == (level, place) => more,
            _ => 0,
        };
        let leaf =
            |(place, leaf): (usize, &Leaf)| (of_leaf(*leaf), leaf.1 + leaf.2 + more(0, place));
        let mut levels = vec![leaves.iter().enumerate().map(leaf).collect::<Vec<_>>()];
        while levels.last().is_some_and(|level| level.len() > 1) {
            let (height, below) = (levels.len(), &levels[levels.len() - 1]);
            let join = |(place, pair): (usize, &[(B256, u128)])| match pair {
                [left, right] => (of_pair(*left, *right), left.1 + right.1 + more(height, place)),
                alone => alone[0],
            };
            let level = below.chunks(2).enumerate().map(join).collect();
            levels.push(level);
        }
        Self(levels)
    }

    pub(super) fn count(&self) -> u64 {
        self.0[0].len() as u64
    }

    pub(super) fn top(&self) -> (B256, u128) {
        self.0.last().and_then(|top| top.first().copied()).unwrap_or_default()
    }

    pub(super) fn root(&self) -> B256 {
        if self.0[0].is_empty() {
            return B256::ZERO;
        }
        let (hash, sum) = self.top();
        keccak256([&[2][..], &self.count().to_be_bytes(), &hash[..], &sum.to_be_bytes()].concat())
    }

    /// Places of nodes with two below them.
    pub(super) fn pairs(&self) -> Vec<(usize, usize)> {
        let above = (1..self.0.len()).map(|level| (level, self.0[level - 1].len() / 2));
        above.flat_map(|(level, pairs)| (0..pairs).map(move |place| (level, place))).collect()
    }

    pub(super) fn node(&self, level: usize, place: usize) -> (B256, u128) {
        self.0[level][place]
    }

    pub(super) fn siblings(&self, level: usize, place: usize) -> Vec<Settlements::SumNode> {
        let below = self.0[level..].iter().enumerate();
        let beside = below.filter_map(|(up, nodes)| nodes.get((place >> up) ^ 1));
        beside.map(|node| sum_node(*node)).collect()
    }

    pub(super) fn place(&self, leaves: &[Leaf], place: usize) -> Settlements::Leaf {
        let (account, free, lane) = leaves[place];
        let siblings = self.siblings(0, place);
        Settlements::Leaf { account, free, lane, index: place as u64, siblings }
    }
}

pub(super) fn sum_node((hash, sum): (B256, u128)) -> Settlements::SumNode {
    Settlements::SumNode { hash, sum }
}
