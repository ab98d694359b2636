//! A training run on one node: the data that it reads, and each of its jobs as a function of bytes.
//!
//! Whoever drives a node's machine has the bytes; what becomes of them is the same here for all
//! drivers. What others claim is never trusted: every error says whose fault it is
//! ([`RunError::failure`]).

use std::sync::Arc;

use protocol::codec::{DecodeError, Wire};
use protocol::hash::blake3;
use protocol::manifest::{Manifest, Unit};
use protocol::math::PPM;
use protocol::node::Failure;
use protocol::record::ReplayReport;
use protocol::training::{RunConfig, trained_units};
use protocol::{AccountId, Digest, Hash, Round};

use crate::attribute::{
    CaptureError, CaptureUnit, Capturer, LeafAuditError, LeafRule, PartError, SketchPart,
    SketchSpec,
};
use crate::data::clusters::{ClusterParams, Clusters};
use crate::device::Engine;
use crate::formats::{Checkpoint, CheckpointError};
use crate::formats::{Tokenizer, TokenizerError};
use crate::model::ModelConfig;
use crate::train::outer::{self, OuterError};
use crate::train::shard::{self, ShardError, ShardInput};
use crate::train::update::{CompareError, Payload, PayloadError, compare};
use crate::train::{run_hyper, run_model};

/// Seed of the projections; equal for all models, since it hides nothing.
const PROJECTION_SEED: u64 = 1;

/// The text of a unit, with its address and who contributed it.
pub type Text = (Hash, AccountId, String);

/// The text of every unit of a contribution, from the bytes of its packs in the manifest's order;
/// `None` where a unit is not in its pack.
pub fn texts<B: AsRef<[u8]>>(
    manifest: &Manifest,
    packs: &[B],
    owner: AccountId,
) -> Option<Vec<Text>> {
    let text = |unit: &Unit| {
        let (from, to) =
            (unit.offset as usize, (unit.offset as usize).checked_add(unit.length as usize)?);
        let bytes = packs.get(unit.pack as usize)?.as_ref().get(from..to)?;
        Some((blake3(bytes), owner, String::from_utf8_lossy(bytes).into_owned()))
    };
    manifest.units.iter().map(text).collect()
}

/// A unit of a snapshot, read.
#[derive(Debug, Clone)]
pub struct SnapshotUnit {
    /// The address of its bytes.
    pub hash: Hash,
    /// Who contributed it.
    pub owner: AccountId,
    /// Its text.
    pub text: String,
    /// Its token ids.
    pub tokens: Vec<u32>,
}

/// Everything that a run's shards depend on, besides the checkpoint.
#[derive(Debug)]
pub struct RunData {
    /// The order.
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

/// A shard or sketches, before they are a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shard {
    /// The bytes of the update or of the sketches.
    pub payload: Vec<u8>,
    /// Mean loss of the first step, in millionths of a nat per token; 0 of sketches.
    pub loss_first: u32,
    /// Mean loss of the last step, likewise.
    pub loss_last: u32,
    /// Tokens that were trained on.
    pub tokens: u32,
}

/// Why a job of a run gives nothing.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The order is no run, or not one within its limits.
    #[error("the order of the run cannot be read: {0:?}")]
    Order(DecodeError),
    /// No model has that number.
    #[error("there is no preset {0} of a model")]
    Preset(u8),
    /// The run's tokenizer cannot be used.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// The run has no initial checkpoint.
    #[error("the run has no initial checkpoint: {0}")]
    Initial(CheckpointError),
    /// A checkpoint cannot be used.
    #[error("a checkpoint cannot be used: {0}")]
    Checkpoint(CheckpointError),
    /// The shard could not be computed.
    #[error("a shard could not be computed: {0}")]
    Shard(#[from] ShardError),
    /// An update is malformed.
    #[error("a payload is malformed: {0}")]
    Payload(#[from] PayloadError),
    /// Updates of different runs.
    #[error(transparent)]
    Compare(#[from] CompareError),
    /// The outer step failed.
    #[error("the outer step failed: {0}")]
    Outer(#[from] OuterError),
    /// The sketches could not be captured.
    #[error(transparent)]
    Capture(#[from] CaptureError),
    /// Claimed sketches are malformed.
    #[error(transparent)]
    Part(#[from] PartError),
    /// Claimed sketches could not be audited.
    #[error(transparent)]
    LeafAudit(#[from] LeafAuditError),
}

impl RunError {
    /// What the machine is told: whether the bytes are to blame or this node.
    pub const fn failure(&self) -> Failure {
        match self {
            Self::Initial(_)
            | Self::Shard(_)
            | Self::Outer(_)
            | Self::Checkpoint(
                CheckpointError::OtherModel | CheckpointError::OtherTokenizer { .. },
            ) => Failure::Local,
            _ => Failure::Invalid,
        }
    }
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
    pub fn tokens_of(&self, read: &[u32]) -> Vec<Vec<u32>> {
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

    /// Computes a training shard.
    pub fn train(
        &self,
        engine: &Engine,
        base: &[u8],
        round: Round,
        (units, seed): (&[u32], u64),
    ) -> Result<Shard, RunError> {
        let mut seed_bytes = [0u8; 32];
        seed_bytes[..8].copy_from_slice(&seed.to_be_bytes());
        let input = ShardInput {
            checkpoint: Arc::new(self.checkpoint(base)?),
            units: self.tokens_of(units),
            seed: seed_bytes,
            hyper: run_hyper(&self.config, round.0),
        };
        let output = shard::run(engine, &input)?;
        let narrow = |value: u64| u32::try_from(value).unwrap_or(u32::MAX);
        Ok(Shard {
            payload: output.payload.to_bytes(),
            loss_first: narrow(output.loss_first),
            loss_last: narrow(output.loss_last),
            tokens: narrow(output.tokens),
        })
    }

    /// Compares a claimed update with the one that a replay gave.
    pub fn compare(&self, claimed: &[u8], replayed: &[u8]) -> Result<ReplayReport, RunError> {
        Ok(compare(&self.payload(claimed)?, &self.payload(replayed)?)?)
    }

    /// Takes the outer step; the same bits on every machine, so it needs no device.
    pub fn aggregate<B: AsRef<[u8]>>(
        &self,
        base: &[u8],
        payloads: &[B],
    ) -> Result<Checkpoint, RunError> {
        let checkpoint = self.checkpoint(base)?;
        let payloads = payloads.iter().map(|bytes| self.payload(bytes.as_ref()));
        let payloads: Vec<Payload> = payloads.collect::<Result<_, _>>()?;
        Ok(outer::step(&checkpoint, &payloads, self.config.alpha)?)
    }

    fn payload(&self, bytes: &[u8]) -> Result<Payload, PayloadError> {
        // A shape that was accepted has far fewer than 2^32 parameters.
        let parameters = u32::try_from(self.shape.parameters()).unwrap_or(u32::MAX);
        Payload::from_bytes(bytes, parameters, self.config.top_k)
    }

    /// Captures the sketches of a range of units.
    pub fn capture(
        &self,
        engine: &Engine,
        checkpoint: &Checkpoint,
        units: &[u32],
    ) -> Result<Shard, RunError> {
        let capturer = Capturer::new(engine, checkpoint, &sketch_spec(checkpoint))?;
        let first = units.first().copied().unwrap_or(0);
        let payload = capturer.units(first, &self.capture_units(units))?.encode();
        Ok(Shard { payload, loss_first: 0, loss_last: 0, tokens: 0 })
    }

    /// Captures a sample of claimed sketches again. The sample is the auditor's secret: a worker who
    /// knew it beforehand would do no other work.
    pub fn audit_capture(
        &self,
        engine: &Engine,
        checkpoint: &Checkpoint,
        units: &[u32],
        claimed: &[u8],
        secret: &Digest,
    ) -> Result<ReplayReport, RunError> {
        let spec = sketch_spec(checkpoint);
        let part = SketchPart::decode(claimed, &spec)?;
        let capturer = Capturer::new(engine, checkpoint, &spec)?;
        let first = units.first().copied().unwrap_or(0);
        let report =
            LeafRule::DEFAULT.audit(&capturer, first, &self.capture_units(units), &part, secret)?;
        let overlap = if report.refuted.is_none() { PPM } else { 0 };
        let cosine = u32::try_from(report.worst.cosine_ppm).unwrap_or(0);
        Ok(ReplayReport { overlap, cosine, norm: PPM })
    }

    fn capture_units(&self, units: &[u32]) -> Vec<CaptureUnit<'_>> {
        let unit = |rank: &u32| self.units.get(*rank as usize);
        let units = units.iter().filter_map(unit);
        units.map(|unit| CaptureUnit { hash: unit.hash, tokens: &unit.tokens }).collect()
    }
}

/// The sketches that a run captures of a checkpoint.
pub fn sketch_spec(checkpoint: &Checkpoint) -> SketchSpec {
    SketchSpec::standard(checkpoint.hash(), PROJECTION_SEED, checkpoint.config())
}
