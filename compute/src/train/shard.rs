//! The training shard: a pure function of (checkpoint, units, seed, hyper-parameters).
//!
//! Some AdamW steps from zero optimiser state on windows of the units' tokens, drawn by the seed, of a
//! whole model or of an adapter of it; out come the compressed change of the parameters and the losses as
//! integers. The same input
//! gives the same bits on one machine, whatever its number of threads, and on other hardware an
//! update within the tolerances of [`update::compare`](super::update::compare).

use std::sync::Arc;

use burn::tensor::Tensor;

use super::adamw::AdamW;
use super::hyper::{HyperError, ShardHyper};
use super::trainee::Trainee;
use super::update::{CompressError, Payload, compress};
use crate::device::{DeviceFault, Engine, guarded};
use crate::formats::Checkpoint;
use crate::lora::{Adapter, LoadError};
use crate::math::{Stream, micro_nats};

/// All that a shard depends on.
#[derive(Clone, Debug)]
pub struct ShardInput {
    /// The weights to start from.
    pub checkpoint: Arc<Checkpoint>,
    /// The adapter of these weights that is trained; they stay as they are then.
    pub adapter: Option<Adapter>,
    /// Token ids of the units to train on, in their order.
    pub units: Vec<Vec<u32>>,
    /// What the order of the training windows is drawn from.
    pub seed: [u8; 32],
    /// Steps, batches and rates of the shard.
    pub hyper: ShardHyper,
}

/// What a shard gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShardOutput {
    /// The compressed change of the parameters: where they began minus where they ended.
    pub payload: Payload,
    /// Mean loss of the first step, in millionths of a nat per token.
    pub loss_first: u64,
    /// Mean loss of the last step, likewise.
    pub loss_last: u64,
    /// Tokens that were trained on.
    pub tokens: u64,
}

/// Why a shard gives no result.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ShardError {
    /// A hyper-parameter is out of bounds.
    #[error(transparent)]
    Hyper(#[from] HyperError),
    /// The units hold fewer tokens than one training window.
    #[error("the units hold {found} tokens, one window needs {needed}")]
    TooFewTokens {
        /// Tokens of a window and its last target.
        needed: usize,
        /// Tokens of all units.
        found: usize,
    },
    /// The adapter does not belong to the checkpoint, or the device failed.
    #[error(transparent)]
    Adapter(#[from] LoadError),
    /// A token id is not in the model's vocabulary.
    #[error("token id {id} of unit {unit} is not below the vocabulary of {vocab}")]
    UnknownId {
        /// The place of the unit in the list.
        unit: usize,
        /// The unknown token id.
        id: u32,
        /// Ids of the model.
        vocab: u32,
    },
    /// The loss is no longer a number.
    #[error("the loss is not finite at step {step}; lower the learning rate")]
    Diverged {
        /// The step, counted from zero.
        step: u32,
    },
    /// The change of the parameters could not be compressed; it is not finite or far too large.
    #[error(transparent)]
    Compress(#[from] CompressError),
    /// The device failed.
    #[error(transparent)]
    Device(#[from] DeviceFault),
}

/// Runs a shard.
pub fn run(engine: &Engine, input: &ShardInput) -> Result<ShardOutput, ShardError> {
    let config = input.checkpoint.config();
    input.hyper.validate(config)?;
    let mut windows = Windows::new(input, config.vocab)?;
    let trainee = Trainee::load(engine, &input.checkpoint, input.adapter.as_ref())?;
    guarded(|| train(trainee, input, &mut windows))?
}

fn train(
    mut trainee: Trainee,
    input: &ShardInput,
    windows: &mut Windows,
) -> Result<ShardOutput, ShardError> {
    let hyper = &input.hyper;
    let mut optimizer = AdamW::new(hyper, trainee.params().len());
    let (mut first, mut last) = (0.0, 0.0);
    for step in 0..hyper.steps {
        let (loss, grads) = trainee.gradients(&windows.batch(hyper.batch));
        // Reading the loss waits for the device, so a failure surfaces in the step that caused it.
        last = f64::from(loss.into_scalar::<f32>());
        if !last.is_finite() {
            return Err(ShardError::Diverged { step });
        }
        if step == 0 {
            first = last;
        }
        optimizer.step(trainee.params_mut(), grads, hyper.rate(step));
    }
    let start = match &input.adapter {
        None => input.checkpoint.values(),
        Some(adapter) => adapter.values(),
    };
    let change = change(start, trainee.params());
    Ok(ShardOutput {
        payload: compress(&change, hyper.keep)?,
        loss_first: micro_nats(first),
        loss_last: micro_nats(last),
        tokens: hyper.tokens(),
    })
}

/// Where the shard began minus where it ended.
fn change(start: &[f32], params: &[Tensor<2>]) -> Vec<f32> {
    let mut change = Vec::with_capacity(start.len());
    for param in params {
        let end = param.clone().into_data();
        let end = end.as_slice::<f32>().expect("parameters are f32");
        let from = change.len();
        change.extend(start[from..from + end.len()].iter().zip(end).map(|(a, b)| a - b));
    }
    change
}

/// Windows of the units' tokens: every pass cuts the stream at another offset and shuffles.
struct Windows {
    stream: Vec<u32>,
    context: usize,
    random: Stream,
    starts: Vec<usize>,
}

impl Windows {
    fn new(input: &ShardInput, vocab: u32) -> Result<Self, ShardError> {
        let context = input.hyper.context as usize;
        for (unit, ids) in input.units.iter().enumerate() {
            if let Some(&id) = ids.iter().find(|id| **id >= vocab) {
                return Err(ShardError::UnknownId { unit, id, vocab });
            }
        }
        let stream: Vec<u32> = input.units.iter().flatten().copied().collect();
        if stream.len() < context + 1 {
            let (needed, found) = (context + 1, stream.len());
            return Err(ShardError::TooFewTokens { needed, found });
        }
        Ok(Self { stream, context, random: Stream::new("windows", &input.seed), starts: vec![] })
    }

    fn batch(&mut self, size: u32) -> Vec<&[u32]> {
        let starts: Vec<usize> = (0..size).map(|_| self.next_start()).collect();
        starts.iter().map(|&s| &self.stream[s..s + self.context + 1]).collect()
    }

    fn next_start(&mut self) -> usize {
        if self.starts.is_empty() {
            // Another offset each pass, so that no token is always a window's first, which sees nothing.
            let last = self.stream.len() - self.context - 1;
            let offset = self.random.below(last.min(self.context - 1) as u64 + 1) as usize;
            let count = (last - offset) / self.context + 1;
            let order = self.random.permutation(count);
            self.starts = order.into_iter().map(|i| offset + i * self.context).collect();
        }
        self.starts.pop().expect("at least one window fits")
    }
}
