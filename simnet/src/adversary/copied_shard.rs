//! Shards of others.

use protocol::{
    BlockNumber,
    chain::Transaction,
    node::Job,
    record::{Body, Record},
};

use super::{Adversary, AdversaryKind, Answer, Profile, World, forged_shard::is_skipped};
use crate::units::Span;

/// Publishes shards that others computed.
pub const COPIED_SHARD: AdversaryKind = AdversaryKind(
    &Profile::new(
        "copied-shard",
        "Publishes others' shards as its own, in its slots and in theirs.",
        |plan| Box::new(Copied { share: plan.strength }),
    )
    .with_model(),
);

/// Fetches the first shard of a round that somebody else publishes and claims it as its own, in its slot.
/// And claims all shards of others once more, each in the slot that it is of.
struct Copied {
    /// Share of its shards.
    share: f64,
}

impl Adversary for Copied {
    fn answer(&mut self, world: &mut dyn World, node: usize, job: &Job) -> Option<Answer> {
        if is_skipped(world, node, job, self.share) { world.copied(node, job) } else { None }
    }

    fn act(&mut self, world: &mut dyn World, members: &[u32], _: BlockNumber) {
        let Some(member) = members.first() else { return };
        let node = *member as usize;
        let (own, account) = (world.coalition(node), world.account(node));
        let others: Vec<_> = world
            .chain()
            .just_included()
            .iter()
            .map(|shard| shard.record())
            .filter(|made| world.node_of(made.account).and_then(|of| world.coalition(of)) != own)
            .filter(|made| matches!(made.body, Body::Shard(_)))
            .map(|made| Record { account, ..made.clone() })
            .collect();
        for shard in others {
            if let Body::Shard(body) = &shard.body {
                world.hold(node, body.payload);
            }
            let (epoch, records) = (shard.epoch, vec![world.signed(node, shard.clone())]);
            world.submit(node, Transaction::Include { epoch, records });
            world.sign(node, shard, Span::ZERO);
        }
    }
}
