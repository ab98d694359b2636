//! Arithmetic modulo the prime 2⁶¹ − 1, in which random checks are made.

use std::ops::{Add, Mul};

use super::random::Stream;

/// The modulus: a Mersenne prime, so that reduction is a shift and an addition.
pub(crate) const PRIME: u64 = (1 << 61) - 1;

/// A number below the modulus.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Element(u64);

impl Element {
    /// A uniform element; a bias below 2⁻³ · 2⁻⁶¹ is accepted.
    pub(crate) fn draw(stream: &mut Stream) -> Self {
        Self(stream.below(PRIME))
    }

    /// The residue of any integer.
    pub(crate) fn of(value: i128) -> Self {
        Self(value.rem_euclid(i128::from(PRIME)) as u64)
    }

    /// The representative from `0` to `PRIME - 1`, to be summed without reduction.
    pub(crate) fn wide(self) -> i128 {
        i128::from(self.0)
    }
}

impl Add for Element {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        let sum = self.0 + other.0;
        Self(if sum >= PRIME { sum - PRIME } else { sum })
    }
}

impl Mul for Element {
    type Output = Self;

    fn mul(self, other: Self) -> Self {
        let product = u128::from(self.0) * u128::from(other.0);
        // 2^61 is one, so the upper bits count once.
        Self((product & u128::from(PRIME)) as u64 % PRIME) + Self((product >> 61) as u64 % PRIME)
    }
}

impl std::iter::Sum for Element {
    fn sum<I: Iterator<Item = Self>>(elements: I) -> Self {
        elements.fold(Self::default(), Add::add)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn sums_and_products_are_residues_of_integers(a in any::<i64>(), b in any::<i64>()) {
            let (a, b) = (i128::from(a), i128::from(b));
            prop_assert_eq!(Element::of(a) + Element::of(b), Element::of(a + b));
            prop_assert_eq!(Element::of(a) * Element::of(b), Element::of(a * b));
        }
    }

    #[test]
    fn the_ends_of_the_range_reduce() {
        let last = Element::of(-1);
        assert_eq!(last.wide(), i128::from(PRIME) - 1);
        assert_eq!(last * last, Element::of(1));
        assert_eq!(last + Element::of(1), Element::default());
        assert_eq!(Element::of(i128::from(PRIME)), Element::default());
    }
}
