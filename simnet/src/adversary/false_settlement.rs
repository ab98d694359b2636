//! Settlements that pay their proposer.

use std::collections::BTreeSet;

use protocol::{
    Amount, Digest, Epoch,
    chain::{ProposalAct, Transaction},
    hash::keccak,
    node::{Done, Job},
};

use super::{Adversary, AdversaryKind, Answer, Profile, World};

/// Proposes what does not follow from the chain.
pub const FALSE_SETTLEMENT: AdversaryKind = AdversaryKind(&Profile::new(
    "false-settlement",
    "Proposes settlements that pay itself.",
    |_| Box::new(False { lies: BTreeSet::new(), epochs: BTreeSet::new() }),
));

/// Comes to a payout root that nobody can recompute, with more in it for itself, and stands by it.
struct False {
    lies: BTreeSet<Digest>,
    /// What they were about.
    epochs: BTreeSet<Epoch>,
}

impl Adversary for False {
    fn settles_falsely(&self) -> bool {
        true
    }

    fn answer(&mut self, world: &mut dyn World, node: usize, job: &Job) -> Option<Answer> {
        match job {
            Job::Settle { .. } => {
                let mut answer = world.honest(node, job.clone());
                if let Done::Settled(settlement, _) = &mut answer.done {
                    settlement.payout_root = keccak(&[b"false", &settlement.payout_root.0]);
                    settlement.total = settlement.total.saturating_add(Amount::ONE_OPEN);
                    self.lies.insert(settlement.id());
                    self.epochs.insert(settlement.epoch);
                }
                Some(answer)
            }
            // A watcher of another's lie is honest.
            Job::Verify { settlement } if self.lies.contains(&settlement.id()) => {
                let uses = world.uses_of(settlement)?;
                Some(Answer::after(0, Done::Settled(*settlement, uses)))
            }
            _ => None,
        }
    }

    fn submit(
        &mut self,
        _: &mut dyn World,
        _: usize,
        transaction: Transaction,
    ) -> Option<Transaction> {
        // To object to what is right costs a bond.
        let objects = matches!(
            &transaction,
            Transaction::AboutProposal { settlement, act: ProposalAct::Object { .. } }
                if self.epochs.contains(&settlement.epoch)
        );
        (!objects).then_some(transaction)
    }
}
