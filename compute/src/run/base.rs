//! The base of an adapter's run: found to be what the order says before anything is computed on it.

use protocol::model::AdapterOrder;

use super::error::RunError;
use crate::formats::Base;
use crate::lora::{BaseId, LoraConfig};
use crate::model::layout::LINEARS_PER_LAYER;
use crate::model::{ModelConfig, shape_of};

/// A base, and the shape of the adapter that is trained for it.
#[derive(Debug)]
pub(super) struct OwnBase {
    pub(super) base: Base,
    pub(super) id: BaseId,
    pub(super) lora: LoraConfig,
}

/// The files that make a base: its checkpoint and its card.
#[derive(Clone, Copy, Debug)]
pub struct BaseFiles<'a> {
    /// The canonical checkpoint.
    pub checkpoint: &'a [u8],
    /// What goes with it: its name, its chat template, and what ends its answers.
    pub card: &'a [u8],
}

impl OwnBase {
    /// Reads the base of an order. What an order says of its cost follows from the shape it states, so a
    /// base of another is refused.
    pub(super) fn read(
        order: &AdapterOrder,
        tokenizer: &[u8],
        files: BaseFiles<'_>,
    ) -> Result<Self, RunError> {
        let base = Base::from_bytes(files.checkpoint, tokenizer, files.card)?;
        let model = base.checkpoint().config();
        if base.card().checkpoint != order.base.hash {
            return Err(RunError::OtherBase);
        }
        if shape_of(model) != order.shape {
            return Err(RunError::OtherShape);
        }
        let lora = lora(order, model);
        lora.validate(model)?;
        let id = BaseId {
            checkpoint: base.card().checkpoint,
            tokenizer: base.card().tokenizer,
            model: model.clone(),
        };
        Ok(Self { base, id, lora })
    }
}

/// The shape of the adapter that an order asks for.
fn lora(order: &AdapterOrder, model: &ModelConfig) -> LoraConfig {
    let is_target =
        |linear: &u16| order.targets >> (usize::from(*linear) % LINEARS_PER_LAYER) & 1 == 1;
    let all = 0..u16::try_from(model.layers as usize * LINEARS_PER_LAYER).unwrap_or(u16::MAX);
    LoraConfig {
        rank: order.rank,
        scale_ppm: order.scale,
        linears: all.filter(is_target).collect(),
    }
}
