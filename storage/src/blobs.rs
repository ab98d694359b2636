//! What every blob store does, and the arithmetic of BLAKE3 chunks.

use std::ops::Range;

use bytes::Bytes;
use protocol::ids::Hash;

use crate::error::StoreError;

/// Length of a BLAKE3 chunk, the grain of proofs.
pub const CHUNK_BYTES: u64 = 1024;

/// The address of some bytes.
pub fn hash_of(bytes: &[u8]) -> Hash {
    Hash(*blake3::hash(bytes).as_bytes())
}

/// The behaviour that all blob stores share; one suite of tests runs over each of them.
///
/// [`MemBlobs`](crate::MemBlobs) implements it. The store on disk has the same operations as
/// `async` methods.
pub trait BlobStore {
    /// Stores bytes and returns their address. Storing what is there already costs no quota.
    fn put(&mut self, bytes: Bytes) -> Result<Hash, StoreError>;

    /// All bytes of a blob.
    fn get(&self, hash: Hash) -> Result<Bytes, StoreError>;

    /// Whether the whole blob is here.
    fn has(&self, hash: Hash) -> bool;

    /// Length of a blob in bytes; `None` when it is not here.
    fn len(&self, hash: Hash) -> Option<u64>;

    /// `len` bytes from `offset`; the range has to lie inside the blob.
    fn read_range(&self, hash: Hash, offset: u64, len: u64) -> Result<Bytes, StoreError>;

    /// The BLAKE3 chunks with these indices, in the order asked for; the last chunk of a blob may
    /// be short.
    fn read_chunks(&self, hash: Hash, chunks: &[u64]) -> Result<Vec<Bytes>, StoreError>;

    /// Removes a blob; says whether it was here.
    fn delete(&mut self, hash: Hash) -> Result<bool, StoreError>;

    /// Addresses of all blobs, ascending.
    fn list(&self) -> Vec<Hash>;

    /// Bytes that count against the quota.
    fn used(&self) -> u64;
}

/// Checks that `offset..offset + len` lies inside a blob of `size` bytes.
pub(crate) fn checked_range(
    hash: Hash,
    offset: u64,
    len: u64,
    size: u64,
) -> Result<Range<u64>, StoreError> {
    let end = offset.saturating_add(len);
    if end > size { Err(StoreError::Range { hash, offset, end, size }) } else { Ok(offset..end) }
}

/// The bytes of one chunk of a blob of `size` bytes.
pub(crate) fn chunk_range(hash: Hash, chunk: u64, size: u64) -> Result<Range<u64>, StoreError> {
    let offset = chunk.saturating_mul(CHUNK_BYTES);
    let end = offset.saturating_add(CHUNK_BYTES).min(size);
    if offset >= size {
        let end = offset.saturating_add(CHUNK_BYTES);
        return Err(StoreError::Range { hash, offset, end, size });
    }
    Ok(offset..end)
}

/// Cuts a range that is known to lie inside `bytes`.
pub(crate) fn slice(bytes: &Bytes, range: Range<u64>) -> Bytes {
    let index = |at: u64| usize::try_from(at).expect("a range inside a slice fits usize");
    bytes.slice(index(range.start)..index(range.end))
}
