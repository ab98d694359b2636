//! Many identities of one operator.

use std::collections::BTreeSet;

use protocol::{
    BlobRef, Hash,
    node::{Done, Job},
};

use super::{Adversary, AdversaryKind, Answer, Profile, World};

/// Many identities with one disk.
pub const SYBIL: AdversaryKind = AdversaryKind(&Profile::new(
    "sybil",
    "Identities of one operator that keep one copy among them, each with stake.",
    |_| Box::new(Sybil { stakes: true, stored: BTreeSet::new() }),
));

/// [`SYBIL`] without stake.
pub const SYBIL_UNSTAKED: AdversaryKind =
    AdversaryKind(&Profile::new("sybil-unstaked", "The same without stake.", |_| {
        Box::new(Sybil { stakes: false, stored: BTreeSet::new() })
    }));

/// Identities of one operator with one disk: what one of them has, all have. Stake is what makes
/// them cost something.
struct Sybil {
    stakes: bool,
    /// What is on the disk.
    stored: BTreeSet<Hash>,
}

impl Adversary for Sybil {
    fn stakes(&self) -> bool {
        self.stakes
    }

    fn answer(&mut self, world: &mut dyn World, node: usize, job: &Job) -> Option<Answer> {
        let Job::Fetch(BlobRef { hash: blob, .. }) = job else { return None };
        if self.stored.contains(blob) {
            world.hold(node, *blob);
            return Some(Answer::after(0, Done::Fetched));
        }
        let answer = world.honest(node, job.clone());
        if answer.done == Done::Fetched {
            self.stored.insert(*blob);
        }
        Some(answer)
    }
}
