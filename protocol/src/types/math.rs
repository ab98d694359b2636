//! Integer arithmetic on which money and placement depend.
//!
//! No floats: [`mul_div`] takes products in 256 bits, [`split`] conserves every unit, and
//! [`neg_log2`] is a fixed-point logarithm with golden vectors.

use alloc::vec::Vec;

/// Parts per million: the integer scale of every reported ratio.
pub const PPM: u32 = 1_000_000;
/// Basis points of a whole.
pub(crate) const BPS: u128 = 10_000;

/// `floor(a · b / d)` with a 256-bit product; `None` when `d` is zero or the result exceeds `u128`.
pub const fn mul_div(a: u128, b: u128, d: u128) -> Option<u128> {
    if d == 0 {
        return None;
    }
    let (high, low) = widening_mul(a, b);
    if high == 0 {
        return low.checked_div(d);
    }
    if high >= d {
        return None;
    }
    // Binary long division: the remainder stays below `d`, so one overflow bit is enough.
    let mut remainder = high;
    let mut quotient: u128 = 0;
    let mut bit = 128u32;
    while bit > 0 {
        bit = bit.saturating_sub(1);
        let overflow = remainder >> 127;
        remainder = (remainder << 1) | ((low >> bit) & 1);
        quotient <<= 1;
        if overflow == 1 || remainder >= d {
            remainder = remainder.wrapping_sub(d);
            quotient |= 1;
        }
    }
    Some(quotient)
}

/// The 256-bit product of two 128-bit integers as (high, low).
const fn widening_mul(a: u128, b: u128) -> (u128, u128) {
    const MASK: u128 = u64::MAX as u128;
    let (a1, a0) = (a >> 64, a & MASK);
    let (b1, b0) = (b >> 64, b & MASK);
    let low = a0.wrapping_mul(b0);
    let mid1 = a1.wrapping_mul(b0).wrapping_add(low >> 64);
    let mid2 = a0.wrapping_mul(b1).wrapping_add(mid1 & MASK);
    let high = a1.wrapping_mul(b1).wrapping_add(mid1 >> 64).wrapping_add(mid2 >> 64);
    (high, (mid2 << 64) | (low & MASK))
}

/// Why a total was not divided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SplitError {
    /// Nobody has any weight: who is paid instead is the caller's rule.
    #[error("all weights are zero")]
    NoWeight,
    /// The weights are more than can be added up, or the parts are not the whole.
    #[error("the weights or the parts do not add up")]
    Sum,
}

/// Splits `total` in proportion to `weights` without losing or inventing a unit.
///
/// Shares are differences of rounded-down running totals, so they sum to `total` exactly whenever
/// any weight is positive; the result depends on the order of `weights`, which callers fix.
///
/// # Errors
/// [`SplitError`] when there is no weight, or too much of it.
pub fn split(total: u128, weights: &[u128]) -> Result<Vec<u128>, SplitError> {
    let sum =
        weights.iter().try_fold(0u128, |sum, w| sum.checked_add(*w)).ok_or(SplitError::Sum)?;
    if sum == 0 {
        return Err(SplitError::NoWeight);
    }
    let mut running = 0u128;
    let mut paid = 0u128;
    let mut shares = Vec::with_capacity(weights.len());
    for weight in weights {
        running = running.checked_add(*weight).ok_or(SplitError::Sum)?;
        let until_here = mul_div(total, running, sum).ok_or(SplitError::Sum)?;
        shares.push(until_here.checked_sub(paid).ok_or(SplitError::Sum)?);
        paid = until_here;
    }
    if paid == total { Ok(shares) } else { Err(SplitError::Sum) }
}

/// `-log2((x + 1) / 2^64)` in Q32 fixed point: 0 for `u64::MAX`, 64 · 2³² for 0.
///
/// The fraction is taken bit by bit by repeated squaring, so every platform gives the same bits.
pub fn neg_log2(x: u64) -> u64 {
    let value = u128::from(x).saturating_add(1);
    let exponent = 127u32.saturating_sub(value.leading_zeros());
    assert!(exponent <= 64, "a number of 64 bits and one more is at most 2^64");
    // Mantissa in [1, 2) as Q63.
    let mut mantissa = (value << 63) >> exponent;
    let mut fraction = 0u64;
    for _ in 0..32 {
        mantissa = mantissa.wrapping_mul(mantissa) >> 63;
        fraction <<= 1;
        if mantissa >> 64 != 0 {
            fraction |= 1;
            mantissa >>= 1;
        }
    }
    let log2 = (u64::from(exponent) << 32).saturating_add(fraction);
    assert!(log2 <= 64 << 32, "the logarithm of at most 2^64 is at most 64");
    (64u64 << 32).saturating_sub(log2)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn golden_logarithms() {
        assert_eq!(neg_log2(u64::MAX), 0);
        assert_eq!(neg_log2(0), 64 << 32);
        assert_eq!(neg_log2((1 << 63) - 1), 1 << 32);
        // -log2(3/4) = 0.415037499278843…, rounded up in Q32.
        assert_eq!(neg_log2((3 << 62) - 1), 1_782_572_487);
    }

    #[test]
    fn weights_that_cannot_be_added_are_no_weights_of_zero() {
        assert_eq!(split(5, &[]), Err(SplitError::NoWeight));
        assert_eq!(split(5, &[u128::MAX, 1]), Err(SplitError::Sum));
        assert_eq!(split(u128::MAX, &[u128::MAX]), Ok(alloc::vec![u128::MAX]));
    }

    proptest! {
        #[test]
        fn mul_div_agrees_with_a_small_oracle(a: u64, b: u64, d in 1u64..) {
            let expected = u128::from(a) * u128::from(b) / u128::from(d);
            prop_assert_eq!(mul_div(a.into(), b.into(), d.into()), Some(expected));
        }

        #[test]
        fn mul_div_undoes_multiplication(a: u128, b in 1u128..) {
            prop_assert_eq!(mul_div(a, b, b), Some(a));
        }

        #[test]
        fn mul_div_with_a_wide_product_is_bounded_by_its_neighbours(a: u128, b: u128, d in 1u128..) {
            // q·d <= a·b < (q+1)·d, compared in 256 bits.
            if let Some(q) = mul_div(a, b, d) {
                let product = widening_mul(a, b);
                prop_assert!(widening_mul(q, d) <= product);
                if let Some(next) = q.checked_add(1) {
                    prop_assert!(widening_mul(next, d) > product);
                }
            } else {
                prop_assert!(widening_mul(a, b).0 >= d);
            }
        }

        #[test]
        fn a_split_conserves_the_total(
            total: u128,
            weights in proptest::collection::vec(0u128..1 << 100, 1..40),
        ) {
            match split(total, &weights) {
                Ok(shares) => {
                    prop_assert_eq!(shares.iter().sum::<u128>(), total);
                    prop_assert!(shares.iter().zip(&weights).all(|(s, w)| *w > 0 || *s == 0));
                }
                Err(error) => {
                    prop_assert_eq!(error, SplitError::NoWeight);
                    prop_assert!(weights.iter().all(|w| *w == 0));
                }
            }
        }

        #[test]
        fn the_logarithm_falls_as_its_argument_grows(a: u64, b: u64) {
            let (low, high) = (a.min(b), a.max(b));
            prop_assert!(neg_log2(low) >= neg_log2(high));
        }
    }
}
