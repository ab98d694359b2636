//! Sketches from one backward pass per batch.
//!
//! With a linear map's input `X` and the gradient `D` of the loss by its output the projected gradient
//! is `(X P)ᵀ (D Q)` of every sample, by batched products alone: no per-sample weight gradient is ever
//! formed.

use burn::tensor::Tensor;
use protocol::Hash;

use super::adapter::AdapterSketcher;
use crate::attribute::sketch::{
    Projection, Sketch, SketchPart, SketchSpec, SpecError, projections,
};
use crate::device::{DeviceFault, Engine, guarded};
use crate::formats::Checkpoint;
use crate::model::layout::LINEARS_PER_LAYER;
use crate::model::window::{self, Window, batch_size, padded};
use crate::model::{Decoder, Entry, ModelConfig, Trace, layout};

/// Longest unit, in windows of the model's context.
const MAX_WINDOWS: usize = 64;

/// One unit to be sketched.
#[derive(Clone, Copy, Debug)]
pub struct CaptureUnit<'a> {
    /// The unit's hash.
    pub hash: Hash,
    /// Its token ids.
    pub tokens: &'a [u32],
}

/// Which tokens of an answered request are differentiated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scope {
    /// The generated tokens alone. Of what a model samples from itself the gradient of the
    /// likelihood is zero on average, whatever its training data, so ordinary outputs of a small
    /// model carry next to no signal here; it suits texts that others wrote.
    Output,
    /// The whole exchange, prompt and output: what the model was made to read and write.
    #[default]
    Exchange,
}

/// The unquantised sketch of an output.
#[derive(Clone, Debug, PartialEq)]
pub struct OutputSketch {
    /// Name of the spec that it was captured under.
    pub spec: Hash,
    /// Its values, block by block.
    pub values: Vec<f32>,
}

/// Why gradients could not be captured.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CaptureError {
    /// The spec does not fit the model.
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// A unit has no tokens.
    #[error("unit {0} has no tokens")]
    EmptyUnit(Hash),
    /// A unit is much longer than the model's context.
    #[error("unit {unit} has {found} tokens; with this context at most {limit} are sketched")]
    UnitTooLong {
        /// The unit.
        unit: Hash,
        /// Its tokens.
        found: usize,
        /// Tokens allowed.
        limit: usize,
    },
    /// The output has no tokens, or too many.
    #[error("an output of {0} tokens can't be attributed")]
    Output(usize),
    /// A token lies outside the model's vocabulary: text of another tokenizer.
    #[error("token {token} lies outside the model's vocabulary of {vocab}: another tokenizer's")]
    Token {
        /// The token id.
        token: u32,
        /// Ids of the vocabulary.
        vocab: u32,
    },
    /// A gradient is infinite or not a number: the checkpoint is broken.
    #[error("the gradients are not finite: the checkpoint is damaged or has diverged")]
    NotFinite,
    /// The checkpoint is not the one that the spec names.
    #[error("the spec names checkpoint {expected}, this one is {found}")]
    Checkpoint {
        /// The spec's checkpoint.
        expected: Hash,
        /// The checkpoint found.
        found: Hash,
    },
    /// The device failed.
    #[error(transparent)]
    Device(#[from] DeviceFault),
}

/// A checkpoint loaded for capturing under one spec.
pub struct Capturer {
    pub(super) spec: SketchSpec,
    pub(super) subject: Subject,
}

/// Whose gradients are sketched.
pub(super) enum Subject {
    /// Those of a model's own linear maps.
    Model(Decoder, Vec<Projection>),
    /// Those of an adapter's factors.
    Adapter(AdapterSketcher),
}

impl Subject {
    fn config(&self) -> &ModelConfig {
        match self {
            Self::Model(decoder, _) => decoder.config(),
            Self::Adapter(sketcher) => sketcher.config(),
        }
    }

    /// Per block of the spec the values of all windows, one window after the other.
    fn sketch(&self, batch: &[(usize, Window<'_>)]) -> Vec<Vec<f32>> {
        match self {
            Self::Model(decoder, projections) => sketch_batch(decoder, projections, batch, None),
            Self::Adapter(sketcher) => sketcher.sketch(batch),
        }
    }
}

impl Capturer {
    /// Loads the checkpoint that `spec` names onto the engine's device.
    pub fn new(
        engine: &Engine,
        checkpoint: &Checkpoint,
        spec: &SketchSpec,
    ) -> Result<Self, CaptureError> {
        let (expected, found) = (spec.checkpoint, checkpoint.hash());
        if expected != found {
            return Err(CaptureError::Checkpoint { expected, found });
        }
        let config = checkpoint.config();
        spec.validate(config)?;
        guarded(|| {
            let device = engine.device();
            let decoder = Decoder::new(config, checkpoint.values(), device);
            let projections = projections(spec, &layout::linears(config), device);
            Self { spec: spec.clone(), subject: Subject::Model(decoder, projections) }
        })
        .map_err(CaptureError::from)
    }

    /// The spec under which it captures.
    pub fn spec(&self) -> &SketchSpec {
        &self.spec
    }

    /// Sketches `units`, which are those from rank `first` of the snapshot on. A unit longer than
    /// the model's context is read in windows; its sketch is their sum.
    pub fn units(&self, first: u32, units: &[CaptureUnit<'_>]) -> Result<SketchPart, CaptureError> {
        let context = self.subject.config().context as usize;
        let mut windows = Vec::new();
        for (index, unit) in units.iter().enumerate() {
            self.check_unit(unit)?;
            windows.extend(window::unit(unit.tokens, context).into_iter().map(|w| (index, w)));
        }
        let sums = self.accumulate(&windows, units.len())?;
        let sketches = units
            .iter()
            .zip(sums.chunks_exact(self.spec.dims()))
            .map(|(unit, values)| {
                Sketch::quantise(unit.hash, unit.tokens.len() as u32, values, self.spec.block())
                    .ok_or(CaptureError::NotFinite)
            })
            .collect::<Result<Vec<_>, _>>()?;
        Ok(SketchPart { spec: self.spec.id(), first, sketches })
    }

    /// The layer that a generator's trace has to begin at to be of use here; none where all layers are
    /// sketched, and for an adapter, whose outputs are always read again.
    pub fn traced_layer(&self) -> Option<usize> {
        let lowest = usize::from(*self.spec.linears.first()?) / LINEARS_PER_LAYER;
        match self.subject {
            Subject::Model(..) => (lowest > 0).then_some(lowest),
            Subject::Adapter(_) => None,
        }
    }

    /// Sketches an output, given its prompt.
    pub fn output(
        &self,
        prompt: &[u32],
        output: &[u32],
        scope: Scope,
    ) -> Result<OutputSketch, CaptureError> {
        self.output_traced(prompt, output, scope, None)
    }

    /// The same, up to the rounding of floats, sooner: what a generator of the same checkpoint computed
    /// for exactly these tokens is not computed again. A trace of anything else is not used.
    pub fn output_traced(
        &self,
        prompt: &[u32],
        output: &[u32],
        scope: Scope,
        trace: Option<&Trace>,
    ) -> Result<OutputSketch, CaptureError> {
        let context = self.subject.config().context as usize;
        let sequence = [prompt, output].concat();
        self.check_tokens(&sequence)?;
        if output.is_empty() || sequence.len() < 2 || sequence.len() > MAX_WINDOWS * context {
            return Err(CaptureError::Output(output.len()));
        }
        let given = match scope {
            Scope::Output => prompt.len(),
            Scope::Exchange => 1,
        };
        let windows: Vec<_> =
            window::output(&sequence, given, context).into_iter().map(|w| (0, w)).collect();
        let trace = trace.filter(|trace| {
            windows.len() == 1
                && sequence.split_last().is_some_and(|(_, read)| read == trace.tokens)
                && self.traced_layer() == Some(trace.layer)
        });
        let values = match (trace, &self.subject) {
            (Some(_), Subject::Model(decoder, projections)) => {
                guarded(|| sketch_batch(decoder, projections, &windows, trace))?.concat()
            }
            _ => self.accumulate(&windows, 1)?,
        };
        match values.iter().all(|value| value.is_finite()) {
            true => Ok(OutputSketch { spec: self.spec.id(), values }),
            false => Err(CaptureError::NotFinite),
        }
    }

    fn check_unit(&self, unit: &CaptureUnit<'_>) -> Result<(), CaptureError> {
        let limit = MAX_WINDOWS * self.subject.config().context as usize;
        match unit.tokens.len() {
            0 => Err(CaptureError::EmptyUnit(unit.hash)),
            found if found > limit => {
                Err(CaptureError::UnitTooLong { unit: unit.hash, found, limit })
            }
            _ => self.check_tokens(unit.tokens),
        }
    }

    fn check_tokens(&self, tokens: &[u32]) -> Result<(), CaptureError> {
        let vocab = self.subject.config().vocab;
        match tokens.iter().find(|&&token| token >= vocab) {
            Some(&token) => Err(CaptureError::Token { token, vocab }),
            None => Ok(()),
        }
    }

    /// The summed sketch of the windows of each of `rows` rows.
    fn accumulate(
        &self,
        windows: &[(usize, Window<'_>)],
        rows: usize,
    ) -> Result<Vec<f32>, CaptureError> {
        let (dims, size) = (self.spec.dims(), self.spec.block());
        let mut sums = vec![0.0f32; rows * dims];
        let mut rest = windows;
        while !rest.is_empty() {
            let (batch, tail) = rest.split_at(batch_size(rest));
            rest = tail;
            let blocks = guarded(|| self.subject.sketch(batch))?;
            for (index, values) in blocks.iter().enumerate() {
                for ((row, _), values) in batch.iter().zip(values.chunks_exact(size)) {
                    let at = row * dims + index * size;
                    let sums = &mut sums[at..at + size];
                    sums.iter_mut().zip(values).for_each(|(sum, value)| *sum += value);
                }
            }
        }
        Ok(sums)
    }
}

/// The projected gradients of each window: per linear map the values of `[windows, side, side]`. Of a
/// single window that a generator has read, what entered the lowest layer is known from its trace.
fn sketch_batch(
    decoder: &Decoder,
    projections: &[Projection],
    batch: &[(usize, Window<'_>)],
    trace: Option<&Trace>,
) -> Vec<Vec<f32>> {
    let time = batch.iter().map(|(_, w)| w.inputs.len()).max().unwrap_or(0);
    let (inputs, targets, mask) = padded(batch, time, decoder.device());
    let entry = match trace {
        Some(trace) => Entry::Hidden(trace.hidden.clone().to_device(decoder.device())),
        None => Entry::Tokens(inputs),
    };
    let lowest = projections.first().map_or(0, |projection| projection.linear);
    let captured = decoder.capture(lowest, entry, |_| targets, mask);
    let sketch = |projection: &Projection| {
        let linear = &captured[projection.linear - lowest];
        projection.sketch(linear.input.clone(), linear.gradient.clone())
    };
    projections.iter().map(sketch).collect()
}

impl Projection {
    /// `(X P)ᵀ (D Q)` of each sample: the values of `[samples, side, side]`.
    pub(crate) fn sketch(&self, input: Tensor<3>, gradient: Tensor<3>) -> Vec<f32> {
        let inputs = project(input, &self.input);
        let outputs = project(gradient, &self.output);
        let block = inputs.swap_dims(1, 2).matmul(outputs);
        block.try_into_vec_as().expect("a device that can't be read is caught by the caller")
    }
}

/// `[windows, time, width]` times `[width, side]`, as one product.
pub(super) fn project(values: Tensor<3>, signs: &Tensor<2>) -> Tensor<3> {
    let [windows, time, width] = values.dims();
    let side = signs.dims()[1];
    values.reshape([windows * time, width]).matmul(signs.clone()).reshape([windows, time, side])
}
