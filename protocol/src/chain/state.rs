//! What the chain's state is made of.

use alloc::vec::Vec;

use super::Settlement;
use crate::ids::{AccountId, Amount, BlockNumber, Digest, Epoch, EvmAddress, NodeId};

/// What a beacon is drawn for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Purpose {
    /// Which chunk of every cell is committed to; fixed by the first block of the epoch.
    Commit = 0,
    /// Which cells are opened, and by whom they are audited; fixed at the commit deadline.
    Open = 1,
    /// Who proposes the settlement; fixed by the first block after the epoch.
    Settle = 2,
}

/// An account of the Registry.
#[derive(Debug, Clone)]
pub struct Account {
    /// The cold key.
    pub owner: EvmAddress,
    /// The node it runs; zero when it has none or its binding is wrong.
    pub node: NodeId,
    /// Block of its registration.
    pub registered: BlockNumber,
    operators: Vec<(BlockNumber, EvmAddress)>,
    stakes: Vec<(BlockNumber, Amount)>,
    /// Where claims pay now.
    pub payout: EvmAddress,
}

impl Account {
    /// An account as it is registered.
    pub(super) fn new(
        block: BlockNumber,
        owner: EvmAddress,
        operator: EvmAddress,
        payout: EvmAddress,
        node: NodeId,
    ) -> Self {
        let operators = alloc::vec![(block, operator)];
        Self { owner, node, registered: block, operators, stakes: Vec::new(), payout }
    }

    /// From a block on another key signs. The old one stays known: what it signed before still counts.
    pub(super) fn rotate(&mut self, block: BlockNumber, operator: EvmAddress) {
        assert!(is_next(&self.operators, block), "keys of an account rotate in order of blocks");
        self.operators.push((block, operator));
    }

    /// From a block on the stake is another. What it was stays known: a settlement asks as of its epoch.
    pub(super) fn set_stake(&mut self, block: BlockNumber, stake: Amount) {
        assert!(is_next(&self.stakes, block), "stakes of an account change in order of blocks");
        self.stakes.push((block, stake));
    }

    /// The operator as of a block, that block included.
    pub fn operator_at(&self, block: BlockNumber) -> Option<EvmAddress> {
        self.operators.iter().rev().find(|(since, _)| *since <= block).map(|(_, key)| *key)
    }

    /// The stake as of a block, that block included.
    pub fn stake_at(&self, block: BlockNumber) -> Amount {
        let known = self.stakes.iter().rev().find(|(since, _)| *since <= block);
        known.map_or(Amount::ZERO, |(_, stake)| *stake)
    }
}

/// A pack on chain.
#[derive(Debug, Clone, Copy)]
pub struct Pack {
    /// Its length in bytes.
    pub length: u64,
    /// The first contribution that brought it.
    pub contribution: u64,
    /// The epoch in which it was admitted.
    pub admitted: Epoch,
}

/// A redemption of receipts: everything up to `cumulative` between the two is now paid.
#[derive(Debug, Clone, Copy)]
pub struct Redemption {
    /// The consumer whose deposit paid.
    pub payer: EvmAddress,
    /// The serving account.
    pub payee: AccountId,
    /// Everything that was paid between the two before.
    pub from: Amount,
    /// Everything that is paid between the two now.
    pub to: Amount,
    /// What the escrow moved: the difference of the two, unless the chain contradicts itself.
    pub amount: Amount,
    /// In which block.
    pub block: BlockNumber,
}

/// A settlement on its way.
#[derive(Debug, Clone, Copy)]
pub struct SettlementState {
    /// The account that proposed it, with its bond.
    pub proposer: AccountId,
    /// What the epoch pays, as its proposer says.
    pub settlement: Settlement,
    /// Its id, which every node asks for at every block.
    pub id: Digest,
    /// The block of the proposal.
    pub proposed: BlockNumber,
    /// From when its challenge window counts: an objection that was ruled to be wrong opens it again.
    pub open_since: BlockNumber,
    /// Whose objection waits for the arbiter.
    pub objector: Option<AccountId>,
    /// Whether it is final.
    pub is_final: bool,
}

/// Whether something of a block may follow a history: later entries are found from the back.
pub(super) fn is_next<T>(history: &[(BlockNumber, T)], block: BlockNumber) -> bool {
    history.last().is_none_or(|(last, _)| *last <= block)
}
