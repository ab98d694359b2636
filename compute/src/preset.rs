//! Training runs whose numbers were measured.

use serde::{Deserialize, Serialize};

use crate::model::ModelConfig;
use crate::shard::ShardHyper;

/// A whole training run: the model, the shard, the rounds and the outer step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainingPreset {
    /// The model.
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
                steps: 24,
                batch: 4,
                context: 128,
                learning_rate_ppm: 4_000,
                warmup: 4,
                beta1_ppm: 900_000,
                beta2_ppm: 950_000,
                weight_decay_ppm: 100_000,
                clip_ppm: 1_000_000,
                keep: 1024,
            },
            rounds: 5,
            shards: 5,
            alpha_ppm: 1_000_000,
            final_rate_ppm: 300_000,
        }
    }

    /// The hyper-parameters of a round: the learning rate falls linearly over the rounds.
    pub fn hyper_of(&self, round: u32) -> ShardHyper {
        let mut hyper = self.hyper.clone();
        let last = u64::from(self.rounds.saturating_sub(1).max(1));
        let done = u64::from(round).min(last);
        let fall = 1_000_000u64.saturating_sub(u64::from(self.final_rate_ppm));
        let part = 1_000_000 - fall * done / last;
        hyper.learning_rate_ppm = (u64::from(hyper.learning_rate_ppm) * part / 1_000_000) as u32;
        hyper
    }

    /// Tokens of the whole run.
    pub fn tokens(&self) -> u64 {
        self.hyper.tokens() * u64::from(self.shards) * u64::from(self.rounds)
    }
}
