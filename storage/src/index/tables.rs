//! The tables under the index: what both kinds of them offer, and how they fail.

use crate::error::DiskError;

/// Longest value; larger things are blobs.
pub const MAX_VALUE: usize = 64 << 10;

/// Version byte of every value.
pub(super) const VERSION: u8 = 1;

/// A table of the index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Table {
    /// Address and reason of every pin.
    Pins,
    /// Manifests and descriptions of packs, by address.
    Manifests,
    /// Settings and cursors, by name.
    Meta,
    /// Counters, by name.
    Counters,
}

impl Table {
    /// Every table, in the order of their numbers.
    pub const ALL: [Self; 4] = [Self::Pins, Self::Manifests, Self::Meta, Self::Counters];
}

/// One change of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    /// The table that changes.
    pub table: Table,
    /// The key in that table; see the functions of [`Index`](super::Index) for its form.
    pub key: Vec<u8>,
    /// The new value; `None` removes the key.
    pub value: Option<Vec<u8>>,
}

/// Ordered tables of bytes that change atomically.
pub trait Tables {
    /// The value of a key.
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, IndexError>;

    /// All keys that begin with `prefix`, ascending, with their values.
    fn scan(&self, table: Table, prefix: &[u8]) -> Result<Vec<Entry>, IndexError>;

    /// Applies all writes or none; they are durable when this returns.
    fn commit(&self, writes: &[Write]) -> Result<(), IndexError>;
}

/// A key and its value.
pub type Entry = (Vec<u8>, Vec<u8>);

/// Why the index failed.
#[expect(missing_docs, reason = "a message names its fields")]
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    /// A value is longer than [`MAX_VALUE`].
    #[error("a value of {len} bytes is too long for the index: {MAX_VALUE} are allowed")]
    TooLong { len: usize },
    /// A value was written by a newer version of this program, or is damaged.
    #[error("a value in {table:?} has version {found:?}, not {VERSION}: update the node")]
    Version {
        table: Table,
        /// The version byte; `None` when the value is empty.
        found: Option<u8>,
    },
    /// A key or value does not have the form of its table.
    #[error("an entry in {table:?} is malformed: restart the node, which rebuilds the index")]
    Malformed { table: Table },
    /// The files are damaged.
    #[error("the index is damaged: restart the node, which rebuilds it")]
    Corrupt,
    /// The disk is the problem.
    #[error(transparent)]
    Disk(#[from] DiskError),
}
