//! What the daemon opens: one directory with blobs, index and record log, for one process.
//!
//! ```text
//! LOCK        held as long as the store is open
//! blobs/      content-addressed bytes
//! index/      pins, manifests, settings, counters (rebuilt when damaged)
//! log/        signed records
//! ```

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::disk::FsBlobs;
use crate::durable::{self, DirLock, Fixtures};
use crate::error::{DiskError, StoreError};
use crate::index::{DiskIndex, IndexError, PinReason};
use crate::quota::Quota;
use crate::record_log::{LogConfig, LogError, RecordLog};

/// The databases: what they hold open would go on without a name, and end with the process.
const FILES: [&str; 2] = ["blobs/blobs.db", "index/db"];

/// How a store is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoreConfig {
    /// Most bytes of blobs; `None` leaves it to the disk.
    pub max_disk: Option<u64>,
    /// [`Store::check`] fails when less than this is free on the file system.
    pub min_free: u64,
    /// Create the directory where it is missing. Off, a disk that is not mounted is an error
    /// instead of an empty store on the mount point.
    pub create: bool,
    /// Sizes of the record log.
    pub log: LogConfig,
}

impl Default for StoreConfig {
    fn default() -> Self {
        Self { max_disk: None, min_free: 64 << 20, create: true, log: LogConfig::default() }
    }
}

/// Why a store could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The directory or its lock.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The blob store, or its database.
    #[error(transparent)]
    Blobs(#[from] StoreError),
    /// The index, where not even an empty one can be made.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// The record log.
    #[error(transparent)]
    Log(#[from] LogError),
}

/// The state of the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Health {
    /// Bytes that count against the quota.
    pub used: u64,
    /// The limit on `used`; `None` leaves it to the disk.
    pub max_disk: Option<u64>,
    /// Free bytes on the file system, where the system says.
    pub free: Option<u64>,
}

/// An open data directory.
#[derive(Debug)]
pub struct Store {
    dir: PathBuf,
    config: StoreConfig,
    blobs: FsBlobs,
    index: DiskIndex,
    log: Mutex<RecordLog>,
    broken_index: Option<PathBuf>,
    lock: DirLock,
    fixtures: Fixtures,
}

impl Store {
    /// Opens a data directory.
    pub async fn open(dir: &Path, config: StoreConfig) -> Result<Self, OpenError> {
        if config.create {
            durable::create_dir(dir)?;
        }
        let lock = DirLock::acquire(dir)?;
        durable::make_private(dir)?;
        let blobs = FsBlobs::open(&dir.join("blobs"), Quota(config.max_disk)).await?;
        let opened = DiskIndex::open(&dir.join("index"), &lock)?;
        if opened.broken.is_some() {
            pin_everything(&opened.index, &blobs)?;
        }
        let log = Mutex::new(RecordLog::open(&dir.join("log"), config.log)?);
        let fixtures = Fixtures::of(dir, &FILES)?;
        let (dir, index, broken_index) = (dir.to_owned(), opened.index, opened.broken);
        Ok(Self { dir, config, blobs, index, log, broken_index, lock, fixtures })
    }

    /// The data directory that was opened.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Packs, checkpoints, updates and everything else that is addressed by its hash.
    pub const fn blobs(&self) -> &FsBlobs {
        &self.blobs
    }

    /// Why each blob is kept, and settings; nothing that is not also elsewhere.
    pub const fn index(&self) -> &DiskIndex {
        &self.index
    }

    /// The record log, for one caller at a time. Its calls block on the disk.
    pub fn log(&self) -> MutexGuard<'_, RecordLog> {
        // A log that a panic left in the middle of a write notices by itself.
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where a damaged index was moved while opening; the new one knows no manifests yet, and
    /// every blob is pinned as [`PinReason::Recovered`].
    pub fn broken_index(&self) -> Option<&Path> {
        self.broken_index.as_deref()
    }

    /// Looks whether the disk and all of the store are there, writable and not full. A node whose check fails goes
    /// offline.
    pub fn check(&self) -> Result<Health, DiskError> {
        self.lock.check()?;
        self.fixtures.check()?;
        self.log().check()?;
        durable::write_atomic(&self.dir.join("PROBE"), b"this directory is writable\n")?;
        let free = durable::free_bytes(&self.dir)?;
        if free.is_some_and(|free| free < self.config.min_free) {
            return Err(DiskError::Full { path: self.dir.clone() });
        }
        Ok(Health { used: self.blobs.used(), max_disk: self.config.max_disk, free })
    }

    /// Closes the store. Everything acknowledged is on the disk anyway; this ends the threads and
    /// releases the directory.
    pub async fn close(self) {
        self.blobs.shutdown().await;
    }
}

/// Without the reasons that were lost with the index, nothing may be deleted.
fn pin_everything(index: &DiskIndex, blobs: &FsBlobs) -> Result<(), IndexError> {
    let mut batch = index.batch();
    for hash in blobs.list() {
        batch = batch.pin(hash, PinReason::Recovered);
    }
    batch.commit()
}
