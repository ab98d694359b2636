//! Proposing settlements that are not what the records say.

use std::collections::BTreeSet;

use protocol::{
    Amount, Digest, Hash,
    chain::Transaction,
    hash::keccak,
    node::{Done, Job},
};

use super::Adversary;
use crate::simulation::{Answer, World};

/// Proposes a payout root that nobody can recompute, with more in it for itself, and stands by it.
pub(super) struct False {
    /// Whether it names a log that nobody has.
    withholds: bool,
    /// Who made which.
    made: BTreeSet<(usize, Digest)>,
}

impl False {
    pub(super) const fn new(withholds: bool) -> Self {
        Self { withholds, made: BTreeSet::new() }
    }
}

impl Adversary for False {
    fn job(&mut self, world: &mut World<'_>, node: usize, job: &Job) -> Option<Answer> {
        let Job::Verify { settlement } = job else { return None };
        // A watcher of another's lie is honest.
        let uses =
            world.uses_of(settlement).filter(|_| self.made.contains(&(node, settlement.id())));
        Some(Answer::after(0, Done::Verified(Some(uses?))))
    }

    fn submit(
        &mut self,
        _: &mut World<'_>,
        node: usize,
        mut transaction: Transaction,
    ) -> Option<Transaction> {
        if let Transaction::Propose { settlement, .. } = &mut transaction {
            settlement.payout_root = keccak(&[b"false", &settlement.payout_root.0]);
            settlement.total = settlement.total.saturating_add(Amount::ONE_OPEN);
            if self.withholds {
                settlement.log = Hash(keccak(&[b"withheld", &settlement.log.0]).0);
            }
            self.made.insert((node, settlement.id()));
        }
        Some(transaction)
    }
}

/// Leaves out the records of everybody who is not of its gang, and says nothing of it: what remains
/// is a settlement that verifies.
pub(super) struct Censor;

impl Adversary for Censor {
    fn job(&mut self, world: &mut World<'_>, node: usize, job: &Job) -> Option<Answer> {
        let Job::Settle { epoch } = job else { return None };
        // Only an epoch that nobody has proposed yet: a watcher among them is honest.
        if world.chain().settlement(*epoch).is_some() {
            return None;
        }
        Some(world.settle_without_others(node, *epoch))
    }
}
