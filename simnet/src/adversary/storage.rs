//! Storing less than is claimed.

use std::collections::BTreeSet;

use protocol::{
    AccountId, BlobRef, Digest, Hash,
    hash::keccak,
    holding::{self, Inventory, Openings, RowKey},
    node::{Done, Job},
    record::{Body, Record, StorageCommitBody},
    slice::{self, CHUNK_BYTES, Slice},
};

use super::Adversary;
use crate::{
    kernel::Purpose,
    simulation::{Answer, World},
    units::Span,
};

/// Stores nothing: commits made-up rows in time, opens chunks of the right shape and wrong bytes,
/// audits and settles nothing, and claims whatever it may.
pub(super) struct Lazy;

impl Adversary for Lazy {
    fn job(&mut self, world: &mut World<'_>, node: usize, job: &Job) -> Option<Answer> {
        Some(match job {
            Job::Claim { .. } => return None,
            Job::Fetch(_) => Answer::after(0, Done::Fetched),
            Job::Commit { account, packs, s1 } => {
                let inventory = inventory(world, packs, &[]);
                let rows = made_up_rows(&inventory, *account, s1);
                Answer::after(0, Done::Committed(inventory.commit(&rows, Vec::new())))
            }
            Job::Open { account, packs, commit, s1, s2 } => {
                open_garbage(world, node, *account, packs, commit, (s1, s2))
            }
            _ => Answer::local(),
        })
    }

    fn sign(&mut self, _: &mut World<'_>, _: usize, record: Record) -> Vec<(Span, Record)> {
        match record.body {
            Body::Audit(_) => Vec::new(),
            _ => vec![(Span::ZERO, record)],
        }
    }
}

fn inventory(world: &World<'_>, packs: &[BlobRef], absent: &[Hash]) -> Inventory {
    Inventory::owed(packs, absent, world.chain().params().holding.cell_bytes)
}

/// Rows of nothing: as many as the packs would have.
fn made_up_rows(inventory: &Inventory, account: AccountId, s1: &Digest) -> Vec<Digest> {
    let account = account.0.to_be_bytes();
    (0..inventory.cells())
        .map(|cell| keccak(&[b"made up", &s1.0, &account, &cell.to_be_bytes()]))
        .collect()
}

/// Opens what was committed to, with chunks and siblings of the right shape and wrong bytes.
fn open_garbage(
    world: &mut World<'_>,
    node: usize,
    account: AccountId,
    packs: &[BlobRef],
    commit: &StorageCommitBody,
    (s1, s2): (&Digest, &Digest),
) -> Answer {
    let inventory = inventory(world, packs, &[]);
    let rows = made_up_rows(&inventory, account, s1);
    let cells = inventory.chosen(&RowKey::new(s1, account));
    let k = world.chain().params().holding.opened_cells;
    let picked = holding::sample(s2, account, commit.cells, k);
    let number = u32::try_from(node).expect("a node's number");
    let mut draws = world.streams().stream(number, Purpose::MadeUp);
    let openings = Openings::open(&rows, &cells, &picked, |cell| {
        let left = cell.pack_length.saturating_sub(cell.chunk * CHUNK_BYTES);
        let mut chunk = vec![0; usize::try_from(left.min(CHUNK_BYTES)).unwrap_or(0)];
        draws.fill(&mut chunk);
        let height = slice::chunks(cell.pack_length).next_power_of_two().trailing_zeros();
        let siblings =
            (0..height).map(|level: u32| keccak(&[&chunk, &level.to_be_bytes()])).collect();
        Some(Slice { index: cell.chunk, chunk, siblings })
    });
    world.show(node, &openings)
}

/// Keeps nothing between proofs: fetches every pack when it has to commit, and deletes it when the
/// sample is opened. Whether that pays depends on bandwidth and on the length of the commit window.
pub(super) struct OnDemand;

impl Adversary for OnDemand {
    fn job(&mut self, world: &mut World<'_>, node: usize, job: &Job) -> Option<Answer> {
        match job {
            Job::Fetch(blob) => {
                world.delete(node, &blob.hash);
                Some(Answer::after(0, Done::Fetched))
            }
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

/// The time until all packs are there that somebody gives.
fn fetch_all(world: &mut World<'_>, node: usize, packs: &[BlobRef]) -> u64 {
    let mut slowest = 0;
    for BlobRef { hash, length } in packs {
        if let Some(taken) = world.fetch(node, hash, *length) {
            slowest = slowest.max(taken);
            world.hold(node, *hash);
        }
    }
    slowest
}

/// Stores nothing and has rows and openings made by the member of its gang that stores, if one of
/// them holds the pack; the first member stores everything that the gang is assigned.
pub(super) struct Outsourcing;

impl Adversary for Outsourcing {
    fn job(&mut self, world: &mut World<'_>, node: usize, job: &Job) -> Option<Answer> {
        let warehouse = first_of_gang(world, node)?;
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

fn first_of_gang(world: &World<'_>, node: usize) -> Option<usize> {
    let gang = world.gang(node)?;
    (0..world.nodes()).find(|other| world.gang(*other) == Some(gang))
}

/// Identities of one operator with one disk: what one of them has, all have. Stake is what makes
/// them cost something; `sybil-unstaked` registers without.
#[derive(Default)]
pub(super) struct Sybil(BTreeSet<Hash>);

impl Adversary for Sybil {
    fn job(&mut self, world: &mut World<'_>, node: usize, job: &Job) -> Option<Answer> {
        let Job::Fetch(BlobRef { hash: blob, .. }) = job else { return None };
        if self.0.contains(blob) {
            world.hold(node, *blob);
            return Some(Answer::after(0, Done::Fetched));
        }
        let answer = world.honest(node, job.clone());
        if answer.done == Done::Fetched {
            self.0.insert(*blob);
        }
        Some(answer)
    }
}
