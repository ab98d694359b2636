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

    /// Whether a node has a blob.
    pub fn has(&self, node: u32, hash: &Hash) -> bool {
        self.holders.get(hash).is_some_and(|holders| holders.contains(&node))
    }

    /// The bytes of a blob.
    pub fn get(&self, hash: Hash) -> Option<impl AsRef<[u8]> + use<>> {
        self.bytes.get(hash).ok()
    }

    /// Whether anybody who is online has a blob.
    pub fn is_available(&self, hash: &Hash, is_online: impl Fn(u32) -> bool) -> bool {
        self.published.contains(hash)
            || self.holders.get(hash).is_some_and(|nodes| nodes.iter().any(|n| is_online(*n)))
    }

    /// Bytes of all blobs.
    pub fn used(&self) -> u64 {
        self.bytes.used()
    }
}
