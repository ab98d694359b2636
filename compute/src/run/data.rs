//! The data of a run: everything that its shards depend on, besides the checkpoint.

use protocol::codec::Wire;
use protocol::training::{RunConfig, trained_units};
use protocol::{AccountId, Hash};

use super::error::RunError;
use crate::data::Text;
use crate::data::clusters::{ClusterParams, Clusters};
use crate::formats::{Checkpoint, Tokenizer};
use crate::model::ModelConfig;
use crate::train::run_model;

/// A unit of a snapshot, read.
#[derive(Debug, Clone)]
pub struct SnapshotUnit {
    /// The address of its bytes.
    pub hash: Hash,
    /// Who contributed it.
    pub owner: AccountId,
    /// What it says, as UTF-8; bytes that are none became U+FFFD.
    pub text: String,
    /// Its token ids.
    pub tokens: Vec<u32>,
}

/// Everything that a run's shards depend on, besides the checkpoint.
#[derive(Debug)]
pub struct RunData {
    /// The run as it was ordered on the chain.
    pub config: RunConfig,
    /// The shape of the model.
    pub shape: ModelConfig,
    /// The tokenizer that the order names.
    pub tokenizer: Tokenizer,
    /// The units of the snapshot, in order of commitment.
    pub units: Vec<SnapshotUnit>,
    /// Which units repeat earlier ones: those are neither trained on, nor indexed, nor paid.
    pub clusters: Clusters,
}

impl RunData {
    /// Reads the data of an order: its tokenizer, and the text of every unit of the snapshot in order
    /// of commitment with its address and owner.
    pub fn read(order: &[u8], tokenizer: &[u8], texts: Vec<Text>) -> Result<Self, RunError> {
        let config = RunConfig::from_bytes(order).map_err(RunError::Order)?;
        let shape = run_model(&config).ok_or(RunError::Preset(config.preset))?;
        let tokenizer = Tokenizer::from_bytes(tokenizer)?;
        let snapshot = ClusterParams::of_snapshot(texts.iter().map(|(hash, _, _)| *hash));
        let contents: Vec<&str> = texts.iter().map(|(_, _, text)| text.as_str()).collect();
        let clusters = Clusters::find(&contents, &snapshot);
        let mut units = Vec::with_capacity(texts.len());
        for (hash, owner, text) in texts {
            let tokens = tokenizer.encode(&text)?;
            units.push(SnapshotUnit { hash, owner, text, tokens });
        }
        Ok(Self { config, shape, tokenizer, units, clusters })
    }

    /// Token ids of the units that are trained on, of those that a slot reads.
    pub(crate) fn tokens_of(&self, read: &[u32]) -> Vec<Vec<u32>> {
        let unit = |rank: u32| self.units.get(rank as usize);
        let length = |rank| unit(rank).map(|unit| unit.tokens.len());
        let is_repeated = |rank| !self.clusters.is_canonical(rank);
        let trained = trained_units(read, self.config.context, length, is_repeated);
        trained.into_iter().filter_map(unit).map(|unit| unit.tokens.clone()).collect()
    }

    /// The initial weights.
    pub fn initial(&self) -> Result<Checkpoint, RunError> {
        Checkpoint::init(&self.shape, self.tokenizer.hash(), self.config.seed)
            .map_err(RunError::Initial)
    }

    /// Reads a checkpoint of this run.
    pub fn checkpoint(&self, bytes: &[u8]) -> Result<Checkpoint, RunError> {
        let checkpoint = Checkpoint::from_bytes(bytes).map_err(RunError::Checkpoint)?;
        checkpoint
            .expect_model(&self.shape, self.tokenizer.hash())
            .map_err(RunError::Checkpoint)?;
        Ok(checkpoint)
    }
}
