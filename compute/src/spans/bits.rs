//! Information in integer thousandths of a bit.

use protocol::math::neg_log2;

/// `floor(1000 · log2(x))`; zero for zero.
pub(crate) fn log2_millibits(x: u64) -> u64 {
    let Some(below) = x.checked_sub(1) else { return 0 };
    let q32 = (64u128 << 32) - u128::from(neg_log2(below));
    ((q32 * 1000) >> 32) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden_logarithms() {
        let golden = [
            (0, 0),
            (1, 0),
            (2, 1000),
            (3, 1584),
            (1000, 9965),
            (1 << 40, 40_000),
            (u64::MAX, 63_999),
        ];
        for (x, millibits) in golden {
            assert!(log2_millibits(x).abs_diff(millibits) <= 1, "{x}: {}", log2_millibits(x));
        }
        assert!((1..10_000).all(|x| log2_millibits(x) <= log2_millibits(x + 1)));
    }
}
