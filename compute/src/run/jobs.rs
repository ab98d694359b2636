//! The jobs of a run, each as a function of bytes.

use std::sync::Arc;

use protocol::math::PPM;
use protocol::record::ReplayReport;
use protocol::{Digest, Round};

use super::data::RunData;
use super::error::RunError;
use crate::attribute::{CaptureUnit, Capturer, LeafRule, SketchPart, SketchSpec};
use crate::device::Engine;
use crate::formats::Checkpoint;
use crate::train::outer;
use crate::train::run_hyper;
use crate::train::shard::{self, ShardInput};
use crate::train::update::{Payload, PayloadError, compare};

/// Seed of the projections; equal for all models, since it hides nothing.
const PROJECTION_SEED: u64 = 1;

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

impl RunData {
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
