//! Errors of the stores. Each says in words what the operator can do about it.

use std::io;
use std::path::{Path, PathBuf};

use protocol::ids::Hash;

/// The disk, not the data, is the problem. A node that meets one of these goes offline by itself.
#[expect(missing_docs, reason = "a message names its fields")]
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    /// No space is left.
    #[error("the disk of {path} is full: free some space or lower --max-disk, then start again")]
    Full {
        /// The file or directory that was written.
        path: PathBuf,
    },
    /// The file system refuses writes.
    #[error("{path} is read-only: remount it writable (a failing disk often turns read-only)")]
    ReadOnly {
        /// The file or directory that was written.
        path: PathBuf,
    },
    /// The file or directory is gone.
    #[error("{path} is missing: mount the disk that holds it, or name another data directory")]
    Missing {
        /// What was looked for.
        path: PathBuf,
    },
    /// The process may not touch it.
    #[error("no permission for {path}: give its owner the files, or run as that user")]
    Denied {
        /// What was opened.
        path: PathBuf,
    },
    /// Another process has the directory open.
    #[error("{path} is in use by another process: stop it, or name another data directory")]
    Locked {
        /// The lock file.
        path: PathBuf,
    },
    /// Anything else that the operating system reported.
    #[error("{path} failed: {source}; check the disk and the system log")]
    Io {
        /// What was touched.
        path: PathBuf,
        source: io::Error,
    },
}

impl DiskError {
    /// Classifies an error of the operating system on `path`.
    pub fn new(path: impl AsRef<Path>, source: io::Error) -> Self {
        let path = path.as_ref().to_owned();
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full { path },
            io::ErrorKind::ReadOnlyFilesystem => Self::ReadOnly { path },
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Self::Missing { path },
            io::ErrorKind::PermissionDenied => Self::Denied { path },
            _ => Self::Io { path, source },
        }
    }

    /// Whether the operator has to act: everything but an unclassified error.
    pub const fn is_actionable(&self) -> bool {
        !matches!(self, Self::Io { .. })
    }
}

/// Why a blob operation failed.
#[expect(missing_docs, reason = "a message names its fields")]
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The blob is not here.
    #[error("blob {hash} is not stored here")]
    NotFound { hash: Hash },
    /// An empty blob has nothing to store and nothing to prove.
    #[error("an empty blob cannot be stored")]
    Empty,
    /// The range leaves the blob.
    #[error("blob {hash} has {size} bytes; bytes {offset} to {end} were asked for")]
    Range {
        hash: Hash,
        /// First byte asked for.
        offset: u64,
        /// One past the last byte asked for.
        end: u64,
        /// Length of the blob.
        size: u64,
    },
    /// The bytes on disk no longer hash to the address: bit rot.
    #[error("blob {hash} is damaged on disk: delete it and fetch it again from a peer")]
    Corrupt { hash: Hash },
    /// The bytes could not be read: their file is gone, or the disk fails.
    #[error("blob {hash} cannot be read ({source}): check the disk; if it stays, fetch it again")]
    Unreadable { hash: Hash, source: io::Error },
    /// A transfer was finished before all bytes had arrived.
    #[error("blob {hash} has not arrived completely")]
    Incomplete { hash: Hash },
    /// A blob arrived with another length than was announced and reserved.
    #[error("blob {hash} was announced with {announced} bytes and has {found}")]
    Length {
        hash: Hash,
        /// The length for which space was reserved.
        announced: u64,
        /// The length it has.
        found: u64,
    },
    /// The blob is being written.
    #[error("blob {hash} is being written; try again when that has ended")]
    InUse { hash: Hash },
    /// The database that says which blobs are here does not open.
    #[error(
        "{path} does not open ({source}): check the disk; if it is healthy, move {path} away and \
         start again: packs are fetched again from peers, and the folder data beside it still has \
         the bytes of larger blobs, under their addresses"
    )]
    Database {
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
    /// The quota would be exceeded.
    #[error("{needed} more bytes do not fit: {used} of {limit} are used; raise --max-disk")]
    QuotaExceeded {
        /// Bytes stored and reserved.
        used: u64,
        limit: u64,
        /// Bytes that were asked for.
        needed: u64,
    },
    /// The disk is the problem.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The store was shut down, or stopped after an earlier error.
    #[error("the blob store has stopped; restart the node")]
    Closed,
}
