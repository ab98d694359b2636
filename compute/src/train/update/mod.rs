//! The update that a shard sends: sparse, two bits a value, comparable.
//!
//! [`compress`] keeps, in every chunk of 4096 consecutive parameters, the `k` largest changes, and
//! of each its index, its sign and one of two magnitudes of that chunk. The payload is small enough
//! for homes, is what an auditor's replay is [compared](compare) with, and is summed in integers by
//! [`outer::step`](crate::train::outer::step). (64 of 4,096 values with 12-bit indices and two bits
//! each, as SparseLoCo sends them: arXiv 2508.15706. The residual that it carries from round to round
//! is left out, so that a shard depends on nothing but its input.)

mod codec;
mod compare;
mod compress;

pub use codec::PayloadError;
pub use compare::{CompareError, compare};
pub use compress::{CompressError, compress};

/// Parameters in one chunk; indices have twelve bits.
pub(crate) const CHUNK: usize = 4096;
/// Fractional bits of the integers in which updates are summed.
pub(crate) const FIXED_BITS: u32 = 32;
/// Magnitudes must be below this, so that sums of a million payloads fit 64 bits.
pub(crate) const MAX_LEVEL: u32 = 64;

/// A sparse update of a model, in canonical form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payload {
    parameters: u32,
    k: u32,
    chunks: Vec<Chunk>,
}

/// The kept values of one chunk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Chunk {
    /// The smaller magnitude, bits of a bf16.
    pub(crate) small: u16,
    /// The larger magnitude, bits of a bf16; not below `small`.
    pub(crate) large: u16,
    /// Positions in the chunk, ascending.
    pub(crate) indices: Vec<u16>,
    /// Bit 1: negative. Bit 0: the larger magnitude.
    pub(crate) codes: Vec<u8>,
}

impl Payload {
    /// Parameters of the model that the update is for.
    pub fn parameters(&self) -> u32 {
        self.parameters
    }

    /// Values kept per full chunk.
    pub fn k(&self) -> u32 {
        self.k
    }

    /// Values kept in all.
    pub fn kept(&self) -> usize {
        self.chunks.iter().map(|chunk| chunk.indices.len()).sum()
    }

    pub(crate) fn chunks(&self) -> &[Chunk] {
        &self.chunks
    }

    /// The sum of squares of all values, in units of 2^-64.
    pub(crate) fn square_norm(&self) -> u128 {
        self.chunks.iter().flat_map(|c| c.values()).map(|(_, v)| square(v)).sum()
    }
}

impl Chunk {
    /// `(position, value)` with values in units of 2^-32.
    pub(crate) fn values(&self) -> impl Iterator<Item = (u16, i64)> + '_ {
        let levels = [fixed(self.small), fixed(self.large)];
        self.indices.iter().zip(&self.codes).map(move |(&index, &code)| {
            let magnitude = levels[usize::from(code & 1)];
            (index, if code & 2 == 0 { magnitude } else { -magnitude })
        })
    }
}

fn square(value: i64) -> u128 {
    let magnitude = u128::from(value.unsigned_abs());
    magnitude * magnitude
}

/// Values that a chunk of `length` parameters keeps: even, so that indices pack in pairs.
fn kept_of(k: u32, length: usize) -> usize {
    (k as usize).min(length) & !1
}

/// Lengths of the chunks of a model.
fn chunk_lengths(parameters: u32) -> impl Iterator<Item = usize> {
    let (full, rest) = (parameters as usize / CHUNK, parameters as usize % CHUNK);
    std::iter::repeat_n(CHUNK, full).chain((rest > 0).then_some(rest))
}

/// The bf16 nearest to a non-negative number, ties to even.
fn to_bf16(value: f32) -> u16 {
    let bits = value.to_bits();
    ((bits + 0x7fff + ((bits >> 16) & 1)) >> 16) as u16
}

/// A non-negative bf16 below [`MAX_LEVEL`] in units of 2^-32, by integer shifts, halves up.
fn fixed(bits: u16) -> i64 {
    let (exponent, fraction) = (i32::from(bits >> 7), i64::from(bits & 0x7f));
    let shift = exponent - 127 - 7 + FIXED_BITS as i32;
    if exponent == 0 || shift < -9 {
        0
    } else if shift >= 0 {
        (128 + fraction) << shift
    } else {
        ((128 + fraction) + (1 << (-shift - 1))) >> -shift
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fixed_point_is_the_value_of_the_bf16() {
        for value in [0.0f32, 1.0, 0.5, 0.0123, 3.0e-4, 63.5, 1e-9, 1e-12, 1e-38] {
            let bits = to_bf16(value);
            let exact = f64::from(f32::from_bits(u32::from(bits) << 16)) * 2f64.powi(32);
            assert_eq!(fixed(bits), (exact + 0.5).floor() as i64, "{value}");
        }
    }
}
