//! The data of a run: everything that its shards depend on, besides the checkpoint.

use std::borrow::Cow;

use protocol::codec::Wire;
use protocol::model::RunModel;
use protocol::training::{RunConfig, trained_units};
use protocol::{AccountId, Hash};

use super::base::{BaseFiles, OwnBase};
use super::error::RunError;
use super::weights::Weights;
use crate::data::Text;
use crate::data::clusters::{ClusterParams, Clusters};
use crate::formats::{Base, BaseError, Checkpoint, Message, Tokenizer};
use crate::lora::{Adapter, AdapterError};
use crate::model::ModelConfig;
use crate::train::preset;

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
    /// The base whose adapter is trained, where it is one.
    pub(super) base: Option<OwnBase>,
}

impl RunData {
    /// Reads the data of an order: its tokenizer, the text of every unit of the snapshot in order of
    /// commitment with its address and owner, and the base whose adapter it trains, if it does.
    pub fn read(
        order: &[u8],
        tokenizer: &[u8],
        base: Option<BaseFiles<'_>>,
        texts: Vec<Text>,
    ) -> Result<Self, RunError> {
        let config = RunConfig::from_bytes(order).map_err(RunError::Order)?;
        let (shape, base) = match &config.model {
            RunModel::Preset(number) => (preset(*number).ok_or(RunError::Preset(*number))?, None),
            RunModel::Adapter(order) => {
                let base = OwnBase::read(order, tokenizer, base.ok_or(RunError::NoBase)?)?;
                (base.id.model.clone(), Some(base))
            }
        };
        let tokenizer = Tokenizer::from_bytes(tokenizer)?;
        let snapshot = ClusterParams::of_snapshot(texts.iter().map(|(hash, _, _)| *hash));
        let contents: Vec<&str> = texts.iter().map(|(_, _, text)| text.as_str()).collect();
        let clusters = Clusters::find(&contents, &snapshot);
        let mut units = Vec::with_capacity(texts.len());
        for (hash, owner, text) in texts {
            let tokens = tokenizer.encode(&text)?;
            units.push(SnapshotUnit { hash, owner, text, tokens });
        }
        Ok(Self { config, shape, tokenizer, units, clusters, base })
    }

    /// Token ids of the units that are trained on, of those that a slot reads.
    pub(crate) fn tokens_of(&self, read: &[u32]) -> Vec<Vec<u32>> {
        let unit = |rank: u32| self.units.get(rank as usize);
        let length = |rank| unit(rank).map(|unit| unit.tokens.len());
        let is_repeated = |rank| !self.clusters.is_canonical(rank);
        let trained = trained_units(read, self.config.context, length, is_repeated);
        trained.into_iter().filter_map(unit).map(|unit| unit.tokens.clone()).collect()
    }

    /// The base whose adapter is trained; none where a whole model is.
    pub fn base(&self) -> Option<&Base> {
        self.base.as_ref().map(|own| &own.base)
    }

    /// Number of parameters that are trained.
    pub fn trained(&self) -> u64 {
        match &self.base {
            None => self.shape.parameters(),
            Some(own) => own.lora.parameters(&self.shape),
        }
    }

    /// Token ids of a text that the model shall go on from.
    pub fn prompt(&self, text: &str) -> Result<Vec<u32>, BaseError> {
        match self.base() {
            None => Ok(self.tokenizer.encode(text)?),
            Some(base) => base.text(text),
        }
    }

    /// Token ids of a conversation, up to where the model's answer begins.
    pub fn chat(&self, messages: &[Message]) -> Result<Vec<u32>, BaseError> {
        let none = || BaseError::NoTemplate("a model trained from nothing".to_owned());
        self.base().ok_or_else(none)?.chat(messages)
    }

    /// Tokens that end an answer, ascending.
    pub fn ends(&self) -> &[u32] {
        self.base().map_or(&[], |base| &base.card().ends)
    }

    /// The initial weights.
    pub fn initial(&self) -> Result<Weights, RunError> {
        let seed = self.config.seed;
        match &self.base {
            None => Checkpoint::init(&self.shape, self.tokenizer.hash(), seed)
                .map(Weights::Model)
                .map_err(RunError::Initial),
            Some(own) => Ok(Weights::Adapter(Adapter::init(&own.id, &own.lora, seed)?)),
        }
    }

    /// Reads weights of this run.
    pub fn weights(&self, bytes: &[u8]) -> Result<Weights, RunError> {
        let Some(own) = &self.base else {
            let checkpoint = Checkpoint::from_bytes(bytes).map_err(RunError::Checkpoint)?;
            let fits = checkpoint.expect_model(&self.shape, self.tokenizer.hash());
            fits.map_err(RunError::Checkpoint)?;
            return Ok(Weights::Model(checkpoint));
        };
        let adapter = Adapter::from_bytes(bytes)?;
        adapter.expect_base(&own.id)?;
        match *adapter.config() == own.lora {
            true => Ok(Weights::Adapter(adapter)),
            false => Err(AdapterError::OtherModel.into()),
        }
    }

    /// Weights of the same kind with other values.
    pub(super) fn with_values(
        &self,
        weights: &Weights,
        values: Vec<f32>,
    ) -> Result<Weights, RunError> {
        Ok(match weights {
            Weights::Model(old) => {
                let next = Checkpoint::from_values(old.config(), old.tokenizer(), values);
                Weights::Model(next.map_err(RunError::Checkpoint)?)
            }
            Weights::Adapter(old) => {
                Weights::Adapter(Adapter::from_values(old.base(), old.config(), values)?)
            }
        })
    }

    /// The whole model that weights make: of an adapter, with its base.
    pub fn model<'a>(&self, weights: &'a Weights) -> Result<Cow<'a, Checkpoint>, AdapterError> {
        match (weights, &self.base) {
            (Weights::Model(checkpoint), _) => Ok(Cow::Borrowed(checkpoint)),
            (Weights::Adapter(adapter), Some(own)) => {
                Ok(Cow::Owned(adapter.merged(own.base.checkpoint())?))
            }
            (Weights::Adapter(_), None) => Err(AdapterError::OtherModel),
        }
    }
}
