//! The canonical eight-bit form of a checkpoint: what a model is served with on the CPU.
//!
//! All linear maps and the embedding (with the output projection, where it is a tensor of its own) are in
//! ggml's Q8_0: blocks of 32 neighbouring values of a row, each a half-precision scale `d`, little-endian,
//! and 32 signed bytes. `d` is the greatest size of the block over 127, in `f32`; a byte is the value times
//! `1 / d`, rounded half away from zero; only then `d` is rounded to half precision, ties to even. Norms
//! stay `f32`: they are a thousandth of the weights and act on all of them.
//!
//! The form follows from the checkpoint alone, bit for bit, so whoever has the checkpoint has it too; its
//! hash names the very weights that answered. It is made anew when a model is loaded, 135 million parameters
//! in less than a second.

use std::borrow::Cow;
use std::collections::HashMap;

use half::f16;
use protocol::Hash;
use rayon::prelude::*;
use safetensors::tensor::{Dtype, View};
use serde::Serialize;

use super::checkpoint::Checkpoint;
use crate::model::ModelConfig;
use crate::model::layout::{self, Role, TensorSpec};

/// Values of one block.
const BLOCK: usize = 32;
/// Bytes of one block: its scale and its values.
pub(crate) const QUANT_BYTES: usize = 2 + BLOCK;
/// The key of the one metadata entry.
const METADATA_KEY: &str = "openledger";

/// A checkpoint in eight bits.
pub struct Quantised {
    config: ModelConfig,
    tokenizer: Hash,
    tensors: Vec<QuantisedTensor>,
}

/// One tensor of it.
pub(crate) struct QuantisedTensor {
    spec: TensorSpec,
    /// As the file states it: of a map, rows and the bytes of each.
    shape: Vec<usize>,
    stored: Stored,
}

enum Stored {
    Blocks(Vec<u8>),
    Numbers(Vec<f32>),
}

/// Why a checkpoint has no eight-bit form.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QuantiseError {
    /// Rows are not made of whole blocks.
    #[error(
        "tensor {name} has rows of {columns} values, which are no whole blocks of {BLOCK}; serve this model in f32"
    )]
    Columns {
        /// The tensor's name.
        name: String,
        /// Values of one row.
        columns: usize,
    },
    /// A block's values are too large for a scale of half precision.
    #[error("tensor {name} has values beyond what eight bits can scale; serve this model in f32")]
    Scale {
        /// The tensor's name.
        name: String,
    },
}

#[derive(Serialize)]
struct Metadata<'a> {
    config: &'a ModelConfig,
    tokenizer: Hash,
    form: &'static str,
}

impl Quantised {
    /// Rounds a checkpoint's weights to eight bits.
    pub fn of(checkpoint: &Checkpoint) -> Result<Self, QuantiseError> {
        let mut rest = checkpoint.values();
        let specs = layout::tensors(checkpoint.config());
        let parts: Vec<_> = specs
            .into_iter()
            .map(|spec| {
                let (values, tail) = rest.split_at(spec.len());
                rest = tail;
                (spec, values)
            })
            .collect();
        let tensors: Result<_, _> =
            parts.into_par_iter().map(|(spec, values)| QuantisedTensor::of(spec, values)).collect();
        Ok(Self {
            config: checkpoint.config().clone(),
            tokenizer: checkpoint.tokenizer(),
            tensors: tensors?,
        })
    }

    /// The shape of the model.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// The hash of the tokenizer whose ids the model speaks.
    pub fn tokenizer(&self) -> Hash {
        self.tokenizer
    }

    /// A safetensors file: blocks as bytes, norms in `f32`, and shape, tokenizer and form as metadata.
    pub fn to_bytes(&self) -> Vec<u8> {
        let metadata = Metadata { config: &self.config, tokenizer: self.tokenizer, form: "q8_0" };
        let text = serde_json::to_string(&metadata).expect("plain structs serialise");
        let tensors = self.tensors.iter().map(|tensor| (tensor.spec.name.as_str(), tensor));
        safetensors::serialize(tensors, Some(HashMap::from([(METADATA_KEY.to_owned(), text)])))
            .expect("names are unique, shapes fit")
    }

    /// BLAKE3 of that file.
    pub fn hash(&self) -> Hash {
        Hash(*blake3::hash(&self.to_bytes()).as_bytes())
    }

    /// The tensors of a kind, in the one order.
    pub(crate) fn of_role(&self, role: Role) -> impl Iterator<Item = &QuantisedTensor> {
        self.tensors.iter().filter(move |tensor| tensor.spec.role == role)
    }

    /// The linear maps of all layers, in the one order.
    pub(crate) fn linears(&self) -> impl Iterator<Item = &QuantisedTensor> {
        let is_linear = |role| matches!(role, Role::Linear | Role::LinearOut);
        self.tensors.iter().filter(move |tensor| is_linear(tensor.spec.role))
    }
}

impl QuantisedTensor {
    fn of(spec: TensorSpec, values: &[f32]) -> Result<Self, QuantiseError> {
        if spec.role == Role::Norm {
            let (shape, stored) = (spec.shape(), Stored::Numbers(values.to_vec()));
            return Ok(Self { spec, shape, stored });
        }
        if !spec.cols.is_multiple_of(BLOCK) {
            return Err(QuantiseError::Columns { columns: spec.cols, name: spec.name });
        }
        let mut bytes = vec![0; values.len() / BLOCK * QUANT_BYTES];
        let blocks = bytes.as_chunks_mut::<QUANT_BYTES>().0;
        for (values, block) in values.as_chunks::<BLOCK>().0.iter().zip(blocks) {
            if !quantise(values, block) {
                return Err(QuantiseError::Scale { name: spec.name });
            }
        }
        let shape = vec![spec.rows, spec.cols / BLOCK * QUANT_BYTES];
        Ok(Self { spec, shape, stored: Stored::Blocks(bytes) })
    }

    /// The blocks of a tensor that is no norm.
    pub(crate) fn bytes(&self) -> &[u8] {
        match &self.stored {
            Stored::Blocks(bytes) => bytes,
            Stored::Numbers(_) => unreachable!("norms are asked for their numbers"),
        }
    }

    /// The gains of a norm.
    pub(crate) fn numbers(&self) -> &[f32] {
        match &self.stored {
            Stored::Numbers(numbers) => numbers,
            Stored::Blocks(_) => unreachable!("norms alone have numbers"),
        }
    }
}

/// Rounds one block; whether half precision holds its scale.
fn quantise(values: &[f32; BLOCK], block: &mut [u8; QUANT_BYTES]) -> bool {
    let greatest = values.iter().fold(0.0f32, |most, value| most.max(value.abs()));
    let scale = greatest / 127.0;
    let inverse = if scale > 0.0 { 1.0 / scale } else { 0.0 };
    let half = f16::from_f32(scale);
    block[..2].copy_from_slice(&half.to_bits().to_le_bytes());
    for (value, byte) in values.iter().zip(&mut block[2..]) {
        // Scales so small that their inverse is none give more than a byte holds, times a scale of zero.
        *byte = (value * inverse).round().clamp(-127.0, 127.0) as i8 as u8;
    }
    half.is_finite()
}

impl View for &QuantisedTensor {
    fn dtype(&self) -> Dtype {
        match self.stored {
            Stored::Blocks(_) => Dtype::U8,
            Stored::Numbers(_) => Dtype::F32,
        }
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        match &self.stored {
            Stored::Blocks(bytes) => Cow::Borrowed(bytes),
            Stored::Numbers(numbers) => {
                Cow::Owned(numbers.iter().flat_map(|value| value.to_le_bytes()).collect())
            }
        }
    }

    fn data_len(&self) -> usize {
        match &self.stored {
            Stored::Blocks(bytes) => bytes.len(),
            Stored::Numbers(numbers) => numbers.len() * 4,
        }
    }
}

#[cfg(test)]
mod tests {
    use candle_core::quantized::{GgmlDType, QTensor};
    use candle_core::{Device, Tensor};
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_block_is_the_golden_one() {
        let mut values = [0.0; BLOCK];
        values[..8].copy_from_slice(&[63.5, -63.5, 0.25, -0.25, 0.75, 0.2, -40.0, 31.75]);
        let mut block = [0; QUANT_BYTES];
        assert!(quantise(&values, &mut block));
        // A half, and twice each value, halves away from zero.
        assert_eq!(block[..10], [0x00, 0x38, 127, 0x81, 1, 0xff, 2, 0, 0xb0, 64]);
        assert_eq!(block[10..], [0; 24]);
    }

    #[test]
    fn the_form_of_a_checkpoint_is_fixed() {
        let checkpoint = Checkpoint::init(&ModelConfig::tiny(), Hash::ZERO, 1).unwrap();
        let hash = Quantised::of(&checkpoint).unwrap().hash().to_string();
        assert_eq!(hash, "ccbdd3ee8a028dd73374826bf3b01ae156525db8ea16138f46191944cb4534c1");
    }

    #[test]
    fn what_eight_bits_do_not_hold_is_refused_by_name() {
        let of = |config: &ModelConfig, value: f32| {
            let values = vec![value; config.parameters() as usize];
            Quantised::of(&Checkpoint::from_values(config, Hash::ZERO, values).unwrap()).err()
        };
        let narrow = ModelConfig { width: 48, ..ModelConfig::tiny() };
        let name = "model.embed_tokens.weight".to_owned();
        assert_eq!(
            of(&narrow, 1.0),
            Some(QuantiseError::Columns { name: name.clone(), columns: 48 })
        );
        assert_eq!(of(&ModelConfig::tiny(), 1.0e8), Some(QuantiseError::Scale { name }));
        assert_eq!(of(&ModelConfig::tiny(), 8.0e6), None);
    }

    proptest! {
        #[test]
        fn blocks_are_those_of_another_implementation(bits: [u32; BLOCK], shift in 0i32..60) {
            let number = |bits: u32| (bits as i32) as f32 * f32::powi(2.0, -shift - 15);
            let values = bits.map(number);
            let mut block = [0; QUANT_BYTES];
            prop_assert!(quantise(&values, &mut block));
            let tensor = Tensor::new(&values[..], &Device::Cpu).unwrap();
            let theirs = QTensor::quantize(&tensor, GgmlDType::Q8_0).unwrap();
            prop_assert_eq!(&block[..], &theirs.data().unwrap()[..]);
        }
    }
}
