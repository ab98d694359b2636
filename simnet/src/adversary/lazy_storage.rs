//! Storing nothing, and proving it with made-up bytes.

use protocol::{
    AccountId, BlobRef, Digest, Hash,
    hash::keccak,
    holding::{self, Inventory, Openings, RowKey},
    node::{Done, Job},
    record::{Body, Record, StorageCommitBody},
    slice::{self, CHUNK_BYTES, Slice},
};

use super::{Adversary, AdversaryKind, Answer, Profile, World};
use crate::{kernel::Purpose, units::Span};

/// Stores nothing and claims to.
pub const LAZY_STORAGE: AdversaryKind = AdversaryKind(&Profile::new(
    "lazy-storage",
    "Claims every assigned pack and stores none: commits made-up rows, opens garbage.",
    |_| Box::new(LazyStorage),
));

/// Stores nothing: commits made-up rows in time, opens chunks of the right shape and wrong bytes,
/// audits and settles nothing, and claims whatever it may.
pub(super) struct LazyStorage;

impl Adversary for LazyStorage {
    fn stores(&mut self, _: &mut dyn World, _: usize, _: &Hash) -> bool {
        false
    }

    fn answer(&mut self, world: &mut dyn World, node: usize, job: &Job) -> Option<Answer> {
        Some(match job {
            Job::Claim { .. } => return None,
            Job::Commit { account, packs, s1 } => {
                let inventory = inventory(world, packs, &[]);
                let rows = made_up_rows(&inventory, *account, s1);
                Answer::after(0, Done::Committed(inventory.commit(s1, &rows, Vec::new())))
            }
            Job::Open { account, packs, commit, s1, s2 } => {
                open_garbage(world, node, *account, packs, commit, (s1, s2))
            }
            _ => Answer::local(),
        })
    }

    fn sign(&mut self, _: &mut dyn World, _: usize, record: Record) -> Vec<(Span, Record)> {
        match record.body {
            Body::Audit(_) => Vec::new(),
            _ => vec![(Span::ZERO, record)],
        }
    }
}

fn inventory(world: &dyn World, packs: &[BlobRef], absent: &[Hash]) -> Inventory {
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
    world: &mut dyn World,
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
