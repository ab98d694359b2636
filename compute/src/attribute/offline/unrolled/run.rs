//! The recorded run.

use serde::{Deserialize, Serialize};

use crate::attribute::offline::network::{Gradient, Network};
use crate::device::DeviceFault;
use crate::math::Stream;

/// How a run turns gradients into steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Optimizer {
    /// `m ← µ m + g; θ ← θ − η (m + decay · θ)`.
    SgdMomentum {
        /// `µ`, in parts per million.
        momentum_ppm: u32,
    },
    /// What training shards use; its runs can't be unrolled.
    AdamW,
}

/// All of a run but its data and its start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// How gradients become steps.
    pub optimizer: Optimizer,
    /// Number of steps of the run.
    pub steps: u32,
    /// Samples of one step.
    pub batch: u32,
    /// Learning rate after the warm-up, in parts per million; it falls to a tenth along a cosine.
    pub learning_rate_ppm: u32,
    /// Steps in which the learning rate rises to its value.
    pub warmup: u32,
    /// Weight decay, in parts per million.
    pub decay_ppm: u32,
    /// Largest norm of a step's gradient, in thousandths; zero for no limit.
    pub clip_milli: u32,
    /// What the order of the samples is drawn from.
    pub seed: u64,
}

/// Why a run could not be recorded or differentiated.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnrollError {
    /// The run used an optimiser that can't be unrolled.
    #[error("an AdamW run can't be unrolled: train with SGD and momentum to attribute exactly")]
    AdamW,
    /// A value of the recipe is out of bounds.
    #[error("{field} is {value}: {rule}")]
    Recipe {
        /// The name of the value in the recipe.
        field: &'static str,
        /// The value that was given.
        value: u32,
        /// The rule that it breaks.
        rule: &'static str,
    },
    /// A vector has the wrong length.
    #[error("{found} {what} were given, {expected} are needed")]
    Shape {
        /// What the vector holds.
        what: &'static str,
        /// How many values are needed.
        expected: usize,
        /// How many values were given.
        found: usize,
    },
    /// Parameters or gradients are no longer numbers.
    #[error("the run is not finite at step {step}; lower the learning rate")]
    Diverged {
        /// The step after which a value is not finite.
        step: u32,
    },
    /// The device failed.
    #[error(transparent)]
    Device(#[from] DeviceFault),
}

/// Parameters and momentum before a step.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct State {
    pub(super) parameters: Vec<f32>,
    pub(super) momentum: Vec<f32>,
}

/// A run that was executed and can be walked backwards.
pub struct Run<'a, N: Network> {
    pub(super) network: &'a N,
    pub(super) recipe: Recipe,
    pub(super) weights: Vec<f32>,
    pub(super) order: Vec<Vec<usize>>,
    /// States before steps `0, stride, 2 · stride…`.
    pub(super) kept: Vec<State>,
    pub(super) stride: usize,
    end: State,
}

impl Recipe {
    /// Accepts the recipe or says what is wrong with it.
    pub fn validate(&self) -> Result<(), UnrollError> {
        let Optimizer::SgdMomentum { momentum_ppm } = self.optimizer else {
            return Err(UnrollError::AdamW);
        };
        let rules = [
            ("momentum_ppm", momentum_ppm, momentum_ppm < 1_000_000, "below 1,000,000"),
            ("steps", self.steps, (1..=1_000_000).contains(&self.steps), "1 to 1,000,000"),
            ("batch", self.batch, (1..=1_000_000).contains(&self.batch), "1 to 1,000,000"),
            ("learning_rate_ppm", self.learning_rate_ppm, self.learning_rate_ppm > 0, "above 0"),
            ("warmup", self.warmup, self.warmup <= self.steps, "at most the steps"),
            ("decay_ppm", self.decay_ppm, self.decay_ppm <= 1_000_000, "at most 1,000,000"),
        ];
        match rules.into_iter().find(|rule| !rule.2) {
            Some((field, value, _, rule)) => Err(UnrollError::Recipe { field, value, rule }),
            None => Ok(()),
        }
    }

    pub(super) fn momentum(&self) -> f64 {
        match self.optimizer {
            Optimizer::SgdMomentum { momentum_ppm } => f64::from(momentum_ppm) / 1e6,
            Optimizer::AdamW => 0.0,
        }
    }

    pub(super) fn decay(&self) -> f64 {
        f64::from(self.decay_ppm) / 1e6
    }

    /// The learning rate of a step.
    pub(super) fn rate(&self, step: usize) -> f64 {
        let full = f64::from(self.learning_rate_ppm) / 1e6;
        let (step, warmup) = (step as f64, f64::from(self.warmup));
        if step < warmup {
            return full * (step + 1.0) / warmup;
        }
        let rest = (f64::from(self.steps) - warmup).max(1.0);
        let cosine = ((step - warmup) / rest * std::f64::consts::PI).cos();
        full * (0.55 + 0.45 * cosine)
    }

    /// The factor that brings a gradient within the limit.
    pub(super) fn clip(&self, gradient: &[f64]) -> f64 {
        let norm = gradient.iter().map(|g| g * g).sum::<f64>().sqrt();
        let limit = f64::from(self.clip_milli) / 1e3;
        if limit > 0.0 && norm > limit { limit / norm } else { 1.0 }
    }

    /// The samples of every step: passes over all samples, each in a new order.
    fn order(&self, samples: usize) -> Vec<Vec<usize>> {
        let mut stream = Stream::new("unrolled order", &self.seed.to_be_bytes());
        let mut rest: Vec<usize> = Vec::new();
        (0..self.steps)
            .map(|_| {
                while rest.len() < self.batch as usize {
                    let mut pass = stream.permutation(samples);
                    pass.append(&mut rest);
                    rest = pass;
                }
                rest.split_off(rest.len() - self.batch as usize)
            })
            .collect()
    }
}

impl<'a, N: Network> Run<'a, N> {
    /// Trains from `start` on the first `weights.len()` samples of the network. A sample of weight
    /// zero keeps its place in the order and its part of the divisor: leaving data out changes
    /// nothing else.
    pub fn record(
        network: &'a N,
        start: &[f32],
        recipe: Recipe,
        weights: &[f32],
    ) -> Result<Self, UnrollError> {
        Self::execute(network, start, recipe, weights, true)
    }

    /// The parameters after such a run, of which nothing else is kept: retraining.
    pub fn train(
        network: &'a N,
        start: &[f32],
        recipe: Recipe,
        weights: &[f32],
    ) -> Result<Vec<f32>, UnrollError> {
        Ok(Self::execute(network, start, recipe, weights, false)?.end.parameters)
    }

    fn execute(
        network: &'a N,
        start: &[f32],
        recipe: Recipe,
        weights: &[f32],
        keep: bool,
    ) -> Result<Self, UnrollError> {
        recipe.validate()?;
        check("parameters", network.parameters(), start.len())?;
        if weights.is_empty() || weights.len() > network.samples() {
            let (expected, found) = (network.samples(), weights.len());
            return Err(UnrollError::Shape { what: "weights", expected, found });
        }
        // √T checkpoints, and at most √T recomputed states at a time: the least memory for one replay.
        let stride = (f64::from(recipe.steps).sqrt().ceil() as usize).max(1);
        let order = recipe.order(weights.len());
        let weights = weights.to_vec();
        let end = State { parameters: start.to_vec(), momentum: vec![0.0; start.len()] };
        let mut run = Self { network, recipe, weights, order, kept: Vec::new(), stride, end };
        for step in 0..recipe.steps as usize {
            if keep && step.is_multiple_of(stride) {
                run.kept.push(run.end.clone());
            }
            run.end = run.after(step, &run.end)?;
        }
        Ok(run)
    }

    /// The trained parameters.
    pub fn parameters(&self) -> &[f32] {
        &self.end.parameters
    }

    /// The samples of every step.
    pub fn order(&self) -> &[Vec<usize>] {
        &self.order
    }

    /// Parameters at the kept checkpoints, with the learning rate of the step after each.
    pub fn checkpoints(&self) -> impl Iterator<Item = (&[f32], f64)> {
        let rate = |index: usize| self.recipe.rate(index * self.stride);
        self.kept.iter().enumerate().map(move |(i, state)| (&state.parameters[..], rate(i)))
    }

    /// The state after a step.
    pub(super) fn after(&self, step: usize, state: &State) -> Result<State, UnrollError> {
        let gradient = self.batch_gradient(step, &state.parameters)?;
        let values: Vec<f64> = gradient.values.iter().map(|&g| f64::from(g)).collect();
        let clip = self.recipe.clip(&values);
        let (rate, decay) = (self.recipe.rate(step), self.recipe.decay());
        let momentum_of = self.recipe.momentum();
        let mut next = state.clone();
        let pairs = next.parameters.iter_mut().zip(&mut next.momentum);
        for ((parameter, momentum), gradient) in pairs.zip(&values) {
            let m = momentum_of * f64::from(*momentum) + clip * gradient;
            let old = f64::from(*parameter);
            *momentum = m as f32;
            *parameter = (old - rate * (m + decay * old)) as f32;
        }
        match next.parameters.iter().all(|value| value.is_finite()) {
            true => Ok(next),
            false => Err(UnrollError::Diverged { step: step as u32 }),
        }
    }

    /// The gradient of a step's mean loss at `parameters`, with every sample's loss.
    pub(super) fn batch_gradient(
        &self,
        step: usize,
        parameters: &[f32],
    ) -> Result<Gradient, UnrollError> {
        let batch = &self.order[step];
        let share = self.share(step) as f32;
        let weights: Vec<f32> = batch.iter().map(|&i| self.weights[i] * share).collect();
        Ok(self.network.gradient(parameters, batch, &weights)?)
    }

    /// One over the number of targets in a step's batch, left-out samples included.
    pub(super) fn share(&self, step: usize) -> f64 {
        let size: usize = self.order[step].iter().map(|&i| self.network.size(i)).sum();
        1.0 / size.max(1) as f64
    }
}

pub(super) fn check(what: &'static str, expected: usize, found: usize) -> Result<(), UnrollError> {
    match expected == found {
        true => Ok(()),
        false => Err(UnrollError::Shape { what, expected, found }),
    }
}
