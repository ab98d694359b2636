//! Being one's own developer.

use protocol::BlockNumber;

use super::{Adversary, AdversaryKind, Profile, World};
use crate::kernel::real;

/// Orders runs and works on them itself.
pub const SELF_ORDERING: AdversaryKind = AdversaryKind(
    &Profile::new("self-ordering", "Orders runs to be paid for the work on them.", |plan| {
        Box::new(SelfOrdering { per_epoch: plan.strength, due: 0.0 })
    })
    .with_model(),
);

/// Orders the last run and cheap ones after it, so that there is always one that its own nodes work on.
struct SelfOrdering {
    /// Further runs per epoch.
    per_epoch: f64,
    /// Runs that are due, with what is left of a whole one.
    due: f64,
}

impl Adversary for SelfOrdering {
    fn owns_last_run(&self) -> bool {
        true
    }

    fn orders_for_itself(&self) -> bool {
        true
    }

    fn act(&mut self, world: &mut dyn World, _: &[u32], _: BlockNumber) {
        self.due += self.per_epoch / real(world.chain().schedule.epoch_blocks.0);
        while self.due >= 1.0 {
            self.due -= 1.0;
            world.order_own_run();
        }
    }
}
