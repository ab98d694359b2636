//! What pays for a use whose price rose while it was answered.
//!
//! A consumer pays for the next tokens when it has had the last ones, so neither side ever risks more
//! than a few of them. Between two steps of one use it may have promised the same server something for
//! another, so the promises for a use are not one range but several. The receipt for the last step names
//! all of them: its price is their sum, and its `request` commits to them. So one signature says for which
//! promises a use may be paid, and the contract that redeems them need not know.

use alloc::{vec, vec::Vec};

use super::receipt::Receipt;
use crate::{
    codec::{DecodeError, Reader, Wire, encode_list},
    hash::keccak,
    ids::{Amount, Digest},
    limits::MAX_RANGES,
};

/// A range of all that a consumer has promised a server: above the first amount, up to the second.
pub type Range = (Amount, Amount);

/// The ranges that pay for a use, ascending, and none touching the one before. Nothing stands here where it is
/// a single one: that is the receipt's own ([`Receipt::range`]).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ranges {
    question: Digest,
    all: Vec<Range>,
}

impl Default for Ranges {
    fn default() -> Self {
        Self { question: Digest::ZERO, all: Vec::new() }
    }
}

impl Ranges {
    /// The receipt that pays for more of the use that `last` and these ranges pay for, by all promises between
    /// two amounts; and its ranges. Who pays signs exactly this, and who serves takes nothing else. `None`
    /// where nothing is paid, there are too many ranges, or the sums are no numbers.
    pub fn raised(&self, last: &Receipt, (from, to): Range) -> Option<(Receipt, Self)> {
        if from >= to {
            return None;
        }
        let (question, mut ranges) = match self.all.is_empty() {
            true => (last.request, vec![last.range()]),
            false => (self.question, self.all.clone()),
        };
        match ranges.last_mut() {
            Some((_, end)) if *end == from => *end = to,
            _ => ranges.push((from, to)),
        }
        // Of a use that was free so far, nothing was promised.
        ranges.retain(|(from, to)| from < to);
        let named = match ranges.len() {
            0 | 1 => Self::default(),
            _ => Self { question, all: ranges },
        };
        let price = last.price.checked_add(to.checked_sub(from)?)?;
        let request = named.request().unwrap_or(question);
        let is_bounded = named.all.len() <= MAX_RANGES;
        is_bounded.then(|| (Receipt { cumulative: to, price, request, ..last.clone() }, named))
    }

    /// The ranges by which a receipt with these pays; none where it does not name them.
    pub fn of(&self, receipt: &Receipt) -> Option<Vec<Range>> {
        let Some(request) = self.request() else { return Some(vec![receipt.range()]) };
        let (mut end, mut sum) = (None, Amount::ZERO);
        for (from, to) in &self.all {
            let is_after = from < to && end.is_none_or(|end| end < *from);
            sum = sum.checked_add(to.checked_sub(*from)?)?;
            end = is_after.then_some(*to);
            end?;
        }
        let is_named = request == receipt.request && sum == receipt.price;
        (is_named && end == Some(receipt.cumulative)).then(|| self.all.clone())
    }

    /// What the receipt says of them; nothing where there is a single range.
    fn request(&self) -> Option<Digest> {
        let mut all = Vec::new();
        encode_list(&self.all, &mut all);
        let is_several = !self.all.is_empty();
        is_several.then(|| keccak(&[b"openledger/ranges", &self.question.0, &all]))
    }
}

impl Wire for Ranges {
    fn encode(&self, out: &mut Vec<u8>) {
        encode_list(&self.all, out);
        if !self.all.is_empty() {
            self.question.encode(out);
        }
    }
    fn decode(input: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let ranges: Vec<Range> = input.list(MAX_RANGES)?;
        let question = match ranges.len() {
            0 => Digest::ZERO,
            1 => return Err(DecodeError::Invalid("a single range stands in the receipt")),
            _ => Wire::decode(input)?,
        };
        Ok(Self { question, all: ranges })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ids::{AccountId, EvmAddress, ModelId};

    const QUESTION: Digest = Digest([9; 32]);

    fn first((from, to): (u128, u128)) -> Receipt {
        Receipt {
            escrow: EvmAddress([1; 20]),
            payer: EvmAddress([2; 20]),
            payee: AccountId(3),
            model: ModelId(4),
            cumulative: Amount(to),
            price: Amount(to - from),
            nonce: 5,
            request: QUESTION,
        }
    }

    proptest! {
        /// Against the set of all that was promised for it, unit by unit.
        #[test]
        fn a_use_is_paid_by_just_what_was_promised_for_it(
            start in (0u128..30, 0u128..9),
            steps in proptest::collection::vec((0u128..3, 1u128..9), 0..12),
        ) {
            let (mut receipt, mut ranges) = (first((start.0, start.0 + start.1)), Ranges::default());
            let mut promised: Vec<u128> = (start.0..start.0 + start.1).collect();
            for (gap, length) in steps {
                let from = receipt.cumulative.0 + gap;
                let to = from + length;
                (receipt, ranges) = ranges.raised(&receipt, (Amount(from), Amount(to))).unwrap();
                promised.extend(from..to);
                prop_assert_eq!(Ranges::from_bytes(&ranges.to_bytes()), Ok(ranges.clone()));
            }
            let ranges = ranges.of(&receipt).unwrap();
            let paid: Vec<u128> = ranges.iter().flat_map(|(from, to)| from.0..to.0).collect();
            prop_assert_eq!(&paid, &promised);
            prop_assert_eq!(receipt.price, Amount(promised.len() as u128));
            let is_single = promised.windows(2).all(|pair| pair[0] + 1 == pair[1]);
            prop_assert_eq!(receipt.request == QUESTION, is_single);
        }
    }

    #[test]
    fn a_receipt_pays_by_no_ranges_that_it_does_not_name() {
        let (receipt, ranges) =
            Ranges::default().raised(&first((0, 5)), (Amount(7), Amount(9))).unwrap();
        assert_eq!(ranges.of(&receipt), Some(vec![(Amount(0), Amount(5)), (Amount(7), Amount(9))]));
        let with = |ranges: &[(u128, u128)]| {
            let ranges = ranges.iter().map(|(from, to)| (Amount(*from), Amount(*to))).collect();
            Ranges { question: QUESTION, all: ranges }
        };
        for other in [
            with(&[(0, 4), (6, 9)]),
            with(&[(0, 7), (7, 9)]),
            with(&[(7, 9), (0, 5)]),
            with(&[(0, 5), (9, 7)]),
            with(&[(0, u128::MAX), (7, 9)]),
            Ranges { question: Digest::ZERO, ..ranges.clone() },
        ] {
            assert_eq!(other.of(&receipt), None, "{other:?}");
            // Nor does who names such ranges get anything by it.
            let request = other.request().unwrap();
            let paid = other.of(&Receipt { request, ..receipt.clone() });
            let is_sound = other.all == ranges.all || other == with(&[(0, 4), (6, 9)]);
            assert_eq!(paid.is_some(), is_sound, "{other:?}");
        }
        let single = Ranges::from_bytes(&with(&[(0, 5)]).to_bytes());
        assert!(matches!(single, Err(DecodeError::Invalid(_))));
    }

    #[test]
    fn ranges_are_bounded() {
        let (mut receipt, mut ranges) = (first((0, 1)), Ranges::default());
        for number in 1..MAX_RANGES as u128 {
            let next = (Amount(3 * number), Amount(3 * number + 1));
            (receipt, ranges) = ranges.raised(&receipt, next).unwrap();
        }
        let end = receipt.cumulative;
        assert!(ranges.raised(&receipt, (Amount(end.0 + 1), Amount(end.0 + 2))).is_none());
        assert!(
            ranges.raised(&receipt, (end, Amount(end.0 + 2))).is_some(),
            "it grows where it ends"
        );
        assert!(ranges.raised(&receipt, (end, Amount(end.0 - 1))).is_none());
        assert!(ranges.raised(&receipt, (end, end)).is_none());
    }
}
