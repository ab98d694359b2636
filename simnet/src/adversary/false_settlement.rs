//! Settlements that pay their proposer.

use std::collections::BTreeSet;

use protocol::{
    Amount, Digest,
    chain::Transaction,
    hash::keccak,
    node::{Done, Job},
};

use super::{Adversary, AdversaryKind, Answer, Profile, World};

/// Proposes what does not follow from the chain.
pub const FALSE_SETTLEMENT: AdversaryKind = AdversaryKind(&Profile::new(
    "false-settlement",
    "Proposes settlements that pay itself.",
    |_| Box::new(False { made: BTreeSet::new() }),
));

/// Proposes a payout root that nobody can recompute, with more in it for itself, and stands by it.
struct False {
    /// Who made which.
    made: BTreeSet<(usize, Digest)>,
}

impl Adversary for False {
    fn settles_falsely(&self) -> bool {
        true
    }

    fn answer(&mut self, world: &mut dyn World, node: usize, job: &Job) -> Option<Answer> {
        let Job::Verify { settlement } = job else { return None };
        // A watcher of another's lie is honest.
        let uses =
            world.uses_of(settlement).filter(|_| self.made.contains(&(node, settlement.id())));
        Some(Answer::after(0, Done::Verified(Some(uses?))))
    }

    fn submit(
        &mut self,
        _: &mut dyn World,
        node: usize,
        mut transaction: Transaction,
    ) -> Option<Transaction> {
        if let Transaction::Propose { settlement, .. } = &mut transaction {
            settlement.payout_root = keccak(&[b"false", &settlement.payout_root.0]);
            settlement.total = settlement.total.saturating_add(Amount::ONE_OPEN);
            self.made.insert((node, settlement.id()));
        }
        Some(transaction)
    }
}
