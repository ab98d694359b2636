//! Whether a settlement follows from the chain.

use super::{Outcome, SettleError, settle};
use crate::{
    balance::Balance,
    chain::{ChainView, Settlement},
    ids::{AccountId, Amount, Digest, Hash},
};

/// Why a settlement does not follow from the chain.
#[expect(missing_docs, reason = "a message names its fields")]
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// The epoch cannot be settled.
    #[error("{0}")]
    Settle(#[from] SettleError),
    /// The settlement is not made of the records that the chain included.
    #[error("the settlement is of other records ({expected}) than the chain included ({found})")]
    Records {
        /// What the settlement names.
        expected: Digest,
        /// What the chain has.
        found: Digest,
    },
    /// The payouts are not those under the root on chain.
    #[error(
        "the records earn {found} in all, the settlement says {expected}: a payout was inflated or cut"
    )]
    Payouts {
        /// Total on chain.
        expected: Amount,
        /// Total from the records.
        found: Amount,
        /// Root on chain and root from the records.
        roots: (Digest, Digest),
    },
    /// The list of balances has another hash or length.
    #[error("the settlement names another list of balances ({expected}) than it pays ({found})")]
    Balances { expected: Hash, found: Hash },
    /// Counts or uses differ.
    #[error("the records give other counts of proofs, faults or uses than the settlement")]
    Counts,
}

/// Recomputes a settlement from the chain and the balances before it, trusting nobody.
///
/// # Errors
/// [`VerifyError`] naming the first thing that does not follow.
pub fn verify(
    chain: &ChainView,
    settlement: &Settlement,
    parent: &[(AccountId, Balance)],
) -> Result<Outcome, VerifyError> {
    let outcome = settle(chain, settlement.epoch, parent)?;
    let found = &outcome.settlement;
    if found.records != settlement.records {
        return Err(VerifyError::Records { expected: settlement.records, found: found.records });
    }
    if found.payout_root != settlement.payout_root || found.total != settlement.total {
        return Err(VerifyError::Payouts {
            expected: settlement.total,
            found: found.total,
            roots: (settlement.payout_root, found.payout_root),
        });
    }
    if found.balances != settlement.balances || found.balances_length != settlement.balances_length
    {
        return Err(VerifyError::Balances { expected: settlement.balances, found: found.balances });
    }
    if found == settlement { Ok(outcome) } else { Err(VerifyError::Counts) }
}
