//! What shows the contract by itself that a proposal is wrong.

use alloc::vec::Vec;

use crate::{balance::Balance, ids::AccountId, merkle::SumNode};

/// A leaf of a payout tree with its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PayoutLeaf {
    /// Whom it pays.
    pub account: AccountId,
    /// Everything that the account has earned so far.
    pub balance: Balance,
    /// Its position among all leaves, from zero.
    pub index: u64,
    /// The sibling on each level from the leaf up.
    pub siblings: Vec<SumNode>,
}

/// A proof that a proposal is wrong. For whoever sends it first there is half of the proposer's bond.
///
/// The contract also takes proofs that a node of the tree, or a leaf, has another sum than what is below it.
/// A list of balances has no such tree, so only whoever made it up could send those; others object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Challenge {
    /// The total is not what the payouts add up to.
    Total {
        /// Number of leaves.
        count: u64,
        /// The node below the root; zero where there are no leaves.
        top: SumNode,
    },
    /// Two neighbours are not in the order of their accounts, or of the same one.
    Order {
        /// Number of leaves.
        count: u64,
        /// The first of the two.
        left: PayoutLeaf,
        /// The one after it.
        right: PayoutLeaf,
    },
    /// An account has less than in the final settlement before, or is not there any more.
    Loss {
        /// Number of leaves of the settlement before.
        count_before: u64,
        /// What the account had.
        before: PayoutLeaf,
        /// Number of leaves now.
        count: u64,
        /// What it has now; else the neighbours of the place where it is missing, or nothing where there is
        /// no leaf at all.
        found: Vec<PayoutLeaf>,
    },
}
