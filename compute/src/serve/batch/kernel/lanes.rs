//! Sixteen numbers at a time: what every processor must be able to do with them.
//!
//! All implementations give the same bits: each operation is rounded as IEEE 754 says, a product that is
//! added is rounded once, and the order of sums is fixed by whoever asks. So an answer does not depend on
//! which processor computed it.

use std::f32::consts::LOG2_E;

/// Numbers that are computed at once.
pub(in crate::serve::batch) const LANES: usize = 16;
/// Values of one block, which share a scale.
pub(in crate::serve::batch) const BLOCK: usize = 32;
/// What makes an unsigned byte of a weight: `q + 128`.
pub(in crate::serve::batch) const BIAS: u8 = 128;

/// Sixteen numbers in memory.
pub(in crate::serve::batch) type Numbers = [f32; LANES];
/// Sixteen numbers of half precision in memory.
pub(in crate::serve::batch) type Halves = [u16; LANES];
/// One block of sixteen rows of weights: eight times four neighbouring values of each row, biased.
pub(in crate::serve::batch) type Tile = [[u8; 4 * LANES]; BLOCK / 4];

/// Thirty-two activations in eight bits.
#[derive(Clone, Copy, Default)]
#[repr(C)]
pub(in crate::serve::batch) struct Block {
    /// What the quants are multiplied with.
    pub(in crate::serve::batch) scale: f32,
    /// What the bias of the weights adds to a product with these quants, negative.
    pub(in crate::serve::batch) offset: i32,
    /// Signed bytes from -127 to 127.
    pub(in crate::serve::batch) quants: [u8; BLOCK],
}

/// Sixteen rows of weights: their tiles, and the scales of each.
#[derive(Clone, Copy)]
pub(in crate::serve::batch) struct Panel<'a> {
    pub(in crate::serve::batch) tiles: &'a [Tile],
    pub(in crate::serve::batch) scales: &'a [Halves],
}

/// Sixteen numbers in registers.
pub(in crate::serve::batch) trait Lanes: Copy {
    /// Rows of activations for which registers are enough.
    const ROWS: usize;

    fn splat(value: f32) -> Self;
    fn load(from: &Numbers) -> Self;
    fn store(self, to: &mut Numbers);
    fn from_halves(from: &Halves) -> Self;
    /// Rounded to the nearest, ties to even.
    fn to_halves(self) -> Halves;
    fn add(self, other: Self) -> Self;
    fn sub(self, other: Self) -> Self;
    fn mul(self, other: Self) -> Self;
    fn div(self, other: Self) -> Self;
    /// `self * factor + sum`, rounded once.
    fn fma(self, factor: Self, sum: Self) -> Self;
    /// The greater of two; the other where one is no number.
    fn max(self, other: Self) -> Self;
    /// The smaller of two; the other where one is no number.
    fn min(self, other: Self) -> Self;
    fn abs(self) -> Self;
    /// `2^n` of whole numbers `n` from -126 to 127.
    fn power_of_two(self) -> Self;
    /// Rounded to whole numbers, ties to even, within ±127; and their sum.
    fn to_bytes(self) -> ([u8; LANES], i32);
    /// Products of sixteen rows of weights with so many rows of activations.
    fn products<const R: usize>(panel: Panel<'_>, rows: [&[Block]; R]) -> [Self; R];

    /// The exponential function, to three units of the last place; the argument is brought between -87 and 88.
    #[inline(always)]
    fn exp(self) -> Self {
        // Adding it rounds to whole numbers.
        let round = Self::splat(12_582_912.0);
        let x = self.max(Self::splat(-87.0)).min(Self::splat(88.0));
        let n = x.fma(Self::splat(LOG2_E), round).sub(round);
        // ln 2 in two parts, of which the first has few digits.
        let rest = n.fma(Self::splat(-0.693_359_4), x);
        let rest = n.fma(Self::splat(2.121_944_4e-4), rest);
        // The minimax polynomial of Cephes' `expf`.
        let mut sum = Self::splat(1.987_569_1e-4);
        for factor in [1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5] {
            sum = sum.fma(rest, Self::splat(factor));
        }
        let sum = sum.fma(rest.mul(rest), rest.add(Self::splat(1.0)));
        sum.mul(n.power_of_two())
    }

    /// The sum of all sixteen, in one fixed order.
    #[inline(always)]
    fn total(self) -> f32 {
        let mut values = [0.0; LANES];
        self.store(&mut values);
        for width in [8, 4, 2, 1] {
            for lane in 0..width {
                values[lane] += values[lane + width];
            }
        }
        values[0]
    }

    /// The greatest of all sixteen.
    #[inline(always)]
    fn greatest(self) -> f32 {
        let mut values = [0.0; LANES];
        self.store(&mut values);
        let mut most = f32::NEG_INFINITY;
        for value in values {
            most = if value > most { value } else { most };
        }
        most
    }
}

/// Work that is written once and compiled for each kind of processor.
pub(in crate::serve::batch) trait Task {
    type Output;

    /// Does it; implementations are always inlined, so that they use what their caller may use.
    fn run<V: Lanes>(self) -> Self::Output;
}
