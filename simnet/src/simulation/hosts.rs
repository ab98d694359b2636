//! What honest hosts read for their machines: rows, openings and their judgement, for real.

use protocol::{
    AccountId, BlobRef, Digest, Hash,
    chain::ChainView,
    codec::Wire as _,
    holding::{self, Cell, CellOpening, Inventory, Openings, RowKey},
    limits::MAX_ABSENT_PACKS,
    record::{Body, StorageCommitBody, Verdict, VerifiedRecord},
    rules::{judge_storage, unshown_cell},
    slice::{self, CHUNK_BYTES},
};

use crate::nodes::{RecordTable, SharedBlobs, Signer};

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
    pub(super) cells: u64,
    pub(super) body: StorageCommitBody,
}

/// Openings, and of how many cells that were read for them.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) cells: u64,
    pub(super) bytes: Vec<u8>,
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
        Some(Committed { cells: rows.len() as u64, body: inventory.commit(s1, &rows, absent) })
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

    /// The opening of one cell of a node's commitment; `None` where it lacks a pack by now.
    pub(super) fn open_cell(
        &self,
        node: u32,
        account: AccountId,
        packs: &[BlobRef],
        commit: &StorageCommitBody,
        (s1, cell): (Digest, u32),
    ) -> Option<CellOpening> {
        let inventory = self.inventory(packs, &commit.absent);
        if inventory.packs().iter().any(|pack| !self.blobs.has(node, &pack.hash)) {
            return None;
        }
        let key = RowKey::new(&s1, account);
        let rows = self.rows(&inventory.chosen(&key), &key);
        let cell = inventory.cell(&key, cell)?;
        let slice = slice::prove(self.blobs.get(cell.pack)?.as_ref(), cell.chunk)?;
        inventory.open_cell(&rows, &cell, slice)
    }

    /// The cell that the openings of a proof do not show; an outer `None` where there are no openings.
    pub(super) fn unshown(
        &self,
        commit: &VerifiedRecord,
        proof: &VerifiedRecord,
    ) -> Option<Option<u32>> {
        let Body::StorageProof(shown) = &proof.record().body else { return None };
        let openings = self.blobs.get(shown.openings)?;
        Some(unshown_cell(self.view, commit, proof, openings.as_ref()))
    }

    /// The verdict on a proof whose openings exist.
    pub(super) fn judge(&self, commit: &VerifiedRecord, proof: &VerifiedRecord) -> Option<Verdict> {
        let Body::StorageProof(shown) = &proof.record().body else { return None };
        let openings = self.blobs.get(shown.openings)?;
        Some(judge_storage(self.view, commit, proof, openings.as_ref()))
    }
}
