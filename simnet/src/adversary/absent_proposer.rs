//! Turns that nobody takes.

use protocol::chain::Transaction;

use super::{Adversary, AdversaryKind, Profile, World};

/// Has turns to propose settlements and lets them pass.
pub const ABSENT_PROPOSER: AdversaryKind = AdversaryKind(&Profile::new(
    "absent-proposer",
    "Lets its turns to propose, to object and to make final pass.",
    |_| Box::new(Absent),
));

/// Works and is paid, and does nothing for settlements.
struct Absent;

impl Adversary for Absent {
    fn submit(
        &mut self,
        _: &mut dyn World,
        _: usize,
        transaction: Transaction,
    ) -> Option<Transaction> {
        let settles =
            matches!(transaction, Transaction::Propose { .. } | Transaction::AboutProposal { .. });
        (!settles).then_some(transaction)
    }
}
