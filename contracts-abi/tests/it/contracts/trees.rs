//! Paths in sum trees, some of them spoiled, by Rust and by Solidity. A claim on a root that is not final
//! names the root that the contract found, so that it can be asked.

use alloy::primitives::B256;
use alloy::sol_types::{SolCall, SolError};
use protocol::Digest;
use protocol::merkle::{SumNode, SumTree, verify_sum};

use super::chain::EmbeddedChain;
use super::settlements::leaf_of;
use super::world::{RewardVault, World, sum_nodes, who};
use crate::random::driver::Draw;

const TREES: usize = 4_000;

struct Path {
    account: u64,
    free: u128,
    lane: u128,
    index: u64,
    count: u64,
    siblings: Vec<SumNode>,
}

impl Path {
    /// Of a tree of up to forty leaves, whose sum may be more than there can be; and the tree's root.
    fn drawn(draw: &mut Draw) -> (Self, Digest) {
        let count = 1 + draw.below(40);
        let bits = [0, 40, 122, 128][draw.below(4)];
        let mut amount = || {
            let word = u128::from_be_bytes(std::array::from_fn(|_| draw.below(256) as u8));
            word.checked_shr(128 - bits).unwrap_or_default()
        };
        let mut leaf = || {
            let free = amount();
            (free, amount().min(u128::MAX - free))
        };
        let leaves: Vec<_> = (1..=count as u64).map(|id| (id, leaf())).collect();
        let index = draw.below(count);
        let (account, (free, lane)) = leaves[index];
        let tree = leaves.iter().map(|(id, of)| leaf_of(*id, *of)).collect::<Vec<_>>();
        let tree = SumTree::new(&tree);
        let siblings = tree.prove(index as u64).unwrap();
        let (index, count) = (index as u64, count as u64);
        (Self { account, free, lane, index, count, siblings }, tree.root())
    }

    /// Changes something; whether it did.
    fn spoil(&mut self, draw: &mut Draw) -> bool {
        let extreme = [0, u64::MAX, u64::MAX - 1, 1 << 63][draw.below(4)];
        match draw.below(10) {
            0 => self.account ^= 1,
            1 => self.free = self.free.wrapping_add(1),
            2 => self.index ^= 1 << draw.below(6),
            3 => self.count ^= 1 << draw.below(6),
            4 => (self.index, self.count) = (extreme, u64::MAX),
            5 => self.siblings.push(SumNode { hash: Digest([7; 32]), sum: 0 }),
            6 if !self.siblings.is_empty() => drop(self.siblings.pop()),
            7 if !self.siblings.is_empty() => {
                let place = draw.below(self.siblings.len());
                self.siblings[place].sum ^= 1 << draw.below(128);
            }
            8 if self.free != self.lane => std::mem::swap(&mut self.free, &mut self.lane),
            _ => return false,
        }
        true
    }

    /// Whether it leads to a root, as Rust says.
    fn leads_to(&self, root: Digest) -> bool {
        let Some(sum) = self.free.checked_add(self.lane) else { return false };
        let (payload, _) = leaf_of(self.account, (self.free, self.lane));
        verify_sum(&root, self.count, self.index, &payload, sum, &self.siblings).is_some()
    }

    /// The root that Solidity finds, if the path has one.
    fn found(&self, world: &mut World<'_>) -> Option<Digest> {
        let call = RewardVault::claimCall {
            leaf: RewardVault::Leaf {
                account: self.account,
                free: self.free,
                lane: self.lane,
                index: self.index,
                siblings: sum_nodes!(RewardVault, &self.siblings),
            },
            count: self.count,
        };
        let refused = world.chain.call(who(0), world.vault, call.abi_encode().into());
        let data = refused.expect_err("nothing is final");
        RewardVault::UnknownRoot::abi_decode(&data).ok().map(|unknown| {
            let root: B256 = unknown.root;
            Digest(root.0)
        })
    }
}

pub(crate) fn scenario() {
    let mut chain = EmbeddedChain::new();
    let mut world = World::deploy(&mut chain);
    let mut draw = Draw(1);
    let (mut whole, mut refused) = (0, 0);
    for turn in 0..TREES {
        let (mut path, root) = Path::drawn(&mut draw);
        let is_whole = !path.spoil(&mut draw);
        match path.found(&mut world) {
            Some(found) => {
                assert!(path.leads_to(found), "{turn}: Rust refuses what Solidity takes");
                assert_eq!(found == root, is_whole, "{turn}: a root has one meaning");
                whole += usize::from(is_whole);
            }
            None => {
                assert!(!path.leads_to(root), "{turn}: Rust takes what Solidity refuses");
                refused += 1;
            }
        }
    }
    assert!(whole > TREES / 20 && refused > TREES / 20, "{whole} whole, {refused} refused");
}
