//! The real small model at work, as `training.real_compute` asks for.
//!
//! The data is text, payloads and checkpoints are what the daemon would publish, and a wrong payload
//! is found by doing the work again. What one node computes another would compute to the same bits,
//! so each shard and each step is done once and remembered by its inputs.

use std::collections::BTreeMap;

use compute::{
    attribute::{Sketch, SketchPart},
    data::{Text, texts},
    device::Engine,
    formats::{Tokenizer, TokenizerError},
    model::ModelConfig,
    run::{RunData, RunError, sketch_spec},
    train::{ShardSize, TrainingPreset, eval, update::compress},
};
use protocol::{
    AccountId, BlobRef, DatanetId, Digest, Hash, ModelId,
    chain::ChainView,
    hash::{keccak, leading_u64},
    model::RunModel,
    node::Failure,
    record::ReplayReport,
    training::{RunConfig, ShardTask},
};

use super::backend::{Backend, Disk, Inputs, Made, SAME};
use crate::{
    kernel::{Purpose, Stream, Streams},
    nodes::SharedBlobs,
    scenario::Training,
};

/// Optimiser steps of a shard.
const STEPS: u32 = 12;
/// Units over which losses are measured.
const MEASURED: usize = 64;

/// The model, and what was computed so far.
pub(super) struct Real {
    engine: Engine,
    /// Address and length of the tokenizer.
    tokenizer: BlobRef,
    texts: Vec<Text>,
    runs: BTreeMap<ModelId, Run>,
    shards: BTreeMap<Digest, Made>,
    steps: BTreeMap<(ModelId, Hash, Vec<Hash>), Hash>,
}

struct Run {
    data: RunData,
    first: Hash,
}

fn local(_: impl std::error::Error) -> Failure {
    Failure::Local
}

fn failure(error: RunError) -> Failure {
    error.failure()
}

fn bytes(blobs: &SharedBlobs, hash: Hash) -> Result<impl AsRef<[u8]> + use<>, Failure> {
    blobs.get(hash).ok_or(Failure::Unavailable)
}

/// The text of all units that were contributed.
fn read(view: &ChainView, blobs: &SharedBlobs) -> Vec<Text> {
    let mut all = Vec::new();
    let Some(head) = view.head() else { return all };
    for part in view.snapshot(DatanetId(1), head.number.next()) {
        let packs: Vec<_> = part.packs.iter().filter_map(|pack| blobs.get(pack.hash)).collect();
        all.extend(texts(&packs, view.params().unit_bytes, part.account));
    }
    all
}

impl Real {
    /// Reads the data and trains the tokenizer of all runs on it, as developers do.
    pub(super) fn new(view: &ChainView, blobs: &mut SharedBlobs) -> Result<Self, RealError> {
        let texts = read(view, blobs);
        let vocab = ModelConfig::nano().vocab;
        let tokenizer = Tokenizer::train(texts.iter().map(|(_, _, text)| text.as_str()), vocab)?;
        let length = tokenizer.to_bytes().len() as u64;
        let hash = blobs.publish(tokenizer.to_bytes().to_vec())?;
        Ok(Self {
            engine: Engine::cpu(),
            tokenizer: BlobRef { hash, length },
            texts,
            runs: BTreeMap::new(),
            shards: BTreeMap::new(),
            steps: BTreeMap::new(),
        })
    }

    /// What the inputs give, by computing it if nobody has yet.
    fn known(&mut self, disk: &mut Disk<'_>, inputs: &Inputs<'_>) -> Result<Made, Failure> {
        let key = inputs.digest();
        if let Some(made) = self.shards.get(&key) {
            return Ok(*made);
        }
        let run = &self.runs.get(&inputs.model).ok_or(Failure::Unavailable)?.data;
        let base = bytes(disk.blobs, inputs.base)?;
        let shard = match inputs.task {
            ShardTask::Train => {
                run.train(&self.engine, base.as_ref(), inputs.round, (inputs.units, inputs.seed))
            }
            ShardTask::Sketch => {
                let base = run.weights(base.as_ref()).map_err(failure)?;
                run.capture(&self.engine, &base, inputs.units)
            }
        };
        let shard = shard.map_err(failure)?;
        let length = u32::try_from(shard.payload.len()).map_err(local)?;
        let payload = disk.put(shard.payload)?;
        let (loss_first, loss_last, tokens) = (shard.loss_first, shard.loss_last, shard.tokens);
        let made = Made { payload, length, loss_first, loss_last, tokens };
        self.shards.insert(key, made);
        Ok(made)
    }
}

/// The real model could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum RealError {
    /// The generated text makes no tokenizer.
    #[error(
        "the generated text makes no tokenizer ({0}); raise workload.packs or workload.pack_min"
    )]
    Text(#[from] TokenizerError),
    /// The tokenizer could not be stored.
    #[error(transparent)]
    Store(#[from] storage::StoreError),
}

impl Backend for Real {
    fn order(&self, run: u32, training: &Training) -> RunConfig {
        let preset = TrainingPreset::demo();
        let size = ShardSize { steps: STEPS, ..preset.size() };
        let order = preset.order(RunModel::Preset(0), self.tokenizer, run.into(), size);
        RunConfig { rounds: training.rounds, units_per_shard: training.units, ..order }
    }

    fn prepare(
        &mut self,
        mut disk: Disk<'_>,
        model: ModelId,
        order: &[u8],
    ) -> Result<Hash, Failure> {
        if let Some(run) = self.runs.get(&model) {
            disk.blobs.hold(disk.node, run.first);
            return Ok(run.first);
        }
        let tokenizer = bytes(disk.blobs, self.tokenizer.hash)?;
        let data =
            RunData::read(order, tokenizer.as_ref(), None, self.texts.clone()).map_err(failure)?;
        let first = disk.put(data.initial().map_err(failure)?.to_bytes())?;
        self.runs.insert(model, Run { data, first });
        Ok(first)
    }

    fn compute(&mut self, mut disk: Disk<'_>, inputs: &Inputs<'_>) -> Result<Made, Failure> {
        let made = self.known(&mut disk, inputs)?;
        disk.blobs.hold(disk.node, made.payload);
        Ok(made)
    }

    fn forge(
        &mut self,
        mut disk: Disk<'_>,
        inputs: &Inputs<'_>,
        worker: AccountId,
    ) -> Result<Made, Failure> {
        let run = &self.runs.get(&inputs.model).ok_or(Failure::Unavailable)?.data;
        let seed = keccak(&[b"forged", &worker.0.to_be_bytes(), &inputs.digest().0]);
        let draws = &mut Streams::new(leading_u64(&seed)).stream(0, Purpose::MadeUp);
        let made_up = match inputs.task {
            ShardTask::Train => made_up_update(run, draws)?,
            ShardTask::Sketch => {
                let base = bytes(disk.blobs, inputs.base)?;
                made_up_sketches(run, base.as_ref(), inputs.units, draws)?
            }
        };
        let length = u32::try_from(made_up.len()).map_err(local)?;
        let payload = disk.put(made_up)?;
        Ok(Made { payload, length, loss_first: 6_000_000, loss_last: 5_000_000, tokens: 1_000 })
    }

    fn replay(
        &mut self,
        mut disk: Disk<'_>,
        inputs: &Inputs<'_>,
        claimed: Hash,
    ) -> Result<ReplayReport, Failure> {
        let own = self.known(&mut disk, inputs)?;
        if own.payload == claimed {
            return Ok(SAME);
        }
        let run = &self.runs.get(&inputs.model).ok_or(Failure::Unavailable)?.data;
        let wrong = bytes(disk.blobs, claimed)?;
        let report = match inputs.task {
            ShardTask::Train => {
                run.compare(wrong.as_ref(), bytes(disk.blobs, own.payload)?.as_ref())
            }
            ShardTask::Sketch => {
                let base = bytes(disk.blobs, inputs.base)?;
                let base = run.weights(base.as_ref()).map_err(failure)?;
                let secret = keccak(&[b"secret", &disk.node.to_be_bytes(), &claimed.0]);
                run.audit_capture(&self.engine, &base, inputs.units, wrong.as_ref(), &secret)
            }
        };
        report.map_err(failure)
    }

    fn step(
        &mut self,
        mut disk: Disk<'_>,
        model: ModelId,
        base: Hash,
        payloads: &[Hash],
    ) -> Result<Hash, Failure> {
        let key = (model, base, payloads.to_vec());
        if let Some(next) = self.steps.get(&key) {
            disk.blobs.hold(disk.node, *next);
            return Ok(*next);
        }
        let run = &self.runs.get(&model).ok_or(Failure::Unavailable)?.data;
        let updates = payloads.iter().map(|payload| bytes(disk.blobs, *payload));
        let updates: Vec<_> = updates.collect::<Result<_, _>>()?;
        let start = bytes(disk.blobs, base)?;
        let next = run.aggregate(start.as_ref(), &updates).map_err(failure)?;
        let next = disk.put(next.to_bytes())?;
        self.steps.insert(key, next);
        Ok(next)
    }

    fn checkpoint_bytes(&self) -> u64 {
        4 * ModelConfig::nano().parameters()
    }

    #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
    fn losses(&self, blobs: &SharedBlobs, model: ModelId, last: Hash) -> Option<(f64, f64)> {
        let run = self.runs.get(&model)?;
        let units = run.data.units.iter().take(MEASURED).map(|unit| unit.tokens.clone());
        let units: Vec<_> = units.collect();
        let loss = |checkpoint: Hash| {
            let weights = run.data.weights(blobs.get(checkpoint)?.as_ref()).ok()?;
            let model = run.data.model(&weights).ok()?;
            let report = eval::model(&self.engine, &model, &units).ok()?;
            Some(report.loss as f64 / 1e6)
        };
        Some((loss(run.first)?, loss(last)?))
    }
}

/// An update whose changes were drawn.
fn made_up_update(run: &RunData, draws: &mut Stream) -> Result<Vec<u8>, Failure> {
    #[expect(clippy::cast_precision_loss, reason = "a small number")]
    let mut change = || (draws.below(2_001) as f32 - 1_000.0) / 1e6;
    let change: Vec<f32> = (0..run.trained()).map(|_| change()).collect();
    Ok(compress(&change, run.config.top_k).map_err(local)?.to_bytes())
}

/// Sketches of the right units whose values were drawn.
fn made_up_sketches(
    run: &RunData,
    base: &[u8],
    units: &[u32],
    draws: &mut Stream,
) -> Result<Vec<u8>, Failure> {
    let spec = sketch_spec(&run.weights(base).map_err(failure)?);
    let known = units.iter().filter_map(|unit| run.units.get(*unit as usize));
    let sketches = known.map(|unit| {
        let mut values = vec![0; spec.dims()];
        draws.fill(&mut values);
        Sketch {
            unit: unit.hash,
            tokens: u32::try_from(unit.tokens.len()).unwrap_or(u32::MAX),
            exponents: vec![-10; spec.blocks()],
            values: values.into_iter().map(|value| i8::from_be_bytes([value])).collect(),
        }
    });
    let first = units.first().copied().unwrap_or(0);
    Ok(SketchPart { spec: spec.id(), first, sketches: sketches.collect() }.encode())
}
