//! What the chain's state is made of.

use alloc::vec::Vec;

use super::Settlement;
use crate::{
    ids::{AccountId, Amount, BlockNumber, Digest, Epoch, EvmAddress, NodeId},
    params::Schedule,
};

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
    stake: Stake,
    /// Where claims pay now.
    pub payout: EvmAddress,
}

/// What an account has at stake, in as little as its weight needs: however often it changes, it is
/// as large.
#[derive(Debug, Clone, Copy)]
struct Stake {
    /// All of it, smallest units of OPEN.
    total: Amount,
    /// The part that waits for its withdrawal. It can be slashed, and counts for nothing else.
    leaving: Amount,
    /// The block in which either last changed.
    since: BlockNumber,
    /// The least that stayed at the end of any block of an epoch before `since`.
    least: Option<(Epoch, Amount)>,
}

impl Stake {
    const fn staying(&self) -> Amount {
        self.total.saturating_sub(self.leaving)
    }

    fn least_in(&self, epoch: Epoch) -> Amount {
        let before = self.least.filter(|(of, _)| *of == epoch);
        before.map_or(self.staying(), |(_, least)| least.min(self.staying()))
    }

    /// Before it changes in a block: what stayed until then is noted for the epoch of the block.
    fn note(&mut self, block: BlockNumber, schedule: &Schedule) {
        let epoch = schedule.epoch_of(block);
        // Several changes in one block are one: what it was in between was at the end of no block. And
        // what changes in the first block of an epoch was not held in it before.
        if block > self.since && block > schedule.start(epoch) {
            self.least = Some((epoch, self.least_in(epoch)));
        }
        self.since = self.since.max(block);
    }
}

impl Account {
    /// An account as it is registered.
    pub(super) fn new(
        block: BlockNumber,
        owner: EvmAddress,
        operator: EvmAddress,
        payout: EvmAddress,
        node: NodeId,
        schedule: &Schedule,
    ) -> Self {
        let operators = alloc::vec![(block, operator)];
        let (total, leaving) = (Amount::ZERO, Amount::ZERO);
        let mut stake = Stake { total, leaving, since: BlockNumber(0), least: None };
        // Of the epoch before it came it held nothing.
        stake.note(block, schedule);
        Self { owner, node, registered: block, operators, stake, payout }
    }

    /// From a block on another key signs. The old one stays known: what it signed before still counts.
    pub(super) fn rotate(&mut self, block: BlockNumber, operator: EvmAddress) {
        assert!(is_next(&self.operators, block), "keys of an account rotate in order of blocks");
        self.operators.push((block, operator));
    }

    /// In a block the stake became another. One that became less, and was not slashed, was withdrawn:
    /// all that was leaving at once.
    pub(super) fn set_stake(&mut self, block: BlockNumber, total: Amount, schedule: &Schedule) {
        self.stake.note(block, schedule);
        if total < self.stake.total {
            self.stake.leaving = Amount::ZERO;
        }
        self.stake.total = total;
    }

    /// In a block so much of the stake was asked back, all in all.
    pub(super) fn set_leaving(&mut self, block: BlockNumber, leaving: Amount, schedule: &Schedule) {
        self.stake.note(block, schedule);
        self.stake.leaving = leaving;
    }

    /// In a block a part of the stake was taken. The contract takes what is leaving last, and how much
    /// of it went the next request or withdrawal says; until then no more counts than is certain.
    pub(super) fn slash(&mut self, block: BlockNumber, amount: Amount, schedule: &Schedule) {
        self.stake.note(block, schedule);
        self.stake.total = self.stake.total.saturating_sub(amount);
    }

    /// The operator as of a block, that block included.
    pub fn operator_at(&self, block: BlockNumber) -> Option<EvmAddress> {
        self.operators.iter().rev().find(|(since, _)| *since <= block).map(|(_, key)| *key)
    }

    /// All that is at stake now, what is leaving among it.
    pub const fn stake(&self) -> Amount {
        self.stake.total
    }

    /// The part of the stake that is not leaving.
    pub const fn staying(&self) -> Amount {
        self.stake.staying()
    }

    /// The least that stayed at stake at the end of any block of an epoch, of which the last block was
    /// folded in and none of a later one.
    pub(super) fn least_in(&self, epoch: Epoch) -> Amount {
        self.stake.least_in(epoch)
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
    /// The contract that paid.
    pub escrow: EvmAddress,
    /// The consumer whose deposit paid.
    pub payer: EvmAddress,
    /// The serving account.
    pub payee: AccountId,
    /// Everything that it had paid between the two before.
    pub from: Amount,
    /// Everything that it has paid between the two now.
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
    /// The block of the proposal, in which its challenge window begins.
    pub proposed: BlockNumber,
    /// Whose objection waits for the arbiter.
    pub objector: Option<AccountId>,
    /// When the last objection was made.
    pub objected: BlockNumber,
    /// Whether the arbiter found it right, so that nobody can object any more.
    pub is_right: bool,
    /// Whether it is final.
    pub is_final: bool,
}

/// Whether something of a block may follow a history: later entries are found from the back.
pub(super) fn is_next<T>(history: &[(BlockNumber, T)], block: BlockNumber) -> bool {
    history.last().is_none_or(|(last, _)| *last <= block)
}
