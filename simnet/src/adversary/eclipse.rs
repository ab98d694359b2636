//! Cutting victims off.

use protocol::BlockNumber;

use super::{Adversary, AdversaryKind, Profile, World};
use crate::kernel::Purpose;

/// Withholds gossip and answers from its victims.
pub const ECLIPSE: AdversaryKind = AdversaryKind(&Profile::new(
    "eclipse",
    "Neighbours that withhold gossip and answers from their victims.",
    |plan| Box::new(Eclipse { victims: plan.victims, strength: plan.strength, is_done: false }),
));

/// Surrounds victims with peers that pass nothing on.
struct Eclipse {
    /// Share of the honest nodes.
    victims: f64,
    /// Share of a victim's peers.
    strength: f64,
    is_done: bool,
}

impl Adversary for Eclipse {
    fn act(&mut self, world: &mut dyn World, _: &[u32], _: BlockNumber) {
        if std::mem::replace(&mut self.is_done, true) {
            return;
        }
        for node in 0..world.nodes() {
            let draw = world.draws().share(Purpose::Adversary, node as u64, 1);
            if world.coalition(node).is_none() && draw < self.victims {
                world.eclipse(node, self.strength);
            }
        }
    }
}
