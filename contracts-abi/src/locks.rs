//! What the contracts lock of those who ask something of others.

use protocol::{Amount, BlobRef};
use serde::{Deserialize, Serialize};

/// Bytes that a pack counts as at least, as the DatanetRegistry has it.
const LEAST_PACK: u64 = 4096;

/// What contributors lock for bytes that others have to store, so that nobody fills everybody's disks for the
/// gas of a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct DataDeposit {
    /// For each byte, in the smallest units of OPEN, for all of its replicas.
    pub per_byte: Amount,
    /// Blocks from its admission on for which it is locked; less than 2⁴⁰.
    pub blocks: u64,
}

impl DataDeposit {
    /// For these packs, of which each counts as 4,096 bytes at least.
    pub fn of(&self, packs: &[BlobRef]) -> Amount {
        let counted = packs.iter().map(|pack| pack.length.max(LEAST_PACK));
        self.of_bytes(counted.fold(0, u64::saturating_add))
    }

    /// For so many bytes in packs that are not short.
    pub const fn of_bytes(&self, bytes: u64) -> Amount {
        Amount(self.per_byte.0.saturating_mul(bytes as u128))
    }
}

/// Bonds that proposers, objectors and accusers lock, and what an unanswered dispute costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bonds {
    /// Of a proposer.
    pub proposal: Amount,
    /// Of an objector.
    pub objection: Amount,
    /// Of the first accuser of a holder in an epoch; each further one locks twice as much. Half of it has to
    /// pay for the gas of an answer (some 400,000), whatever gas and OPEN cost, which only who starts the
    /// network can know; 1,018 of it have to be no less than the budget.
    pub dispute: Amount,
    /// Lost by a node for an unanswered dispute.
    pub fault: Amount,
}
