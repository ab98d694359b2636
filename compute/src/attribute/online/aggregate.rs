//! The influence of everything that one contributor gave, in one vector.

use super::fixed_point::shifted;
use crate::attribute::sketch::{Sketch, SketchSet};

/// Bits kept below the largest scale while sketches are summed.
const AGGREGATE_BITS: i32 = 16;
/// Largest value of an aggregate: two signed digits of eight bits.
const AGGREGATE_LIMIT: i64 = 127 * DIGIT + 127;
/// What one step of the upper digit of an aggregate is worth.
pub(super) const DIGIT: i64 = 256;

/// The sum of many sketches: the influence of everything that one contributor gave, in one vector
/// of sixteen bits a value. The upper and the lower digits are two rows for the one kernel that also
/// scores units.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Aggregate {
    /// Per block the exponent `e`: a value stands for itself times `2^e`.
    pub(super) exponents: Vec<i16>,
    /// A value is `256 · upper + lower`.
    pub(crate) upper: Vec<i8>,
    pub(crate) lower: Vec<i8>,
}

impl Aggregate {
    /// The values with their exponents, block by block.
    pub fn blocks(&self) -> impl Iterator<Item = (i16, Vec<i32>)> + '_ {
        let size = self.upper.len().checked_div(self.exponents.len()).unwrap_or(1).max(1);
        let digits = self.upper.chunks(size).zip(self.lower.chunks(size));
        self.exponents.iter().zip(digits).map(|(&exponent, (upper, lower))| {
            let value = |(&u, &l): (&i8, &i8)| i32::from(u) * DIGIT as i32 + i32::from(l);
            (exponent, upper.iter().zip(lower).map(value).collect())
        })
    }

    pub(crate) fn has_shape(&self, blocks: usize, dims: usize) -> bool {
        let lengths = (self.exponents.len(), self.upper.len(), self.lower.len());
        lengths == (blocks, dims, dims)
    }
}

impl SketchSet {
    /// Sums the sketches of the units of those ranks; ranks beyond the snapshot count nothing.
    pub fn aggregate(&self, ranks: &[u32]) -> Aggregate {
        let members: Vec<&Sketch> =
            ranks.iter().filter_map(|&rank| self.sketches().get(rank as usize)).collect();
        let mut sum = Aggregate { exponents: vec![], upper: vec![], lower: vec![] };
        for block in 0..self.spec().blocks() {
            let (exponent, values) = sum_block(&members, block, self.spec().block());
            sum.exponents.push(exponent);
            for value in values {
                let upper = (value + DIGIT / 2).div_euclid(DIGIT);
                sum.upper.push(upper as i8);
                sum.lower.push((value - upper * DIGIT) as i8);
            }
        }
        sum
    }
}

/// The sum of one block over `members`, rounded to the digits of an aggregate.
fn sum_block(members: &[&Sketch], block: usize, size: usize) -> (i16, Vec<i64>) {
    let exponents = members.iter().map(|sketch| i32::from(sketch.exponents[block]));
    let Some(largest) = exponents.max() else { return (0, vec![0; size]) };
    let base = largest - AGGREGATE_BITS;
    let mut sums = vec![0i64; size];
    for sketch in members {
        let (exponent, values) = sketch.block(block, size);
        let shift = i32::from(exponent) - base;
        for (sum, &value) in sums.iter_mut().zip(values) {
            *sum += shifted(value.into(), shift) as i64;
        }
    }
    let peak = sums.iter().map(|sum| sum.abs()).max().unwrap_or(0);
    let rounded = |value: i64, drop: u32| (value + (1i64 << drop >> 1)) >> drop;
    let fits = |drop: &u32| rounded(peak, *drop) <= AGGREGATE_LIMIT;
    let drop = (0..62).find(fits).expect("sums of so many sketches are below 2^60");
    (base as i16 + drop as i16, sums.into_iter().map(|sum| rounded(sum, drop)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digits_of_an_aggregate_hold_its_largest_values() {
        for value in [-AGGREGATE_LIMIT, -129, -128, -1, 0, 127, 128, AGGREGATE_LIMIT] {
            let upper = (value + DIGIT / 2).div_euclid(DIGIT);
            let lower = value - upper * DIGIT;
            assert!(i8::try_from(upper).is_ok() && i8::try_from(lower).is_ok(), "{value}");
        }
    }
}
