//! What hosts do for their machines: honest ones really, lazy ones as far as it costs nothing.

use protocol::{
    AccountId, Digest, Hash,
    codec::Wire as _,
    hash::keccak,
    holding::{self, Cell, Inventory, Openings, RowKey},
    limits::MAX_ABSENT_PACKS,
    node::{Done, Failure, Job, judge_storage},
    record::{Body, StorageCommitBody, VerifiedRecord},
    slice::{self, CHUNK_BYTES, Slice},
};

use super::{Simulation, number};
use crate::{kernel::Purpose, network::SEEK_MICROS, nodes::Kind};

/// How long a job takes, its answer, and the blob that the node has then.
pub(super) type Answered = (u64, Done, Option<Hash>);

const fn local() -> Answered {
    (0, Done::Failed(Failure::Local), None)
}

const fn unavailable(after: u64) -> Answered {
    (after, Done::Failed(Failure::Unavailable), None)
}

impl Simulation {
    pub(super) fn answer(&mut self, index: usize, job: Job) -> Answered {
        match (self.nodes[index].kind, job) {
            (_, Job::Claim { epoch, account }) => self.claim(index, epoch, account),
            (Kind::Adversary(_), Job::Fetch { .. }) => (0, Done::Fetched, None),
            (Kind::Adversary(_), Job::Commit { account, packs, s1 }) => {
                let rows = self.made_up_rows(account, &packs, &s1);
                let inventory = self.inventory(&packs, &[]);
                (0, Done::Committed(inventory.commit(&rows, Vec::new())), None)
            }
            (Kind::Adversary(_), Job::Open { account, packs, commit, s1, s2 }) => {
                self.open_garbage(index, account, &packs, &commit, (s1, s2))
            }
            (Kind::Adversary(_), _) => local(),
            (_, Job::Fetch { blob, length }) => self.fetch(index, blob, length),
            (_, Job::Commit { account, packs, s1 }) => self.commit(index, account, &packs, &s1),
            (_, Job::Open { account, packs, commit, s1, s2 }) => {
                self.open(index, account, &packs, &commit, (s1, s2))
            }
            (_, Job::AuditStorage { proof }) => self.audit(index, &proof),
            (_, Job::Settle { epoch }) => self.settle(index, epoch),
            (_, Job::Verify { settlement }) => self.verify(index, &settlement),
            // No model is ordered in this version, so no machine asks for these.
            (
                _,
                Job::Prepare { .. }
                | Job::Compute { .. }
                | Job::Replay { .. }
                | Job::Aggregate { .. }
                | Job::Infer { .. }
                | Job::AuditAttribution { .. },
            ) => local(),
        }
    }

    fn inventory(&self, packs: &[(Hash, u64)], absent: &[Hash]) -> Inventory {
        Inventory::owed(packs, absent, self.chain.view().params().holding.cell_bytes)
    }

    pub(super) fn is_available(&self, hash: &Hash) -> bool {
        self.blobs.is_available(hash, |node| self.nodes[node as usize].is_online)
    }

    /// The time of a transfer to a node; `None` when nobody has the blob or it was given up.
    pub(super) fn transfer(&mut self, index: usize, hash: &Hash, bytes: u64) -> Option<u64> {
        if self.blobs.has(number(index), hash) {
            return Some(0);
        }
        if !self.is_available(hash) {
            return None;
        }
        self.tally.fetched_bytes += bytes;
        self.network.transfer(bytes, &mut self.nodes[index].request)
    }

    fn fetch(&mut self, index: usize, blob: Hash, length: u64) -> Answered {
        match self.transfer(index, &blob, length) {
            Some(taken) => (taken, Done::Fetched, Some(blob)),
            None => unavailable(0),
        }
    }

    /// The chunk of each cell that the seed picks.
    fn rows(&self, cells: &[Cell], key: &RowKey) -> Vec<Digest> {
        let row = |cell: &Cell| {
            let blob = self.blobs.get(cell.pack);
            let bytes = blob.as_ref().map_or(&[][..], AsRef::as_ref);
            let start = usize::try_from(cell.chunk * CHUNK_BYTES).expect("a pack is in memory");
            let chunk = bytes[start..].chunks(1024).next().unwrap_or_default();
            key.row(chunk)
        };
        cells.iter().map(row).collect()
    }

    fn absent(&self, index: usize, packs: &[(Hash, u64)]) -> Vec<Hash> {
        let is_missing = |hash: &Hash| !self.blobs.has(number(index), hash);
        packs.iter().map(|(hash, _)| *hash).filter(is_missing).collect()
    }

    fn commit(
        &self,
        index: usize,
        account: AccountId,
        packs: &[(Hash, u64)],
        s1: &Digest,
    ) -> Answered {
        let absent = self.absent(index, packs);
        if absent.len() > MAX_ABSENT_PACKS {
            return local();
        }
        let inventory = self.inventory(packs, &absent);
        let key = RowKey::new(s1, account);
        let rows = self.rows(&inventory.chosen(&key), &key);
        let taken = rows.len() as u64 * SEEK_MICROS;
        (taken, Done::Committed(inventory.commit(&rows, absent)), None)
    }

    fn open(
        &mut self,
        index: usize,
        account: AccountId,
        packs: &[(Hash, u64)],
        commit: &StorageCommitBody,
        (s1, s2): (Digest, Digest),
    ) -> Answered {
        let inventory = self.inventory(packs, &commit.absent);
        let key = RowKey::new(&s1, account);
        let cells = inventory.chosen(&key);
        let rows = self.rows(&cells, &key);
        let k = self.chain.view().params().holding.opened_cells;
        let picked = holding::sample(&s2, account, commit.cells, k);
        let openings = Openings::open(&rows, &cells, &picked, |cell| {
            let blob = self.blobs.get(cell.pack)?;
            slice::prove(blob.as_ref(), cell.chunk)
        });
        let taken = picked.len() as u64 * SEEK_MICROS;
        self.show(index, taken, &openings)
    }

    fn show(&mut self, index: usize, taken: u64, openings: &Openings) -> Answered {
        let bytes = openings.to_bytes();
        let Ok(length) = u32::try_from(bytes.len()) else { return local() };
        match self.blobs.put(number(index), bytes) {
            Ok(hash) => (taken, Done::Opened(hash, length), None),
            Err(_) => local(),
        }
    }

    fn audit(&mut self, index: usize, proof: &VerifiedRecord) -> Answered {
        let Body::StorageProof(shown) = &proof.record().body else { return local() };
        let commit = self.records.find(&shown.commit);
        let commit = commit.filter(|commit| self.nodes[index].pool.has(*commit));
        let Some(commit) = commit else { return unavailable(0) };
        let length = u64::from(shown.length);
        let Some(taken) = self.transfer(index, &shown.openings, length) else {
            return unavailable(0);
        };
        let Some(openings) = self.blobs.get(shown.openings) else { return unavailable(taken) };
        let commit = self.records.get(commit);
        let verdict = judge_storage(self.chain.view(), commit, proof, openings.as_ref());
        (taken, Done::Judged(verdict), Some(shown.openings))
    }

    /// Rows of nothing: as many as the packs would have.
    fn made_up_rows(&self, account: AccountId, packs: &[(Hash, u64)], s1: &Digest) -> Vec<Digest> {
        let account = account.0.to_be_bytes();
        (0..self.inventory(packs, &[]).cells())
            .map(|cell| keccak(&[b"made up", &s1.0, &account, &cell.to_be_bytes()]))
            .collect()
    }

    /// Opens what was committed to, with chunks and siblings of the right shape and wrong bytes.
    fn open_garbage(
        &mut self,
        index: usize,
        account: AccountId,
        packs: &[(Hash, u64)],
        commit: &StorageCommitBody,
        (s1, s2): (Digest, Digest),
    ) -> Answered {
        let rows = self.made_up_rows(account, packs, &s1);
        let cells = self.inventory(packs, &[]).chosen(&RowKey::new(&s1, account));
        let k = self.chain.view().params().holding.opened_cells;
        let picked = holding::sample(&s2, account, commit.cells, k);
        let mut draws = self.streams.stream(number(index), Purpose::MadeUp);
        let openings = Openings::open(&rows, &cells, &picked, |cell| {
            let left = cell.pack_length.saturating_sub(cell.chunk * CHUNK_BYTES);
            let mut chunk = vec![0; usize::try_from(left.min(CHUNK_BYTES)).unwrap_or(0)];
            draws.fill(&mut chunk);
            let height = slice::chunks(cell.pack_length).next_power_of_two().trailing_zeros();
            let siblings =
                (0..height).map(|level: u32| keccak(&[&chunk, &level.to_be_bytes()])).collect();
            Some(Slice { index: cell.chunk, chunk, siblings })
        });
        self.show(index, 0, &openings)
    }
}
