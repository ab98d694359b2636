//! Shards that nobody computed.

use protocol::node::Job;

use super::{Adversary, AdversaryKind, Answer, Profile, World};
use crate::kernel::Purpose;

/// Publishes shards that it made up.
pub const FORGED_SHARD: AdversaryKind = AdversaryKind(
    &Profile::new("forged-shard", "Publishes shards that it did not train.", |plan| {
        Box::new(Forged { share: plan.strength })
    })
    .with_model(),
);

/// Publishes shards of the right form that nobody computed, at once.
struct Forged {
    /// Share of its shards.
    share: f64,
}

impl Adversary for Forged {
    fn answer(&mut self, world: &mut dyn World, node: usize, job: &Job) -> Option<Answer> {
        if is_skipped(world, node, job, self.share) { world.forged(node, job) } else { None }
    }
}

/// Whether a shard is among the share that is not computed: the same answer however often it is asked.
pub(super) fn is_skipped(world: &dyn World, node: usize, job: &Job, share: f64) -> bool {
    let Job::Compute { model, round, slot, .. } = job else { return false };
    let which = model.0 << 40 | u64::from(round.0) << 20 | u64::from(*slot);
    world.draws().share(Purpose::Adversary, node as u64, which) < share
}
