//! What is simulated: sizes, shares, times. Checked before anything starts.
//!
//! Plain sections, as a scenario file has them. `Scenario::default()` is a small network with every
//! tenth node offline and every tenth one lazy; a file that names no faults has none.

mod check;
mod economics;
mod error;
mod events;
mod preset;
mod work;

pub use crate::adversary::AdversaryPlan;
pub use economics::{Economics, PricePoint};
pub use error::ScenarioError;
pub use events::{FaultEvent, FaultKind};
pub(crate) use preset::span_of_hours;
pub use preset::{Given, Preset};

pub use work::{DemandPoint, Inference, Training};

use std::collections::BTreeMap;

use protocol::{
    Amount, Blocks,
    params::{Params, Schedule},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    adversary, data,
    units::{Size, Span},
};

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
    /// What is trained.
    pub training: Training,
    /// What is asked of the trained models.
    pub inference: Inference,
    /// Costs, prices, and what operators make of them.
    pub economics: Economics,
    /// The kernel rounds times up to multiples of this; the mean shift is reported.
    pub quantum: Span,
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
    /// Values for many keys under one name, each with its source; a key that the file itself has wins.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preset: Option<Preset>,
    /// Nodes of all kinds.
    pub nodes: u32,
    /// Share of nodes that are never online or leave for good.
    #[serde(default)]
    pub offline: f64,
    /// Shares of the nodes by region of a `matrix`; those of `regions-simblock-2019` where none is
    /// named.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub regions: BTreeMap<String, f64>,
}

/// What lies between the nodes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Net {
    /// What delays are made of.
    pub underlay: UnderlayKind,
    /// The data set (or a data file, `*.toml`) of `matrix`; the CSV file of `trace`.
    pub data: Option<String>,
    /// One-way delay between two nodes of a `uniform` underlay.
    pub latency: Span,
    /// Delays vary by up to this share of themselves, both ways.
    pub jitter: f64,
    /// Share of gossip deliveries and of single requests that are lost.
    pub loss: f64,
    /// Time between two questions of a node to a random peer for the records that it lacks.
    pub pull: Span,
    /// How transfers share lines.
    pub bandwidth: Bandwidth,
    /// Bandwidth into a node, in Mbit/s (the median, with a spread).
    pub down_mbit: f64,
    /// Bandwidth out of a node, in Mbit/s (the median, with a spread).
    pub up_mbit: f64,
    /// Spread (sigma of the logarithm) of the bandwidths of nodes; 0 for none.
    pub spread: f64,
    /// Share of nodes behind NAT.
    pub nat: f64,
    /// Share of those behind NAT whose NAT is symmetric: never punched.
    pub symmetric: f64,
    /// Share of pairs behind NAT whose hole punching succeeds.
    pub punched: f64,
    /// Bandwidth of a transfer through a relay, in Mbit/s.
    pub relay_mbit: f64,
    /// How a node finds the address of one that it fetches from.
    pub dht: Dht,
    /// Peers to which an author sends its own records at once; the daemon's gossip takes all that it
    /// is connected to (flood publishing), 64 at most.
    pub flood: u32,
    /// Hand every record and block to every machine, also where that changes nothing. Slow, with the
    /// same outputs: what the short cuts are tested against.
    pub deliver_all: bool,
}

/// What delays are made of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum UnderlayKind {
    /// The same delay everywhere.
    #[default]
    Uniform,
    /// Regions with delays between them.
    Matrix,
    /// Points whose distance is the delay.
    Coords,
    /// Measured round trips between hosts.
    Trace,
}

/// How addresses are found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Dht {
    /// They are known.
    #[default]
    None,
    /// By a lookup in Kademlia tables before each fetch; peers that are offline cost timeouts.
    Kademlia,
}

/// How transfers share lines.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Bandwidth {
    /// Not at all: each has the whole line.
    None,
    /// One after the other, up and down.
    #[default]
    Fifo,
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
    /// Share of those who come and go that are there in the evening of their place only, every day,
    /// whatever the model.
    pub evening: f64,
    /// When their evening begins, by the clock of their place (each an hour earlier to later).
    pub evening_from: Span,
    /// When it ends.
    pub evening_until: Span,
}

/// Distribution of the time that a node is online.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ChurnModel {
    /// Nobody comes and goes.
    #[default]
    None,
    /// Exponential: how long one will stay does not depend on how long it was there.
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
    /// Length of the smallest pack.
    pub pack_min: Size,
    /// Length of the largest pack.
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
    /// Blocks in which a commitment must be included.
    pub commit_blocks: u64,
    /// Blocks after an epoch in which its records may still be included.
    pub settle_blocks: u64,
    /// Blocks of the challenge window of a settlement.
    pub challenge_blocks: u64,
    /// Blocks after which the arbiter, who recomputes, rules on an objection; 0 for never.
    pub arbiter_blocks: u64,
    /// Blocks that a transaction waits beyond the next one, on average.
    pub inclusion_blocks: f64,
    /// Epochs between two claims of an account, which take turns; 0 for none.
    pub claim_epochs: u64,
    /// Stake that a sponsor puts behind every node, in OPEN; less where it has less for each. Who proposes a
    /// settlement locks what an epoch emits: 10,000, or a third of the stake.
    pub stake: u64,
    /// OPEN below which a stake counts for nothing.
    pub least_stake: u64,
    /// Blocks that have to be above one before nodes read it; the daemon reads the newest.
    pub confirmations: u32,
    /// Chance of each block that it replaces blocks below it. Their transactions wait for it; nodes
    /// that have read them stop and are started again.
    pub reorg: f64,
    /// Blocks that are replaced then, on average (geometric).
    pub reorg_depth: f64,
    /// Most blocks that are replaced at once.
    pub reorg_limit: u64,
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
            training: Training::default(),
            inference: Inference::default(),
            economics: Economics::default(),
            quantum: Span(1),
            events: Vec::new(),
            adversaries: vec![AdversaryPlan::new(adversary::LAZY_STORAGE, 0.1)],
        }
    }
}

impl Default for Population {
    fn default() -> Self {
        Self { preset: None, nodes: 1000, offline: 0.0, regions: BTreeMap::new() }
    }
}

impl Default for Net {
    fn default() -> Self {
        Self {
            underlay: UnderlayKind::Uniform,
            data: None,
            latency: Span::millis(80),
            jitter: 0.5,
            loss: 0.01,
            pull: Span::seconds(2),
            bandwidth: Bandwidth::Fifo,
            down_mbit: 20.0,
            up_mbit: 20.0,
            spread: 0.0,
            nat: 0.0,
            symmetric: 0.1,
            punched: 0.7,
            relay_mbit: 4.0,
            dht: Dht::None,
            flood: 8,
            deliver_all: false,
        }
    }
}

impl Default for Churn {
    fn default() -> Self {
        Self {
            model: ChurnModel::None,
            share: 1.0,
            // `sessions-ipfs-2022`.
            session: Span::seconds(13_176),
            shape: 0.61,
            pause: Span::hours(2),
            diurnal: 0.0,
            evening: 0.0,
            evening_from: span_of_hours(data::shipped("evenings-home-2025", "from")),
            evening_until: span_of_hours(data::shipped("evenings-home-2025", "until")),
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
        Self {
            block: Span::seconds(2),
            epoch_blocks: 60,
            commit_blocks: 20,
            settle_blocks: 8,
            challenge_blocks: 12,
            arbiter_blocks: 10,
            inclusion_blocks: 0.0,
            claim_epochs: 1,
            stake: 30_000,
            least_stake: 1,
            confirmations: 0,
            reorg: 0.0,
            reorg_depth: 1.5,
            reorg_limit: 32,
        }
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

/// OPEN that a sponsor has for the stakes of the nodes that begin.
const STAKES: u64 = 600_000_000;

impl Scenario {
    /// The network's parameters.
    pub fn params(&self) -> Params {
        let mut params = Params::minimal();
        params.holding.replicas = self.holding.replicas;
        params.holding.auditors = self.holding.auditors;
        params.holding.opened_cells = self.holding.opened_cells;
        let least = u128::from(self.chain.least_stake.max(1));
        params.economics.min_stake = Amount(least * Amount::ONE_OPEN.0);
        self.training.rule(&mut params);
        params
    }

    /// How blocks make epochs, from a genesis block on.
    pub const fn schedule(&self, genesis_block: protocol::BlockNumber) -> Schedule {
        Schedule {
            genesis_block,
            epoch_blocks: Blocks(self.chain.epoch_blocks),
            commit_blocks: Blocks(self.chain.commit_blocks),
            settle_blocks: Blocks(self.chain.settle_blocks),
            challenge_blocks: Blocks(self.chain.challenge_blocks),
        }
    }

    /// Stake behind every node.
    pub fn stake(&self) -> Amount {
        let most = STAKES / u64::from(self.population.nodes.max(1));
        Amount(u128::from(self.chain.stake.min(most)) * Amount::ONE_OPEN.0)
    }

    /// Emission of an epoch. A proposer locks as much, so a node can do so, and lose it a few times.
    pub fn budget(&self) -> Amount {
        let most = Amount(10_000 * Amount::ONE_OPEN.0);
        match self.stake() {
            Amount::ZERO => most,
            stake => most.min(Amount(stake.0 / 3)),
        }
    }

    /// Share of nodes that some adversary runs.
    pub(crate) fn adverse(&self) -> f64 {
        self.adversaries.iter().map(|plan| plan.share).sum()
    }

    /// Time of an epoch.
    pub(crate) const fn epoch_span(&self) -> Span {
        Span(self.chain.block.0.saturating_mul(self.chain.epoch_blocks))
    }
}
