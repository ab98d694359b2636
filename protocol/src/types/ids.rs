//! Names of things: identities, hashes, and integers that carry a unit.
//!
//! Every integer with a unit is a newtype, so that a block number is never added to an epoch and
//! an amount never compared with a length.

use core::fmt;

use serde::{Deserialize, Serialize};

/// The digit of a number below 16.
const fn hex_digit(value: u8) -> u8 {
    if value < 10 {
        b'0'.saturating_add(value)
    } else {
        b'a'.saturating_add(value.saturating_sub(10))
    }
}

/// Declares a newtype over a byte array that prints and serialises as hexadecimal.
macro_rules! bytes_newtype {
    ($(#[$doc:meta])* $name:ident, $len:literal, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub [u8; $len]);

        impl $name {
            /// All bytes zero: "none", where a field cannot be optional.
            pub const ZERO: Self = Self([0; $len]);

            /// The bytes in the order in which they are printed.
            pub const fn as_bytes(&self) -> &[u8; $len] {
                &self.0
            }

            /// Copies a slice of exactly the right length; `None` otherwise.
            pub fn from_slice(bytes: &[u8]) -> Option<Self> {
                <[u8; $len]>::try_from(bytes).ok().map(Self)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                // At once: a simulation prints what its trace is the hash of.
                let mut digits = [[0u8; 2]; $len];
                for (pair, byte) in digits.iter_mut().zip(self.0) {
                    *pair = [hex_digit(byte >> 4), hex_digit(byte & 15)];
                }
                f.write_str($prefix)?;
                f.write_str(core::str::from_utf8(digits.as_flattened()).unwrap_or_default())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl core::str::FromStr for $name {
            type Err = ParseIdError;

            fn from_str(text: &str) -> Result<Self, ParseIdError> {
                let digits = text.strip_prefix("0x").unwrap_or(text);
                let mut out = [0u8; $len];
                decode_hex(digits, &mut out)?;
                Ok(Self(out))
            }
        }

        impl Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                let text = <alloc::string::String as Deserialize>::deserialize(d)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

/// Why a hexadecimal identifier could not be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ParseIdError {
    /// The text has the wrong number of digits.
    #[error("expected {expected} hexadecimal digits, found {found}")]
    Length {
        /// Digits that the type needs.
        expected: usize,
        /// Digits that were given.
        found: usize,
    },
    /// A character is not a hexadecimal digit.
    #[error("character {0} is not a hexadecimal digit")]
    Digit(usize),
}

fn decode_hex(digits: &str, out: &mut [u8]) -> Result<(), ParseIdError> {
    let expected = out.len().saturating_mul(2);
    if digits.len() != expected {
        return Err(ParseIdError::Length { expected, found: digits.len() });
    }
    for (index, (pair, byte)) in digits.as_bytes().chunks(2).zip(out.iter_mut()).enumerate() {
        let text = core::str::from_utf8(pair).map_err(|_| ParseIdError::Digit(index))?;
        *byte = u8::from_str_radix(text, 16).map_err(|_| ParseIdError::Digit(index))?;
    }
    Ok(())
}

bytes_newtype!(
    /// A BLAKE3 hash: the address of a blob.
    Hash, 32, ""
);
bytes_newtype!(
    /// A keccak-256 digest: the id of a record, a Merkle root, a beacon seed.
    Digest, 32, "0x"
);
bytes_newtype!(
    /// The ed25519 public key of a node. libp2p's PeerId and iroh's EndpointId derive from it.
    NodeId, 32, ""
);
bytes_newtype!(
    /// A 20-byte EVM address.
    EvmAddress, 20, "0x"
);

/// Declares a newtype over an unsigned integer.
macro_rules! int_newtype {
    ($(#[$doc:meta])* $name:ident, $int:ty) => {
        $(#[$doc])*
        #[derive(
            Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
        )]
        #[serde(transparent)]
        pub struct $name(pub $int);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }

        impl $name {
            /// The next one; saturates at the maximum.
            #[must_use]
            pub const fn next(self) -> Self {
                Self(self.0.saturating_add(1))
            }
        }
    };
}

int_newtype!(
    /// A permanent account in the Registry; payout leaves name it. Zero is nobody.
    AccountId, u64
);
int_newtype!(
    /// A Datanet in the DatanetRegistry, from 1.
    DatanetId, u64
);
int_newtype!(
    /// A model in the ModelRegistry, from 1.
    ModelId, u64
);
int_newtype!(
    /// A settlement period, from 0.
    Epoch, u64
);

impl Epoch {
    /// So many epochs before; the first where there were not so many.
    #[must_use]
    pub const fn back(self, epochs: u64) -> Self {
        Self(self.0.saturating_sub(epochs))
    }
}

int_newtype!(
    /// One exchange of updates of a training run, from 0.
    Round, u32
);
int_newtype!(
    /// A block number of the settlement chain.
    BlockNumber, u64
);
int_newtype!(
    /// A span of blocks: how long something takes or waits.
    Blocks, u64
);
int_newtype!(
    /// Milliseconds since the Unix epoch (daemon) or since the start (simnet).
    Timestamp, u64
);

impl Blocks {
    /// No block at all.
    pub const ZERO: Self = Self(0);

    /// One span after the other; saturates at the maximum.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    /// The span so many times over; saturates at the maximum.
    #[must_use]
    pub const fn times(self, count: u64) -> Self {
        Self(self.0.saturating_mul(count))
    }

    /// How often another span fits into this one; never, if that is empty.
    pub const fn fits(self, other: Self) -> u64 {
        match self.0.checked_div(other.0) {
            Some(count) => count,
            None => 0,
        }
    }
}

impl BlockNumber {
    /// The block that comes a span after this one; saturates at the maximum.
    #[must_use]
    pub const fn after(self, span: Blocks) -> Self {
        Self(self.0.saturating_add(span.0))
    }

    /// The block that comes a span before this one; block 0 where there are not so many.
    #[must_use]
    pub const fn before(self, span: Blocks) -> Self {
        Self(self.0.saturating_sub(span.0))
    }

    /// The span from an earlier block to this one; none if that one comes later.
    pub const fn since(self, earlier: Self) -> Blocks {
        Blocks(self.0.saturating_sub(earlier.0))
    }
}

/// An amount of OPEN in its smallest unit (10⁻¹⁸). The supply is below 2⁹⁰, so `u128` never wraps
/// in sums of balances; products are taken in 256 bits ([`crate::math::mul_div`]).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Amount(pub u128);

impl Amount {
    /// What an account has before it earns anything.
    pub const ZERO: Self = Self(0);
    /// One OPEN in the smallest units that an amount counts.
    pub const ONE_OPEN: Self = Self(1_000_000_000_000_000_000);

    /// `self + other`, or `None` on overflow.
    pub const fn checked_add(self, other: Self) -> Option<Self> {
        match self.0.checked_add(other.0) {
            Some(sum) => Some(Self(sum)),
            None => None,
        }
    }

    /// `self - other`, or `None` when the result would be negative.
    pub const fn checked_sub(self, other: Self) -> Option<Self> {
        match self.0.checked_sub(other.0) {
            Some(difference) => Some(Self(difference)),
            None => None,
        }
    }

    /// `self + other`, clamped to the maximum.
    #[must_use]
    pub const fn saturating_add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    /// `self - other`, clamped to zero.
    #[must_use]
    pub const fn saturating_sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl Serialize for Amount {
    /// A decimal string: JSON numbers lose digits above 2⁵³.
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Amount {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = <alloc::string::String as Deserialize>::deserialize(d)?;
        text.parse().map(Self).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use super::*;

    #[test]
    fn hexadecimal_round_trips_with_and_without_prefix() {
        let digest = Digest([0xab; 32]);
        assert_eq!(digest.to_string().parse::<Digest>(), Ok(digest));
        assert_eq!("ab".repeat(32).parse::<Digest>(), Ok(digest));
    }

    #[test]
    fn spans_of_blocks_never_leave_the_numbers() {
        let (early, late) = (BlockNumber(7), BlockNumber(12));
        assert_eq!((late.since(early), early.since(late)), (Blocks(5), Blocks::ZERO));
        assert_eq!((early.after(Blocks(5)), late.before(Blocks(5))), (late, early));
        assert_eq!(early.before(Blocks(8)), BlockNumber(0));
        assert_eq!(late.after(Blocks(u64::MAX)), BlockNumber(u64::MAX));
        assert_eq!((Blocks(9).fits(Blocks(4)), Blocks(9).fits(Blocks::ZERO)), (2, 0));
    }

    #[test]
    fn malformed_identifiers_are_refused() {
        assert_eq!(
            "0x12".parse::<EvmAddress>(),
            Err(ParseIdError::Length { expected: 40, found: 2 })
        );
        assert_eq!("zz".repeat(20).parse::<EvmAddress>(), Err(ParseIdError::Digit(0)));
        assert!("é".repeat(20).parse::<EvmAddress>().is_err());
    }
}
