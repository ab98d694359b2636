//! Training an adapter: a pure function of (base, start, units, seed, hyper-parameters).
//!
//! Made to be attributed. SGD with momentum, whose steps are linear in the gradients, on windows
//! that never cross a unit's border; each token of a unit but the first is a target once per pass,
//! and every target weighs the same, whatever else is in its batch. Each pass has its own order,
//! drawn from the seed. The norm of a step's gradient is clipped. The same input gives the same
//! bits on one machine.

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use super::hyper::{HyperError, MAX_BATCH, rate};
use crate::device::{DeviceFault, Engine, guarded};
use crate::formats::Checkpoint;
use crate::lora::{AdaptedModel, Adapter, AdapterError, LoadError};
use crate::math::{Stream, micro_nats};
use crate::model::token_losses;
use crate::model::window::{self, Window, padded};

/// The most steps of one run.
const MAX_STEPS: u32 = 1_000_000;
/// The largest learning rate.
const MAX_RATE_PPB: u32 = 4_000_000_000;

/// Hyper-parameters of a run; fractions in parts per million, so that they hash and compare.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LoraHyper {
    /// Number of optimiser steps of the run.
    pub steps: u32,
    /// Windows of one step.
    pub batch: u32,
    /// Learning rate after the warm-up, in parts per billion. The loss of a step is the sum over
    /// its targets divided by `batch` times the model's context.
    pub learning_rate_ppb: u32,
    /// Steps in which the learning rate rises to its value.
    pub warmup: u32,
    /// What a step keeps of the last one's velocity.
    pub momentum_ppm: u32,
    /// Largest norm of a step's gradient.
    pub clip_ppm: u32,
}

/// All that a run depends on.
#[derive(Clone, Copy, Debug)]
pub struct TrainInput<'a> {
    /// The base, which stays as it is.
    pub base: &'a Checkpoint,
    /// The adapter to start from.
    pub start: &'a Adapter,
    /// Token ids of the units, in their order.
    pub units: &'a [Vec<u32>],
    /// What the order of the windows is drawn from.
    pub seed: [u8; 32],
    /// Steps, batches and rates of the run.
    pub hyper: &'a LoraHyper,
}

/// What a run gives.
#[derive(Clone, Debug, PartialEq)]
pub struct TrainOutput {
    /// The trained adapter.
    pub adapter: Adapter,
    /// Mean loss of the first step, in millionths of a nat per token.
    pub loss_first: u64,
    /// Mean loss of the last step, likewise.
    pub loss_last: u64,
    /// Targets that were trained on, counted as often as they were.
    pub tokens: u64,
}

/// One finished step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// How many steps are done.
    pub step: u32,
    /// Steps of the run.
    pub steps: u32,
    /// Mean loss before the step, in millionths of a nat per token.
    pub loss: u64,
}

/// Why a run gives no adapter.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TrainError {
    /// A hyper-parameter is out of bounds.
    #[error(transparent)]
    Hyper(#[from] HyperError),
    /// The adapter does not belong to the base, or the device failed.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// No unit has a token to predict.
    #[error("no unit has two tokens: there is nothing to learn")]
    NoTokens,
    /// A token id is not in the base's vocabulary.
    #[error("token id {id} of unit {unit} is not below the vocabulary of {vocab}")]
    UnknownId {
        /// The place of the unit in the list.
        unit: usize,
        /// The unknown token id.
        id: u32,
        /// Ids of the base.
        vocab: u32,
    },
    /// The loss or a weight is no longer a number.
    #[error("training diverged at step {step}; lower the learning rate")]
    Diverged {
        /// The step, counted from zero.
        step: u32,
    },
    /// The device failed.
    #[error(transparent)]
    Device(#[from] DeviceFault),
}

impl LoraHyper {
    /// Accepts the values or says which one is wrong.
    pub fn validate(&self) -> Result<(), HyperError> {
        let rules = [
            ("steps", self.steps, (1..=MAX_STEPS).contains(&self.steps), "1 to 1,000,000"),
            ("batch", self.batch, (1..=MAX_BATCH).contains(&self.batch), "1 to 4,096"),
            (
                "learning_rate_ppb",
                self.learning_rate_ppb,
                (1..=MAX_RATE_PPB).contains(&self.learning_rate_ppb),
                "1 to 4,000,000,000",
            ),
            ("warmup", self.warmup, self.warmup <= self.steps, "at most the steps"),
            ("momentum_ppm", self.momentum_ppm, self.momentum_ppm < 1_000_000, "below 1,000,000"),
            ("clip_ppm", self.clip_ppm, self.clip_ppm > 0, "above 0"),
        ];
        HyperError::first(rules)
    }

    /// The learning rate of a step, counted from zero.
    fn rate(&self, step: u32) -> f64 {
        rate(self.learning_rate_ppb, self.warmup, step)
    }
}

/// Trains an adapter; `progress` is called after each step.
pub fn train(
    engine: &Engine,
    input: &TrainInput<'_>,
    progress: &mut dyn FnMut(Progress),
) -> Result<TrainOutput, TrainError> {
    input.hyper.validate()?;
    let config = input.base.config();
    for (unit, ids) in input.units.iter().enumerate() {
        if let Some(&id) = ids.iter().find(|id| **id >= config.vocab) {
            return Err(TrainError::UnknownId { unit, id, vocab: config.vocab });
        }
    }
    let mut order = Order::new(input.units, config.context as usize, &input.seed);
    if order.windows.is_empty() {
        return Err(TrainError::NoTokens);
    }
    let model = AdaptedModel::new(engine, input.base, input.start)?;
    guarded(|| descend(&model, input, &mut order, progress))?
}

fn descend(
    model: &AdaptedModel,
    input: &TrainInput<'_>,
    order: &mut Order<'_>,
    progress: &mut dyn FnMut(Progress),
) -> Result<TrainOutput, TrainError> {
    let hyper = input.hyper;
    let factors = model.factors().iter().flat_map(|f| [f.a.clone(), f.b.clone()]);
    let mut run = Run { twin: model.probing(), params: factors.collect(), velocity: Vec::new() };
    let (mut first, mut last, mut tokens) = (0, 0, 0);
    for step in 0..hyper.steps {
        let batch = order.batch(hyper.batch);
        let (sum, count) = run.step(&batch, hyper, step);
        if !sum.is_finite() {
            return Err(TrainError::Diverged { step });
        }
        tokens += count;
        last = micro_nats(sum / count as f64);
        if step == 0 {
            first = last;
        }
        progress(Progress { step: step + 1, steps: hyper.steps, loss: last });
    }
    let diverged = TrainError::Diverged { step: hyper.steps - 1 };
    let adapter = run.adapter(input.start).map_err(|_| diverged)?;
    Ok(TrainOutput { adapter, loss_first: first, loss_last: last, tokens })
}

/// The state of a run.
struct Run {
    /// The model on the autodiff device; its factors are replaced at each step.
    twin: AdaptedModel,
    params: Vec<Tensor<2>>,
    velocity: Vec<Tensor<2>>,
}

impl Run {
    /// One step; returns the summed loss before it and the number of targets.
    fn step(&mut self, batch: &[(usize, Window<'_>)], hyper: &LoraHyper, step: u32) -> (f64, u64) {
        // Fresh leaves each step: the graph of the last one is dropped with its leaves.
        let leaves: Vec<Tensor<2>> =
            self.params.iter().map(|p| p.clone().autodiff().require_grad()).collect();
        self.twin.set_factors(leaves.clone());
        let time = batch.iter().map(|(_, w)| w.inputs.len()).max().unwrap_or(0);
        let (inputs, targets, mask) = padded(batch, time, self.twin.base().device());
        let losses = token_losses(self.twin.forward(inputs), targets);
        let sum = (losses * mask.autodiff()).sum();
        // A constant divisor, whatever the batch holds: every target weighs the same in the run, which
        // is what its influence is measured by.
        let context = self.twin.base().config().context;
        let weight = 1.0 / (f64::from(hyper.batch) * f64::from(context));
        let grads = sum.clone().mul_scalar(weight).backward();
        let grads: Vec<Tensor<2>> = leaves
            .iter()
            .map(|leaf| leaf.grad(&grads).expect("every factor takes part in the loss").inner())
            .collect();
        self.descend(grads, hyper, hyper.rate(step));
        let count = batch.iter().map(|(_, w)| w.counted as u64).sum();
        (f64::from(sum.inner().into_scalar::<f32>()), count)
    }

    /// `v ← μ v + clip(g)`, `p ← p − η v`.
    fn descend(&mut self, grads: Vec<Tensor<2>>, hyper: &LoraHyper, rate: f64) {
        let factor = clip_factor(&grads, f64::from(hyper.clip_ppm) / 1.0e6);
        let clipped = grads.into_iter().map(|grad| grad * factor.clone());
        let momentum = f64::from(hyper.momentum_ppm) / 1.0e6;
        self.velocity = match self.velocity.is_empty() {
            true => clipped.collect(),
            false => {
                let old = std::mem::take(&mut self.velocity).into_iter();
                old.zip(clipped).map(|(v, grad)| v.mul_scalar(momentum) + grad).collect()
            }
        };
        for (param, velocity) in self.params.iter_mut().zip(&self.velocity) {
            *param = param.clone() - velocity.clone().mul_scalar(rate);
        }
    }

    fn adapter(self, start: &Adapter) -> Result<Adapter, AdapterError> {
        let mut values = Vec::with_capacity(start.values().len());
        for param in self.params {
            let data = param.into_data();
            values.extend_from_slice(data.as_slice::<f32>().expect("parameters are f32"));
        }
        Adapter::from_values(start.base(), start.config(), values)
    }
}

/// `min(1, clip / norm)` as a `[1, 1]` tensor: the norm is not read back.
fn clip_factor(grads: &[Tensor<2>], clip: f64) -> Tensor<2> {
    let squares = grads.iter().map(|g| g.clone().square().sum()).collect();
    let norm = Tensor::<1>::cat(squares, 0).sum().sqrt().add_scalar(1.0e-6);
    norm.recip().mul_scalar(clip).clamp_max(1.0).reshape([1, 1])
}

/// The windows of the units, in an order drawn anew for each pass.
struct Order<'a> {
    windows: Vec<(usize, Window<'a>)>,
    random: Stream,
    /// What is left of this pass, from the end.
    left: Vec<usize>,
}

impl<'a> Order<'a> {
    fn new(units: &'a [Vec<u32>], context: usize, seed: &[u8; 32]) -> Self {
        let windows = units.iter().enumerate().flat_map(|(unit, tokens)| {
            window::unit(tokens, context).into_iter().map(move |window| (unit, window))
        });
        let random = Stream::new("adapter order", seed);
        Self { windows: windows.collect(), random, left: Vec::new() }
    }

    fn batch(&mut self, size: u32) -> Vec<(usize, Window<'a>)> {
        (0..size).map(|_| self.next()).collect()
    }

    fn next(&mut self) -> (usize, Window<'a>) {
        if self.left.is_empty() {
            self.left = self.random.permutation(self.windows.len());
        }
        let index = self.left.pop().expect("a run has at least one window");
        self.windows[index].clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_pass_reads_every_window_once_and_never_across_units() {
        let units: Vec<Vec<u32>> =
            (0..5u32).map(|u| (0..20).map(|t| 100 * u + t).collect()).collect();
        let mut order = Order::new(&units, 8, &[1; 32]);
        let count = order.windows.len() as u32;
        let mut passes = Vec::new();
        for _ in 0..3 {
            let batch = order.batch(count);
            let mut seen: Vec<u32> = batch.iter().flat_map(|(_, w)| w.targets.to_vec()).collect();
            seen.sort_unstable();
            let all: Vec<u32> = units.iter().flat_map(|unit| unit[1..].to_vec()).collect();
            assert_eq!(seen, all);
            assert!(batch.iter().all(|(u, w)| w.inputs[0] / 100 == *u as u32));
            passes.push(batch.iter().map(|(_, w)| w.inputs[0]).collect::<Vec<_>>());
        }
        assert_ne!(passes[0], passes[1]);
    }
}
