//! Sketches of units and of outputs, window by window.

use protocol::Hash;

use super::adapter::{AdapterSketcher, blocks_of};
use super::error::{AdapterCaptureError, CaptureError};
use super::model::ModelSketcher;
use crate::attribute::sketch::{Sketch, SketchPart, SketchSpec};
use crate::device::{Engine, guarded};
use crate::formats::Checkpoint;
use crate::lora::{AdaptedModel, Adapter, LoadError};
use crate::model::layout::LINEARS_PER_LAYER;
use crate::model::window::{self, Window, batch_size};
use crate::model::{ModelConfig, Trace};

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

/// A checkpoint loaded for capturing under one spec.
pub struct Capturer {
    spec: SketchSpec,
    subject: Subject,
}

/// Whose gradients are sketched.
enum Subject {
    /// Those of a model's own linear maps.
    Model(ModelSketcher),
    /// Those of an adapter's factors.
    Adapter(AdapterSketcher),
}

impl Subject {
    fn config(&self) -> &ModelConfig {
        match self {
            Self::Model(sketcher) => sketcher.config(),
            Self::Adapter(sketcher) => sketcher.config(),
        }
    }

    /// Per block of the spec the values of all windows, one window after the other.
    fn sketch(&self, batch: &[(usize, Window<'_>)]) -> Vec<Vec<f32>> {
        match self {
            Self::Model(sketcher) => sketcher.sketch(batch, None),
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
        spec.validate(checkpoint.config())?;
        let sketcher = guarded(|| ModelSketcher::new(checkpoint, spec, engine.device()))?;
        Ok(Self { spec: spec.clone(), subject: Subject::Model(sketcher) })
    }

    /// Loads the adapter that `spec` names, with its base, onto the engine's device.
    pub fn adapter(
        engine: &Engine,
        base: &Checkpoint,
        adapter: &Adapter,
        spec: &SketchSpec,
    ) -> Result<Self, AdapterCaptureError> {
        let (expected, found) = (spec.checkpoint, adapter.hash());
        if expected != found {
            return Err(CaptureError::Checkpoint { expected, found }.into());
        }
        let blocks = blocks_of(spec, adapter)?;
        let model = AdaptedModel::new(engine, base, adapter)?;
        let sketcher =
            guarded(|| AdapterSketcher::new(&model, spec, adapter, &blocks, engine.device()))
                .map_err(LoadError::from)?;
        Ok(Self { spec: spec.clone(), subject: Subject::Adapter(sketcher) })
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
            (Some(_), Subject::Model(sketcher)) => {
                guarded(|| sketcher.sketch(&windows, trace))?.concat()
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
