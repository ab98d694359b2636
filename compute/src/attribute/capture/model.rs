//! Sketches of a model's own linear maps.
//!
//! With a linear map's input `X` and the gradient `D` of the loss by its output the projected gradient
//! is `(X P)ᵀ (D Q)` of every sample, by batched products alone: no per-sample weight gradient is ever
//! formed.

use burn::tensor::Device;

use crate::attribute::sketch::{Projection, SketchSpec, projections};
use crate::formats::Checkpoint;
use crate::model::window::{Window, padded};
use crate::model::{Decoder, Entry, ModelConfig, Trace, layout};

/// A model, ready to sketch the gradients of its own linear maps.
pub(super) struct ModelSketcher {
    decoder: Decoder,
    projections: Vec<Projection>,
}

impl ModelSketcher {
    pub(super) fn new(checkpoint: &Checkpoint, spec: &SketchSpec, device: &Device) -> Self {
        let config = checkpoint.config();
        let decoder = Decoder::new(config, checkpoint.values(), device);
        Self { decoder, projections: projections(spec, &layout::linears(config), device) }
    }

    pub(super) fn config(&self) -> &ModelConfig {
        self.decoder.config()
    }

    /// The projected gradients of each window: per linear map the values of `[windows, side, side]`.
    /// Of a single window that a generator has read, what entered the lowest layer is known from its
    /// trace.
    pub(super) fn sketch(
        &self,
        batch: &[(usize, Window<'_>)],
        trace: Option<&Trace>,
    ) -> Vec<Vec<f32>> {
        let time = batch.iter().map(|(_, w)| w.inputs.len()).max().unwrap_or(0);
        let (inputs, targets, mask) = padded(batch, time, self.decoder.device());
        let entry = match trace {
            Some(trace) => Entry::Hidden(trace.hidden.clone().to_device(self.decoder.device())),
            None => Entry::Tokens(inputs),
        };
        let lowest = self.projections.first().map_or(0, |projection| projection.linear);
        let captured = self.decoder.capture(lowest, entry, |_| targets, mask);
        let sketch = |projection: &Projection| {
            let linear = &captured[projection.linear - lowest];
            projection.sketch(linear.input.clone(), linear.gradient.clone())
        };
        self.projections.iter().map(sketch).collect()
    }
}
