//! Finding which records of an epoch a peer has and a node lacks, without sending what both have.
//!
//! The ids are hashes, so their first digits part them evenly. Two nodes compare a count and a digest
//! of each part; where those differ, they compare the sixteen parts of the part (range-based set
//! reconciliation, A. Meyer 2023), and records are sent of small parts only. What it costs grows with
//! the difference between two nodes, not with what they have in common.

use alloc::vec::Vec;
use core::ops::RangeInclusive;

use crate::{
    chain::ChainView,
    codec::{DecodeError, Reader, Wire},
    ids::{Digest, Epoch},
};

/// Parts of a part: one for each next digit.
pub const PARTS: usize = 16;
/// Digits at most: 16⁶ parts are more than an epoch has records.
pub(crate) const MAX_DIGITS: u8 = 6;
/// Bits of a digit.
const DIGIT_BITS: u32 = 4;
/// A part with so few records is sent as a whole: dividing it would cost as much.
const SMALL: u32 = 4;

/// The epochs of which the chain may still take records in, the newest first. Those of earlier ones all
/// have from the chain.
pub fn epochs(chain: &ChainView) -> impl Iterator<Item = Epoch> + use<> {
    let (now, newest) = (chain.now(), chain.epoch().next());
    let schedule = chain.schedule;
    let open = (0..=newest.0).rev().map(Epoch);
    open.take_while(move |epoch| now < schedule.cutoff(*epoch))
}

/// What to ask of a peer next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// The records of a part.
    Fetch(Part),
    /// The sums of the parts of a part.
    Divide(Part),
}

impl Step {
    /// The first one for an epoch of which a node has some records or none.
    pub const fn first(has_some: bool) -> Self {
        if has_some { Self::Divide(Part::ALL) } else { Self::Fetch(Part::ALL) }
    }

    /// What follows from a node's sums of the parts of a part, and a peer's; nothing where the peer
    /// did not answer as it should.
    pub fn after(part: Part, ours: &[Sum], theirs: &[Sum]) -> Option<impl Iterator<Item = Self>> {
        let differing = |(part, (ours, theirs)): (Part, (&Sum, &Sum))| {
            if theirs == ours || theirs.count == 0 {
                return None;
            }
            let is_mostly_new = theirs.count / 2 >= ours.count;
            let is_last = part.parts().next().is_none();
            let is_small = theirs.count <= SMALL;
            let is_whole = is_small || is_mostly_new || is_last;
            Some(if is_whole { Self::Fetch(part) } else { Self::Divide(part) })
        };
        (theirs.len() == PARTS)
            .then(|| part.parts().zip(ours.iter().zip(theirs)).filter_map(differing))
    }
}

/// The ids that begin with some hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Part {
    digits: u8,
    /// The digits in the highest bits; zeros below.
    bits: u32,
}

impl Part {
    /// The part without any digit: all ids that there are.
    pub const ALL: Self = Self { digits: 0, bits: 0 };

    /// The bits below the digits.
    fn rest(self) -> u32 {
        assert!(self.digits <= MAX_DIGITS, "a part has no more digits than the smallest");
        let taken = DIGIT_BITS.saturating_mul(self.digits.into());
        u32::MAX.checked_shr(taken).unwrap_or_default()
    }

    /// The first id and the last one.
    pub fn range(self) -> RangeInclusive<Digest> {
        let filled = |bits: u32, fill| {
            let mut id = [fill; 32];
            for (byte, of) in id.iter_mut().zip(bits.to_be_bytes()) {
                *byte = of;
            }
            Digest(id)
        };
        assert!(self.bits & self.rest() == 0, "a part has no bits below its digits");
        filled(self.bits, 0)..=filled(self.bits | self.rest(), u8::MAX)
    }

    /// Its parts in order; none if it is one of the smallest.
    pub fn parts(self) -> impl Iterator<Item = Self> {
        let digits = self.digits.saturating_add(1);
        let below = u32::BITS.saturating_sub(DIGIT_BITS.saturating_mul(digits.into()));
        let count = if digits > MAX_DIGITS { 0 } else { 16u32 };
        (0..count).map(move |digit| {
            let bits = self.bits | digit.checked_shl(below).unwrap_or_default();
            Self { digits, bits }
        })
    }
}

impl Wire for Part {
    fn encode(&self, out: &mut Vec<u8>) {
        self.digits.encode(out);
        self.bits.encode(out);
    }
    fn decode(input: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let part = Self { digits: Wire::decode(input)?, bits: Wire::decode(input)? };
        if part.digits > MAX_DIGITS {
            return Err(DecodeError::Invalid("a part has too many digits"));
        }
        if part.bits & part.rest() != 0 {
            return Err(DecodeError::Invalid("a part has bits below its digits"));
        }
        Ok(part)
    }
}

/// How many records there are in a part, and which.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sum {
    /// Number of records in the part.
    pub count: u32,
    /// The first half of the BLAKE3 hash over their ids in order. An exclusive or would be cheaper,
    /// and whoever may sign records could make some that cancel out.
    pub digest: [u8; 16],
}

impl Sum {
    /// The sum of ids in ascending order.
    pub fn of(ids: impl Iterator<Item = Digest>) -> Self {
        let (mut hasher, mut count) = (blake3::Hasher::new(), 0u32);
        for id in ids {
            hasher.update(&id.0);
            count = count.saturating_add(1);
        }
        let mut digest = [0; 16];
        for (byte, of) in digest.iter_mut().zip(hasher.finalize().as_bytes()) {
            *byte = *of;
        }
        Self { count, digest }
    }
}

impl Wire for Sum {
    fn encode(&self, out: &mut Vec<u8>) {
        self.count.encode(out);
        self.digest.encode(out);
    }
    fn decode(input: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self { count: Wire::decode(input)?, digest: Wire::decode(input)? })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn id(first: u32, last: u8) -> Digest {
        let mut id = Digest([last; 32]);
        id.0[..4].copy_from_slice(&first.to_be_bytes());
        id
    }

    proptest! {
        #[test]
        fn the_parts_of_a_part_divide_it(first: u32, last: u8, digits in 0usize..6) {
            let id = id(first, last);
            let mut part = Part::ALL;
            for _ in 0..digits {
                let of: Vec<_> = part.parts().filter(|p| p.range().contains(&id)).collect();
                prop_assert_eq!(of.len(), 1);
                prop_assert_eq!(Part::from_bytes(&of[0].to_bytes()), Ok(of[0]));
                part = of[0];
            }
            let ends: Vec<_> = part.parts().map(Part::range).collect();
            let whole = part.range();
            prop_assert_eq!(ends[0].start(), whole.start());
            prop_assert_eq!(ends[15].end(), whole.end());
        }

        #[test]
        fn sums_are_equal_for_equal_sets_only(
            a in proptest::collection::btree_set(0u32..6, 0..4),
            b in proptest::collection::btree_set(0u32..6, 0..4),
        ) {
            let sum = |set: &BTreeSet<u32>| Sum::of(set.iter().map(|first| id(*first, 0)));
            prop_assert_eq!(sum(&a) == sum(&b), a == b);
        }
    }

    #[test]
    fn a_part_that_is_none_is_refused() {
        assert_eq!(
            Part::from_bytes(&[7, 0, 0, 0, 0]),
            Err(DecodeError::Invalid("a part has too many digits"))
        );
        assert_eq!(
            Part::from_bytes(&[1, 0x10, 0, 0, 1]),
            Err(DecodeError::Invalid("a part has bits below its digits"))
        );
        assert_eq!(Part::from_bytes(&[0; 5]), Ok(Part::ALL));
    }
}
