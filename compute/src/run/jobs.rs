//! The jobs of a run, each as a function of bytes.

use std::sync::Arc;

use protocol::math::PPM;
use protocol::record::ReplayReport;
use protocol::{Digest, Round};

use super::data::RunData;
use super::error::RunError;
use super::weights::Weights;
use crate::attribute::{
    AdapterCaptureError, CaptureUnit, Capturer, LeafRule, SketchPart, SketchSpec,
};
use crate::device::Engine;
use crate::lora::AdapterError;
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
        let (checkpoint, adapter) = match (self.weights(base)?, self.base()) {
            (Weights::Model(checkpoint), _) => (Arc::new(checkpoint), None),
            (Weights::Adapter(adapter), Some(base)) => (base.shared_checkpoint(), Some(adapter)),
            (Weights::Adapter(_), None) => return Err(RunError::NoBase),
        };
        let input = ShardInput {
            checkpoint,
            adapter,
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
    ) -> Result<Weights, RunError> {
        let weights = self.weights(base)?;
        let payloads = payloads.iter().map(|bytes| self.payload(bytes.as_ref()));
        let payloads: Vec<Payload> = payloads.collect::<Result<_, _>>()?;
        let next = outer::next_values(weights.values(), &payloads, self.config.alpha)?;
        self.with_values(&weights, next)
    }

    fn payload(&self, bytes: &[u8]) -> Result<Payload, PayloadError> {
        // A shape that was accepted has far fewer than 2^32 parameters.
        let parameters = u32::try_from(self.trained()).unwrap_or(u32::MAX);
        Payload::from_bytes(bytes, parameters, self.config.top_k)
    }

    /// Captures the sketches of a range of units.
    pub fn capture(
        &self,
        engine: &Engine,
        weights: &Weights,
        units: &[u32],
    ) -> Result<Shard, RunError> {
        let capturer = self.capturer(engine, weights, &sketch_spec(weights))?;
        let first = units.first().copied().unwrap_or(0);
        let payload = capturer.units(first, &self.capture_units(units))?.encode();
        Ok(Shard { payload, loss_first: 0, loss_last: 0, tokens: 0 })
    }

    /// Captures a sample of claimed sketches again. The sample is the auditor's secret: a worker who
    /// knew it beforehand would do no other work.
    pub fn audit_capture(
        &self,
        engine: &Engine,
        weights: &Weights,
        units: &[u32],
        claimed: &[u8],
        secret: &Digest,
    ) -> Result<ReplayReport, RunError> {
        let spec = sketch_spec(weights);
        let part = SketchPart::decode(claimed, &spec)?;
        let capturer = self.capturer(engine, weights, &spec)?;
        let first = units.first().copied().unwrap_or(0);
        let report =
            LeafRule::DEFAULT.audit(&capturer, first, &self.capture_units(units), &part, secret)?;
        let overlap = if report.refuted.is_none() { PPM } else { 0 };
        let cosine = u32::try_from(report.worst.cosine_ppm).unwrap_or(0);
        Ok(ReplayReport { overlap, cosine, norm: PPM })
    }

    /// Loads weights to be sketched under their spec.
    pub(crate) fn capturer(
        &self,
        engine: &Engine,
        weights: &Weights,
        spec: &SketchSpec,
    ) -> Result<Capturer, AdapterCaptureError> {
        match (weights, self.base()) {
            (Weights::Model(checkpoint), _) => Ok(Capturer::new(engine, checkpoint, spec)?),
            (Weights::Adapter(adapter), Some(base)) => {
                Capturer::adapter(engine, base.checkpoint(), adapter, spec)
            }
            (Weights::Adapter(_), None) => {
                Err(AdapterCaptureError::Load(AdapterError::OtherModel.into()))
            }
        }
    }

    fn capture_units(&self, units: &[u32]) -> Vec<CaptureUnit<'_>> {
        let unit = |rank: &u32| self.units.get(*rank as usize);
        let units = units.iter().filter_map(unit);
        units.map(|unit| CaptureUnit { hash: unit.hash, tokens: &unit.tokens }).collect()
    }
}

/// The sketches that a run captures of its weights.
pub fn sketch_spec(weights: &Weights) -> SketchSpec {
    match weights {
        Weights::Model(checkpoint) => {
            SketchSpec::standard(checkpoint.hash(), PROJECTION_SEED, checkpoint.config())
        }
        Weights::Adapter(adapter) => SketchSpec::of_adapter(adapter, PROJECTION_SEED),
    }
}
