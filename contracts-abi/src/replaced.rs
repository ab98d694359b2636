//! Contracts that were there before those of a deployment.

use protocol::{BlockNumber, Epoch, EvmAddress};
use serde::{Deserialize, Serialize};

/// Contracts in whose place others are now, the earliest first.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Replaced {
    /// Settlements, each with the block from which on another decided over proposals.
    pub settlements: Vec<(EvmAddress, BlockNumber)>,
    /// Disputes, each with the first epoch that another judges.
    pub disputes: Vec<(EvmAddress, Epoch)>,
    /// UsageEscrows: what they owe can be redeemed, and what is left in them withdrawn.
    pub escrows: Vec<EvmAddress>,
}
