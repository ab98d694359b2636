//! Products with their powers of two, added up to scores.

/// Fractional bits of a score.
const SCORE_BITS: i32 = 16;
/// Fractional bits kept below those of a score while blocks are summed.
const GUARD_BITS: i32 = 32;

/// The sum of a row's products, each with the exponents of both sides, as a score.
pub(super) fn fixed_point(parts: impl Iterator<Item = (i32, i64)>) -> i64 {
    let sum = parts.fold(0i128, |sum, (exponent, product)| {
        sum.saturating_add(shifted(product, exponent + SCORE_BITS + GUARD_BITS))
    });
    (sum >> GUARD_BITS).clamp(i64::MIN.into(), i64::MAX.into()) as i64
}

/// `value · 2^shift`, rounded down, saturating.
pub(super) fn shifted(value: i64, shift: i32) -> i128 {
    match shift {
        0..=62 => i128::from(value) << shift,
        63.. => {
            i128::from(value).saturating_mul(1 << 62).saturating_mul(1 << (shift - 62).min(100))
        }
        _ => i128::from(value) >> (-shift).min(64),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shifts_round_down_and_saturate() {
        assert_eq!(shifted(-3, -1), -2);
        assert_eq!(shifted(3, 2), 12);
        assert_eq!(shifted(-1, -500), -1);
        assert_eq!(shifted(i64::MAX, 500), i128::MAX);
        assert_eq!(shifted(i64::MIN, 500), i128::MIN);
    }
}
