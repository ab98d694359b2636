//! Fetching what a proof needs when it needs it.

use protocol::{BlobRef, Hash, node::Job};

use super::{Adversary, AdversaryKind, Answer, Profile, World};

/// Keeps nothing between proofs.
pub const ON_DEMAND: AdversaryKind = AdversaryKind(&Profile::new(
    "on-demand",
    "Stores nothing and fetches what a proof needs when it needs it.",
    |_| Box::new(OnDemand),
));

/// Keeps nothing between proofs: fetches every pack when it has to commit, and deletes it when the
/// sample is opened. Whether that pays depends on bandwidth and on the length of the commit window.
struct OnDemand;

impl Adversary for OnDemand {
    fn borrows_bytes(&self) -> bool {
        true
    }

    fn stores(&mut self, world: &mut dyn World, node: usize, blob: &Hash) -> bool {
        world.delete(node, blob);
        false
    }

    fn answer(&mut self, world: &mut dyn World, node: usize, job: &Job) -> Option<Answer> {
        match job {
            Job::Commit { packs, .. } => {
                let fetched = fetch_all(world, node, packs);
                let mut answer = world.honest(node, job.clone());
                answer.taken += fetched;
                Some(answer)
            }
            Job::Open { packs, .. } => {
                let answer = world.honest(node, job.clone());
                packs.iter().for_each(|pack| world.delete(node, &pack.hash));
                Some(answer)
            }
            _ => None,
        }
    }
}

/// Fetches all packs that somebody gives; the time until they are there, in microseconds.
fn fetch_all(world: &mut dyn World, node: usize, packs: &[BlobRef]) -> u64 {
    let mut slowest = 0;
    for BlobRef { hash, length } in packs {
        if let Some(taken) = world.fetch(node, hash, *length) {
            slowest = slowest.max(taken);
            world.hold(node, *hash);
        }
    }
    slowest
}
