//! One BLAKE3 chunk of a blob with the hashes that lead from it to the blob's address.
//!
//! The same hash addresses, streams, proves and disputes data: a contract checks this slice with
//! 8,639 gas per compression. Shape of the tree: BLAKE3 specification §2.1 (the left subtree holds
//! the largest power of two of chunks that leaves at least one for the right).

use alloc::vec::Vec;

use blake3::hazmat::{self, HasherExt as _, Mode};

use crate::{
    codec::{DecodeError, Reader, Wire, encode_bytes, encode_list},
    ids::{Digest, Hash},
    limits::MAX_TREE_HEIGHT,
};

/// Bytes of a BLAKE3 chunk.
pub const CHUNK_BYTES: u64 = 1024;

/// A chunk and its way up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slice {
    /// Index of the chunk in the blob.
    pub index: u64,
    /// The chunk, at most 1 KiB.
    pub chunk: Vec<u8>,
    /// Chaining values of the siblings, bottom-up.
    pub siblings: Vec<Digest>,
}

impl Wire for Slice {
    fn encode(&self, out: &mut Vec<u8>) {
        self.index.encode(out);
        encode_bytes(&self.chunk, out);
        encode_list(&self.siblings, out);
    }
    fn decode(input: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            index: Wire::decode(input)?,
            chunk: input.bytes(1024)?,
            siblings: input.list(MAX_TREE_HEIGHT)?,
        })
    }
}

/// Number of chunks of a blob; an empty blob has one empty chunk.
pub const fn chunks(length: u64) -> u64 {
    if length == 0 { 1 } else { length.div_ceil(CHUNK_BYTES) }
}

/// Takes the slice of chunk `index` out of a whole blob; `None` beyond its end.
///
/// Hashes the blob once.
pub fn prove(blob: &[u8], index: u64) -> Option<Slice> {
    let length = blob.len() as u64;
    if index >= chunks(length) {
        return None;
    }
    let mut siblings = Vec::new();
    let (mut part, mut start) = (blob, 0u64);
    let target = index.checked_mul(CHUNK_BYTES)?;
    while part.len() as u64 > CHUNK_BYTES {
        let left_len = hazmat::left_subtree_len(part.len() as u64);
        let (left, right) = part.split_at_checked(usize::try_from(left_len).ok()?)?;
        let middle = start.checked_add(left_len)?;
        if target < middle {
            siblings.push(subtree(right, middle));
            part = left;
        } else {
            siblings.push(subtree(left, start));
            (part, start) = (right, middle);
        }
    }
    siblings.reverse();
    Some(Slice { index, chunk: part.to_vec(), siblings })
}

/// Whether the slice belongs to the blob of this address and length.
pub fn verify(root: &Hash, length: u64, slice: &Slice) -> bool {
    root_above(length, slice) == Some(*root)
}

/// The address of the blob of `length` bytes that contains the slice; `None` when its shape is
/// impossible.
fn root_above(length: u64, slice: &Slice) -> Option<Hash> {
    let start = slice.index.checked_mul(CHUNK_BYTES)?;
    let expected = length.checked_sub(start)?.min(CHUNK_BYTES);
    if slice.index >= chunks(length) || slice.chunk.len() as u64 != expected {
        return None;
    }
    if length <= CHUNK_BYTES {
        return slice.siblings.is_empty().then(|| crate::hash::blake3(&slice.chunk));
    }
    // Top-down, the sides on which the siblings lie.
    let mut sides = Vec::new();
    let (mut offset, mut rest) = (start, length);
    while rest > CHUNK_BYTES {
        let left = hazmat::left_subtree_len(rest);
        let goes_right = offset >= left;
        sides.push(goes_right);
        if goes_right {
            offset = offset.checked_sub(left)?;
            rest = rest.checked_sub(left)?;
        } else {
            rest = left;
        }
    }
    if sides.len() != slice.siblings.len() {
        return None;
    }
    let mut value = subtree(&slice.chunk, start).0;
    let mut steps = sides.iter().rev().zip(&slice.siblings).peekable();
    while let Some((is_right, sibling)) = steps.next() {
        let (left, right) = if *is_right { (sibling.0, value) } else { (value, sibling.0) };
        if steps.peek().is_none() {
            let root = hazmat::merge_subtrees_root(&left, &right, Mode::Hash);
            return Some(Hash(*root.as_bytes()));
        }
        value = hazmat::merge_subtrees_non_root(&left, &right, Mode::Hash);
    }
    None
}

/// The chaining value of a subtree that starts at `offset` of its blob.
fn subtree(bytes: &[u8], offset: u64) -> Digest {
    Digest(blake3::Hasher::new().set_input_offset(offset).update(bytes).finalize_non_root())
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use proptest::prelude::*;

    use super::*;

    fn blob(length: usize) -> Vec<u8> {
        (0..length).map(|i| (i % 251) as u8).collect()
    }

    #[test]
    fn every_chunk_of_awkward_lengths_verifies() {
        for length in [0, 1, 1023, 1024, 1025, 2048, 2049, 3072, 5000, 16384, 65536, 65537] {
            let bytes = blob(length);
            let root = crate::hash::blake3(&bytes);
            for index in 0..chunks(length as u64) {
                let slice = prove(&bytes, index).unwrap();
                assert!(verify(&root, length as u64, &slice), "chunk {index} of {length}");
            }
            let last = prove(&bytes, chunks(length as u64) - 1).unwrap();
            assert!(!verify(&root, length as u64 + 1, &last), "the last chunk binds the length");
            assert_eq!(prove(&bytes, chunks(length as u64)), None);
        }
    }

    proptest! {
        #[test]
        fn a_changed_slice_is_refused(length in 1usize..20_000, pick: u64, at: usize, bit in 0u8..8) {
            let bytes = blob(length);
            let root = crate::hash::blake3(&bytes);
            let mut slice = prove(&bytes, pick % chunks(length as u64)).unwrap();
            let mut raw = slice.chunk.clone();
            let index = at % raw.len();
            raw[index] ^= 1 << bit;
            slice.chunk = raw;
            prop_assert!(!verify(&root, length as u64, &slice));
        }

        #[test]
        fn hostile_slices_never_panic(
            index: u64, length: u64, size in 0usize..1025, siblings in 0usize..41,
        ) {
            let slice = Slice {
                index, chunk: blob(size), siblings: alloc::vec![Digest::ZERO; siblings],
            };
            prop_assert!(!verify(&Hash::ZERO, length, &slice));
        }
    }
}
