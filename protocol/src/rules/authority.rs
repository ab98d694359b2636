//! Who may sign for an account.

use crate::{chain::ChainView, ids::BlockNumber, record::VerifiedRecord};

/// Whether a record's signer was its account's operator as of a block, that block included.
///
/// Keys rotate, so the answer depends on when it is asked. A node that hears a record asks as of the
/// head of its chain. The chain asks when it takes a record in, and that answer stands.
pub fn is_by_operator(chain: &ChainView, record: &VerifiedRecord, at: BlockNumber) -> bool {
    let account = chain.account(record.record().account);
    account.and_then(|account| account.operator_at(at)) == Some(record.signer())
}

/// Whether a record counts at all: its subject is the one that its body determines, and its account's
/// operator as of a block signed it.
pub(crate) fn has_authority(chain: &ChainView, record: &VerifiedRecord, at: BlockNumber) -> bool {
    record.is_well_formed() && is_by_operator(chain, record, at)
}
