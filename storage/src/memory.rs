//! The blob store in memory: pure, synchronous, and cheap to have ten thousand of.
//!
//! Bytes are shared: a blob that is handed from one simulated node to another with
//! [`MemBlobs::adopt`] exists once, however many nodes hold it.

use std::collections::BTreeMap;

use bytes::Bytes;
use protocol::ids::Hash;

use crate::blobs::{BlobStore, checked_range, chunk_range, hash_of, slice};
use crate::error::StoreError;
use crate::quota::Quota;

/// Blobs in memory.
#[derive(Clone, Debug, Default)]
pub struct MemBlobs {
    blobs: BTreeMap<Hash, Bytes>,
    quota: Quota,
    used: u64,
}

impl MemBlobs {
    /// An empty store with a quota.
    pub fn new(quota: Quota) -> Self {
        Self { blobs: BTreeMap::new(), quota, used: 0 }
    }

    /// Stores bytes under an address that the caller has verified, without hashing them again.
    pub fn adopt(&mut self, hash: Hash, bytes: Bytes) -> Result<(), StoreError> {
        if bytes.is_empty() {
            return Err(StoreError::Empty);
        }
        if self.blobs.contains_key(&hash) {
            return Ok(());
        }
        let len = bytes.len() as u64;
        self.quota.check(self.used, len)?;
        self.used = self.used.saturating_add(len);
        self.blobs.insert(hash, bytes);
        Ok(())
    }

    /// Hashes every blob again; returns those that are damaged, ascending.
    pub fn scrub(&self) -> Vec<Hash> {
        let damaged = self.blobs.iter().filter(|(hash, bytes)| hash_of(bytes) != **hash);
        damaged.map(|(hash, _)| *hash).collect()
    }

    fn find(&self, hash: Hash) -> Result<&Bytes, StoreError> {
        self.blobs.get(&hash).ok_or(StoreError::NotFound { hash })
    }
}

impl BlobStore for MemBlobs {
    fn put(&mut self, bytes: Bytes) -> Result<Hash, StoreError> {
        let hash = hash_of(&bytes);
        self.adopt(hash, bytes)?;
        Ok(hash)
    }

    fn get(&self, hash: Hash) -> Result<Bytes, StoreError> {
        self.find(hash).cloned()
    }

    fn has(&self, hash: Hash) -> bool {
        self.blobs.contains_key(&hash)
    }

    fn len(&self, hash: Hash) -> Option<u64> {
        self.blobs.get(&hash).map(|bytes| bytes.len() as u64)
    }

    fn read_range(&self, hash: Hash, offset: u64, len: u64) -> Result<Bytes, StoreError> {
        let bytes = self.find(hash)?;
        Ok(slice(bytes, checked_range(hash, offset, len, bytes.len() as u64)?))
    }

    fn read_chunks(&self, hash: Hash, chunks: &[u64]) -> Result<Vec<Bytes>, StoreError> {
        let bytes = self.find(hash)?;
        let size = bytes.len() as u64;
        let read = |chunk: &u64| Ok(slice(bytes, chunk_range(hash, *chunk, size)?));
        chunks.iter().map(read).collect()
    }

    fn delete(&mut self, hash: Hash) -> Result<bool, StoreError> {
        let Some(bytes) = self.blobs.remove(&hash) else { return Ok(false) };
        self.used = self.used.saturating_sub(bytes.len() as u64);
        Ok(true)
    }

    fn list(&self) -> Vec<Hash> {
        self.blobs.keys().copied().collect()
    }

    fn used(&self) -> u64 {
        self.used
    }
}
