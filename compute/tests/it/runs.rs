//! An adapter's run on one node: every job as a function of bytes.

use std::sync::Arc;

use compute::data::Text;
use compute::device::Engine;
use compute::formats::Checkpoint;
use compute::formats::import::{self, Imported, Options};
use compute::lora::Adapter;
use compute::model::{ModelConfig, shape_of};
use compute::run::{BaseFiles, RunData, RunError, Shard, Weights, sketch_spec};
use compute::serve::{Attributor, Sampling};
use compute::train::{ShardSize, TrainingPreset, eval};
use protocol::codec::Wire;
use protocol::model::{AdapterOrder, RunModel, Shape};
use protocol::node::Failure;
use protocol::params::Params;
use protocol::training::RunConfig;
use protocol::{AccountId, BlobRef, Digest, Hash, Round};

use crate::fixture;
use crate::gguf::{CONTROL, Gguf};

/// A tiny model with untrained weights, and a chat template.
fn base() -> Imported {
    let tokenizer = fixture::tokenizer();
    let vocab = tokenizer.vocab() + CONTROL.len() as u32;
    let config = ModelConfig { vocab, heads: 4, kv_heads: 2, context: 64, ..ModelConfig::tiny() };
    let checkpoint = Checkpoint::init(&config, Hash::ZERO, 5).unwrap();
    let file = Gguf::of(&checkpoint, tokenizer).write().0;
    import::gguf(&file, &Options::default(), &mut |_| {}).unwrap()
}

fn texts() -> Vec<Text> {
    let said = |unit: u64| {
        let line = |n: u64| format!("Sentence {} has its own number. ", 13 * unit + n);
        (0..13).map(line).collect::<String>()
    };
    (0..12u64)
        .map(|unit| {
            let text = said(unit);
            (protocol::hash::blake3(text.as_bytes()), AccountId(1 + unit % 3), text)
        })
        .collect()
}

fn order(imported: &Imported) -> AdapterOrder {
    let (card, bytes) = (&imported.card, imported.card.to_bytes());
    let checkpoint = Checkpoint::from_bytes(&imported.checkpoint).unwrap();
    AdapterOrder {
        base: BlobRef::new(card.checkpoint, imported.checkpoint.len() as u64),
        card: BlobRef::new(protocol::hash::blake3(&bytes), bytes.len() as u64),
        shape: shape_of(checkpoint.config()),
        rank: 4,
        scale: 2_000_000,
        targets: 0b111_1111,
    }
}

fn config(imported: &Imported, order: AdapterOrder) -> RunConfig {
    let preset = TrainingPreset::adapter();
    let size = ShardSize { steps: 12, batch: 4, context: 64 };
    let tokenizer = BlobRef::new(imported.card.tokenizer, imported.tokenizer.len() as u64);
    let config = preset.order(RunModel::Adapter(order), tokenizer, 3, size);
    RunConfig { rounds: 2, learning_rate: 20_000_000, ..config }
}

fn read(imported: &Imported, order: AdapterOrder) -> Result<RunData, RunError> {
    let (order, card) = (config(imported, order).to_bytes(), imported.card.to_bytes());
    let files = BaseFiles { checkpoint: &imported.checkpoint, card: &card };
    RunData::read(&order, &imported.tokenizer, Some(files), texts())
}

fn loss(engine: &Engine, run: &RunData, weights: &Weights) -> u64 {
    let units: Vec<_> = run.units.iter().map(|unit| unit.tokens.clone()).collect();
    eval::model(engine, &run.model(weights).unwrap(), &units).unwrap().loss
}

/// Two rounds of two shards each, whose last weights are returned.
fn train(engine: &Engine, run: &RunData) -> Weights {
    let mut weights = run.initial().unwrap();
    for round in 0..2 {
        let base = weights.to_bytes();
        let shard = |slot: u64| {
            let units: Vec<u32> = (0..12).filter(|unit| u64::from(*unit) % 2 == slot).collect();
            run.train(engine, &base, Round(round), (&units, 7 + slot)).unwrap()
        };
        let payloads: Vec<_> = [0, 1].map(|slot| shard(slot).payload).into();
        weights = run.aggregate(&base, &payloads).unwrap();
    }
    weights
}

#[test]
fn an_adapter_learns_over_rounds_and_is_replayed_and_attributed() {
    let (engine, imported) = (Engine::cpu(), base());
    let run = read(&imported, order(&imported)).unwrap();
    let first = run.initial().unwrap();
    let Weights::Adapter(adapter) = &first else { panic!("an adapter is trained") };
    assert_eq!(adapter.values().len() as u64, run.trained());
    let last = train(&engine, &run);
    let (before, after) = (loss(&engine, &run, &first), loss(&engine, &run, &last));
    assert!(after * 100 < before * 95, "{before} {after}");

    // Another node repeats a shard, and finds other work to be other.
    let base = last.to_bytes();
    let shard = |units: &[u32]| run.train(&engine, &base, Round(1), (units, 1)).unwrap().payload;
    let claimed = shard(&[0, 1, 2, 3]);
    let limits = Params::mainnet().training;
    assert!(run.compare(&claimed, &shard(&[0, 1, 2, 3])).unwrap().accepts(&limits));
    assert!(!run.compare(&claimed, &shard(&[8, 9, 10, 11])).unwrap().accepts(&limits));

    let units: Vec<u32> = (0..12).collect();
    let Shard { payload: sketches, .. } = run.capture(&engine, &last, &units).unwrap();
    let report = run.audit_capture(&engine, &last, &units, &sketches, &Digest([3; 32])).unwrap();
    assert!(report.accepts(&limits), "{report:?}");
    assert_eq!(sketch_spec(&last).checkpoint, last.hash());
    let run = Arc::new(run);
    let served = Attributor::load(&engine, Arc::clone(&run), &last, &[sketches]).unwrap();
    let prompt = run.prompt("Sentence 9 has").unwrap();
    let sampling =
        Sampling { tokens: 20, temperature_ppm: 0, top: 0, top_p_ppm: Sampling::ALL, seed: 1 };
    let (transcript, _) = served.answer(&prompt, &sampling).unwrap();
    assert_eq!(transcript.shares.iter().map(|(_, ppm)| ppm).sum::<u32>(), 1_000_000);
    let repeated = served.repeat(&transcript).unwrap();
    assert!(repeated.accepts(&Params::mainnet().attribution), "{repeated:?}");
}

#[test]
fn a_base_that_is_not_what_the_order_says_is_refused() {
    let imported = base();
    let right = order(&imported);
    let shape = |change: fn(&mut Shape)| {
        let mut shape = right.shape;
        change(&mut shape);
        AdapterOrder { shape, ..right }
    };
    // What it costs to take part follows from the shape.
    for lying in [
        shape(|shape| shape.layers = 1),
        shape(|shape| shape.ffn -= 1),
        shape(|shape| shape.parameters += 1_000_000),
    ] {
        assert!(matches!(read(&imported, lying), Err(RunError::OtherShape)));
    }
    let other = AdapterOrder { base: BlobRef::new(Hash([1; 32]), right.base.length), ..right };
    assert!(matches!(read(&imported, other), Err(RunError::OtherBase)));
    let run = config(&imported, right).to_bytes();
    let without = RunData::read(&run, &imported.tokenizer, None, texts());
    assert!(matches!(without, Err(RunError::NoBase)));
    let mut damaged = imported.checkpoint.clone();
    *damaged.last_mut().unwrap() ^= 1;
    let card = imported.card.to_bytes();
    let files = BaseFiles { checkpoint: &damaged, card: &card };
    let damaged = RunData::read(&run, &imported.tokenizer, Some(files), texts());
    let error = damaged.map(|_| ()).unwrap_err();
    assert!(matches!(error, RunError::Base(_)) && error.failure() == Failure::Invalid, "{error}");
}

#[test]
fn weights_and_updates_of_other_runs_are_refused() {
    let imported = base();
    let run = read(&imported, order(&imported)).unwrap();
    let other = read(&imported, AdapterOrder { rank: 8, ..order(&imported) }).unwrap();
    let theirs = other.initial().unwrap().to_bytes();
    assert!(matches!(run.weights(&theirs), Err(RunError::Adapter(_))));
    // A whole model is no adapter, and no update of one.
    assert!(matches!(run.weights(&imported.checkpoint), Err(RunError::Adapter(_))));
    let mine = run.initial().unwrap();
    let Weights::Adapter(adapter) = &mine else { panic!("an adapter is trained") };
    let id = adapter.base().clone();
    let foreign = compute::lora::BaseId { checkpoint: Hash([9; 32]), ..id };
    let foreign = Adapter::from_values(&foreign, adapter.config(), adapter.values().to_vec());
    let foreign = foreign.unwrap().to_bytes();
    assert!(matches!(run.weights(&foreign), Err(RunError::Adapter(_))));
    let payload = other.train(&Engine::cpu(), &theirs, Round(0), (&[0, 1, 2], 1)).unwrap().payload;
    assert!(matches!(run.aggregate(&mine.to_bytes(), &[payload]), Err(RunError::Payload(_))));
}
