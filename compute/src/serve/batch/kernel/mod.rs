//! The instructions of this processor, found out when a model is loaded.
//!
//! Released binaries are built for any x86-64, so what newer ones can do is compiled beside it and chosen
//! at run time. Whatever is chosen gives the same bits ([`lanes`]).

pub(super) mod lanes;
mod portable;
#[cfg(target_arch = "x86_64")]
mod x86;

use lanes::{Block, Lanes, Numbers, Panel, Task};

/// Which instructions are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kernel {
    /// AVX-512 with VNNI, which multiplies and adds four bytes in one step.
    #[cfg(target_arch = "x86_64")]
    Avx512,
    /// AVX2 with FMA and F16C: x86-64 since 2013.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// What the compiler makes of plain loops.
    Portable,
}

impl Kernel {
    /// The fastest that this processor has.
    pub(super) fn best() -> Self {
        Self::all()[0]
    }

    /// All that this processor has, the fastest first.
    pub(super) fn all() -> Vec<Self> {
        let mut all = Vec::new();
        #[cfg(target_arch = "x86_64")]
        {
            if x86::has_avx512() {
                all.push(Self::Avx512);
            }
            if x86::has_avx2() {
                all.push(Self::Avx2);
            }
        }
        all.push(Self::Portable);
        all
    }

    /// Does work with these instructions.
    #[inline]
    pub(super) fn run<T: Task>(self, task: T) -> T::Output {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => x86::with_avx512(task),
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => x86::with_avx2(task),
            Self::Portable => task.run::<portable::Portable>(),
        }
    }
}

/// Sixteen rows of weights times all rows of activations, `[rows][16]`.
pub(super) struct Product<'a> {
    pub(super) panel: Panel<'a>,
    /// One row after the other, each of as many blocks as the panel.
    pub(super) blocks: &'a [Block],
    pub(super) out: &'a mut [Numbers],
}

impl Task for Product<'_> {
    type Output = ();

    // Each row is summed by itself and in the same order in whichever group it comes.
    #[inline(always)]
    fn run<V: Lanes>(self) {
        let width = self.panel.tiles.len();
        let mut done = 0;
        while done < self.out.len() {
            let (blocks, out) = (&self.blocks[done * width..], &mut self.out[done..]);
            done += match out.len() {
                8.. if V::ROWS >= 8 => group::<V, 8>(self.panel, blocks, out),
                4.. => group::<V, 4>(self.panel, blocks, out),
                2.. => group::<V, 2>(self.panel, blocks, out),
                _ => group::<V, 1>(self.panel, blocks, out),
            };
        }
    }
}

#[inline(always)]
fn group<V: Lanes, const R: usize>(
    panel: Panel<'_>,
    blocks: &[Block],
    out: &mut [Numbers],
) -> usize {
    let width = panel.tiles.len();
    let mut rows = [&blocks[..0]; R];
    for (row, blocks) in blocks.chunks_exact(width).take(R).enumerate() {
        rows[row] = blocks;
    }
    let sums = V::products::<R>(panel, rows);
    for row in 0..R {
        sums[row].store(&mut out[row]);
    }
    R
}

#[cfg(test)]
mod tests {
    use half::f16;
    use proptest::prelude::*;

    use super::lanes::{BIAS, BLOCK, Halves, LANES, Tile};
    use super::*;
    use crate::math::Stream;

    /// Sixteen rows of weights and some of activations, any that may be.
    struct Case {
        tiles: Vec<Tile>,
        scales: Vec<Halves>,
        blocks: Vec<Block>,
    }

    impl Case {
        fn new(seed: u64, width: usize, rows: usize) -> Self {
            let mut random = Stream::new("products", &seed.to_be_bytes());
            // The ends are likelier than they would be, since there sums overflow.
            let mut quant = || match random.below(4) {
                0 => 127,
                1 => -127,
                _ => random.below(255) as i32 - 127,
            };
            let mut tile =
                || [[0; 4 * LANES]; BLOCK / 4].map(|four| four.map(|_: u8| quant() as u8 ^ BIAS));
            let tiles = (0..width).map(|_| tile()).collect();
            let blocks = (0..width * rows).map(|_| {
                let quants: [i32; BLOCK] = std::array::from_fn(|_| quant());
                let offset = -128 * quants.iter().sum::<i32>();
                Block { scale: 0.0, offset, quants: quants.map(|quant| quant as u8) }
            });
            let mut blocks: Vec<_> = blocks.collect();
            blocks.iter_mut().for_each(|block| block.scale = random.unit() as f32);
            let scale = |_| f16::from_f32(random.unit() as f32 * 0.1).to_bits();
            let mut scale = scale;
            let scales = (0..width).map(|_| std::array::from_fn(&mut scale)).collect();
            Self { tiles, scales, blocks }
        }

        fn products(&self, kernel: Kernel, rows: std::ops::Range<usize>) -> Vec<Numbers> {
            let width = self.tiles.len();
            let mut out = vec![[0.0; LANES]; rows.len()];
            let panel = Panel { tiles: &self.tiles, scales: &self.scales };
            let blocks = &self.blocks[rows.start * width..rows.end * width];
            kernel.run(Product { panel, blocks, out: &mut out });
            out
        }

        /// A product by its definition, and the sum of the sizes of what is added.
        fn naive(&self, row: usize, lane: usize) -> (f64, f64) {
            let width = self.tiles.len();
            let blocks = self.blocks[row * width..][..width].iter();
            let terms =
                blocks.zip(&self.tiles).zip(&self.scales).flat_map(|((block, tile), scales)| {
                    let scale = f64::from(f16::from_bits(scales[lane])) * f64::from(block.scale);
                    (0..BLOCK).map(move |at| {
                        let weight = (tile[at / 4][lane * 4 + at % 4] ^ BIAS) as i8;
                        scale * f64::from(weight) * f64::from(block.quants[at] as i8)
                    })
                });
            terms.fold((0.0, 0.0), |(sum, size), term| (sum + term, size + term.abs()))
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]

        #[test]
        fn products_are_those_of_the_definition_and_the_same_bits_everywhere(
            seed: u64,
            width in 1usize..20,
            rows in 1usize..20,
        ) {
            let case = Case::new(seed, width, rows);
            let expected = case.products(Kernel::Portable, 0..rows);
            for (row, numbers) in expected.iter().enumerate() {
                for (lane, number) in numbers.iter().enumerate() {
                    let (sum, size) = case.naive(row, lane);
                    prop_assert!((f64::from(*number) - sum).abs() <= size * 1.0e-6, "{number} {sum}");
                }
                for kernel in Kernel::all() {
                    prop_assert_eq!(&case.products(kernel, row..row + 1)[0], numbers);
                }
            }
            for kernel in Kernel::all() {
                prop_assert_eq!(&case.products(kernel, 0..rows), &expected);
            }
        }
    }

    /// Everything else that lanes can do, of three vectors.
    struct Everything<'a>(&'a [Numbers; 3]);

    impl Task for Everything<'_> {
        type Output = Vec<u32>;

        #[inline(always)]
        fn run<V: Lanes>(self) -> Vec<u32> {
            let [a, b, c] = self.0.each_ref().map(V::load);
            let results = [
                a.add(b),
                a.sub(b),
                a.mul(b),
                a.div(b),
                a.fma(b, c),
                a.max(b),
                a.min(b),
                a.abs(),
                a.exp(),
                V::from_halves(&a.to_halves()),
                V::splat(a.total()),
                V::splat(a.greatest()),
            ];
            let (bytes, sum) = a.to_bytes();
            let mut out: Vec<u32> = bytes.map(u32::from).to_vec();
            out.push(sum as u32);
            for result in results {
                let mut numbers = [0.0; LANES];
                result.store(&mut numbers);
                // What is no number has many forms, and none of them is looked at.
                out.extend(numbers.map(|n| if n.is_nan() { u32::MAX } else { n.to_bits() }));
            }
            out
        }
    }

    proptest! {
        #[test]
        fn numbers_are_the_same_bits_everywhere(bits: [[u32; LANES]; 3], small in 0usize..2) {
            // Any bits at all, or numbers of a usual size.
            let number = |bits: u32| match small {
                0 => f32::from_bits(bits),
                _ => (bits as i32) as f32 / (1 << 24) as f32,
            };
            let vectors = bits.map(|bits| bits.map(number));
            let expected = Kernel::Portable.run(Everything(&vectors));
            for kernel in Kernel::all() {
                prop_assert_eq!(&kernel.run(Everything(&vectors)), &expected, "{:?}", kernel);
            }
        }
    }

    #[test]
    fn the_exponential_is_right_to_three_units_of_the_last_place() {
        struct Exp(Numbers);
        impl Task for Exp {
            type Output = Numbers;

            #[inline(always)]
            fn run<V: Lanes>(mut self) -> Numbers {
                V::load(&self.0).exp().store(&mut self.0);
                self.0
            }
        }
        for step in -87_000..88_000 {
            let x = step as f32 / 1_000.0;
            let (found, right) = (Kernel::best().run(Exp([x; LANES]))[0], f64::from(x).exp());
            assert!(
                (f64::from(found) / right - 1.0).abs() < 3.0 / f64::from(1 << 23),
                "{x} {found}"
            );
        }
    }
}
