//! Work on models that was not done, or that was done for nobody else.

use protocol::{
    BlockNumber,
    node::{Done, Job},
    record::Verdict,
    training::ReplayReport,
};

use super::Adversary;
use crate::{
    kernel::Purpose,
    simulation::{Answer, World},
};

/// Publishes shards of the right form that nobody computed, at once.
pub(super) struct Forged {
    /// Share of its shards.
    share: f64,
}

impl Forged {
    pub(super) const fn new(share: f64) -> Self {
        Self { share }
    }
}

impl Adversary for Forged {
    fn job(&mut self, world: &mut World<'_>, node: usize, job: &Job) -> Option<Answer> {
        if falls(world, node, job, self.share) { world.forged(node, job) } else { None }
    }
}

/// Fetches the first shard of a round that somebody else publishes and claims it as its own.
pub(super) struct Copied {
    /// Share of its shards.
    share: f64,
}

impl Copied {
    pub(super) const fn new(share: f64) -> Self {
        Self { share }
    }
}

impl Adversary for Copied {
    fn job(&mut self, world: &mut World<'_>, node: usize, job: &Job) -> Option<Answer> {
        if falls(world, node, job, self.share) { world.copied(node, job) } else { None }
    }
}

/// Whether a shard is among the share that is not computed: the same answer however often it is asked.
fn falls(world: &World<'_>, node: usize, job: &Job, share: f64) -> bool {
    let Job::Compute { model, round, slot, .. } = job else { return false };
    let which = model.0 << 40 | u64::from(round.0) << 20 | u64::from(*slot);
    world.draws().share(Purpose::Adversary, node as u64, which) < share
}

/// What one who looks at nothing says of work on models: that all is well, or that nothing is.
pub(super) fn blind(job: &Job, verdict: Verdict) -> Option<Answer> {
    let ppm = if verdict == Verdict::Pass { 1_000_000 } else { 0 };
    let done = match job {
        Job::Replay { .. } => Done::Replayed(ReplayReport { overlap: ppm, cosine: ppm, norm: ppm }),
        Job::AuditAttribution { .. } => Done::Judged(verdict),
        _ => return None,
    };
    Some(Answer::after(0, done))
}

/// Whose work on models a job judges.
pub(super) fn judged(world: &World<'_>, job: &Job) -> Option<usize> {
    match job {
        Job::Replay { from, .. } => {
            let account = from.first().and_then(|node| world.chain().account_of(node))?;
            world.node_of(account)
        }
        Job::AuditAttribution { record } => world.node_of(record.record().account),
        _ => None,
    }
}

/// Trains a model with everybody's help, serves it, and is its only customer.
pub(super) struct SelfDealing {
    gang: usize,
    /// Uses per block.
    per_block: f64,
    due: f64,
}

impl SelfDealing {
    pub(super) const fn new(gang: usize, per_block: f64) -> Self {
        Self { gang, per_block, due: 0.0 }
    }
}

impl Adversary for SelfDealing {
    fn block(&mut self, world: &mut World<'_>, _: &[u32], _: BlockNumber) {
        self.due += self.per_block;
        while self.due >= 1.0 {
            self.due -= 1.0;
            world.use_own_model(self.gang);
        }
    }
}
