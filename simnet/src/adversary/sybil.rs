//! Many identities of one operator.

use std::collections::BTreeSet;

use protocol::{
    BlobRef, Hash,
    node::{Done, Job},
};

use super::{Adversary, AdversaryKind, Answer, Profile, Stakes, World};

/// Many identities with one disk.
pub const SYBIL: AdversaryKind = AdversaryKind(&Profile::new(
    "sybil",
    "Identities of one operator that keep one copy among them, each with stake.",
    |_| sybil(Stakes::Whole),
));

/// [`SYBIL`] without stake.
pub const SYBIL_UNSTAKED: AdversaryKind =
    AdversaryKind(&Profile::new("sybil-unstaked", "The same without stake.", |_| {
        sybil(Stakes::Nothing)
    }));

/// [`SYBIL`] with a stake that is too small to count.
pub const SYBIL_DUST: AdversaryKind = AdversaryKind(&Profile::new(
    "sybil-dust",
    "The same with a stake that just does not count.",
    |_| sybil(Stakes::Dust),
));

/// [`SYBIL`] with one stake for all of them.
pub const SYBIL_DIVIDED: AdversaryKind = AdversaryKind(&Profile::new(
    "sybil-divided",
    "The same with the stake of five nodes divided among all of them.",
    |_| sybil(Stakes::Divided),
));

fn sybil(stakes: Stakes) -> Box<dyn Adversary> {
    Box::new(Sybil { stakes, stored: BTreeSet::new() })
}

/// Identities of one operator with one disk: what one of them has, all have. Stake is what makes
/// them cost something.
struct Sybil {
    stakes: Stakes,
    /// What is on the disk.
    stored: BTreeSet<Hash>,
}

impl Adversary for Sybil {
    fn stakes(&self) -> Stakes {
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
