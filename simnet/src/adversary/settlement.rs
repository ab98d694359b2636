//! Proposing settlements that are not what the records say.

use protocol::{Amount, chain::Transaction, hash::keccak, node::Job};

use super::Adversary;
use crate::simulation::{Answer, World};

/// Proposes a payout root that nobody can recompute, with more in it for itself.
pub(super) struct False;

impl Adversary for False {
    fn submit(
        &mut self,
        _: &mut World<'_>,
        _: usize,
        mut transaction: Transaction,
    ) -> Option<Transaction> {
        if let Transaction::Propose { settlement, .. } = &mut transaction {
            settlement.payout_root = keccak(&[b"false", &settlement.payout_root.0]);
            settlement.total = settlement.total.saturating_add(Amount::ONE_OPEN);
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
