//! Where one token looks: softmax of its queries over all keys so far, and the values by it.
//!
//! The sums of a query are taken in an order that depends on its position alone, not on what else is in the
//! batch or in how many pieces the prompt was read.
#![expect(
    clippy::needless_range_loop,
    reason = "what takes closures is not inlined where instructions differ"
)]

use super::kernel::lanes::{LANES, Lanes, Numbers, Task};
use super::pages::{Cache, POSITIONS};

/// Query heads that are computed at once.
const GROUP: usize = 4;

/// Queries of one token that share a head of keys.
pub(super) struct Attend<'a> {
    pub(super) cache: &'a Cache,
    pub(super) layer: usize,
    /// Which head of keys and values.
    pub(super) head: usize,
    /// Positions that the token sees, itself among them.
    pub(super) length: usize,
    /// Rotated and scaled, head by head.
    pub(super) queries: &'a [f32],
    /// Room for scores, kept from call to call.
    pub(super) scores: &'a mut Vec<Numbers>,
    /// As long as the queries.
    pub(super) out: &'a mut [f32],
    /// Width of a head.
    pub(super) width: usize,
}

impl Task for Attend<'_> {
    type Output = ();

    #[inline(always)]
    fn run<V: Lanes>(mut self) {
        let heads = self.queries.len() / self.width;
        let mut done = 0;
        while done < heads {
            done += match heads - done {
                GROUP.. => self.group::<V, GROUP>(done),
                3 => self.group::<V, 3>(done),
                2 => self.group::<V, 2>(done),
                _ => self.group::<V, 1>(done),
            };
        }
    }
}

impl Attend<'_> {
    #[inline(always)]
    fn group<V: Lanes, const Q: usize>(&mut self, first: usize) -> usize {
        let pages = self.length.div_ceil(POSITIONS);
        self.scores.resize((Q * pages).max(self.scores.len()), [0.0; LANES]);
        self.score::<V, Q>(first, pages);
        let mut inverse = [0.0; Q];
        for query in 0..Q {
            let row = &mut self.scores[query * pages..][..pages];
            inverse[query] = 1.0 / softmax::<V>(row, self.length);
        }
        self.mix::<V, Q>(first, pages, inverse);
        Q
    }

    /// Products of queries and keys.
    #[inline(always)]
    fn score<V: Lanes, const Q: usize>(&mut self, first: usize, pages: usize) {
        let width = self.width;
        let mut queries: [&[[f32; 2]]; Q] = [&[]; Q];
        for query in 0..Q {
            queries[query] = self.queries[(first + query) * width..][..width].as_chunks::<2>().0;
        }
        for page in 0..pages {
            let keys = self.cache.keys(page, self.layer, self.head).as_chunks::<2>().0;
            // Two sums, since each step waits for the one before.
            let (mut even, mut odd) = ([V::splat(0.0); Q], [V::splat(0.0); Q]);
            for at in 0..keys.len() {
                let (a, b) = (V::from_halves(&keys[at][0]), V::from_halves(&keys[at][1]));
                for query in 0..Q {
                    let factors = queries[query][at];
                    even[query] = V::splat(factors[0]).fma(a, even[query]);
                    odd[query] = V::splat(factors[1]).fma(b, odd[query]);
                }
            }
            for query in 0..Q {
                even[query].add(odd[query]).store(&mut self.scores[query * pages + page]);
            }
        }
    }

    /// Values, weighed by what the scores have become.
    #[inline(always)]
    fn mix<V: Lanes, const Q: usize>(&mut self, first: usize, pages: usize, inverse: [f32; Q]) {
        for vector in 0..self.width.div_ceil(LANES) {
            let (mut even, mut odd) = ([V::splat(0.0); Q], [V::splat(0.0); Q]);
            for page in 0..pages {
                let values = self.cache.values(page, self.layer, self.head, vector);
                let seen = POSITIONS.min(self.length - page * POSITIONS);
                let mut weights = [&[0.0; LANES]; Q];
                for query in 0..Q {
                    weights[query] = &self.scores[query * pages + page];
                }
                for pair in 0..seen / 2 {
                    let a = V::from_halves(&values[2 * pair]);
                    let b = V::from_halves(&values[2 * pair + 1]);
                    for query in 0..Q {
                        let weights = weights[query];
                        even[query] = V::splat(weights[2 * pair]).fma(a, even[query]);
                        odd[query] = V::splat(weights[2 * pair + 1]).fma(b, odd[query]);
                    }
                }
                if seen % 2 == 1 {
                    let last = V::from_halves(&values[seen - 1]);
                    for query in 0..Q {
                        even[query] = V::splat(weights[query][seen - 1]).fma(last, even[query]);
                    }
                }
            }
            for query in 0..Q {
                let mut mixed = [0.0; LANES];
                let sum = even[query].add(odd[query]);
                sum.mul(V::splat(inverse[query])).store(&mut mixed);
                let out = &mut self.out[(first + query) * self.width..][..self.width];
                let out = &mut out[vector * LANES..];
                let count = out.len().min(LANES);
                out[..count].copy_from_slice(&mixed[..count]);
            }
        }
    }
}

/// Makes scores to weights and gives their sum.
#[inline(always)]
fn softmax<V: Lanes>(scores: &mut [Numbers], length: usize) -> f32 {
    let beyond = length - (scores.len() - 1) * POSITIONS;
    if let Some(last) = scores.last_mut() {
        last[beyond..].fill(f32::NEG_INFINITY);
    }
    let mut greatest = V::splat(f32::NEG_INFINITY);
    for scores in scores.iter() {
        greatest = V::load(scores).max(greatest);
    }
    let greatest = V::splat(greatest.greatest());
    for scores in scores.iter_mut() {
        V::load(scores).sub(greatest).exp().store(scores);
    }
    if let Some(last) = scores.last_mut() {
        last[beyond..].fill(0.0);
    }
    let mut sum = V::splat(0.0);
    for weights in scores.iter() {
        sum = V::load(weights).add(sum);
    }
    sum.total()
}
