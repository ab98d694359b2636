//! What honest hosts do for their machines, for real but for its time.

use protocol::{
    AccountId, BlobRef, Digest, Hash,
    chain::ChainView,
    codec::Wire as _,
    holding::{self, Cell, Inventory, Openings, RowKey},
    limits::MAX_ABSENT_PACKS,
    node::{Done, Job, judge_storage},
    record::{Body, StorageCommitBody, Verdict, VerifiedRecord},
    slice::{self, CHUNK_BYTES},
};

use super::{Answer, Simulation, number};
use crate::{
    kernel::Purpose,
    network::SEEK_MICROS,
    nodes::{RecordTable, SharedBlobs, Signer},
};

impl Simulation {
    pub(super) fn answer(&mut self, index: usize, job: Job) -> Answer {
        match job {
            Job::Claim { epoch, account } => self.claim(index, epoch, account),
            Job::Fetch(blob) => self.fetch(index, blob),
            Job::Commit { account, packs, s1 } => {
                let committed = self.hosts().commit(number(index), account, &packs, &s1);
                self.committed(index, committed)
            }
            Job::Open { account, packs, commit, s1, s2 } => {
                let me = number(index);
                let opened = self.hosts().open(me, account, &packs, &commit, (s1, s2));
                self.opened(index, opened)
            }
            Job::AuditStorage { proof } => self.audit(index, &proof),
            Job::Settle { epoch } => self.settle(index, epoch, |_| true),
            Job::Verify { settlement } => self.verify(index, &settlement),
            work => self.work(index, work),
        }
    }

    pub(super) const fn hosts(&self) -> Hosts<'_> {
        let (view, signer) = (self.chain.view(), &self.signer);
        Hosts { view, records: &self.records, blobs: &self.blobs, signer }
    }

    /// Who gives a blob to a node: one of those that have it, drawn; its contributor otherwise.
    fn source(&self, index: usize, hash: &Hash, draw: u64) -> Option<Option<usize>> {
        let me = number(index);
        let gives = |holder: &u32| {
            let from = *holder as usize;
            *holder != me
                && self.nodes[from].is_online()
                && self.network.reaches(self.now, me, *holder).is_some()
                && self.serves(from, index, hash)
        };
        let holders: Vec<_> = self.blobs.holders(hash).filter(gives).collect();
        if holders.is_empty() {
            return self.blobs.is_published(hash).then_some(None);
        }
        let place = draw % holders.len() as u64;
        let place = usize::try_from(place).expect("one of those in memory");
        Some(Some(holders[place] as usize))
    }

    /// The time of a transfer to a node; `None` when nobody gives the blob or it was given up.
    pub(super) fn transfer(&mut self, index: usize, hash: &Hash, bytes: u64) -> Option<u64> {
        let me = number(index);
        if self.blobs.has(me, hash) {
            return Some(0);
        }
        let which = self.nodes[index].ask();
        let source = self.source(index, hash, self.draws.word(Purpose::Request, me.into(), which));
        let from = source?.map(number);
        let known = from.map_or(Some(0), |_| self.look_up(index, which));
        let there = known
            .and_then(|found| self.network.transfer(self.now.after(found), from, me, bytes, which));
        match there {
            Some(_) => {
                self.tally.fetched_bytes += bytes;
                self.spend_upload(from, bytes);
                self.traffic.count_fetch(self.chain.view().epoch(), bytes);
            }
            None => self.tally.lost_transfers += 1,
        }
        there.map(|at| at.0.saturating_sub(self.now.0))
    }

    fn fetch(&mut self, index: usize, blob: BlobRef) -> Answer {
        match self.transfer(index, &blob.hash, blob.length) {
            Some(taken) => {
                if taken > 0 {
                    self.retrievals.add(taken);
                }
                Answer { taken, done: Done::Fetched, gains: Some(blob.hash) }
            }
            None => Answer::unavailable(0),
        }
    }

    /// The answer to a commitment, once its cells were read.
    pub(super) fn committed(&self, index: usize, committed: Option<Committed>) -> Answer {
        let Some(Committed { cells, body }) = committed else { return Answer::local() };
        Answer::after(self.disk(index, cells * SEEK_MICROS), Done::Committed(body))
    }

    /// The answer to openings, once their cells were read.
    pub(super) fn opened(&mut self, index: usize, opened: Option<Opened>) -> Answer {
        let Some(Opened { cells, bytes }) = opened else { return Answer::local() };
        let taken = self.disk(index, cells * SEEK_MICROS);
        self.store(index, taken, bytes)
    }

    /// Stores openings and names them.
    pub(crate) fn show(&mut self, index: usize, taken: u64, openings: &Openings) -> Answer {
        self.store(index, taken, openings.to_bytes())
    }

    fn store(&mut self, index: usize, taken: u64, bytes: Vec<u8>) -> Answer {
        let length = bytes.len() as u64;
        match self.blobs.put(number(index), bytes) {
            Ok(hash) => Answer::after(taken, Done::Opened(BlobRef { hash, length })),
            Err(_) => Answer::local(),
        }
    }

    fn audit(&mut self, index: usize, proof: &VerifiedRecord) -> Answer {
        let Body::StorageProof(shown) = &proof.record().body else { return Answer::local() };
        let commit = self.records.find(&shown.commit);
        let commit = commit.filter(|commit| self.has_record(index, *commit));
        let Some(commit) = commit else { return Answer::unavailable(0) };
        let length = u64::from(shown.length);
        let Some(taken) = self.transfer(index, &shown.openings, length) else {
            return Answer::unavailable(0);
        };
        let Some(commit) = self.records.get(commit) else { return Answer::unavailable(taken) };
        // A pure function of what is the same for all auditors: judged once.
        let known = self.judged.get(&proof.id()).copied();
        let Some(verdict) = known.or_else(|| self.hosts().judge(&commit.record, proof)) else {
            return Answer::unavailable(taken);
        };
        self.judged.insert(proof.id(), verdict);
        Answer { taken, done: Done::Judged(verdict), gains: Some(shown.openings) }
    }
}

/// What hosts read and do not change, so that many can work at once.
#[derive(Debug, Clone, Copy)]
pub(super) struct Hosts<'a> {
    pub(super) view: &'a ChainView,
    pub(super) records: &'a RecordTable,
    pub(super) blobs: &'a SharedBlobs,
    pub(super) signer: &'a Signer,
}

/// A commitment, and over how many cells that were read for it.
#[derive(Debug)]
pub(super) struct Committed {
    cells: u64,
    body: StorageCommitBody,
}

/// Openings, and of how many cells that were read for them.
#[derive(Debug)]
pub(super) struct Opened {
    cells: u64,
    bytes: Vec<u8>,
}

impl Hosts<'_> {
    fn inventory(&self, packs: &[BlobRef], absent: &[Hash]) -> Inventory {
        Inventory::owed(packs, absent, self.view.params().holding.cell_bytes)
    }

    /// The row of the chunk of each cell that the seed picks.
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

    /// A node's commitment to the packs that it has; `None` where it cannot make one.
    pub(super) fn commit(
        &self,
        node: u32,
        account: AccountId,
        packs: &[BlobRef],
        s1: &Digest,
    ) -> Option<Committed> {
        let is_missing = |hash: &Hash| !self.blobs.has(node, hash);
        let absent: Vec<_> = packs.iter().map(|pack| pack.hash).filter(is_missing).collect();
        if absent.len() > MAX_ABSENT_PACKS {
            return None;
        }
        let inventory = self.inventory(packs, &absent);
        let key = RowKey::new(s1, account);
        let rows = self.rows(&inventory.chosen(&key), &key);
        Some(Committed { cells: rows.len() as u64, body: inventory.commit(&rows, absent) })
    }

    /// A node's openings of the cells that were drawn; `None` where it lacks a pack by now.
    pub(super) fn open(
        &self,
        node: u32,
        account: AccountId,
        packs: &[BlobRef],
        commit: &StorageCommitBody,
        (s1, s2): (Digest, Digest),
    ) -> Option<Opened> {
        let inventory = self.inventory(packs, &commit.absent);
        if inventory.packs().iter().any(|pack| !self.blobs.has(node, &pack.hash)) {
            return None;
        }
        let key = RowKey::new(&s1, account);
        let cells = inventory.chosen(&key);
        let rows = self.rows(&cells, &key);
        let k = self.view.params().holding.opened_cells;
        let picked = holding::sample(&s2, account, commit.cells, k);
        let openings = Openings::open(&rows, &cells, &picked, |cell| {
            let blob = self.blobs.get(cell.pack)?;
            slice::prove(blob.as_ref(), cell.chunk)
        });
        Some(Opened { cells: picked.len() as u64, bytes: openings.to_bytes() })
    }

    /// The verdict on a proof whose openings exist.
    pub(super) fn judge(&self, commit: &VerifiedRecord, proof: &VerifiedRecord) -> Option<Verdict> {
        let Body::StorageProof(shown) = &proof.record().body else { return None };
        let openings = self.blobs.get(shown.openings)?;
        Some(judge_storage(self.view, commit, proof, openings.as_ref()))
    }
}
