//! Adapter weights: what nodes agree on by hash.
//!
//! An adapter is a shape, the identity of its base, and the parameters as one flat `Vec<f32>` in
//! the order of [`LoraConfig::tensors`]. Its bytes are a canonical file of [`weights`] whose metadata
//! names the base; so does the hash, therefore.

use protocol::Hash;
use serde::{Deserialize, Serialize};

use super::config::{LoraConfig, LoraConfigError, MAX_PARAMETERS};
use crate::formats::weights::{self, WeightsError};
use crate::formats::{Checkpoint, CheckpointError};
use crate::math::Stream;
use crate::model::ModelConfig;
use crate::model::layout::{self, Role};

/// The key of the one metadata entry.
const METADATA_KEY: &str = "openledger-adapter";

/// The base that an adapter adds to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BaseId {
    /// Hash of the base's checkpoint.
    pub checkpoint: Hash,
    /// Hash of its tokenizer.
    pub tokenizer: Hash,
    /// The shape of the base, from which the adapter's tensors follow.
    pub model: ModelConfig,
}

impl BaseId {
    /// The identity of a checkpoint, which is hashed.
    pub fn of(checkpoint: &Checkpoint) -> Self {
        Self {
            checkpoint: checkpoint.hash(),
            tokenizer: checkpoint.tokenizer(),
            model: checkpoint.config().clone(),
        }
    }
}

/// The weights of an adapter, with its shape and its base.
#[derive(Clone, Debug, PartialEq)]
pub struct Adapter {
    base: BaseId,
    config: LoraConfig,
    values: Vec<f32>,
}

/// Why bytes or values are no adapter, or not one of the expected base.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AdapterError {
    /// The bytes are no canonical file of weights, or the values don't make one.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// The shape that the file states is refused.
    #[error(transparent)]
    Config(#[from] LoraConfigError),
    /// The adapter belongs to another tokenizer.
    #[error("the adapter belongs to tokenizer {found}, not {expected}")]
    OtherTokenizer {
        /// The base's tokenizer.
        expected: Hash,
        /// The adapter's tokenizer.
        found: Hash,
    },
    /// The adapter belongs to another base checkpoint.
    #[error("the adapter belongs to base checkpoint {found}, not {expected}")]
    OtherBase {
        /// The base at hand.
        expected: Hash,
        /// The adapter's base.
        found: Hash,
    },
    /// The adapter names the right base, but another shape of it.
    #[error("the adapter states another shape of its base than the base has")]
    OtherModel,
    /// Base and adapter together are no valid checkpoint.
    #[error("the merged weights are refused: {0}")]
    Merged(CheckpointError),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Metadata {
    base: BaseId,
    config: LoraConfig,
}

impl Adapter {
    /// The initial adapter of a seed, the same bits on every machine: `A` random, `B` zero, so
    /// that it changes nothing yet.
    pub fn init(base: &BaseId, config: &LoraConfig, seed: u64) -> Result<Self, AdapterError> {
        config.validate(&base.model)?;
        let mut stream = Stream::new("adapter init", &seed.to_be_bytes());
        let tensors = config.tensors(&base.model);
        let mut values = Vec::with_capacity(config.parameters(&base.model) as usize);
        for pair in tensors.chunks_exact(2) {
            let deviation = 1.0 / (pair[0].cols as f32).sqrt();
            values.extend((0..pair[0].len()).map(|_| stream.bell(deviation)));
            values.extend(std::iter::repeat_n(0.0, pair[1].len()));
        }
        Ok(Self { base: base.clone(), config: config.clone(), values })
    }

    /// Takes values in the order of [`LoraConfig::tensors`] and checks them.
    pub fn from_values(
        base: &BaseId,
        config: &LoraConfig,
        values: Vec<f32>,
    ) -> Result<Self, AdapterError> {
        config.validate(&base.model)?;
        weights::check(config.parameters(&base.model), &values)?;
        Ok(Self { base: base.clone(), config: config.clone(), values })
    }

    /// Reads an adapter from the bytes of its safetensors file.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, AdapterError> {
        let metadata: Metadata = weights::metadata(bytes, METADATA_KEY, MAX_PARAMETERS)?;
        metadata.config.validate(&metadata.base.model)?;
        let tensors = metadata.config.tensors(&metadata.base.model);
        let values = weights::read(bytes, METADATA_KEY, &metadata, &tensors)?;
        Ok(Self { base: metadata.base, config: metadata.config, values })
    }

    /// The safetensors file.
    pub fn to_bytes(&self) -> Vec<u8> {
        let metadata = Metadata { base: self.base.clone(), config: self.config.clone() };
        let tensors = self.config.tensors(&self.base.model);
        weights::write(METADATA_KEY, &metadata, &tensors, &self.values)
    }

    /// BLAKE3 of the safetensors file.
    pub fn hash(&self) -> Hash {
        Hash(*blake3::hash(&self.to_bytes()).as_bytes())
    }

    /// Refuses to add to another base than the adapter's own.
    pub fn expect_base(&self, base: &BaseId) -> Result<(), AdapterError> {
        if self.base.tokenizer != base.tokenizer {
            let (expected, found) = (base.tokenizer, self.base.tokenizer);
            return Err(AdapterError::OtherTokenizer { expected, found });
        }
        if self.base.checkpoint != base.checkpoint {
            let (expected, found) = (base.checkpoint, self.base.checkpoint);
            return Err(AdapterError::OtherBase { expected, found });
        }
        if self.base.model != base.model {
            return Err(AdapterError::OtherModel);
        }
        Ok(())
    }

    /// The checkpoint that behaves as base and adapter together: `W + s · B A`. Serving never
    /// needs it; it is for export and for checking the unmerged pass.
    pub fn merged(&self, base: &Checkpoint) -> Result<Checkpoint, AdapterError> {
        self.expect_base(&BaseId::of(base))?;
        let mut values = base.values().to_vec();
        let places = linear_places(&self.base.model);
        let scale = f64::from(self.config.scale());
        let rank = self.config.rank as usize;
        let mut rest = &self.values[..];
        for &linear in &self.config.linears {
            let (start, rows, cols) = places[usize::from(linear)];
            let (a, tail) = rest.split_at(rank * cols);
            let (b, tail) = tail.split_at(rows * rank);
            rest = tail;
            let weight = &mut values[start..start + rows * cols];
            for (row, b) in weight.chunks_exact_mut(cols).zip(b.chunks_exact(rank)) {
                for (col, value) in row.iter_mut().enumerate() {
                    let products = b.iter().zip(a.chunks_exact(cols));
                    let sum: f64 = products.map(|(b, a)| f64::from(*b) * f64::from(a[col])).sum();
                    *value = (f64::from(*value) + scale * sum) as f32;
                }
            }
        }
        Checkpoint::from_values(&self.base.model, self.base.tokenizer, values)
            .map_err(AdapterError::Merged)
    }

    /// The base that the adapter adds to.
    pub fn base(&self) -> &BaseId {
        &self.base
    }

    /// The shape of the adapter.
    pub fn config(&self) -> &LoraConfig {
        &self.config
    }

    /// The parameters, in the order of [`LoraConfig::tensors`].
    pub fn values(&self) -> &[f32] {
        &self.values
    }
}

/// Offset into the flat parameters, rows and columns of every linear map of a model.
fn linear_places(model: &ModelConfig) -> Vec<(usize, usize, usize)> {
    let mut start = 0;
    let mut places = Vec::new();
    for spec in layout::tensors(model) {
        if matches!(spec.role, Role::Linear | Role::LinearOut) {
            places.push((start, spec.rows, spec.cols));
        }
        start += spec.len();
    }
    places
}
