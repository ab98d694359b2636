//! What is simulated: sizes, shares, times. Checked before anything starts.

use protocol::params::{Params, Schedule};
use serde::{Deserialize, Serialize};

/// Epochs before the first one in which packs are placed: placement takes those who were there two
/// epochs before.
pub(crate) const WARM_UP_EPOCHS: u64 = 2;

/// Parameters of one run. Times are integers; shares are ratios between 0 and 1.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Scenario {
    /// Nodes of all kinds.
    pub nodes: u32,
    /// Epochs in which storage is proven, after the two in which the network forms.
    pub epochs: u64,
    /// From which every random draw follows.
    pub seed: u64,
    /// One-way delay between two nodes, in milliseconds.
    pub latency_ms: u64,
    /// Delays vary by up to this share of themselves, both ways.
    pub jitter: f64,
    /// Share of gossip deliveries and of single requests that are lost.
    pub loss: f64,
    /// Paid replicas of a pack.
    pub replicas: u32,
    /// Share of nodes that are never online or leave for good.
    pub offline: f64,
    /// Share of nodes that claim everything and store nothing.
    pub lazy: f64,
    /// Packs in the network.
    pub packs: u32,
    /// Smallest pack, in KiB.
    pub pack_min_kib: u64,
    /// Largest pack, in KiB.
    pub pack_max_kib: u64,
    /// Accounts among which the packs are divided.
    pub contributors: u32,
    /// Bandwidth of a transfer, in Mbit/s.
    pub bandwidth_mbit: u64,
    /// Time between blocks, in milliseconds.
    pub block_ms: u64,
    /// Blocks of an epoch.
    pub epoch_blocks: u64,
    /// Blocks in which a commitment must be anchored.
    pub commit_blocks: u64,
    /// Blocks of the challenge window of a settlement.
    pub challenge_blocks: u64,
}

impl Default for Scenario {
    fn default() -> Self {
        Self {
            nodes: 1000,
            epochs: 5,
            seed: 7,
            latency_ms: 80,
            jitter: 0.5,
            loss: 0.01,
            replicas: 3,
            offline: 0.1,
            lazy: 0.1,
            packs: 300,
            pack_min_kib: 16,
            pack_max_kib: 64,
            contributors: 10,
            bandwidth_mbit: 20,
            block_ms: 2_000,
            epoch_blocks: 60,
            commit_blocks: 20,
            challenge_blocks: 12,
        }
    }
}

/// A scenario that cannot be.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ScenarioError {
    /// A count that must not be zero is.
    #[error("{0} must be at least 1")]
    Zero(&'static str),
    /// Not a share.
    #[error("{name} is {value}; it has to be from 0 to 1")]
    NotAShare {
        /// Which.
        name: &'static str,
        /// What it is.
        value: f64,
    },
    /// Certain loss would stop every transfer.
    #[error("a loss of 1 lets nothing through; it has to be below 1")]
    TotalLoss,
    /// More faulty nodes than nodes.
    #[error("offline and lazy shares add up to {0}; they have to leave honest nodes (below 1)")]
    NobodyHonest(f64),
    /// Every pack needs distinct holders.
    #[error("{replicas} replicas need at least as many nodes; there are {nodes}")]
    TooFewNodes {
        /// Nodes.
        nodes: u32,
        /// Replicas.
        replicas: u32,
    },
    /// Beyond the protocol's own limits or what this version can hold.
    #[error("{name} is {value}; at most {limit} is possible")]
    TooLarge {
        /// Which.
        name: &'static str,
        /// What it is.
        value: u64,
        /// The limit.
        limit: u64,
    },
    /// The smallest pack is larger than the largest.
    #[error("the smallest pack has {min} KiB and the largest {max}")]
    PackSizes {
        /// Smallest.
        min: u64,
        /// Largest.
        max: u64,
    },
    /// A contributor would have nothing.
    #[error("{contributors} contributors cannot share {packs} packs; each needs one")]
    TooManyContributors {
        /// Contributors.
        contributors: u32,
        /// Packs.
        packs: u32,
    },
    /// An epoch must hold its commitment, its audits and the settlement of the one before.
    #[error("an epoch of {epoch_blocks} blocks is too short; with these windows it needs {needed}")]
    EpochTooShort {
        /// Blocks of an epoch.
        epoch_blocks: u64,
        /// Blocks that the windows need.
        needed: u64,
    },
}

const MAX_NODES: u64 = 100_000;
const MAX_PACKS: u64 = 100_000;
const MAX_EPOCHS: u64 = 10_000;
const MAX_MILLIS: u64 = 3_600_000;

impl Scenario {
    /// The network's parameters.
    pub fn params(&self) -> Params {
        let mut params = Params::minimal();
        params.holding.replicas = self.replicas;
        params
    }

    /// How blocks make epochs, from a genesis block on.
    pub const fn schedule(&self, genesis_block: protocol::BlockNumber) -> Schedule {
        Schedule {
            genesis_block,
            epoch_blocks: self.epoch_blocks,
            commit_blocks: self.commit_blocks,
            challenge_blocks: self.challenge_blocks,
        }
    }

    /// Checks that the scenario is possible.
    ///
    /// # Errors
    /// [`ScenarioError`] naming the first thing that is not.
    pub fn check(&self) -> Result<(), ScenarioError> {
        self.check_counts()?;
        self.check_shares()?;
        self.check_sizes()?;
        self.check_windows()
    }

    fn check_counts(&self) -> Result<(), ScenarioError> {
        let counts = [
            ("nodes", u64::from(self.nodes)),
            ("epochs", self.epochs),
            ("replicas", u64::from(self.replicas)),
            ("packs", u64::from(self.packs)),
            ("contributors", u64::from(self.contributors)),
            ("pack-min-kib", self.pack_min_kib),
            ("bandwidth-mbit", self.bandwidth_mbit),
            ("block-ms", self.block_ms),
            ("commit-blocks", self.commit_blocks),
            ("challenge-blocks", self.challenge_blocks),
        ];
        match counts.into_iter().find(|(_, value)| *value == 0) {
            Some((name, _)) => Err(ScenarioError::Zero(name)),
            None => Ok(()),
        }
    }

    fn check_shares(&self) -> Result<(), ScenarioError> {
        let shares = [
            ("loss", self.loss),
            ("jitter", self.jitter),
            ("offline", self.offline),
            ("lazy", self.lazy),
        ];
        for (name, value) in shares {
            if !(0.0..=1.0).contains(&value) {
                return Err(ScenarioError::NotAShare { name, value });
            }
        }
        if self.loss >= 1.0 {
            return Err(ScenarioError::TotalLoss);
        }
        let faulty = self.offline + self.lazy;
        if faulty >= 1.0 { Err(ScenarioError::NobodyHonest(faulty)) } else { Ok(()) }
    }

    fn check_sizes(&self) -> Result<(), ScenarioError> {
        let limits = [
            ("nodes", u64::from(self.nodes), MAX_NODES),
            ("epochs", self.epochs, MAX_EPOCHS),
            ("packs", u64::from(self.packs), MAX_PACKS),
            ("pack-max-kib", self.pack_max_kib, self.params().holding.max_pack >> 10),
            ("latency-ms", self.latency_ms, MAX_MILLIS),
            ("block-ms", self.block_ms, MAX_MILLIS),
            ("epoch-blocks", self.epoch_blocks, 1 << 20),
            ("commit-blocks", self.commit_blocks, 1 << 20),
            ("challenge-blocks", self.challenge_blocks, 1 << 20),
        ];
        for (name, value, limit) in limits {
            if value > limit {
                return Err(ScenarioError::TooLarge { name, value, limit });
            }
        }
        if self.pack_min_kib > self.pack_max_kib {
            let (min, max) = (self.pack_min_kib, self.pack_max_kib);
            return Err(ScenarioError::PackSizes { min, max });
        }
        if self.contributors > self.packs {
            let (contributors, packs) = (self.contributors, self.packs);
            return Err(ScenarioError::TooManyContributors { contributors, packs });
        }
        if self.replicas > self.nodes {
            let (nodes, replicas) = (self.nodes, self.replicas);
            return Err(ScenarioError::TooFewNodes { nodes, replicas });
        }
        Ok(())
    }

    fn check_windows(&self) -> Result<(), ScenarioError> {
        let params = self.params();
        let epoch_blocks = self.epoch_blocks;
        let proving = self.commit_blocks + params.holding.audit_blocks + 4;
        let settling = params.settle_delay_blocks + self.challenge_blocks + 4;
        let needed = proving.max(settling);
        if epoch_blocks < needed {
            return Err(ScenarioError::EpochTooShort { epoch_blocks, needed });
        }
        Ok(())
    }
}
