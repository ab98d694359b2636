//! Slots that nobody works on.

use protocol::node::Job;

use super::{Adversary, AdversaryKind, Answer, Profile, World};

/// Has slots and seats in runs and does nothing.
pub const SLOT_HOG: AdversaryKind = AdversaryKind(
    &Profile::new(
        "slot-hog",
        "Has slots of runs and seats to judge others' work, and does nothing with them.",
        |_| Box::new(SlotHog),
    )
    .with_model(),
);

/// Computes and judges nothing, as one who is always about to: stores and proves honestly.
struct SlotHog;

impl Adversary for SlotHog {
    fn answer(&mut self, world: &mut dyn World, _: usize, job: &Job) -> Option<Answer> {
        let is_of_run = matches!(
            job,
            Job::Compute { .. }
                | Job::Replay { .. }
                | Job::Aggregate { .. }
                | Job::AuditAttribution { .. }
        );
        is_of_run.then(|| Answer::unavailable(world.block_span().0))
    }
}
