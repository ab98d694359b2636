//! Hashing with domain separation.
//!
//! BLAKE3 addresses content, keccak-256 whatever a contract must recompute.

#[cfg(not(target_arch = "wasm32"))]
use keccak_asm::{Digest as _, Keccak256};
#[cfg(target_arch = "wasm32")]
use sha3::{Digest as _, Keccak256};

use crate::ids::{Digest, Hash};

/// Keccak-256 of the concatenation of `parts`.
pub fn keccak(parts: &[&[u8]]) -> Digest {
    let mut hasher = Keccak256::new();
    for part in parts {
        hasher.update(part);
    }
    Digest(hasher.finalize().into())
}

/// BLAKE3 of `bytes`: the address of a blob.
pub fn blake3(bytes: &[u8]) -> Hash {
    Hash(*blake3::hash(bytes).as_bytes())
}

/// The first eight bytes of a digest as a big-endian integer: the way a seed becomes a number.
pub fn leading_u64(digest: &Digest) -> u64 {
    digest.0.first_chunk::<8>().map_or(0, |bytes| u64::from_be_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keccak_is_the_ethereum_one() {
        let expected = "c5d2460186f7233c927e7db2dcc703c0e500b653ca82273b7bfad8045d85a470";
        assert_eq!(keccak(&[]), expected.parse().unwrap());
        assert_eq!(keccak(&[b"ab", b"c"]), keccak(&[b"abc"]));
    }
}
