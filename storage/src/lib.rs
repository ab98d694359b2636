//! What an openledger node keeps on disk, and the twin of it that lives in memory.
//!
//! | part | is | what it survives |
//! |---|---|---|
//! | [`BlobStore`] | blobs by BLAKE3 hash; verified ranges and chunks | power loss after the acknowledgement |
//! | [`packs`] | content-defined cutting of a stream into packs | pure |
//! | [`index`] | pins, manifests, settings and counters | itself being lost: it is rebuilt |
//! | `record_log` | signed records in checksummed segments | torn tails and flipped bits |
//! | [`quota`] | who may still write how much | pure |
//!
//! Invariants, stated as absences:
//! - Nothing is acknowledged before it is on the disk: every acknowledged write was fsynced, in its
//!   own file and in its directory.
//! - Nothing that cannot be derived again is only in the index.
//! - No byte of a blob is returned that does not hash to its address.
//! - No blob is deleted that was not named to `delete`: nothing is collected in the background.
//! - Without the feature `fs` there is no file, socket, thread or clock here: that build is what
//!   the simulator uses.

pub mod blobs;
pub mod error;
pub mod index;
pub mod memory;
pub mod packs;
pub mod quota;

#[cfg(feature = "fs")]
mod collector;
#[cfg(feature = "fs")]
pub mod disk;
#[cfg(feature = "fs")]
pub mod durable;
#[cfg(feature = "fs")]
pub mod record_log;
#[cfg(feature = "fs")]
pub mod store;

pub use blobs::{BlobStore, CHUNK_BYTES, hash_of};
pub use error::{DiskError, StoreError};
pub use index::MemIndex;
pub use memory::MemBlobs;

#[cfg(feature = "fs")]
pub use disk::{FsBlobs, Incoming, ScrubReport};
#[cfg(feature = "fs")]
pub use index::DiskIndex;
#[cfg(feature = "fs")]
pub use record_log::{Position, RecordLog};
#[cfg(feature = "fs")]
pub use store::{Store, StoreConfig};
