//! Sixteen numbers on any processor.

use half::f16;

use super::lanes::{BIAS, BLOCK, Block, Halves, LANES, Lanes, Numbers, Panel};

/// Sixteen numbers as the compiler arranges them.
#[derive(Clone, Copy)]
pub(super) struct Portable(Numbers);

impl Portable {
    #[inline(always)]
    fn zip(self, other: Self, op: impl Fn(f32, f32) -> f32) -> Self {
        Self(std::array::from_fn(|lane| op(self.0[lane], other.0[lane])))
    }
}

impl Lanes for Portable {
    const ROWS: usize = 4;

    #[inline(always)]
    fn splat(value: f32) -> Self {
        Self([value; LANES])
    }

    #[inline(always)]
    fn load(from: &Numbers) -> Self {
        Self(*from)
    }

    #[inline(always)]
    fn store(self, to: &mut Numbers) {
        *to = self.0;
    }

    #[inline(always)]
    fn from_halves(from: &Halves) -> Self {
        Self(from.map(|bits| f16::from_bits(bits).to_f32()))
    }

    #[inline(always)]
    fn to_halves(self) -> Halves {
        self.0.map(|value| f16::from_f32(value).to_bits())
    }

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        self.zip(other, |a, b| a + b)
    }

    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        self.zip(other, |a, b| a - b)
    }

    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        self.zip(other, |a, b| a * b)
    }

    #[inline(always)]
    fn div(self, other: Self) -> Self {
        self.zip(other, |a, b| a / b)
    }

    #[inline(always)]
    fn fma(self, factor: Self, sum: Self) -> Self {
        Self(std::array::from_fn(|lane| self.0[lane].mul_add(factor.0[lane], sum.0[lane])))
    }

    #[inline(always)]
    fn max(self, other: Self) -> Self {
        self.zip(other, |a, b| if a > b { a } else { b })
    }

    #[inline(always)]
    fn min(self, other: Self) -> Self {
        self.zip(other, |a, b| if a < b { a } else { b })
    }

    #[inline(always)]
    fn abs(self) -> Self {
        Self(self.0.map(f32::abs))
    }

    #[inline(always)]
    fn power_of_two(self) -> Self {
        Self(self.0.map(|n| f32::from_bits((n as i32).wrapping_add(127).wrapping_shl(23) as u32)))
    }

    #[inline(always)]
    fn to_bytes(self) -> ([u8; LANES], i32) {
        // What is no number or far too great is -127, as where a processor rounds it to the least integer.
        let whole = |value: f32| match value.round_ties_even() {
            value if value < 2_147_483_648.0 => value.clamp(-127.0, 127.0) as i32,
            _ => -127,
        };
        let quants = self.0.map(whole);
        (quants.map(|quant| quant as i8 as u8), quants.iter().sum())
    }

    #[inline(always)]
    fn products<const R: usize>(panel: Panel<'_>, rows: [&[Block]; R]) -> [Self; R] {
        let mut sums = [[0.0f32; LANES]; R];
        for (at, (tile, scales)) in panel.tiles.iter().zip(panel.scales).enumerate() {
            let scales = Self::from_halves(scales).0;
            for (row, sums) in rows.iter().zip(&mut sums) {
                let block = &row[at];
                for lane in 0..LANES {
                    let mut dot = 0i32;
                    for value in 0..BLOCK {
                        let weight = (tile[value / 4][lane * 4 + value % 4] ^ BIAS) as i8;
                        dot += i32::from(weight) * i32::from(block.quants[value] as i8);
                    }
                    sums[lane] = (dot as f32).mul_add(scales[lane] * block.scale, sums[lane]);
                }
            }
        }
        sums.map(Self)
    }
}
