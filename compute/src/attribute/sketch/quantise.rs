//! Eight bits a value, one power of two a block.
//!
//! A block's scale is a power of two, so that scores are sums of shifted integers and no float takes
//! part in them.

use protocol::Hash;

/// Smallest and largest scale exponent of a block.
pub(crate) const EXPONENTS: std::ops::RangeInclusive<i8> = -60..=60;

/// The quantised, projected gradient of one unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sketch {
    /// The unit's hash.
    pub unit: Hash,
    /// Its length in tokens.
    pub tokens: u32,
    /// Per block the exponent `e`: a value stands for itself times `2^e`.
    pub exponents: Vec<i8>,
    /// The values, block by block.
    pub values: Vec<i8>,
}

/// How far two sketches of one unit are apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Cosine of the whole sketches, in ppm.
    pub cosine_ppm: i32,
    /// Most steps by which a value differs, a step being one of the coarser block.
    pub steps: u32,
}

impl Difference {
    /// Of equal sketches.
    pub const NONE: Self = Self { cosine_ppm: 1_000_000, steps: 0 };
    /// Of sketches that can't be compared.
    pub const TOTAL: Self = Self { cosine_ppm: 0, steps: u32::MAX };

    /// The lower cosine and the larger number of steps of both.
    pub fn worse(self, other: Self) -> Self {
        Self {
            cosine_ppm: self.cosine_ppm.min(other.cosine_ppm),
            steps: self.steps.max(other.steps),
        }
    }
}

impl Sketch {
    /// Rounds `values`; none when one of them is not finite.
    pub fn quantise(unit: Hash, tokens: u32, values: &[f32], block: usize) -> Option<Self> {
        let mut sketch = Self { unit, tokens, exponents: Vec::new(), values: Vec::new() };
        for block in values.chunks_exact(block) {
            let (exponent, rounded) = scale(block, 127.0)?;
            sketch.exponents.push(exponent);
            sketch.values.extend(rounded.map(|value| value as i8));
        }
        Some(sketch)
    }

    /// The values of block `index` with its exponent.
    pub(crate) fn block(&self, index: usize, size: usize) -> (i8, &[i8]) {
        (self.exponents[index], &self.values[index * size..(index + 1) * size])
    }

    /// What the values stand for.
    pub fn dequantised(&self, block: usize) -> impl Iterator<Item = f32> {
        let scales = self.exponents.iter().map(|&e| f32::powi(2.0, i32::from(e)));
        self.values
            .chunks_exact(block)
            .zip(scales)
            .flat_map(|(values, scale)| values.iter().map(move |&v| f32::from(v) * scale))
    }

    /// The leaf of the Merkle tree: unit ‖ `u32` tokens ‖ exponents ‖ values.
    pub fn leaf(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(36 + self.exponents.len() + self.values.len());
        self.encode(&mut out);
        out
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        out.extend(self.unit.0);
        out.extend(self.tokens.to_be_bytes());
        out.extend(self.exponents.iter().map(|&e| e as u8));
        out.extend(self.values.iter().map(|&v| v as u8));
    }

    /// How far a recomputed leaf is from this one; none when the sketches differ in shape, unit or
    /// length.
    pub fn difference(&self, other: &Self) -> Option<Difference> {
        let cosine_ppm = self.cosine_ppm(other)?;
        let size = self.values.len() / self.exponents.len();
        let steps = (0..self.exponents.len())
            .flat_map(|block| {
                let ((e, a), (f, b)) = (self.block(block, size), other.block(block, size));
                a.iter().zip(b).map(move |(&a, &b)| steps((e, a), (f, b)))
            })
            .max();
        Some(Difference { cosine_ppm, steps: steps.unwrap_or(0) })
    }

    /// Cosine of two sketches of one unit in parts per million, the measure by which a recomputed
    /// leaf is compared; none when the sketches differ in shape, unit or length.
    pub fn cosine_ppm(&self, other: &Self) -> Option<i32> {
        let is_alike = self.unit == other.unit
            && self.tokens == other.tokens
            && self.exponents.len() == other.exponents.len()
            && self.values.len() == other.values.len();
        if !is_alike || self.exponents.is_empty() {
            return None;
        }
        let block = self.values.len() / self.exponents.len();
        let (mut ab, mut aa, mut bb) = (0.0f64, 0.0f64, 0.0f64);
        for (a, b) in self.dequantised(block).zip(other.dequantised(block)) {
            let (a, b) = (f64::from(a), f64::from(b));
            (ab, aa, bb) = (ab + a * b, aa + a * a, bb + b * b);
        }
        let norm = (aa * bb).sqrt();
        match norm > 0.0 {
            true => Some((ab / norm * 1e6).round() as i32),
            false => Some(if aa == bb { 1_000_000 } else { 0 }),
        }
    }
}

/// How many steps of the coarser exponent lie between two values, rounded up.
fn steps((e, a): (i8, i8), (f, b): (i8, i8)) -> u32 {
    let low = i32::from(e.min(f));
    let at = |e: i8, v: i8| f64::from(v) * f64::powi(2.0, i32::from(e) - low);
    let coarser = f64::powi(2.0, i32::from(e.max(f)) - low);
    ((at(e, a) - at(f, b)).abs() / coarser).ceil() as u32
}

/// The smallest exponent at which all `values` round to at most `limit`, and the rounded values.
pub(crate) fn scale(values: &[f32], limit: f32) -> Option<(i8, impl Iterator<Item = f32>)> {
    let largest = values.iter().fold(0.0f32, |max, value| max.max(value.abs()));
    if !values.iter().all(|value| value.is_finite()) {
        return None;
    }
    let (low, high) = (*EXPONENTS.start(), *EXPONENTS.end());
    let fits = |&e: &i8| (largest * f32::powi(2.0, -i32::from(e))).round() <= limit;
    let exponent = (low..=high).find(fits)?;
    let inverse = f32::powi(2.0, -i32::from(exponent));
    Some((exponent, values.iter().map(move |value| (value * inverse).round())))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_not_finite_is_refused() {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            assert_eq!(Sketch::quantise(Hash::ZERO, 1, &[1.0, bad], 2), None);
        }
        assert_eq!(Sketch::quantise(Hash::ZERO, 1, &[1e30, 0.0], 2), None);
    }

    #[test]
    fn a_zero_block_is_zero() {
        let sketch = Sketch::quantise(Hash::ZERO, 1, &[0.0; 4], 4).unwrap();
        assert_eq!(sketch.values, [0; 4]);
        assert_eq!(sketch.cosine_ppm(&sketch), Some(1_000_000));
    }

    #[test]
    fn steps_are_those_of_the_coarser_exponent() {
        assert_eq!(steps((0, 5), (0, 7)), 2);
        assert_eq!(steps((0, -128), (0, 127)), 255);
        // 101 halves are 50.5 wholes.
        assert_eq!(steps((-1, 101), (0, 50)), 1);
        assert_eq!(steps((0, 52), (-1, 101)), 2);
        assert_eq!(steps((-60, 0), (60, 3)), 3);
    }

    #[test]
    fn differences_are_those_of_the_worst_value() {
        let sketch = |values: [i8; 4]| Sketch {
            unit: Hash::ZERO,
            tokens: 1,
            exponents: vec![0, 3],
            values: values.to_vec(),
        };
        let honest = sketch([100, -50, 3, 127]);
        assert_eq!(honest.difference(&honest), Some(Difference::NONE));
        let other = honest.difference(&sketch([100, -50, 1, 127])).unwrap();
        assert_eq!(other.steps, 2);
        assert!(other.cosine_ppm > 999_000);
        let foreign = Sketch { tokens: 2, ..honest.clone() };
        assert_eq!(honest.difference(&foreign), None);
    }

    proptest! {
        #[test]
        fn rounding_costs_at_most_a_128th_of_the_largest(
            values in proptest::collection::vec(-1e4f32..1e4, 8),
        ) {
            let sketch = Sketch::quantise(Hash::ZERO, 1, &values, 4).unwrap();
            for (block, back) in values.chunks(4).zip(sketch.dequantised(4).collect::<Vec<_>>().chunks(4)) {
                let largest = block.iter().fold(0.0f32, |m, v| m.max(v.abs()));
                for (value, back) in block.iter().zip(back) {
                    prop_assert!((value - back).abs() <= largest / 63.0 + 1e-12);
                }
            }
        }
    }
}
