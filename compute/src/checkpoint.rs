//! Model weights: what nodes agree on by hash.
//!
//! A checkpoint is a shape, the hash of its tokenizer, and the parameters as one flat `Vec<f32>` in
//! the order of [`layout`]. Its bytes are a safetensors file with exactly
//! one metadata entry, canonical: reading and writing gives the same bytes, and the checkpoint's
//! hash is their BLAKE3. All values are finite.

use std::borrow::Cow;
use std::collections::HashMap;

use protocol::Hash;
use safetensors::tensor::{Dtype, SafeTensors, View};
use serde::{Deserialize, Serialize};

use crate::model::layout::{self, Role, TensorSpec};
use crate::model::{ConfigError, ModelConfig};
use crate::seed::Stream;

/// The key of the one metadata entry.
const METADATA_KEY: &str = "openledger";
/// Room for the header of a checkpoint beside its values.
const MAX_HEADER: u64 = 1 << 20;

/// The weights of a model, with its shape and the hash of its tokenizer.
#[derive(Clone, Debug, PartialEq)]
pub struct Checkpoint {
    config: ModelConfig,
    tokenizer: Hash,
    values: Vec<f32>,
}

/// Why bytes or values are no checkpoint, or not the expected one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointError {
    /// The file is larger than its model can be.
    #[error("the checkpoint has {0} bytes, more than any accepted model")]
    TooLarge(u64),
    /// The bytes are no safetensors file.
    #[error("not a safetensors file: {reason}")]
    Format {
        /// What the parser said.
        reason: String,
    },
    /// The file lacks the metadata that names its model.
    #[error(
        "the file has no readable `{METADATA_KEY}` metadata: it is not an openledger checkpoint"
    )]
    Metadata,
    /// The shape that the file states is refused.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A tensor is missing, has another type or another shape than its model says.
    #[error("tensor {name} is missing or is not f32 of shape {shape:?}")]
    Tensor {
        /// The tensor's name.
        name: String,
        /// The shape that the model needs.
        shape: Vec<usize>,
    },
    /// The number of values is not that of the model.
    #[error("the model has {expected} parameters, {found} values were given")]
    Length {
        /// Parameters of the model.
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
    /// The checkpoint is of another shape than expected.
    #[error("the checkpoint is of another model: its shape differs")]
    OtherModel,
    /// The checkpoint belongs to another tokenizer.
    #[error("the checkpoint belongs to tokenizer {found}, not {expected}")]
    OtherTokenizer {
        /// The expected tokenizer.
        expected: Hash,
        /// The checkpoint's tokenizer.
        found: Hash,
    },
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Metadata {
    config: ModelConfig,
    tokenizer: Hash,
}

impl Checkpoint {
    /// The initial weights of a seed: the same bits on every machine.
    pub fn init(config: &ModelConfig, tokenizer: Hash, seed: u64) -> Result<Self, CheckpointError> {
        config.validate()?;
        let mut stream = Stream::new("init", &seed.to_be_bytes());
        let mut values = Vec::with_capacity(config.parameters() as usize);
        for spec in layout::tensors(config) {
            let deviation = deviation(&spec, config);
            values.extend((0..spec.len()).map(|_| match spec.role {
                Role::Norm => 1.0,
                _ => stream.bell(deviation),
            }));
        }
        Ok(Self { config: config.clone(), tokenizer, values })
    }

    /// Takes values in the order of [`layout`] and checks them.
    pub fn from_values(
        config: &ModelConfig,
        tokenizer: Hash,
        values: Vec<f32>,
    ) -> Result<Self, CheckpointError> {
        config.validate()?;
        let (expected, found) = (config.parameters(), values.len() as u64);
        if expected != found {
            return Err(CheckpointError::Length { expected, found });
        }
        if let Some(index) = values.iter().position(|v| !v.is_finite()) {
            return Err(CheckpointError::NotFinite { index });
        }
        Ok(Self { config: config.clone(), tokenizer, values })
    }

    /// Reads a checkpoint from the bytes of its safetensors file.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, CheckpointError> {
        let size = bytes.len() as u64;
        if size > crate::model::MAX_PARAMETERS * 4 + MAX_HEADER {
            return Err(CheckpointError::TooLarge(size));
        }
        let format =
            |e: safetensors::SafeTensorError| CheckpointError::Format { reason: e.to_string() };
        let (_, header) = SafeTensors::read_metadata(bytes).map_err(format)?;
        let text = header.metadata().as_ref().and_then(|m| m.get(METADATA_KEY));
        let metadata: Metadata = text
            .and_then(|text| serde_json::from_str(text).ok())
            .ok_or(CheckpointError::Metadata)?;
        metadata.config.validate()?;
        if metadata.config.parameters() * 4 > size {
            let found = size / 4;
            return Err(CheckpointError::Length { expected: metadata.config.parameters(), found });
        }
        let file = SafeTensors::deserialize(bytes).map_err(format)?;
        let mut values = Vec::with_capacity(metadata.config.parameters() as usize);
        for spec in layout::tensors(&metadata.config) {
            let view = file.tensor(&spec.name).ok();
            let view = view.filter(|v| v.dtype() == Dtype::F32 && v.shape() == spec.shape());
            let Some(view) = view else {
                return Err(CheckpointError::Tensor { shape: spec.shape(), name: spec.name });
            };
            let words = view.data().as_chunks::<4>().0;
            values.extend(words.iter().map(|b| f32::from_le_bytes(*b)));
        }
        let checkpoint = Self::from_values(&metadata.config, metadata.tokenizer, values)?;
        if checkpoint.to_bytes() != bytes {
            return Err(CheckpointError::NotCanonical);
        }
        Ok(checkpoint)
    }

    /// The safetensors file.
    pub fn to_bytes(&self) -> Vec<u8> {
        let metadata = Metadata { config: self.config.clone(), tokenizer: self.tokenizer };
        let text = serde_json::to_string(&metadata).expect("plain structs serialise");
        let metadata = HashMap::from([(METADATA_KEY.to_owned(), text)]);
        let mut rest = &self.values[..];
        let tensors: Vec<(String, Values<'_>)> = layout::tensors(&self.config)
            .into_iter()
            .map(|spec| {
                let (values, tail) = rest.split_at(spec.len());
                rest = tail;
                (spec.name.clone(), Values { shape: spec.shape(), values })
            })
            .collect();
        safetensors::serialize(tensors, Some(metadata)).expect("names are unique, shapes fit")
    }

    /// BLAKE3 of the safetensors file.
    pub fn hash(&self) -> Hash {
        Hash(*blake3::hash(&self.to_bytes()).as_bytes())
    }

    /// Refuses a checkpoint of another shape or tokenizer.
    pub fn expect_model(
        &self,
        config: &ModelConfig,
        tokenizer: Hash,
    ) -> Result<(), CheckpointError> {
        if self.config != *config {
            return Err(CheckpointError::OtherModel);
        }
        if self.tokenizer != tokenizer {
            let (expected, found) = (tokenizer, self.tokenizer);
            return Err(CheckpointError::OtherTokenizer { expected, found });
        }
        Ok(())
    }

    /// The shape of the model.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// The hash of the tokenizer whose ids the model speaks.
    pub fn tokenizer(&self) -> Hash {
        self.tokenizer
    }

    /// The parameters, in the order of [`layout`].
    pub fn values(&self) -> &[f32] {
        &self.values
    }
}

/// The spread of a tensor's initial values; only IEEE division and square root.
fn deviation(spec: &TensorSpec, config: &ModelConfig) -> f32 {
    let inputs = spec.cols as f32;
    match spec.role {
        Role::Norm => 0.0,
        Role::Embedding => 0.02,
        Role::Linear => 1.0 / inputs.sqrt(),
        Role::LinearOut => 1.0 / (inputs * 2.0 * config.layers as f32).sqrt(),
    }
}

/// A tensor's values, written little-endian.
pub(crate) struct Values<'a> {
    pub(crate) shape: Vec<usize>,
    pub(crate) values: &'a [f32],
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
