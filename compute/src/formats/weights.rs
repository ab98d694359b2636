//! Named tensors as canonical bytes: the files of checkpoints and of adapters.
//!
//! Such a file is safetensors with exactly one metadata entry, from which the names and shapes of
//! all tensors follow, and the values of these tensors in one flat order, all finite, `f32`
//! little-endian. It is **canonical**: reading and writing gives the same bytes, so that their hash
//! names the values.

use std::borrow::Cow;
use std::collections::HashMap;

use safetensors::tensor::{Dtype, SafeTensorError, SafeTensors, View};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::model::layout::TensorSpec;

/// Room for the header of a file beside its values.
const MAX_HEADER: u64 = 1 << 20;

/// Why bytes are no file of weights, or values don't make one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WeightsError {
    /// The file is larger than any of its kind can be.
    #[error("the file has {found} bytes, more than the {limit} of the largest accepted weights")]
    TooLarge {
        /// Bytes of the largest accepted file of that kind.
        limit: u64,
        /// Bytes of the file.
        found: u64,
    },
    /// The bytes are no safetensors file.
    #[error("not a safetensors file: {reason}")]
    Format {
        /// What the parser said.
        reason: String,
    },
    /// The file lacks the metadata that names its kind and its shape.
    #[error("the file has no readable `{0}` metadata: it holds something else")]
    Metadata(&'static str),
    /// A tensor is missing, has another type or another shape than the metadata says.
    #[error("tensor {name} is missing or is not f32 of shape {shape:?}")]
    Tensor {
        /// The tensor's name.
        name: String,
        /// The shape that is needed.
        shape: Vec<usize>,
    },
    /// The number of values is not that of the shape.
    #[error("{expected} parameters are needed, {found} values were given")]
    Length {
        /// Parameters of the shape.
        expected: u64,
        /// Values that were given.
        found: u64,
    },
    /// A value is not a number or infinite.
    #[error("value {index} is not finite")]
    NotFinite {
        /// Its place in the flat order.
        index: usize,
    },
    /// The file holds the right values in another arrangement, thus has another hash.
    #[error("the file is not in the canonical form")]
    NotCanonical,
}

impl From<SafeTensorError> for WeightsError {
    fn from(error: SafeTensorError) -> Self {
        Self::Format { reason: error.to_string() }
    }
}

/// Checks that there are `expected` values and that all are finite.
pub(crate) fn check(expected: u64, values: &[f32]) -> Result<(), WeightsError> {
    let found = values.len() as u64;
    if expected != found {
        return Err(WeightsError::Length { expected, found });
    }
    match values.iter().position(|value| !value.is_finite()) {
        Some(index) => Err(WeightsError::NotFinite { index }),
        None => Ok(()),
    }
}

/// The one metadata entry of a file with at most so many parameters; unchecked beyond its form.
pub(crate) fn metadata<M: DeserializeOwned>(
    bytes: &[u8],
    key: &'static str,
    max_parameters: u64,
) -> Result<M, WeightsError> {
    let (limit, found) = (max_parameters * 4 + MAX_HEADER, bytes.len() as u64);
    if found > limit {
        return Err(WeightsError::TooLarge { limit, found });
    }
    let (_, header) = SafeTensors::read_metadata(bytes)?;
    let text = header.metadata().as_ref().and_then(|entries| entries.get(key));
    text.and_then(|text| serde_json::from_str(text).ok()).ok_or(WeightsError::Metadata(key))
}

/// The values of the tensors that `metadata` asks for, from bytes that are exactly what [`write`]
/// makes of them. Allocates no more than a small multiple of `bytes`.
pub(crate) fn read<M: Serialize>(
    bytes: &[u8],
    key: &str,
    metadata: &M,
    tensors: &[TensorSpec],
) -> Result<Vec<f32>, WeightsError> {
    let expected = tensors.iter().map(|spec| spec.len() as u64).sum();
    let held = bytes.len() as u64 / 4;
    if expected > held {
        return Err(WeightsError::Length { expected, found: held });
    }
    let file = SafeTensors::deserialize(bytes)?;
    let mut values = Vec::with_capacity(expected as usize);
    for spec in tensors {
        let view = file.tensor(&spec.name).ok();
        let view = view.filter(|v| v.dtype() == Dtype::F32 && v.shape() == spec.shape());
        let Some(view) = view else {
            return Err(WeightsError::Tensor { shape: spec.shape(), name: spec.name.clone() });
        };
        let words = view.data().as_chunks::<4>().0;
        values.extend(words.iter().map(|b| f32::from_le_bytes(*b)));
    }
    check(expected, &values)?;
    match write(key, metadata, tensors, &values) == bytes {
        true => Ok(values),
        false => Err(WeightsError::NotCanonical),
    }
}

/// The file of these tensors, whose values stand in `values` one after the other.
pub(crate) fn write<M: Serialize>(
    key: &str,
    metadata: &M,
    tensors: &[TensorSpec],
    values: &[f32],
) -> Vec<u8> {
    let text = serde_json::to_string(metadata).expect("plain structs serialise");
    let mut rest = values;
    let tensors = tensors.iter().map(|spec| {
        let (values, tail) = rest.split_at(spec.len());
        rest = tail;
        (spec.name.clone(), Values { shape: spec.shape(), values })
    });
    let tensors: Vec<(String, Values<'_>)> = tensors.collect();
    safetensors::serialize(tensors, Some(HashMap::from([(key.to_owned(), text)])))
        .expect("names are unique, shapes fit")
}

/// A tensor's values, written little-endian.
struct Values<'a> {
    shape: Vec<usize>,
    values: &'a [f32],
}

impl View for Values<'_> {
    fn dtype(&self) -> Dtype {
        Dtype::F32
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Owned(self.values.iter().flat_map(|v| v.to_le_bytes()).collect())
    }

    fn data_len(&self) -> usize {
        self.values.len() * 4
    }
}
