//! Settlements without others' records.

use protocol::node::Job;

use super::{Adversary, AdversaryKind, Answer, Profile, Settlements, World};

/// Leaves honest nodes out of its settlements.
pub const CENSORING_PROPOSER: AdversaryKind = AdversaryKind(&Profile::new(
    "censoring-proposer",
    "Leaves the records of honest nodes out of the settlements that it proposes.",
    |_| Box::new(Censor),
));

/// Leaves out the records of everybody who is not of its coalition, and says nothing of it: what
/// remains is a settlement that verifies.
struct Censor;

impl Adversary for Censor {
    fn settlements(&self) -> Settlements {
        Settlements::Partial
    }

    fn answer(&mut self, world: &mut dyn World, node: usize, job: &Job) -> Option<Answer> {
        let Job::Settle { epoch } = job else { return None };
        // Only an epoch that nobody has proposed yet: a watcher among them is honest.
        if world.chain().settlement(*epoch).is_some() {
            return None;
        }
        Some(world.settle_without_others(node, *epoch))
    }
}
