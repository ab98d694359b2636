//! The one bounded codec: bytes become types here and nowhere else.
//!
//! Integers are big-endian and fixed in width, so that a body without lists equals Solidity's
//! `abi.encodePacked` of the same fields. Lists are a `u32` count and the items, each list with its
//! own bound, checked before anything is allocated. A decoder that leaves bytes over is an error:
//! every value has exactly one encoding.

use alloc::vec::Vec;

use crate::ids::{
    AccountId, Amount, BlockNumber, DatanetId, Digest, Epoch, EvmAddress, Hash, ModelId, NodeId,
    Round,
};

/// Why bytes are not a value.
#[expect(missing_docs, reason = "a message names its fields")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The input ends inside a value.
    #[error("the input ends {missing} bytes early")]
    Truncated {
        /// Bytes that were needed beyond the end.
        missing: usize,
    },
    /// Bytes are left after the value.
    #[error("{0} bytes are left over")]
    Trailing(usize),
    /// A list is longer than its bound.
    #[error("a list of {found} items, at most {limit} are allowed")]
    TooLong {
        limit: usize,
        /// What the input claims.
        found: usize,
    },
    /// A tag names no variant.
    #[error("unknown tag {0}")]
    Tag(u8),
    /// Text that is not UTF-8.
    #[error("text is not UTF-8")]
    Utf8,
    /// A value that its type forbids.
    #[error("{0}")]
    Invalid(&'static str),
}

/// A value with one canonical encoding.
pub trait Wire: Sized {
    /// Appends the encoding.
    fn encode(&self, out: &mut Vec<u8>);

    /// Reads one value.
    ///
    /// # Errors
    /// [`DecodeError`] for anything that no encoder writes.
    fn decode(input: &mut Reader<'_>) -> Result<Self, DecodeError>;

    /// The whole encoding.
    fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.encode(&mut out);
        out
    }

    /// Reads a value that fills `bytes` exactly.
    ///
    /// # Errors
    /// [`DecodeError`] for anything that no encoder writes.
    fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        let value = Self::decode(&mut reader)?;
        reader.finish()?;
        Ok(value)
    }
}

/// A cursor over untrusted bytes.
#[derive(Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Starts at the first byte.
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// Takes `count` bytes.
    ///
    /// # Errors
    /// [`DecodeError::Truncated`] when fewer are left.
    pub fn take(&mut self, count: usize) -> Result<&'a [u8], DecodeError> {
        match self.rest.split_at_checked(count) {
            Some((head, rest)) => {
                self.rest = rest;
                Ok(head)
            }
            None => Err(DecodeError::Truncated { missing: count.saturating_sub(self.rest.len()) }),
        }
    }

    /// How many bytes are left.
    pub const fn left(&self) -> usize {
        self.rest.len()
    }

    /// Takes a fixed number of bytes.
    ///
    /// # Errors
    /// [`DecodeError::Truncated`] when fewer are left.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let missing = N.saturating_sub(self.rest.len());
        self.take(N)?.try_into().map_err(|_| DecodeError::Truncated { missing })
    }

    /// Reads the count of a list and holds it against its bound.
    ///
    /// # Errors
    /// [`DecodeError::TooLong`] above `limit`, [`DecodeError::Truncated`] at the end of input.
    pub fn count(&mut self, limit: usize) -> Result<usize, DecodeError> {
        let found = usize::try_from(u32::decode(self)?).unwrap_or(usize::MAX);
        if found > limit { Err(DecodeError::TooLong { limit, found }) } else { Ok(found) }
    }

    /// Reads a list of at most `limit` items.
    ///
    /// # Errors
    /// Those of [`Self::count`] and of the items.
    pub fn list<T: Wire>(&mut self, limit: usize) -> Result<Vec<T>, DecodeError> {
        let count = self.count(limit)?;
        // Nothing is reserved on the word of the input: a list grows only as its items arrive.
        let mut items = Vec::new();
        for _ in 0..count {
            items.push(T::decode(self)?);
        }
        Ok(items)
    }

    /// Reads a byte string of at most `limit` bytes.
    ///
    /// # Errors
    /// Those of [`Self::count`] and [`Self::take`].
    pub fn bytes(&mut self, limit: usize) -> Result<Vec<u8>, DecodeError> {
        let count = self.count(limit)?;
        self.take(count).map(<[u8]>::to_vec)
    }

    /// Checks that nothing is left.
    ///
    /// # Errors
    /// [`DecodeError::Trailing`].
    pub const fn finish(self) -> Result<(), DecodeError> {
        if self.rest.is_empty() { Ok(()) } else { Err(DecodeError::Trailing(self.rest.len())) }
    }
}

/// Appends a list: its count, then its items.
pub fn encode_list<T: Wire>(items: &[T], out: &mut Vec<u8>) {
    encode_count(items.len(), out);
    for item in items {
        item.encode(out);
    }
}

/// Appends a byte string: its count, then its bytes.
pub fn encode_bytes(bytes: &[u8], out: &mut Vec<u8>) {
    encode_count(bytes.len(), out);
    out.extend_from_slice(bytes);
}

/// Appends the count of a list. Lists are bounded far below 2³², so the clamp is never reached; if it
/// were, no reader would take the list.
pub(crate) fn encode_count(count: usize, out: &mut Vec<u8>) {
    u32::try_from(count).unwrap_or(u32::MAX).encode(out);
}

macro_rules! wire_int {
    ($($int:ty),*) => {$(
        impl Wire for $int {
            fn encode(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(&self.to_be_bytes());
            }
            fn decode(input: &mut Reader<'_>) -> Result<Self, DecodeError> {
                input.array().map(Self::from_be_bytes)
            }
        }
    )*};
}
wire_int!(u8, u16, u32, u64, u128, i32, i64);

macro_rules! wire_newtype {
    ($($name:ident),*) => {$(
        impl Wire for $name {
            fn encode(&self, out: &mut Vec<u8>) {
                self.0.encode(out);
            }
            fn decode(input: &mut Reader<'_>) -> Result<Self, DecodeError> {
                Wire::decode(input).map($name)
            }
        }
    )*};
}
wire_newtype!(
    Hash,
    Digest,
    NodeId,
    EvmAddress,
    AccountId,
    DatanetId,
    ModelId,
    Epoch,
    Round,
    BlockNumber,
    Amount
);

impl<const N: usize> Wire for [u8; N] {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self);
    }
    fn decode(input: &mut Reader<'_>) -> Result<Self, DecodeError> {
        input.array()
    }
}

impl<A: Wire, B: Wire> Wire for (A, B) {
    fn encode(&self, out: &mut Vec<u8>) {
        self.0.encode(out);
        self.1.encode(out);
    }
    fn decode(input: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok((A::decode(input)?, B::decode(input)?))
    }
}

impl Wire for bool {
    fn encode(&self, out: &mut Vec<u8>) {
        u8::from(*self).encode(out);
    }
    fn decode(input: &mut Reader<'_>) -> Result<Self, DecodeError> {
        match u8::decode(input)? {
            0 => Ok(false),
            1 => Ok(true),
            other => Err(DecodeError::Tag(other)),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn integers_are_big_endian_as_in_encode_packed() {
        assert_eq!((AccountId(1), 0x0203_u16).to_bytes(), [0, 0, 0, 0, 0, 0, 0, 1, 2, 3]);
    }

    #[test]
    fn every_malformation_has_its_error() {
        assert_eq!(u32::from_bytes(&[0; 3]), Err(DecodeError::Truncated { missing: 1 }));
        assert_eq!(u32::from_bytes(&[0; 5]), Err(DecodeError::Trailing(1)));
        assert_eq!(bool::from_bytes(&[2]), Err(DecodeError::Tag(2)));
        let mut reader = Reader::new(&[0, 0, 0, 9]);
        assert_eq!(reader.list::<u8>(8), Err(DecodeError::TooLong { limit: 8, found: 9 }));
        // A list may claim more than the input holds; nothing is allocated on its word.
        let mut reader = Reader::new(&[0, 255, 255, 255]);
        assert_eq!(reader.list::<u64>(usize::MAX), Err(DecodeError::Truncated { missing: 8 }));
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = <(Amount, bool)>::from_bytes(&bytes);
            let _ = Reader::new(&bytes).list::<Digest>(10);
            let _ = Reader::new(&bytes).bytes(10);
        }
    }
}
