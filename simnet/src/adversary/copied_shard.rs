//! Shards of others.

use protocol::node::Job;

use super::{Adversary, AdversaryKind, Answer, Profile, World, forged_shard::is_skipped};

/// Publishes shards that others computed.
pub const COPIED_SHARD: AdversaryKind = AdversaryKind(
    &Profile::new("copied-shard", "Publishes others' shards as its own.", |plan| {
        Box::new(Copied { share: plan.strength })
    })
    .with_model(),
);

/// Fetches the first shard of a round that somebody else publishes and claims it as its own.
struct Copied {
    /// Share of its shards.
    share: f64,
}

impl Adversary for Copied {
    fn answer(&mut self, world: &mut dyn World, node: usize, job: &Job) -> Option<Answer> {
        if is_skipped(world, node, job, self.share) { world.copied(node, job) } else { None }
    }
}
