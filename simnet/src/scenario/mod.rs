//! What is simulated: sizes, shares, times. Checked before anything starts.
//!
//! Plain sections, as a scenario file has them. `Scenario::default()` is a small network with every
//! tenth node offline and every tenth one lazy; a file that names no faults has none.

mod adversaries;
mod check;
mod error;
mod events;

pub use adversaries::{AdversaryKind, AdversaryPlan};
pub use error::ScenarioError;
pub use events::{FaultEvent, FaultKind};

use protocol::params::{Params, Schedule};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::units::{Size, Span};

/// Epochs before the first one in which packs are placed: placement takes those who were there two
/// epochs before.
pub(crate) const WARM_UP_EPOCHS: u64 = 2;

/// Parameters of one run. Shares are ratios between 0 and 1.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Scenario {
    /// A short name.
    pub name: String,
    /// The question that the scenario answers.
    pub question: String,
    /// From which every random draw follows.
    pub seed: u64,
    /// Epochs in which storage is proven, after the two in which the network forms.
    pub epochs: u64,
    /// Who takes part.
    #[serde(default)]
    pub population: Population,
    /// What lies between them.
    pub net: Net,
    /// How honest nodes come and go.
    pub churn: Churn,
    /// What is stored.
    pub workload: Workload,
    /// The settlement chain.
    pub chain: ChainRules,
    /// Parameters of Proof of Holding.
    pub holding: HoldingRules,
    /// Faults at given times.
    #[serde(default, rename = "event")]
    pub events: Vec<FaultEvent>,
    /// Who cheats, and how.
    #[serde(default, rename = "adversary")]
    pub adversaries: Vec<AdversaryPlan>,
}

/// Who takes part.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Population {
    /// Nodes of all kinds.
    pub nodes: u32,
    /// Share of nodes that are never online or leave for good.
    #[serde(default)]
    pub offline: f64,
}

/// What lies between the nodes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Net {
    /// One-way delay between two nodes.
    pub latency: Span,
    /// Delays vary by up to this share of themselves, both ways.
    pub jitter: f64,
    /// Share of gossip deliveries and of single requests that are lost.
    pub loss: f64,
    /// Bandwidth into a node, in Mbit/s.
    pub down_mbit: f64,
    /// Bandwidth out of a node, in Mbit/s.
    pub up_mbit: f64,
}

/// How honest nodes come and go.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Churn {
    /// Distribution of the time that a node is online.
    pub model: ChurnModel,
    /// Share of the honest nodes that come and go; the others stay.
    pub share: f64,
    /// Mean of exponential sessions, scale of Weibull ones, shortest Pareto one.
    pub session: Span,
    /// Shape of Weibull and Pareto sessions.
    pub shape: f64,
    /// Mean time between two sessions (exponential).
    pub pause: Span,
    /// How much less likely a node is to come back at the quietest time of its day than at the
    /// busiest: 0 for not at all.
    pub diurnal: f64,
}

/// Distribution of the time that a node is online.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ChurnModel {
    /// Nobody comes and goes.
    #[default]
    None,
    /// Without memory.
    Exponential,
    /// Weibull: below a shape of 1, who was there long stays long.
    Weibull,
    /// Pareto: a power law above the shortest session.
    Pareto,
}

/// What is stored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Workload {
    /// Packs in the network.
    pub packs: u32,
    /// Smallest pack.
    pub pack_min: Size,
    /// Largest pack.
    pub pack_max: Size,
    /// Accounts among which the packs are divided.
    pub contributors: u32,
}

/// The settlement chain.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ChainRules {
    /// Time between blocks.
    pub block: Span,
    /// Blocks of an epoch.
    pub epoch_blocks: u64,
    /// Blocks in which a commitment must be anchored.
    pub commit_blocks: u64,
    /// Blocks of the challenge window of a settlement.
    pub challenge_blocks: u64,
}

/// Parameters of Proof of Holding.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct HoldingRules {
    /// Paid replicas of a pack.
    pub replicas: u32,
    /// Auditors of a storage proof.
    pub auditors: u32,
    /// Cells that a proof opens.
    pub opened_cells: u32,
}

impl Default for Scenario {
    fn default() -> Self {
        Self {
            name: "default".to_owned(),
            question: String::new(),
            seed: 7,
            epochs: 5,
            population: Population { offline: 0.1, ..Population::default() },
            net: Net::default(),
            churn: Churn::default(),
            workload: Workload::default(),
            chain: ChainRules::default(),
            holding: HoldingRules::default(),
            events: Vec::new(),
            adversaries: vec![AdversaryPlan::new(AdversaryKind::LazyStorage, 0.1)],
        }
    }
}

impl Default for Population {
    fn default() -> Self {
        Self { nodes: 1000, offline: 0.0 }
    }
}

impl Default for Net {
    fn default() -> Self {
        Self { latency: Span::millis(80), jitter: 0.5, loss: 0.01, down_mbit: 20.0, up_mbit: 20.0 }
    }
}

impl Default for Churn {
    fn default() -> Self {
        Self {
            model: ChurnModel::None,
            share: 1.0,
            // The fit to IPFS DHT servers in `data/churn.toml`.
            session: Span::seconds(13_176),
            shape: 0.61,
            pause: Span::hours(2),
            diurnal: 0.0,
        }
    }
}

impl Default for Workload {
    fn default() -> Self {
        Self { packs: 300, pack_min: Size::kib(16), pack_max: Size::kib(64), contributors: 10 }
    }
}

impl Default for ChainRules {
    fn default() -> Self {
        Self { block: Span::seconds(2), epoch_blocks: 60, commit_blocks: 20, challenge_blocks: 12 }
    }
}

impl Default for HoldingRules {
    fn default() -> Self {
        let holding = Params::minimal().holding;
        Self {
            replicas: holding.replicas,
            auditors: holding.auditors,
            opened_cells: holding.opened_cells,
        }
    }
}

impl Scenario {
    /// The network's parameters.
    pub fn params(&self) -> Params {
        let mut params = Params::minimal();
        params.holding.replicas = self.holding.replicas;
        params.holding.auditors = self.holding.auditors;
        params.holding.opened_cells = self.holding.opened_cells;
        params
    }

    /// How blocks make epochs, from a genesis block on.
    pub const fn schedule(&self, genesis_block: protocol::BlockNumber) -> Schedule {
        Schedule {
            genesis_block,
            epoch_blocks: self.chain.epoch_blocks,
            commit_blocks: self.chain.commit_blocks,
            challenge_blocks: self.chain.challenge_blocks,
        }
    }

    /// Share of nodes that some adversary runs.
    pub fn adverse(&self) -> f64 {
        self.adversaries.iter().map(|plan| plan.share).sum()
    }

    /// Time of an epoch.
    pub const fn epoch_span(&self) -> Span {
        Span(self.chain.block.0.saturating_mul(self.chain.epoch_blocks))
    }
}
