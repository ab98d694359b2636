//! Being one's own customer.

use protocol::BlockNumber;

use super::{Adversary, AdversaryKind, Profile, World};

/// Uses its own model.
pub const SELF_DEALING: AdversaryKind = AdversaryKind(
    &Profile::new("self-dealing", "Uses its own model to earn fees back.", |plan| {
        Box::new(SelfDealing { per_block: plan.strength, due: 0.0 })
    })
    .with_model(),
);

/// Trains a model with everybody's help, serves it, and is its only customer.
struct SelfDealing {
    /// Uses per block.
    per_block: f64,
    /// Uses that are due, with what is left of a whole one.
    due: f64,
}

impl Adversary for SelfDealing {
    fn owns_last_run(&self) -> bool {
        true
    }

    fn act(&mut self, world: &mut dyn World, members: &[u32], _: BlockNumber) {
        // Without a node it serves nothing.
        let own = members.first().and_then(|member| world.coalition(*member as usize));
        self.due += self.per_block;
        while self.due >= 1.0 {
            self.due -= 1.0;
            if let Some(own) = own {
                world.use_own_model(own);
            }
        }
    }
}
