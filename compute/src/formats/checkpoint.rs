//! Model weights: what nodes agree on by hash.
//!
//! A checkpoint is a shape, the hash of its tokenizer, and the parameters as one flat `Vec<f32>` in
//! the order of [`layout`]. Its bytes are a canonical file of [`weights`], and the checkpoint's hash
//! is their BLAKE3.

use protocol::Hash;
use serde::{Deserialize, Serialize};

use super::weights::{self, WeightsError};
use crate::math::Stream;
use crate::model::layout::{self, Role, TensorSpec};
use crate::model::{ConfigError, MAX_PARAMETERS, ModelConfig};

/// The key of the one metadata entry.
const METADATA_KEY: &str = "openledger";

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
    /// The bytes are no canonical file of weights, or the values don't make one.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// The shape that the file states is refused.
    #[error(transparent)]
    Config(#[from] ConfigError),
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
        weights::check(config.parameters(), &values)?;
        Ok(Self { config: config.clone(), tokenizer, values })
    }

    /// Reads a checkpoint from the bytes of its safetensors file.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, CheckpointError> {
        let metadata: Metadata = weights::metadata(bytes, METADATA_KEY, MAX_PARAMETERS)?;
        metadata.config.validate()?;
        let tensors = layout::tensors(&metadata.config);
        let values = weights::read(bytes, METADATA_KEY, &metadata, &tensors)?;
        Ok(Self { config: metadata.config, tokenizer: metadata.tokenizer, values })
    }

    /// The safetensors file.
    pub fn to_bytes(&self) -> Vec<u8> {
        let metadata = Metadata { config: self.config.clone(), tokenizer: self.tokenizer };
        weights::write(METADATA_KEY, &metadata, &layout::tensors(&self.config), &self.values)
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
