//! Blobs, which exist once, and the nodes that have them.

use std::collections::{BTreeMap, BTreeSet};

use protocol::Hash;
use storage::{BlobStore as _, MemBlobs, StoreError};

/// The bytes of all blobs in storage's memory twin, and who possesses which.
#[derive(Debug, Default)]
pub struct SharedBlobs {
    bytes: MemBlobs,
    holders: BTreeMap<Hash, BTreeSet<u32>>,
    published: BTreeSet<Hash>,
}

impl SharedBlobs {
    /// Stores a blob that its contributor serves for good.
    pub fn publish(&mut self, bytes: Vec<u8>) -> Result<Hash, StoreError> {
        let hash = self.bytes.put(bytes.into())?;
        self.published.insert(hash);
        Ok(hash)
    }

    /// Stores a blob that a node made.
    pub fn put(&mut self, node: u32, bytes: Vec<u8>) -> Result<Hash, StoreError> {
        let hash = self.bytes.put(bytes.into())?;
        self.hold(node, hash);
        Ok(hash)
    }

    /// A node has fetched a blob.
    pub fn hold(&mut self, node: u32, hash: Hash) {
        self.holders.entry(hash).or_default().insert(node);
    }

    /// A node has a blob no more: the storage layer checks every byte that it reads, so one that is
    /// damaged is as good as none.
    pub(crate) fn lose(&mut self, node: u32, hash: &Hash) {
        if let Some(holders) = self.holders.get_mut(hash) {
            holders.remove(&node);
        }
    }

    /// Forgets a blob that nobody asks for any more.
    pub fn forget(&mut self, hash: Hash) {
        if !self.published.contains(&hash) {
            self.holders.remove(&hash);
            // A blob that is not there is forgotten as well.
            let _ = self.bytes.delete(hash);
        }
    }

    /// Whether a node has a blob.
    pub fn has(&self, node: u32, hash: &Hash) -> bool {
        self.holders.get(hash).is_some_and(|holders| holders.contains(&node))
    }

    /// The bytes of a blob.
    pub fn get(&self, hash: Hash) -> Option<impl AsRef<[u8]> + use<>> {
        self.bytes.get(hash).ok()
    }

    /// The nodes that have a blob.
    pub fn holders(&self, hash: &Hash) -> impl Iterator<Item = u32> {
        self.holders.get(hash).into_iter().flatten().copied()
    }

    /// The blobs that a node has.
    pub fn of(&self, node: u32) -> Vec<Hash> {
        let has = self.holders.iter().filter(|(_, holders)| holders.contains(&node));
        has.map(|(hash, _)| *hash).collect()
    }

    /// Whether a contributor serves it for good.
    pub(crate) fn is_published(&self, hash: &Hash) -> bool {
        self.published.contains(hash)
    }

    /// Bytes of all blobs.
    pub fn used(&self) -> u64 {
        self.bytes.used()
    }
}
