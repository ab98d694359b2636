//! What is trained and what is asked: the work that nodes do beside storing.

use protocol::{Amount, Blocks, params::Params};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    data,
    units::{Size, Span},
};

/// Training runs, which model developers order through the contracts. What a shard gives follows from
/// its inputs, and how long it takes from the device of its node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Training {
    /// Rounds of a run, after which sketches are captured; 0 for no training.
    pub rounds: u32,
    /// Runs, each by a developer of its own.
    pub models: u32,
    /// When they are ordered.
    pub at: Span,
    /// Units of text that a shard reads.
    pub units: u32,
    /// What a developer pays for a run, in OPEN.
    pub escrow: f64,
    /// Time of a shard on the reference GPU.
    pub shard: Span,
    /// Time to capture a node's sketches, as a multiple of a shard's.
    pub sketch: f64,
    /// Share of nodes with a GPU; the others compute on their CPU.
    pub gpus: f64,
    /// How many times slower a CPU is than the reference GPU.
    pub cpu_slowdown: f64,
    /// Spread (sigma of the logarithm) of the speeds of devices of a kind; 0 for none.
    pub spread: f64,
    /// Bytes of the update that a shard gives.
    pub payload: Size,
    /// Bytes of a node's sketches.
    pub sketches: Size,
    /// Bytes of a checkpoint.
    pub checkpoint: Size,
    /// Auditors of a shard, and of an attribution.
    pub auditors: u32,
    /// Shards below which a round does not close.
    pub min_shards: u32,
    /// Blocks after which a round closes without its missing shards.
    pub round_blocks: u64,
    /// Blocks that each next-ranked leader waits.
    pub fallback_blocks: u64,
    /// Have the real small model (`nano`) compute shards, sketches, audits and checkpoints on generated
    /// text; times stay the cost model's, sizes are the real ones. Needs a build with the feature
    /// `real-compute`.
    pub real_compute: bool,
}

/// Demand for the trained models. Consumers deposit OPEN in the escrow and sign a receipt for every
/// use; the serving node redeems it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Inference {
    /// Requests per hour to all models together, at the busiest time of day; 0 for none.
    pub per_hour: f64,
    /// How much less is asked at the quietest time of day than at the busiest: 0 for not at all.
    pub diurnal: f64,
    /// Factors on the demand from given times on; 1 before the first.
    pub series: Vec<DemandPoint>,
    /// Models that are asked, by their number from 0; all where none is named.
    pub models: Vec<u32>,
    /// What a use costs, in OPEN.
    pub fee: f64,
    /// Whether consumers pay for the tokens of an answer as they come, and not at once.
    pub steps: bool,
    /// Consumers among whom the requests are divided.
    pub consumers: u32,
    /// What a consumer deposits for a server at a time, in OPEN.
    pub deposit: f64,
    /// Share of nodes that offer to serve; a developer takes the fastest of them that is there.
    pub servers: f64,
    /// Tokens of a prompt.
    pub tokens_in: u32,
    /// Tokens of an answer.
    pub tokens_out: u32,
    /// Time of one token of an answer on the reference GPU.
    pub token: Span,
    /// Time to attribute an answer, as a share of the time to generate it.
    pub attribution: f64,
    /// Bytes of a transcript, which auditors fetch.
    pub transcript: Size,
}

/// A factor on the demand from a time on.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DemandPoint {
    /// From when on, from the start of the run.
    pub at: Span,
    /// Times the demand without it.
    pub factor: f64,
}

impl Default for Training {
    fn default() -> Self {
        let rules = Params::minimal().training;
        Self {
            rounds: 0,
            models: 1,
            at: Span::seconds(10),
            units: 4,
            escrow: 100.0,
            shard: Span::millis(250),
            sketch: 0.5,
            gpus: data::shipped("devices-home", "gpus"),
            cpu_slowdown: data::shipped("devices-home", "cpu-slowdown"),
            spread: data::shipped("devices-home", "spread"),
            payload: Size::kib(64),
            sketches: Size::kib(64),
            checkpoint: Size::kib(1024),
            auditors: rules.auditors,
            min_shards: rules.min_shards,
            round_blocks: rules.round_blocks.0,
            fallback_blocks: rules.fallback_blocks.0,
            real_compute: false,
        }
    }
}

impl Default for Inference {
    fn default() -> Self {
        Self {
            per_hour: 0.0,
            diurnal: 0.0,
            series: Vec::new(),
            models: Vec::new(),
            fee: 0.01,
            steps: false,
            consumers: 4,
            deposit: 10.0,
            servers: 0.2,
            tokens_in: 64,
            tokens_out: 128,
            token: Span::millis(5),
            attribution: data::shipped("attribution-cost", "over-decoding"),
            transcript: Size::kib(8),
        }
    }
}

impl Training {
    /// What a developer pays for a run.
    pub fn paid(&self) -> Amount {
        amount(self.escrow)
    }

    /// Whether anything is trained.
    pub const fn is_on(&self) -> bool {
        self.rounds > 0
    }

    /// Puts the rules of rounds and audits into a network's parameters.
    pub(super) const fn rule(&self, params: &mut Params) {
        params.training.auditors = self.auditors;
        params.training.min_shards = self.min_shards;
        params.training.round_blocks = Blocks(self.round_blocks);
        params.training.fallback_blocks = Blocks(self.fallback_blocks);
    }
}

const MICRO_OPEN: u128 = Amount::ONE_OPEN.0 / 1_000_000;

/// OPEN as an amount, to a millionth.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a price that was checked to lie between 0 and a million"
)]
fn amount(open: f64) -> Amount {
    Amount((open * 1e6).round() as u128 * MICRO_OPEN)
}

impl Inference {
    /// Whether anything is asked.
    pub fn is_on(&self) -> bool {
        self.per_hour > 0.0
    }

    /// The price of a use.
    pub fn price(&self) -> Amount {
        amount(self.fee)
    }

    /// The price of a thousand tokens where an answer costs as much in all as a use does.
    pub(crate) fn price_of_tokens(&self) -> Amount {
        Amount(self.price().0 * 1000 / u128::from(self.tokens_out.max(1)))
    }

    /// What a consumer deposits at a time.
    pub fn deposited(&self) -> Amount {
        amount(self.deposit)
    }

    /// The factor of the series at a time.
    pub(crate) fn factor_at(&self, micros: u64) -> f64 {
        let past = self.series.iter().filter(|point| point.at.0 <= micros);
        past.max_by_key(|point| point.at).map_or(1.0, |point| point.factor)
    }

    /// The largest factor that there ever is.
    pub(crate) fn greatest_factor(&self) -> f64 {
        self.series.iter().map(|point| point.factor).fold(1.0, f64::max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn demand_follows_its_series() {
        let point = |hours, factor| DemandPoint { at: Span::hours(hours), factor };
        let demand =
            Inference { series: vec![point(2, 3.0), point(5, 0.5)], ..Inference::default() };
        let at = |hours| demand.factor_at(Span::hours(hours).0);
        assert_eq!([at(1), at(2), at(4), at(9)], [1.0, 3.0, 3.0, 0.5]);
        assert!((demand.greatest_factor() - 3.0).abs() < f64::EPSILON);
    }

    #[test]
    fn prices_are_exact_to_a_millionth() {
        let demand = Inference { fee: 0.000_001, ..Inference::default() };
        assert_eq!(demand.price(), Amount(MICRO_OPEN));
        assert_eq!(amount(2.5).0, 5 * Amount::ONE_OPEN.0 / 2);
    }
}
