//! Anchors, as every holder sends one per epoch: a block of them at a time on the embedded EVM.

use protocol::{Epoch, EvmAddress, chain::Transaction, hash::keccak};
use simnet::{
    Scenario,
    chain::{Chain, named_address},
    kernel::Time,
};

/// Transactions of a block.
pub(crate) const ANCHORS: u32 = 10_000;

/// The real contracts, and what was sent to them.
pub(crate) struct Anchors {
    chain: Chain,
    blocks: u32,
}

impl Anchors {
    pub(crate) fn new() -> Self {
        let chain = Chain::deploy(&Scenario::default(), 0).expect("the contracts deploy");
        Self { chain, blocks: 1 }
    }

    /// The transactions of a block, each anchoring another root.
    pub(crate) fn of(block: u32) -> Vec<(EvmAddress, Transaction)> {
        let anchor = |number: u32| {
            let root = keccak(&[&block.to_be_bytes(), &number.to_be_bytes()]);
            (named_address(b"anchoring", number), Transaction::Anchor { epoch: Epoch(0), root })
        };
        (0..ANCHORS).map(anchor).collect()
    }

    /// Executes them as one block.
    pub(crate) fn mine(&mut self, transactions: &[(EvmAddress, Transaction)]) {
        for (from, anchor) in transactions {
            self.chain.submit(*from, anchor);
        }
        self.blocks += 1;
        let mined = self.chain.mine(Time::from_millis(u64::from(self.blocks) * 2_000));
        assert_eq!((mined.transactions, mined.reverted), (ANCHORS.into(), 0));
    }
}
