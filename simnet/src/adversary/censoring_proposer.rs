//! Settlements that leave others out.

use protocol::node::Job;

use super::{Adversary, AdversaryKind, Answer, Profile, World};

/// Leaves honest nodes out of its settlements.
pub const CENSORING_PROPOSER: AdversaryKind = AdversaryKind(&Profile::new(
    "censoring-proposer",
    "Pays nobody but its accomplices in the settlements that it proposes.",
    |_| Box::new(Censor),
));

/// Leaves out what everybody who is not of its coalition earned, and says nothing of it.
struct Censor;

impl Adversary for Censor {
    fn settles_falsely(&self) -> bool {
        true
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
