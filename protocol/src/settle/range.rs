//! What of a redeemed range nobody has been paid yet.

use alloc::{collections::BTreeMap, vec::Vec};

/// The parts of a range of promises that no output has had, each from its first point to where it ends.
pub(super) struct Remainder(BTreeMap<u128, u128>);

impl Remainder {
    /// All of a range.
    pub(super) fn new(from: u128, to: u128) -> Self {
        Self(BTreeMap::from([(from, to)]))
    }

    /// Takes out what of a range is still there, however many parts that is; how much it was, `None` where that
    /// is no number, which cannot be.
    pub(super) fn take(&mut self, from: u128, to: u128) -> Option<u128> {
        let reaches = |(_, end): &(&u128, &u128)| **end > from;
        let parts: Vec<_> =
            self.0.range(..to).rev().take_while(reaches).map(|(s, e)| (*s, *e)).collect();
        let mut taken = 0u128;
        for (start, end) in parts {
            let (first, last) = (start.max(from), end.min(to));
            // Of an empty range nothing is taken, and no part is cut by it.
            if first >= last {
                continue;
            }
            self.0.remove(&start);
            if start < first {
                self.0.insert(start, first);
            }
            if last < end {
                self.0.insert(last, end);
            }
            taken = taken.checked_add(last.checked_sub(first)?)?;
        }
        Some(taken)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Against a list of all points, each of which is there or not.
        #[test]
        fn every_point_is_taken_once(
            (from, length) in (0u128..40, 0u128..40),
            taken in proptest::collection::vec((0u128..90, 0u128..30), 0..12),
        ) {
            let mut remainder = Remainder::new(from, from + length);
            let mut points: Vec<u128> = (from..from + length).collect();
            for (start, length) in taken {
                let before = points.len();
                points.retain(|point| *point < start || *point >= start + length);
                let count = (before - points.len()) as u128;
                prop_assert_eq!(remainder.take(start, start + length), Some(count));
            }
            prop_assert_eq!(remainder.take(0, u128::MAX), Some(points.len() as u128));
        }
    }
}
