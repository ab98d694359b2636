//! What is published of an output, and asked of the sketches.

use protocol::Hash;

use crate::attribute::sketch::SketchSpec;
use crate::attribute::sketch::quantise::EXPONENTS;

/// A preconditioned, quantised output sketch: what is published of an output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    /// Name of the spec.
    pub spec: Hash,
    /// Per block the exponent `e`: a value stands for itself times `2^e`.
    pub exponents: Vec<i8>,
    /// The values, block by block.
    pub values: Vec<i16>,
}

/// Why an output sketch or the bytes of a query were refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum QueryError {
    /// The output was sketched under another spec: another model, projection or layers.
    #[error("the output was sketched under spec {found}, not {expected}: another model?")]
    Spec {
        /// The spec asked for.
        expected: Hash,
        /// The spec found.
        found: Hash,
    },
    /// The query is not finite.
    #[error("the preconditioned query is not finite")]
    NotFinite,
    /// Bytes of the wrong length, or a scale out of range.
    #[error("these bytes are no query of this spec")]
    Malformed,
}

/// Why scores could not be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ScoreError {
    /// Query and sketches belong to different families.
    #[error("the query belongs to spec {found}, the sketches to {expected}")]
    Spec {
        /// The sketches' spec.
        expected: Hash,
        /// The query's spec.
        found: Hash,
    },
    /// A vector has the wrong shape.
    #[error("the query has another shape than its spec")]
    Shape,
}

impl Query {
    /// The query as bytes, big-endian: exponents, then values.
    pub fn encode(&self) -> Vec<u8> {
        let exponents = self.exponents.iter().map(|&e| e as u8);
        exponents.chain(self.values.iter().flat_map(|value| value.to_be_bytes())).collect()
    }

    /// Reads a query of that spec.
    pub fn decode(bytes: &[u8], spec: &SketchSpec) -> Result<Self, QueryError> {
        if bytes.len() != spec.blocks() + 2 * spec.dims() {
            return Err(QueryError::Malformed);
        }
        let (exponents, values) = bytes.split_at(spec.blocks());
        let exponents: Vec<i8> = exponents.iter().map(|&byte| byte as i8).collect();
        if !exponents.iter().all(|e| EXPONENTS.contains(e)) {
            return Err(QueryError::Malformed);
        }
        let values = values.as_chunks::<2>().0.iter().map(|v| i16::from_be_bytes(*v)).collect();
        Ok(Self { spec: spec.id(), exponents, values })
    }

    /// The name of the query, which the results of scoring shards bear.
    pub fn id(&self) -> Hash {
        let mut hasher = blake3::Hasher::new_derive_key("openledger query v1");
        hasher.update(&self.spec.0).update(&self.encode());
        Hash(*hasher.finalize().as_bytes())
    }

    /// Cosine of two queries in parts per million: how an auditor's own query is compared with the
    /// published one. None when they differ in shape.
    pub fn cosine_ppm(&self, other: &Self) -> Option<i32> {
        if self.spec != other.spec || self.values.len() != other.values.len() {
            return None;
        }
        let (mut ab, mut aa, mut bb) = (0.0f64, 0.0f64, 0.0f64);
        for (a, b) in self.dequantised().zip(other.dequantised()) {
            (ab, aa, bb) = (ab + a * b, aa + a * a, bb + b * b);
        }
        let norm = (aa * bb).sqrt();
        (norm > 0.0).then(|| (ab / norm * 1e6).round() as i32)
    }

    fn dequantised(&self) -> impl Iterator<Item = f64> {
        let block = self.values.len().checked_div(self.exponents.len()).unwrap_or(1).max(1);
        let scales = self.exponents.iter().map(|&e| f64::powi(2.0, i32::from(e)));
        self.values
            .chunks(block)
            .zip(scales)
            .flat_map(|(values, scale)| values.iter().map(move |&v| f64::from(v) * scale))
    }

    pub(crate) fn check(&self, spec: &SketchSpec) -> Result<(), ScoreError> {
        let expected = spec.id();
        if self.spec != expected {
            return Err(ScoreError::Spec { expected, found: self.spec });
        }
        if self.exponents.len() != spec.blocks() || self.values.len() != spec.dims() {
            return Err(ScoreError::Shape);
        }
        Ok(())
    }
}
