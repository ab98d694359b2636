//! What can be checked by anybody who has the bytes: hashes, signatures, trees, slices of blobs.
//!
//! Nothing here knows what is signed or listed, or why.

pub mod eip712;
pub mod hash;
pub mod identity;
pub mod merkle;
pub mod slice;
