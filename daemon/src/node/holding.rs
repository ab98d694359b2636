//! Proof of Holding on the disk: reading rows, opening cells, judging the openings of others.

use std::collections::BTreeMap;
use std::sync::Arc;

use protocol::chain::ChainView;
use protocol::codec::Wire;
use protocol::holding::{Cell, Inventory, Openings, RowKey, sample};
use protocol::limits::MAX_OPENINGS_BYTES;
use protocol::node::{Done, Failure, judge_storage};
use protocol::record::{Body, StorageCommitBody, VerifiedRecord};
use protocol::slice::{self, Slice};
use protocol::{AccountId, BlobRef, Digest, Hash};

use super::blobs::Blobs;
use super::pool::Pool;

/// Reads and proves what this node holds.
#[derive(Debug, Clone)]
pub(crate) struct Prover {
    pub(crate) blobs: Blobs,
    pub(crate) cell_bytes: u64,
    pub(crate) opened_cells: u32,
    /// Fault injection: packs that this node claims although it deleted them.
    pub(crate) claims_deleted: bool,
}

impl Prover {
    /// Reads the chosen chunk of every cell. Packs that are missing or cannot be read are declared
    /// absent: unpaid, and no fault.
    pub(crate) async fn commit(&self, account: AccountId, packs: &[BlobRef], s1: Digest) -> Done {
        self.delete_one(packs).await;
        let key = RowKey::new(&s1, account);
        let mut absent: Vec<Hash> =
            packs.iter().map(|pack| pack.hash).filter(|hash| !self.claims(*hash)).collect();
        loop {
            let inventory = Inventory::owed(packs, &absent, self.cell_bytes);
            match self.rows(&inventory, &key).await {
                Ok(rows) => return Done::Committed(inventory.commit(&rows, absent)),
                Err(lost) => absent.push(lost),
            }
        }
    }

    /// Fault injection: deletes a pack that is then claimed all the same.
    async fn delete_one(&self, packs: &[BlobRef]) {
        if let Some(BlobRef { hash: pack, .. }) = packs.first().filter(|_| self.claims_deleted) {
            let deleted = self.blobs.store().blobs().delete(*pack).await;
            tracing::warn!(%pack, ?deleted, "fault injection: a claimed pack is deleted");
        }
    }

    fn claims(&self, pack: Hash) -> bool {
        self.claims_deleted || self.blobs.has(pack)
    }

    /// The rows of all cells, or the first pack that could not be read.
    async fn rows(&self, inventory: &Inventory, key: &RowKey) -> Result<Vec<Digest>, Hash> {
        let cells = inventory.chosen(key);
        let mut wanted = BTreeMap::<Hash, Vec<u64>>::new();
        for cell in &cells {
            wanted.entry(cell.pack).or_default().push(cell.chunk);
        }
        let mut chunks = BTreeMap::new();
        for (pack, indices) in wanted {
            let read = self.blobs.store().blobs().read_chunks(pack, &indices).await;
            match read {
                Ok(bytes) => {
                    chunks.extend(indices.into_iter().zip(bytes).map(|(i, b)| ((pack, i), b)));
                }
                Err(_) if self.claims_deleted => {}
                Err(error) => {
                    tracing::warn!(%pack, %error, "a pack cannot be read; it is declared absent");
                    return Err(pack);
                }
            }
        }
        let row = |cell: &Cell| match chunks.get(&(cell.pack, cell.chunk)) {
            Some(chunk) => key.row(chunk),
            None => key.row(&[]),
        };
        Ok(cells.iter().map(row).collect())
    }

    /// Opens the sampled cells and stores the openings as a blob.
    pub(crate) async fn open(
        &self,
        account: AccountId,
        packs: &[BlobRef],
        commit: &StorageCommitBody,
        (s1, s2): (Digest, Digest),
    ) -> Done {
        let key = RowKey::new(&s1, account);
        let inventory = Inventory::owed(packs, &commit.absent, self.cell_bytes);
        let Ok(rows) = self.rows(&inventory, &key).await else {
            return Done::Failed(Failure::Local);
        };
        let cells = inventory.chosen(&key);
        let picked = sample(&s2, account, inventory.cells(), self.opened_cells);
        let mut slices = BTreeMap::<u32, Slice>::new();
        for cell in cells.iter().filter(|cell| picked.contains(&cell.number)) {
            let Ok(pack) = self.blobs.store().blobs().get(cell.pack).await else { continue };
            if let Some(slice) = slice::prove(&pack, cell.chunk) {
                slices.insert(cell.number, slice);
            }
        }
        let openings = Openings::open(&rows, &cells, &picked, |cell| {
            // A cell that is gone can only be opened with made-up bytes.
            let made_up =
                || Slice { index: cell.chunk, chunk: vec![0; 1024], siblings: Vec::new() };
            slices.remove(&cell.number).or_else(|| self.claims_deleted.then(made_up))
        });
        let bytes = openings.to_bytes();
        let length = bytes.len() as u64;
        match self.blobs.put(bytes).await {
            Ok(hash) => Done::Opened(BlobRef { hash, length }),
            Err(failure) => Done::Failed(failure),
        }
    }

    /// Fetches the openings that a proof names and judges them.
    pub(crate) async fn audit(
        &self,
        chain: &Arc<ChainView>,
        pool: &Pool,
        proof: &Arc<VerifiedRecord>,
    ) -> Done {
        let Body::StorageProof(body) = &proof.record().body else {
            return Done::Failed(Failure::Invalid);
        };
        let Some(commit) = pool.get(&body.commit) else {
            return Done::Failed(Failure::Unavailable);
        };
        if usize::try_from(body.length).is_ok_and(|length| length > MAX_OPENINGS_BYTES) {
            return Done::Failed(Failure::Invalid);
        }
        let holder = chain.account(proof.record().account).map(|account| account.node);
        let from: Vec<_> = holder.into_iter().collect();
        match self.blobs.obtain(body.openings, u64::from(body.length), &from).await {
            Ok(openings) => Done::Judged(judge_storage(chain, &commit, proof, &openings)),
            Err(failure) => Done::Failed(failure),
        }
    }
}
