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

impl Sketch {
    /// Rounds `values`; none when one of them is not finite.
    pub(crate) fn quantise(unit: Hash, tokens: u32, values: &[f32], block: usize) -> Option<Self> {
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
