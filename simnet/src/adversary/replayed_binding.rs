//! Names that others have signed for.

use protocol::{BlockNumber, EvmAddress, chain::Transaction, hash::keccak};

use super::{Adversary, AdversaryKind, Profile, World};

/// Registers others' nodes for itself.
pub const REPLAYED_BINDING: AdversaryKind = AdversaryKind(&Profile::new(
    "replayed-binding",
    "Registers the nodes of others under accounts of its own, with their public bindings.",
    |_| Box::new(ReplayedBinding { next: 0 }),
));

/// Copies the binding of one node after the other from its registration: with itself as owner, operator
/// and payout, and word for word.
struct ReplayedBinding {
    /// Whose is next.
    next: usize,
}

impl Adversary for ReplayedBinding {
    fn act(&mut self, world: &mut dyn World, members: &[u32], _: BlockNumber) {
        let Some(sender) = members.first().map(|member| *member as usize) else { return };
        let victim = self.next % world.nodes();
        self.next += 1;
        let registration = world.registration(victim);
        world.submit(sender, registration.clone());
        if let Transaction::Register { node, binding, .. } = registration {
            let thief = name(victim);
            let (owner, operator, payout) = (thief, thief, thief);
            world.submit(sender, Transaction::Register { owner, operator, payout, node, binding });
        }
    }
}

/// The name that takes a victim's place.
fn name(victim: usize) -> EvmAddress {
    let hash = keccak(&[b"thief", &victim.to_be_bytes()]).0;
    EvmAddress(hash[12..].try_into().expect("20 of 32 bytes"))
}
