//! One warehouse for many identities.

use protocol::{
    BlobRef,
    node::{Done, Job},
};

use super::{Adversary, AdversaryKind, Answer, Profile, World};

/// Has rows and openings made by an accomplice.
pub const OUTSOURCING: AdversaryKind = AdversaryKind(&Profile::new(
    "outsourcing",
    "Stores nothing and asks one rich accomplice for rows and openings.",
    |_| Box::new(Outsourcing),
));

/// Stores nothing and has rows and openings made by the member of its coalition that stores, if one of
/// them holds the pack; the first member stores everything that the coalition is assigned.
struct Outsourcing;

impl Adversary for Outsourcing {
    fn borrows_bytes(&self) -> bool {
        true
    }

    fn answer(&mut self, world: &mut dyn World, node: usize, job: &Job) -> Option<Answer> {
        let warehouse = first_of_coalition(world, node)?;
        match job {
            Job::Fetch(BlobRef { hash, length }) => {
                let taken = world.fetch(warehouse, hash, *length);
                let Some(taken) = taken else { return Some(Answer::unavailable(0)) };
                world.hold(warehouse, *hash);
                Some(Answer::after(taken, Done::Fetched))
            }
            // The rows are keyed by the account, so the warehouse makes them for each: its disk
            // reads what an honest one would.
            Job::Commit { .. } | Job::Open { .. } => {
                let mut answer = world.honest(warehouse, job.clone());
                answer.taken += 2 * world.one_way(warehouse, node);
                Some(answer)
            }
            _ => None,
        }
    }
}

fn first_of_coalition(world: &dyn World, node: usize) -> Option<usize> {
    let coalition = world.coalition(node)?;
    (0..world.nodes()).find(|other| world.coalition(*other) == Some(coalition))
}
