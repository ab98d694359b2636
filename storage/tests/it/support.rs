//! What several tests need: seeded numbers, test bytes, and the store on disk behind the
//! synchronous trait.

use std::path::Path;

use bytes::Bytes;
use protocol::ids::Hash;
use storage::quota::Quota;
use storage::{BlobStore, FsBlobs, StoreError};
use tokio::runtime::Runtime;

/// A seeded stream of numbers (SplitMix64): the same on every machine.
pub(crate) struct Numbers(pub(crate) u64);

impl Numbers {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    pub(crate) fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.next() as u8).collect()
    }
}

/// `len` bytes that differ for each seed.
pub(crate) fn test_bytes(seed: u64, len: usize) -> Bytes {
    Numbers(seed).bytes(len).into()
}

/// A runtime for one test.
pub(crate) fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

/// The store on disk, one blocking call at a time.
pub(crate) struct Blocking {
    pub(crate) blobs: FsBlobs,
    pub(crate) runtime: Runtime,
}

impl Blocking {
    pub(crate) fn open(dir: &Path, quota: Quota) -> Self {
        let runtime = runtime();
        let blobs = runtime.block_on(FsBlobs::open(dir, quota)).unwrap();
        Self { blobs, runtime }
    }

    pub(crate) fn close(self) {
        self.runtime.block_on(self.blobs.shutdown());
    }
}

impl BlobStore for Blocking {
    fn put(&mut self, bytes: Bytes) -> Result<Hash, StoreError> {
        self.runtime.block_on(self.blobs.put(bytes))
    }

    fn get(&self, hash: Hash) -> Result<Bytes, StoreError> {
        self.runtime.block_on(self.blobs.get(hash))
    }

    fn has(&self, hash: Hash) -> bool {
        self.blobs.has(hash)
    }

    fn len(&self, hash: Hash) -> Option<u64> {
        self.blobs.len(hash)
    }

    fn read_range(&self, hash: Hash, offset: u64, len: u64) -> Result<Bytes, StoreError> {
        self.runtime.block_on(self.blobs.read_range(hash, offset, len))
    }

    fn read_chunks(&self, hash: Hash, chunks: &[u64]) -> Result<Vec<Bytes>, StoreError> {
        self.runtime.block_on(self.blobs.read_chunks(hash, chunks))
    }

    fn delete(&mut self, hash: Hash) -> Result<bool, StoreError> {
        self.runtime.block_on(self.blobs.delete(hash))
    }

    fn list(&self) -> Vec<Hash> {
        self.blobs.list()
    }

    fn used(&self) -> u64 {
        self.blobs.used()
    }
}
