//! The blob store on disk: iroh-blobs' store, and what it leaves to its user.
//!
//! - It acknowledges a write before its metadata are committed and never fsyncs the files of
//!   finished blobs. Here a blob is acknowledged after its files, their directory and the metadata
//!   are on the disk.
//! - It deletes by garbage collection only; the private module `collector` says how.
//! - It does not notice damaged files until they are read. Every read here is verified against the
//!   address, and [`FsBlobs::scrub`] reads everything.
//! - It knows no quota. Here space is reserved before a byte is written.
//!
//! Blobs that arrive from peers are written by the caller's download through [`FsBlobs::store`],
//! between [`FsBlobs::begin`] and [`Incoming::finish`].

use std::collections::{BTreeMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bao_tree::io::EncodeError;
use bao_tree::{ChunkNum, ChunkRanges};
use bytes::Bytes;
use iroh_blobs::api::blobs::BlobStatus;
use iroh_blobs::api::{ExportBaoError, RequestError, Store as IrohStore};
use iroh_blobs::store::fs::FsStore;
use iroh_blobs::store::fs::options::{Options, PathOptions};
use protocol::{BlobRef, Hash};
use tokio::sync::RwLock;

use crate::blobs::{CHUNK_BYTES, checked_range, chunk_range, hash_of, slice};
use crate::collector::Collector;
use crate::durable;
use crate::error::{DiskError, StoreError};
use crate::quota::{Ledger, Quota};

/// Bytes up to this length are hashed on the caller's thread.
const HASH_INLINE: usize = 256 << 10;

/// Blobs on disk. Clones share one store.
#[derive(Clone, Debug)]
pub struct FsBlobs {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    store: FsStore,
    paths: PathOptions,
    root: PathBuf,
    ledger: Mutex<Ledger>,
    collector: Collector,
    /// Writers share it; a deletion has it alone.
    gate: RwLock<()>,
}

/// What a scrub found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScrubReport {
    /// Blobs that were read and hashed.
    pub blobs: u64,
    /// Length of those blobs together, in bytes.
    pub bytes: u64,
    /// Blobs whose bytes no longer hash to their address, ascending: delete and fetch again.
    pub damaged: Vec<Hash>,
    /// Blobs that could not be read, ascending: gone, or the disk fails.
    pub unreadable: Vec<Hash>,
}

impl FsBlobs {
    /// Opens the store in `root`, creating it.
    pub async fn open(root: &Path, quota: Quota) -> Result<Self, StoreError> {
        let root = std::path::absolute(root).map_err(|e| DiskError::new(root, e))?;
        durable::create_dir(&root)?;
        let (collector, gc) = Collector::new();
        let options = Options { gc: Some(gc), ..Options::new(&root) };
        let paths = options.path.clone();
        let database = root.join("blobs.db");
        let opened = FsStore::load_with_opts(database.clone(), options).await;
        let store = opened.map_err(|error| not_opened(database, io::Error::other(error)))?;
        let mut stored = BTreeMap::new();
        let listed = store.list().hashes().await;
        for hash in listed.map_err(|error| DiskError::new(&root, io_error(error)))? {
            if let BlobStatus::Complete { size } = status(&store, ours(hash)).await? {
                stored.insert(ours(hash), size);
            }
        }
        let ledger = Mutex::new(Ledger::new(quota, stored));
        let gate = RwLock::new(());
        Ok(Self { shared: Arc::new(Shared { store, paths, root, ledger, collector, gate }) })
    }

    /// The store underneath, to serve from and to download into. Downloads go between
    /// [`Self::begin`] and [`Incoming::finish`]; nothing else may write through it.
    pub fn store(&self) -> &IrohStore {
        &self.shared.store
    }

    /// Whether the whole blob is here.
    pub fn has(&self, hash: Hash) -> bool {
        self.len(hash).is_some()
    }

    /// Length of a blob in bytes; `None` when it is not here.
    pub fn len(&self, hash: Hash) -> Option<u64> {
        self.ledger().len_of(hash)
    }

    /// Addresses of all blobs, ascending.
    pub fn list(&self) -> Vec<Hash> {
        self.ledger().stored().map(|blob| blob.hash).collect()
    }

    /// Addresses and lengths of all blobs, ascending: the inventory.
    pub fn inventory(&self) -> Vec<BlobRef> {
        self.ledger().stored().collect()
    }

    /// Bytes that count against the quota.
    pub fn used(&self) -> u64 {
        self.ledger().used()
    }

    /// The limit that was given at opening, on stored and reserved bytes.
    pub fn quota(&self) -> Quota {
        self.ledger().quota()
    }

    /// Stores bytes and returns their address; they are on the disk when this returns. Storing
    /// what is there already costs no quota.
    pub async fn put(&self, bytes: Bytes) -> Result<Hash, StoreError> {
        if bytes.is_empty() {
            return Err(StoreError::Empty);
        }
        let hash = hash_off_thread(&bytes).await?;
        let incoming = self.begin(hash, bytes.len() as u64)?;
        // A deletion sweeps whatever it was not told to keep, so it has to wait for this write.
        let _writing = self.shared.gate.read().await;
        // The temporary tag protects the blob until the reservation has become an entry.
        let added = self.shared.store.add_bytes(bytes).temp_tag().await;
        let _tag = match added {
            Ok(tag) => tag,
            Err(error) => return Err(self.shared.explain(error).await),
        };
        incoming.settle().await?;
        Ok(hash)
    }

    /// Reserves space for a blob that is about to arrive, and protects it while it does.
    pub fn begin(&self, hash: Hash, len: u64) -> Result<Incoming, StoreError> {
        if len == 0 {
            return Err(StoreError::Empty);
        }
        self.ledger().reserve(hash, len)?;
        Ok(Incoming { blobs: self.clone(), hash, len, settled: false })
    }

    /// All bytes of a blob, verified.
    pub async fn get(&self, hash: Hash) -> Result<Bytes, StoreError> {
        let size = self.size_of(hash)?;
        let bytes = self.read_verified(hash, ChunkRanges::all()).await?;
        if bytes.len() as u64 == size { Ok(bytes) } else { Err(StoreError::Corrupt { hash }) }
    }

    /// `len` bytes from `offset`, verified; the range has to lie inside the blob.
    pub async fn read_range(&self, hash: Hash, offset: u64, len: u64) -> Result<Bytes, StoreError> {
        let size = self.size_of(hash)?;
        let range = checked_range(hash, offset, len, size)?;
        if range.is_empty() {
            return Ok(Bytes::new());
        }
        let first = range.start / CHUNK_BYTES;
        let end = range.end.div_ceil(CHUNK_BYTES);
        let chunks = ChunkRanges::from(ChunkNum(first)..ChunkNum(end));
        let bytes = self.read_verified(hash, chunks).await?;
        // Whole chunks were read, since only a whole chunk can be verified; the ends are cut off.
        let base = first * CHUNK_BYTES;
        if bytes.len() as u64 != (end * CHUNK_BYTES).min(size) - base {
            return Err(StoreError::Corrupt { hash });
        }
        Ok(slice(&bytes, range.start - base..range.end - base))
    }

    /// The BLAKE3 chunks with these indices, verified, in the order asked for.
    pub async fn read_chunks(&self, hash: Hash, chunks: &[u64]) -> Result<Vec<Bytes>, StoreError> {
        let size = self.size_of(hash)?;
        let mut found = Vec::with_capacity(chunks.len());
        for chunk in chunks {
            let range = chunk_range(hash, *chunk, size)?;
            found.push(self.read_range(hash, range.start, range.end - range.start).await?);
        }
        Ok(found)
    }

    /// Removes a blob, or what a broken-off download left of it; says whether anything was here.
    /// Refuses while it is being written.
    pub async fn delete(&self, hash: Hash) -> Result<bool, StoreError> {
        let shared = &self.shared;
        // Without writers, so that what is listed now is all that a sweep can meet.
        let _alone = shared.gate.write().await;
        let present = !matches!(status(&shared.store, hash).await?, BlobStatus::NotFound);
        let mut protected: HashSet<_> = match shared.store.list().hashes().await {
            Ok(listed) => listed.into_iter().collect(),
            Err(error) => return Err(shared.explain(error).await),
        };
        {
            let mut ledger = self.ledger();
            ledger.remove(hash)?;
            protected.extend(ledger.stored().map(|blob| theirs(blob.hash)));
            protected.extend(ledger.incoming().map(theirs));
        }
        protected.remove(&theirs(hash));
        if !present {
            return Ok(false);
        }
        shared.collector.collect(protected).await?;
        Ok(true)
    }

    /// Reads every blob and hashes it again, which is the only way to see bit rot.
    /// It reads the whole disk: run it weekly.
    pub async fn scrub(&self) -> Result<ScrubReport, StoreError> {
        let mut report = ScrubReport::default();
        for BlobRef { hash, length: len } in self.inventory() {
            match self.get(hash).await {
                Ok(_) => {}
                // It was deleted meanwhile.
                Err(_) if !self.has(hash) => continue,
                Err(StoreError::Corrupt { .. }) => report.damaged.push(hash),
                Err(StoreError::Unreadable { .. }) => report.unreadable.push(hash),
                Err(error) => return Err(error),
            }
            report.blobs += 1;
            report.bytes = report.bytes.saturating_add(len);
        }
        Ok(report)
    }

    /// Closes the store; every clone of it fails from then on. A router that served it may have
    /// closed it already.
    pub async fn shutdown(&self) {
        // The only error is that it is closed.
        let _ = self.shared.store.shutdown().await;
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        // Every change of the ledger is complete or not begun, whatever panics.
        self.shared.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn size_of(&self, hash: Hash) -> Result<u64, StoreError> {
        self.len(hash).ok_or(StoreError::NotFound { hash })
    }

    async fn read_verified(&self, hash: Hash, chunks: ChunkRanges) -> Result<Bytes, StoreError> {
        let export = self.shared.store.export_bao(theirs(hash), chunks);
        let source = match export.data_to_bytes().await {
            Ok(bytes) => return Ok(bytes),
            Err(ExportBaoError::ExportBaoInner { source: EncodeError::Io(source), .. })
            | Err(ExportBaoError::ExportBaoIo { source, .. }) => source,
            Err(ExportBaoError::ExportBaoInner { .. }) => return Err(StoreError::Corrupt { hash }),
            Err(_) => return Err(StoreError::Closed),
        };
        // A store that has stopped reports the same errors as a file that cannot be read.
        status(&self.shared.store, hash).await?;
        Err(StoreError::Unreadable { hash, source })
    }
}

/// A blob that is being written: its space is reserved and nothing deletes it. Dropping it gives
/// the space back; what has arrived stays for another try, or for [`FsBlobs::delete`].
#[derive(Debug)]
#[must_use = "dropping it gives the reserved space back"]
pub struct Incoming {
    blobs: FsBlobs,
    hash: Hash,
    len: u64,
    settled: bool,
}

impl Incoming {
    /// Acknowledges the blob, which has arrived completely: it is on the disk when this returns.
    pub async fn finish(self) -> Result<(), StoreError> {
        let shared = Arc::clone(&self.blobs.shared);
        let _writing = shared.gate.read().await;
        self.settle().await
    }

    async fn settle(mut self) -> Result<(), StoreError> {
        let (hash, shared) = (self.hash, Arc::clone(&self.blobs.shared));
        match status(&shared.store, hash).await? {
            BlobStatus::Complete { size } if size == self.len => {}
            BlobStatus::Complete { size } => {
                return Err(StoreError::Length { hash, announced: self.len, found: size });
            }
            _ => return Err(StoreError::Incomplete { hash }),
        }
        let paths = shared.paths.clone();
        let synced = tokio::task::spawn_blocking(move || sync_files(&paths, hash)).await;
        synced.map_err(|_| StoreError::Closed)??;
        if let Err(error) = shared.store.sync_db().await {
            return Err(shared.explain(error).await);
        }
        // Only now: an entry in the ledger is what `has` promises to others.
        self.blobs.ledger().settle(hash);
        self.settled = true;
        Ok(())
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        if !self.settled {
            self.blobs.ledger().release(self.hash);
        }
    }
}

impl Shared {
    /// What is behind an error of the store underneath. Its database stops for good at the first
    /// failed write, and later calls no longer name the cause; so the disk is tried as well.
    async fn explain(&self, error: RequestError) -> StoreError {
        let error = DiskError::new(&self.root, io_error(error));
        if error.is_actionable() {
            return error.into();
        }
        if let Err(found) = durable::write_atomic(&self.root.join("PROBE"), b"writable\n") {
            return found.into();
        }
        match status(&self.store, Hash::ZERO).await {
            Ok(_) => error.into(),
            Err(stopped) => stopped,
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // The collector's task keeps the store alive until it is told to stop.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let store = self.store.clone();
            runtime.spawn(async move {
                let _ = store.shutdown().await;
            });
        }
    }
}

/// Puts the files of a blob on the disk. Small blobs have none: they are inside the metadata.
fn sync_files(paths: &PathOptions, hash: Hash) -> Result<(), DiskError> {
    for path in [paths.data_path(&theirs(hash)), paths.outboard_path(&theirs(hash))] {
        match durable::sync_file(&path) {
            Ok(()) | Err(DiskError::Missing { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    durable::sync_dir(&paths.data_path)
}

async fn hash_off_thread(bytes: &Bytes) -> Result<Hash, StoreError> {
    if bytes.len() <= HASH_INLINE {
        return Ok(hash_of(bytes));
    }
    let bytes = bytes.clone();
    tokio::task::spawn_blocking(move || hash_of(&bytes)).await.map_err(|_| StoreError::Closed)
}

async fn status(store: &IrohStore, hash: Hash) -> Result<BlobStatus, StoreError> {
    store.status(theirs(hash)).await.map_err(|_| StoreError::Closed)
}

/// Tells a disk that does not do its work from a database that is damaged.
fn not_opened(path: PathBuf, source: io::Error) -> StoreError {
    let mut causes = source.get_ref().map(|error| error as &(dyn std::error::Error + 'static));
    while let Some(cause) = causes {
        if let Some(system) = cause.downcast_ref::<io::Error>() {
            let error = DiskError::new(&path, system.kind().into());
            if error.is_actionable() {
                return error.into();
            }
        }
        causes = cause.source();
    }
    StoreError::Database { path, source }
}

fn io_error(error: RequestError) -> io::Error {
    match error {
        RequestError::Inner { source: iroh_blobs::api::Error::Io(source), .. } => source,
        error => io::Error::other(error),
    }
}

fn theirs(hash: Hash) -> iroh_blobs::Hash {
    iroh_blobs::Hash::from_bytes(hash.0)
}

fn ours(hash: iroh_blobs::Hash) -> Hash {
    Hash(*hash.as_bytes())
}
