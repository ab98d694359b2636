//! The index: pins, manifests, settings and counters.
//!
//! One typed layer, [`Index`], over two sets of [`Tables`]: on disk, and in memory. Keys are
//! big-endian, so that they sort; values begin with a version byte. Everything here can be derived
//! again from the blobs, the record log and the chain; a broken index is moved aside and filled
//! anew.

#[cfg(feature = "fs")]
pub mod disk;
pub mod memory;
mod tables;

use std::sync::{Mutex, PoisonError};

use protocol::ids::Hash;

use tables::VERSION;
pub use tables::{Entry, IndexError, MAX_VALUE, Table, Tables, Write};

/// The index in memory.
pub type MemIndex = Index<memory::MemTables>;

/// The index on disk.
#[cfg(feature = "fs")]
pub type DiskIndex = Index<disk::DiskTables>;

/// Why a blob is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PinReason {
    /// The operator wants a copy.
    Own = 1,
    /// A replica that is assigned to this node.
    Replica = 2,
    /// Needed to read or serve something else that is kept.
    Manifest = 3,
    /// Found when the index was rebuilt, which lost the reason.
    Recovered = 4,
}

impl PinReason {
    const fn from_byte(byte: u8) -> Option<Self> {
        Some(match byte {
            1 => Self::Own,
            2 => Self::Replica,
            3 => Self::Manifest,
            4 => Self::Recovered,
            _ => return None,
        })
    }
}

/// The typed index over some [`Tables`].
#[derive(Debug, Default)]
pub struct Index<T> {
    tables: T,
    /// Held while a value is read, changed and written.
    updating: Mutex<()>,
}

impl<T: Tables> Index<T> {
    /// The typed layer over tables.
    pub fn new(tables: T) -> Self {
        Self { tables, updating: Mutex::new(()) }
    }

    /// Collects writes that become visible and durable together.
    pub fn batch(&self) -> Batch<'_, T> {
        Batch { index: self, writes: Vec::new() }
    }

    /// Keeps a blob for a reason; a blob may have several.
    pub fn pin(&self, hash: Hash, reason: PinReason) -> Result<(), IndexError> {
        self.batch().pin(hash, reason).commit()
    }

    /// Takes a reason back; says whether it was there.
    pub fn unpin(&self, hash: Hash, reason: PinReason) -> Result<bool, IndexError> {
        let _updating = self.lock();
        let there = self.tables.get(Table::Pins, &pin_key(hash, reason))?.is_some();
        self.batch().unpin(hash, reason).commit()?;
        Ok(there)
    }

    /// Whether a blob has any reason to be kept.
    pub fn is_pinned(&self, hash: Hash) -> Result<bool, IndexError> {
        Ok(!self.tables.scan(Table::Pins, hash.as_bytes())?.is_empty())
    }

    /// All pins, ascending.
    pub fn pins(&self) -> Result<Vec<(Hash, PinReason)>, IndexError> {
        let malformed = || IndexError::Malformed { table: Table::Pins };
        let entries = self.tables.scan(Table::Pins, &[])?;
        let pin = |(key, value): Entry| {
            open_value(Table::Pins, value)?;
            let (reason, hash) = key.split_last().ok_or_else(malformed)?;
            let hash = Hash::from_slice(hash).ok_or_else(malformed)?;
            Ok((hash, PinReason::from_byte(*reason).ok_or_else(malformed)?))
        };
        entries.into_iter().map(pin).collect()
    }

    /// Remembers the manifest of a contribution, or the description of a pack.
    pub fn put_manifest(&self, hash: Hash, bytes: &[u8]) -> Result<(), IndexError> {
        self.batch().put_manifest(hash, bytes).commit()
    }

    /// What was remembered for an address.
    pub fn manifest(&self, hash: Hash) -> Result<Option<Vec<u8>>, IndexError> {
        self.read(Table::Manifests, hash.as_bytes())
    }

    /// Forgets a manifest.
    pub fn remove_manifest(&self, hash: Hash) -> Result<(), IndexError> {
        self.batch().remove_manifest(hash).commit()
    }

    /// All addresses with a manifest, ascending, with their bytes.
    pub fn manifests(&self) -> Result<Vec<(Hash, Vec<u8>)>, IndexError> {
        let table = Table::Manifests;
        let entry = |(key, value): Entry| {
            let hash = Hash::from_slice(&key).ok_or(IndexError::Malformed { table })?;
            Ok((hash, open_value(table, value)?))
        };
        self.tables.scan(table, &[])?.into_iter().map(entry).collect()
    }

    /// Remembers a setting or a cursor.
    pub fn put_meta(&self, name: &str, value: &[u8]) -> Result<(), IndexError> {
        self.batch().put_meta(name, value).commit()
    }

    /// A setting or a cursor.
    pub fn get_meta(&self, name: &str) -> Result<Option<Vec<u8>>, IndexError> {
        self.read(Table::Meta, name.as_bytes())
    }

    /// Forgets a setting.
    pub fn remove_meta(&self, name: &str) -> Result<(), IndexError> {
        self.batch().remove_meta(name).commit()
    }

    /// All settings whose names begin with `prefix`, ascending.
    pub fn list_meta(&self, prefix: &str) -> Result<Vec<(String, Vec<u8>)>, IndexError> {
        let table = Table::Meta;
        let entry = |(key, value): Entry| {
            let name = String::from_utf8(key).map_err(|_| IndexError::Malformed { table })?;
            Ok((name, open_value(table, value)?))
        };
        self.tables.scan(table, prefix.as_bytes())?.into_iter().map(entry).collect()
    }

    /// A counter; zero when it was never set.
    pub fn counter(&self, name: &str) -> Result<u64, IndexError> {
        let malformed = IndexError::Malformed { table: Table::Counters };
        match self.read(Table::Counters, name.as_bytes())? {
            None => Ok(0),
            Some(bytes) => bytes.try_into().map(u64::from_be_bytes).map_err(|_| malformed),
        }
    }

    /// Adds to a counter, saturating; returns the new value.
    pub fn add_to_counter(&self, name: &str, amount: u64) -> Result<u64, IndexError> {
        let _updating = self.lock();
        let value = self.counter(name)?.saturating_add(amount);
        self.batch().set_counter(name, value).commit()?;
        Ok(value)
    }

    /// All counters, ascending by name.
    pub fn counters(&self) -> Result<Vec<(String, u64)>, IndexError> {
        let malformed = || IndexError::Malformed { table: Table::Counters };
        let entry = |(key, value): Entry| {
            let name = String::from_utf8(key).map_err(|_| malformed())?;
            let value = open_value(Table::Counters, value)?;
            Ok((name, u64::from_be_bytes(value.try_into().map_err(|_| malformed())?)))
        };
        self.tables.scan(Table::Counters, &[])?.into_iter().map(entry).collect()
    }

    /// Reads every entry of every table, so that damage shows at once.
    pub fn verify(&self) -> Result<(), IndexError> {
        self.pins()?;
        self.manifests()?;
        self.list_meta("")?;
        self.counters()?;
        Ok(())
    }

    /// The tables under the typed layer.
    pub const fn tables(&self) -> &T {
        &self.tables
    }

    fn read(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, IndexError> {
        self.tables.get(table, key)?.map(|value| open_value(table, value)).transpose()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, ()> {
        // The lock guards no data, so a panic of its holder spoils nothing.
        self.updating.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes that become visible and durable together, in the order given.
#[must_use = "a batch does nothing before `commit`"]
#[derive(Debug)]
pub struct Batch<'a, T> {
    index: &'a Index<T>,
    writes: Vec<Write>,
}

impl<T: Tables> Batch<'_, T> {
    /// Adds a reason to keep a blob, as [`Index::pin`] does.
    pub fn pin(self, hash: Hash, reason: PinReason) -> Self {
        self.put(Table::Pins, pin_key(hash, reason), &[])
    }

    /// Takes a reason back, as [`Index::unpin`] does.
    pub fn unpin(self, hash: Hash, reason: PinReason) -> Self {
        self.remove(Table::Pins, pin_key(hash, reason))
    }

    /// Stores a manifest, as [`Index::put_manifest`] does.
    pub fn put_manifest(self, hash: Hash, bytes: &[u8]) -> Self {
        self.put(Table::Manifests, hash.as_bytes().to_vec(), bytes)
    }

    /// Removes a manifest, as [`Index::remove_manifest`] does.
    pub fn remove_manifest(self, hash: Hash) -> Self {
        self.remove(Table::Manifests, hash.as_bytes().to_vec())
    }

    /// Sets a value, as [`Index::put_meta`] does.
    pub fn put_meta(self, name: &str, value: &[u8]) -> Self {
        self.put(Table::Meta, name.as_bytes().to_vec(), value)
    }

    /// Removes a value, as [`Index::remove_meta`] does.
    pub fn remove_meta(self, name: &str) -> Self {
        self.remove(Table::Meta, name.as_bytes().to_vec())
    }

    /// Sets a counter.
    pub fn set_counter(self, name: &str, value: u64) -> Self {
        self.put(Table::Counters, name.as_bytes().to_vec(), &value.to_be_bytes())
    }

    /// Makes all writes visible and durable.
    pub fn commit(self) -> Result<(), IndexError> {
        for write in &self.writes {
            let len = write.value.as_ref().map_or(0, |value| value.len().saturating_sub(1));
            if len > MAX_VALUE {
                return Err(IndexError::TooLong { len });
            }
        }
        if self.writes.is_empty() { Ok(()) } else { self.index.tables.commit(&self.writes) }
    }

    fn put(mut self, table: Table, key: Vec<u8>, value: &[u8]) -> Self {
        let mut versioned = Vec::with_capacity(value.len() + 1);
        versioned.push(VERSION);
        versioned.extend_from_slice(value);
        self.writes.push(Write { table, key, value: Some(versioned) });
        self
    }

    fn remove(mut self, table: Table, key: Vec<u8>) -> Self {
        self.writes.push(Write { table, key, value: None });
        self
    }
}

fn pin_key(hash: Hash, reason: PinReason) -> Vec<u8> {
    let mut key = hash.as_bytes().to_vec();
    key.push(reason as u8);
    key
}

fn open_value(table: Table, mut value: Vec<u8>) -> Result<Vec<u8>, IndexError> {
    match value.first() {
        Some(&VERSION) => {
            value.remove(0);
            Ok(value)
        }
        found => Err(IndexError::Version { table, found: found.copied() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(table: Table, key: &[u8], value: &[u8]) -> MemIndex {
        let index = MemIndex::default();
        let write = Write { table, key: key.to_vec(), value: Some(value.to_vec()) };
        index.tables().commit(&[write]).unwrap();
        index
    }

    #[test]
    fn entries_of_another_form_are_typed_errors() {
        let version = with(Table::Meta, b"a", &[2, 0]);
        assert!(matches!(
            version.get_meta("a"),
            Err(IndexError::Version { table: Table::Meta, found: Some(2) })
        ));
        let empty = with(Table::Meta, b"a", &[]);
        assert!(matches!(empty.verify(), Err(IndexError::Version { found: None, .. })));
        for (table, key, value) in [
            (Table::Pins, vec![0; 32], vec![1]),
            (Table::Pins, vec![9; 33], vec![1]),
            (Table::Pins, vec![], vec![1]),
            (Table::Manifests, vec![0; 31], vec![1]),
            (Table::Meta, vec![0xff], vec![1]),
            (Table::Counters, b"n".to_vec(), vec![1, 0]),
        ] {
            let found = with(table, &key, &value).verify();
            assert!(matches!(found, Err(IndexError::Malformed { table: t }) if t == table));
        }
    }

    #[test]
    fn long_values_are_refused() {
        let index = MemIndex::default();
        index.put_meta("a", &vec![0; MAX_VALUE]).unwrap();
        let long = index.put_meta("a", &vec![0; MAX_VALUE + 1]);
        assert!(matches!(long, Err(IndexError::TooLong { len }) if len == MAX_VALUE + 1));
    }
}
