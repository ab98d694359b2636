//! Sketches of an adapter's own gradients: which of the adapter's units made an output likelier.
//!
//! With the probe's gradient `D` of an adapted linear map, its input `X` and `U = X Aᵀ`, the
//! gradients of the factors are
//!
//! ```text
//! G_A = (s D B)ᵀ X   [rank, inputs]        G_B = Dᵀ (s U)   [outputs, rank]
//! ```
//!
//! Both are projections of the map's full gradient already, by `B` and `A`, so only the long side
//! is projected further, and not even that where it fits: then a block is the exact gradient,
//! filled up with zeros. A score is the same whatever the scale of a block, since each is
//! preconditioned by its own Fisher matrix.
//!
//! The family is named by an ordinary [`SketchSpec`] whose `checkpoint` is the **adapter's** hash,
//! which in turn binds the base's. No checkpoint has that hash, so sketches of a model, of this
//! adapter and of another never mix. Block `2 l` of `linears` is factor `A` of linear map `l`, block
//! `2 l + 1` is factor `B`.

use burn::tensor::{Device, Tensor, TensorData};

use super::error::{AdapterCaptureError, CaptureError};
use crate::attribute::sketch::{SketchSpec, SpecError, project, signs};
use crate::lora::{AdaptedModel, Adapter};
use crate::model::window::{Window, padded};
use crate::model::{ModelConfig, Probe, layout, token_losses};

/// Values that a sketch of the standard spec has at most, where the side can be chosen so.
const STANDARD_DIMS: usize = 8192;

impl SketchSpec {
    /// The default for an adapter: all its factors, 16 × 16 values each, or 8 × 8 if that is more
    /// than 8 kB a unit.
    pub fn of_adapter(adapter: &Adapter, seed: u64) -> Self {
        let linears: Vec<u16> =
            adapter.config().linears.iter().flat_map(|l| [2 * l, 2 * l + 1]).collect();
        let spec = Self { checkpoint: adapter.hash(), seed, side: 16, linears };
        let side = if spec.dims() <= STANDARD_DIMS { 16 } else { 8 };
        Self { side, ..spec }
    }
}

/// Which factor of an adapted linear map a block is of.
#[derive(Clone, Copy)]
pub(super) struct BlockId {
    id: u16,
    /// Place among the adapted linear maps.
    slot: usize,
    end: End,
}

#[derive(Clone, Copy)]
enum End {
    A,
    B,
}

/// The blocks of a spec, or what is wrong with it.
pub(super) fn blocks_of(
    spec: &SketchSpec,
    adapter: &Adapter,
) -> Result<Vec<BlockId>, AdapterCaptureError> {
    let known = 2 * layout::linears(&adapter.base().model).len();
    spec.check(known).map_err(CaptureError::from)?;
    let rank = adapter.config().rank;
    if !spec.block().is_multiple_of(rank as usize) {
        return Err(AdapterCaptureError::Rank { side: spec.side, rank });
    }
    let linears = &adapter.config().linears;
    spec.linears
        .iter()
        .map(|&id| {
            let slot = linears
                .binary_search(&(id / 2))
                .map_err(|_| CaptureError::Spec(SpecError::Linears(2 * linears.len())))?;
            Ok(BlockId { id, slot, end: if id % 2 == 0 { End::A } else { End::B } })
        })
        .collect()
}

/// A base with an adapter, ready to sketch the adapter's gradients.
pub(super) struct AdapterSketcher {
    model: AdaptedModel,
    blocks: Vec<Block>,
    /// Values of one block.
    size: usize,
}

struct Block {
    slot: usize,
    end: End,
    /// `s · B` for a block of `A`, `s · Aᵀ` for one of `B`: what the short side is multiplied with.
    factor: Tensor<2>,
    /// The projection of the long side; none where it is kept exact.
    signs: Option<Tensor<2>>,
}

impl AdapterSketcher {
    pub(super) fn new(
        model: &AdaptedModel,
        spec: &SketchSpec,
        adapter: &Adapter,
        blocks: &[BlockId],
        device: &Device,
    ) -> Self {
        let kept = spec.block() / adapter.config().rank as usize;
        let block = |&BlockId { id, slot, end }: &BlockId| {
            let factors = &model.factors()[slot];
            let (factor, long, side) = match end {
                End::A => (factors.b.clone(), factors.a.dims()[1], 0),
                End::B => (factors.a.clone().transpose(), factors.b.dims()[0], 1),
            };
            let signs = (long > kept).then(|| {
                let values = signs(spec.seed, id, side, long * kept);
                Tensor::from_data(TensorData::new(values, [long, kept]), device)
            });
            Block { slot, end, factor: factor.mul_scalar(model.scale()), signs }
        };
        let blocks = blocks.iter().map(block).collect();
        Self { model: model.probing(), blocks, size: spec.block() }
    }

    pub(super) fn config(&self) -> &ModelConfig {
        self.model.base().config()
    }

    /// Per block the values of all windows, one window after the other.
    pub(super) fn sketch(&self, batch: &[(usize, Window<'_>)]) -> Vec<Vec<f32>> {
        let time = batch.iter().map(|(_, w)| w.inputs.len()).max().unwrap_or(0);
        let (inputs, targets, mask) = padded(batch, time, self.model.base().device());
        let (logits, probes) = self.model.forward_probed(inputs);
        let losses = token_losses(logits, targets);
        let gradients = (losses * mask.autodiff()).sum().backward();
        let outputs: Vec<Tensor<3>> = probes
            .iter()
            .map(|probe| {
                let gradient = probe.leaf.grad(&gradients);
                gradient.expect("every probe is part of the loss").inner()
            })
            .collect();
        self.blocks
            .iter()
            .map(|block| block.sketch(&probes[block.slot], outputs[block.slot].clone(), self.size))
            .collect()
    }
}

impl Block {
    /// The block's values of all windows, each filled up with zeros to `size`.
    fn sketch(&self, probe: &Probe, output: Tensor<3>, size: usize) -> Vec<f32> {
        let input = probe.input.clone();
        let (rows, columns) = match self.end {
            End::A => (project(output, &self.factor), self.long(input)),
            End::B => (self.long(output), project(input, &self.factor)),
        };
        let block = rows.swap_dims(1, 2).matmul(columns);
        let [_, rows, columns] = block.dims();
        let values: Vec<f32> =
            block.try_into_vec_as().expect("a device that can't be read is caught by the caller");
        let fill = size - rows * columns;
        values
            .chunks_exact(rows * columns)
            .flat_map(|values| values.iter().copied().chain(std::iter::repeat_n(0.0, fill)))
            .collect()
    }

    fn long(&self, values: Tensor<3>) -> Tensor<3> {
        match &self.signs {
            Some(signs) => project(values, signs),
            None => values,
        }
    }
}
