//! The hyper-parameters of a shard, and the bounds within which they are accepted.

use serde::{Deserialize, Serialize};

use super::update::CHUNK;
use crate::model::ModelConfig;

/// The most steps of one shard.
pub(crate) const MAX_STEPS: u32 = 10_000;
/// The most sequences of one batch.
pub const MAX_BATCH: u32 = 4_096;

/// Hyper-parameters of a shard; fractions in parts per million, so that they hash and compare.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShardHyper {
    /// Inner optimiser steps.
    pub steps: u32,
    /// Sequences in one step.
    pub batch: u32,
    /// Tokens of one sequence that are predicted; at most the model's context.
    pub context: u32,
    /// Learning rate after the warm-up, in parts per billion.
    pub learning_rate_ppb: u32,
    /// Steps in which the learning rate rises to its value.
    pub warmup: u32,
    /// Decay of the first moment.
    pub beta1_ppm: u32,
    /// Decay of the second moment.
    pub beta2_ppm: u32,
    /// Decoupled weight decay.
    pub weight_decay_ppm: u32,
    /// Largest norm of a step's gradient.
    pub clip_ppm: u32,
    /// Values that the update keeps of every 4096; even.
    pub keep: u32,
}

/// A hyper-parameter out of its bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("hyper-parameter {field} is {value}: {rule}")]
pub struct HyperError {
    /// The name of the parameter.
    pub field: &'static str,
    /// The value that was given.
    pub value: u32,
    /// The rule that it breaks.
    pub rule: &'static str,
}

impl HyperError {
    /// The first broken one of some rules: field, value, whether the value is within bounds, rule.
    pub(super) fn first<const N: usize>(
        rules: [(&'static str, u32, bool, &'static str); N],
    ) -> Result<(), Self> {
        match rules.into_iter().find(|rule| !rule.2) {
            Some((field, value, _, rule)) => Err(Self { field, value, rule }),
            None => Ok(()),
        }
    }
}

/// The learning rate of a step, counted from zero: it rises linearly over the warm-up, then stays.
pub(super) fn rate(learning_rate_ppb: u32, warmup: u32, step: u32) -> f64 {
    let full = f64::from(learning_rate_ppb) / 1.0e9;
    if step < warmup { full * f64::from(step + 1) / f64::from(warmup) } else { full }
}

impl ShardHyper {
    /// Tokens that the shard trains on.
    pub fn tokens(&self) -> u64 {
        u64::from(self.steps) * u64::from(self.batch) * u64::from(self.context)
    }

    /// Accepts the values or says which one is wrong.
    pub fn validate(&self, model: &ModelConfig) -> Result<(), HyperError> {
        let rules = [
            ("steps", self.steps, (1..=MAX_STEPS).contains(&self.steps), "1 to 10,000"),
            ("batch", self.batch, (1..=MAX_BATCH).contains(&self.batch), "1 to 4,096"),
            (
                "context",
                self.context,
                (1..=model.context).contains(&self.context),
                "at least 1, at most the model's context",
            ),
            (
                "learning_rate_ppb",
                self.learning_rate_ppb,
                (1..=1_000_000_000).contains(&self.learning_rate_ppb),
                "1 to 1,000,000,000",
            ),
            ("warmup", self.warmup, self.warmup <= self.steps, "at most the steps"),
            ("beta1_ppm", self.beta1_ppm, self.beta1_ppm < 1_000_000, "below 1,000,000"),
            ("beta2_ppm", self.beta2_ppm, self.beta2_ppm < 1_000_000, "below 1,000,000"),
            (
                "weight_decay_ppm",
                self.weight_decay_ppm,
                self.weight_decay_ppm <= 1_000_000,
                "at most 1,000,000",
            ),
            ("clip_ppm", self.clip_ppm, self.clip_ppm > 0, "above 0"),
            (
                "keep",
                self.keep,
                self.keep >= 2 && self.keep.is_multiple_of(2) && self.keep as usize <= CHUNK,
                "even, 2 to 4,096",
            ),
        ];
        HyperError::first(rules)
    }

    /// The learning rate of a step, counted from zero.
    pub(super) fn rate(&self, step: u32) -> f64 {
        rate(self.learning_rate_ppb, self.warmup, step)
    }
}
