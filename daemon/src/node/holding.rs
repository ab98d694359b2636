//! Proof of Holding on the disk: reading rows, opening cells, judging the openings of others.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use protocol::chain::ChainView;
use protocol::codec::Wire;
use protocol::holding::{Cell, Inventory, Openings, RowKey, sample};
use protocol::limits::MAX_OPENINGS_BYTES;
use protocol::node::{Done, Failure};
use protocol::record::{Body, StorageCommitBody, VerifiedRecord};
use protocol::rules::{judge_storage, unshown_cell};
use protocol::slice::{self, Slice};
use protocol::{AccountId, BlobRef, Digest, Hash, NodeId};

use super::blobs::Blobs;
use super::pool::Pool;

/// Reads and proves what this node holds.
#[derive(Debug, Clone)]
pub(crate) struct Prover {
    pub(crate) blobs: Blobs,
    pub(crate) cell_bytes: u64,
    pub(crate) opened_cells: u32,
}

/// What could be read of the cells of an inventory.
pub(crate) struct Chunks {
    /// By pack and number of the chunk.
    found: BTreeMap<(Hash, u64), Bytes>,
    /// Packs that could not be read.
    pub(crate) unreadable: Vec<Hash>,
}

impl Chunks {
    /// The chunk that a cell is committed by; empty where it could not be read.
    pub(crate) fn of(&self, cell: &Cell) -> &[u8] {
        self.found.get(&(cell.pack, cell.chunk)).map_or(&[], |chunk| chunk)
    }
}

impl Prover {
    /// Reads the chosen chunk of every cell. Packs that are missing, cannot be read or are not as long as
    /// the chain says are declared absent: unpaid, and no fault.
    pub(crate) async fn commit(&self, account: AccountId, packs: &[BlobRef], s1: Digest) -> Done {
        let key = RowKey::new(&s1, account);
        let is_absent = |pack: &&BlobRef| !self.blobs.has_whole(pack);
        let mut absent: Vec<Hash> = packs.iter().filter(is_absent).map(|pack| pack.hash).collect();
        // What is left out moves the choice in what stays, so everything is read again without it.
        loop {
            let inventory = Inventory::owed(packs, &absent, self.cell_bytes);
            let cells = inventory.chosen(&key);
            let chunks = self.chunks(&cells).await;
            if chunks.unreadable.is_empty() {
                return Done::Committed(inventory.commit(
                    &s1,
                    &rows(&key, &cells, &chunks),
                    absent,
                ));
            }
            absent.extend(chunks.unreadable);
        }
    }

    /// Reads the chosen chunks of cells.
    pub(crate) async fn chunks(&self, cells: &[Cell]) -> Chunks {
        let mut wanted = BTreeMap::<Hash, Vec<u64>>::new();
        for cell in cells {
            wanted.entry(cell.pack).or_default().push(cell.chunk);
        }
        let mut chunks = Chunks { found: BTreeMap::new(), unreadable: Vec::new() };
        for (pack, indices) in wanted {
            match self.blobs.store().blobs().read_chunks(pack, &indices).await {
                Ok(bytes) => {
                    chunks
                        .found
                        .extend(indices.into_iter().zip(bytes).map(|(i, b)| ((pack, i), b)));
                }
                Err(error) => {
                    tracing::warn!(%pack, %error, "a pack cannot be read; it is declared absent");
                    chunks.unreadable.push(pack);
                }
            }
        }
        chunks
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
        let cells = inventory.chosen(&key);
        let chunks = self.chunks(&cells).await;
        if !chunks.unreadable.is_empty() {
            return Done::Failed(Failure::Local);
        }
        let picked = sample(&s2, account, inventory.cells(), self.opened_cells);
        let mut slices = self.slices(&cells, &picked).await;
        let rows = rows(&key, &cells, &chunks);
        // A pack that changed since, or a seed whose block was replaced: openings that cannot fit would
        // be a fault, and none at all is an epoch without pay.
        if inventory.commit(&s1, &rows, commit.absent.clone()) != *commit {
            tracing::warn!(
                "what this node committed to is no longer what it holds; it opens nothing"
            );
            return Done::Failed(Failure::Local);
        }
        let openings = Openings::open(&rows, &cells, &picked, |cell| slices.remove(&cell.number));
        self.keep(&openings).await
    }

    /// Opens one cell of a commitment for the chain.
    pub(crate) async fn open_cell(
        &self,
        account: AccountId,
        packs: &[BlobRef],
        commit: &StorageCommitBody,
        (s1, cell): (Digest, u32),
    ) -> Done {
        let key = RowKey::new(&s1, account);
        let inventory = Inventory::owed(packs, &commit.absent, self.cell_bytes);
        let cells = inventory.chosen(&key);
        let chunks = self.chunks(&cells).await;
        let rows = rows(&key, &cells, &chunks);
        // Another opening than of what was committed to would cost gas and answer nothing.
        if inventory.commit(&s1, &rows, commit.absent.clone()) != *commit {
            tracing::error!(
                cell,
                "a disputed cell cannot be shown: what was committed to is no longer here"
            );
            return Done::Failed(Failure::Local);
        }
        let mut slices = self.slices(&cells, &[cell]).await;
        let chosen = cells.iter().find(|chosen| chosen.number == cell);
        let opening = chosen
            .zip(slices.remove(&cell))
            .and_then(|(chosen, slice)| inventory.open_cell(&rows, chosen, slice));
        opening.map_or(Done::Failed(Failure::Local), Done::CellOpened)
    }

    /// Fetches the openings that a proof names, from whoever should have them, and finds the cell that
    /// they do not show.
    pub(crate) async fn look_again(
        &self,
        chain: &Arc<ChainView>,
        commit: &VerifiedRecord,
        proof: &VerifiedRecord,
        from: &[NodeId],
    ) -> Done {
        let Body::StorageProof(body) = &proof.record().body else {
            return Done::Failed(Failure::Invalid);
        };
        if usize::try_from(body.length).is_ok_and(|length| length > MAX_OPENINGS_BYTES) {
            return Done::Failed(Failure::Invalid);
        }
        match self.blobs.obtain(body.openings, u64::from(body.length), from).await {
            Ok(openings) => Done::Looked(unshown_cell(chain, commit, proof, &openings)),
            Err(failure) => Done::Failed(failure),
        }
    }

    /// Proofs of the picked cells whose packs are here, by number of the cell.
    pub(crate) async fn slices(&self, cells: &[Cell], picked: &[u32]) -> BTreeMap<u32, Slice> {
        let mut slices = BTreeMap::new();
        for cell in cells.iter().filter(|cell| picked.contains(&cell.number)) {
            let Ok(pack) = self.blobs.store().blobs().get(cell.pack).await else { continue };
            if let Some(slice) = slice::prove(&pack, cell.chunk) {
                slices.insert(cell.number, slice);
            }
        }
        slices
    }

    /// Stores openings as a blob, which the proof will name.
    pub(crate) async fn keep(&self, openings: &Openings) -> Done {
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

/// The committed rows of cells.
pub(crate) fn rows(key: &RowKey, cells: &[Cell], chunks: &Chunks) -> Vec<Digest> {
    cells.iter().map(|cell| key.row(chunks.of(cell))).collect()
}
