//! How a blob is named: by its address and its length.

use alloc::vec::Vec;

use crate::{
    codec::{DecodeError, Reader, Wire},
    ids::Hash,
};

/// Names a blob by its address and its length, so that whoever fetches it can refuse more bytes than
/// were promised. On the wire 40 bytes: hash ‖ u64 length.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlobRef {
    /// BLAKE3 hash of the bytes.
    pub hash: Hash,
    /// Number of bytes.
    pub length: u64,
}

impl BlobRef {
    /// The blob of this address and length in bytes.
    pub const fn new(hash: Hash, length: u64) -> Self {
        Self { hash, length }
    }

    /// Bytes of several blobs together; saturates at the maximum.
    pub fn total(blobs: &[Self]) -> u64 {
        blobs.iter().fold(0, |sum, blob| sum.saturating_add(blob.length))
    }
}

impl Wire for BlobRef {
    fn encode(&self, out: &mut Vec<u8>) {
        self.hash.encode(out);
        self.length.encode(out);
    }
    fn decode(input: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self { hash: Wire::decode(input)?, length: Wire::decode(input)? })
    }
}
