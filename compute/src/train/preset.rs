//! Training runs whose numbers were measured.

use protocol::BlobRef;
use protocol::model::RunModel;
use protocol::training::{Contributions, RunConfig};
use serde::{Deserialize, Serialize};

use super::hyper::ShardHyper;
use crate::model::ModelConfig;

/// How much a shard trains on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShardSize {
    /// Steps of the optimiser, one after the other.
    pub steps: u32,
    /// Sequences of a step.
    pub batch: u32,
    /// Tokens of a sequence.
    pub context: u32,
}

/// A whole training run: the model, the shard, the rounds and the outer step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainingPreset {
    /// The shape of the model that is trained.
    pub model: ModelConfig,
    /// Hyper-parameters of a shard in the first round.
    pub hyper: ShardHyper,
    /// Rounds, each ending in one outer step.
    pub rounds: u32,
    /// Shards of one round.
    pub shards: u32,
    /// Size of the outer step.
    pub alpha_ppm: u32,
    /// Learning rate of the last round as a part of the first one's.
    pub final_rate_ppm: u32,
}

impl TrainingPreset {
    /// The demo: 300k tokens over five workers.
    pub const fn demo() -> Self {
        Self {
            model: ModelConfig::nano(),
            hyper: ShardHyper {
                steps: 48,
                batch: 2,
                context: 128,
                learning_rate_ppb: 6_000_000,
                warmup: 4,
                beta1_ppm: 900_000,
                beta2_ppm: 950_000,
                weight_decay_ppm: 100_000,
                clip_ppm: 1_000_000,
                keep: 2048,
            },
            rounds: 5,
            shards: 5,
            alpha_ppm: 1_500_000,
            final_rate_ppm: 300_000,
        }
    }

    /// The hyper-parameters of a round: the learning rate falls linearly over the rounds.
    pub fn hyper_of(&self, round: u32) -> ShardHyper {
        let mut hyper = self.hyper.clone();
        hyper.learning_rate_ppb =
            fallen(hyper.learning_rate_ppb, self.final_rate_ppm, round, self.rounds);
        hyper
    }

    /// An adapter of a base: over the demo's texts the loss on held-out text falls most of its way.
    pub const fn adapter() -> Self {
        let demo = Self::demo();
        let hyper = ShardHyper { steps: 16, learning_rate_ppb: 2_000_000, ..demo.hyper };
        Self { hyper, rounds: 3, alpha_ppm: 1_000_000, ..demo }
    }

    /// The order of a run over a whole Datanet with this preset's numbers, and shards of some size.
    pub fn order(
        &self,
        model: RunModel,
        tokenizer: BlobRef,
        seed: u64,
        size: ShardSize,
    ) -> RunConfig {
        let ShardSize { steps, batch, context } = size;
        let tokens = u64::from(steps) * u64::from(batch) * u64::from(context);
        RunConfig {
            model,
            tokenizer: tokenizer.hash,
            tokenizer_length: u32::try_from(tokenizer.length).unwrap_or(u32::MAX),
            seed,
            rounds: self.rounds,
            // A shard reads about as many tokens of data as it trains on.
            units_per_shard: u32::try_from(tokens / 256).unwrap_or(u32::MAX).max(1),
            steps,
            batch,
            context,
            warmup: self.hyper.warmup.min(steps),
            learning_rate: self.hyper.learning_rate_ppb,
            final_rate: self.final_rate_ppm,
            top_k: self.hyper.keep,
            alpha: self.alpha_ppm,
            data: vec![Contributions::ALL],
        }
    }

    /// The size of its shards.
    pub const fn size(&self) -> ShardSize {
        ShardSize { steps: self.hyper.steps, batch: self.hyper.batch, context: self.hyper.context }
    }

    /// Tokens of the whole run.
    pub fn tokens(&self) -> u64 {
        self.hyper.tokens() * u64::from(self.shards) * u64::from(self.rounds)
    }
}

/// The model that a run on the chain names by number; `None` for a number of no preset.
pub(crate) const fn preset(number: u8) -> Option<ModelConfig> {
    match number {
        0 => Some(ModelConfig::nano()),
        1 => Some(ModelConfig::micro()),
        2 => Some(ModelConfig::small()),
        3 => Some(ModelConfig::smol_135m()),
        _ => None,
    }
}

/// The hyper-parameters of a round of a run on the chain. Decays and clipping, which the chain does
/// not carry, are those of the demo.
pub(crate) fn run_hyper(run: &RunConfig, round: u32) -> ShardHyper {
    ShardHyper {
        steps: run.steps,
        batch: run.batch,
        context: run.context,
        learning_rate_ppb: fallen(run.learning_rate, run.final_rate, round, run.rounds),
        warmup: run.warmup,
        keep: run.top_k,
        ..TrainingPreset::demo().hyper
    }
}

/// A rate that falls linearly from the first round to a part of itself in the last.
fn fallen(rate: u32, final_ppm: u32, round: u32, rounds: u32) -> u32 {
    let last = u64::from(rounds.saturating_sub(1).max(1));
    let done = u64::from(round).min(last);
    let fall = 1_000_000u64.saturating_sub(u64::from(final_ppm));
    (u64::from(rate) * (1_000_000 - fall * done / last) / 1_000_000) as u32
}

#[cfg(test)]
mod tests {
    use protocol::model::Shape;

    use super::*;
    use crate::model::shape_of;

    #[test]
    fn the_protocol_knows_the_shape_of_every_preset() {
        for number in 0..=u8::MAX {
            let shape = preset(number).map(|model| shape_of(&model));
            assert_eq!(Shape::of(number), shape, "preset {number}");
        }
    }
}
