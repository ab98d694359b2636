//! What is done with one row of activations: normed, gated, and rounded to eight bits.
#![expect(
    clippy::needless_range_loop,
    reason = "what takes closures is not inlined where instructions differ"
)]

use super::kernel::lanes::{BLOCK, Block, LANES, Lanes, Numbers, Task};

/// RMSNorm of a row, times a gain.
pub(super) struct Norm<'a> {
    pub(super) row: &'a [f32],
    pub(super) gain: &'a [f32],
    pub(super) epsilon: f32,
    pub(super) out: &'a mut [f32],
}

impl Task for Norm<'_> {
    type Output = ();

    #[inline(always)]
    fn run<V: Lanes>(self) {
        let row = self.row.as_chunks::<LANES>().0;
        let mut squares = V::splat(0.0);
        for values in row {
            let values = V::load(values);
            squares = values.fma(values, squares);
        }
        let mean = squares.total() / self.row.len() as f32;
        let scale = V::splat(1.0 / (mean + self.epsilon).sqrt());
        let gain = self.gain.as_chunks::<LANES>().0;
        let out = self.out.as_chunks_mut::<LANES>().0;
        for at in 0..row.len() {
            V::load(&row[at]).mul(scale).mul(V::load(&gain[at])).store(&mut out[at]);
        }
    }
}

/// A row in blocks of eight-bit numbers; each block's greatest is ±127.
pub(super) struct Quantise<'a> {
    pub(super) row: &'a [f32],
    pub(super) out: &'a mut [Block],
}

impl Task for Quantise<'_> {
    type Output = ();

    #[inline(always)]
    fn run<V: Lanes>(self) {
        let row = self.row.as_chunks::<BLOCK>().0;
        for at in 0..row.len() {
            let out = &mut self.out[at];
            let [a, b] = row[at].as_chunks::<LANES>().0 else {
                unreachable!("a block is two times sixteen")
            };
            let (a, b) = (V::load(a), V::load(b));
            let greatest = a.abs().max(b.abs()).greatest();
            // Below, its inverse would be infinite.
            let inverse = if greatest > 1.0e-30 { 127.0 / greatest } else { 0.0 };
            let (low, low_sum) = a.mul(V::splat(inverse)).to_bytes();
            let (high, high_sum) = b.mul(V::splat(inverse)).to_bytes();
            out.scale = greatest / 127.0;
            out.offset = -128 * (low_sum + high_sum);
            out.quants[..LANES].copy_from_slice(&low);
            out.quants[LANES..].copy_from_slice(&high);
        }
    }
}

/// `silu(gate) · up` of one row, out of what [`Product`](super::kernel::Product) leaves of all rows.
pub(super) struct Gate<'a> {
    pub(super) gate: &'a [Numbers],
    pub(super) up: &'a [Numbers],
    /// Which row, of how many.
    pub(super) row: usize,
    pub(super) rows: usize,
    pub(super) out: &'a mut [f32],
}

impl Task for Gate<'_> {
    type Output = ();

    #[inline(always)]
    fn run<V: Lanes>(self) {
        let out = self.out.as_chunks_mut::<LANES>().0;
        for at in 0..out.len() {
            let gate = V::load(&self.gate[at * self.rows + self.row]);
            let up = V::load(&self.up[at * self.rows + self.row]);
            let denominator = V::splat(1.0).add(V::splat(0.0).sub(gate).exp());
            gate.div(denominator).mul(up).store(&mut out[at]);
        }
    }
}
