//! Simulates a training run of a few workers on text files, and prints what it learns and costs.
//!
//! `cargo run --example pretrain -- FOLDER [--name value]…`, where the folder has one sub-folder of
//! text files per contributor, and the names are `rounds`, `workers`, `steps`, `batch`, `context`,
//! `lr`, `warmup`, `keep`, `alpha` (the last in parts per million).

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use compute::device::Engine;
use compute::formats::Checkpoint;
use compute::formats::Tokenizer;
use compute::model::ModelConfig;
use compute::train::TrainingPreset;
use compute::train::shard::{self, ShardInput};
use compute::train::{eval, outer};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Token ids of units.
type Units = Vec<Vec<u32>>;

/// Characters of one unit, roughly 256 tokens.
const UNIT: usize = 600;

fn main() -> Result<()> {
    let mut args = std::env::args().skip(1);
    let folder = args.next().unwrap_or_else(|| "daemon/data/demo".to_owned());
    let mut preset = TrainingPreset::demo();
    while let (Some(name), Some(value)) = (args.next(), args.next()) {
        set(&mut preset, name.trim_start_matches("--"), value.parse()?);
    }
    let texts = read(Path::new(&folder))?;
    let tokenizer = Tokenizer::train(texts.iter().map(String::as_str), preset.model.vocab)?;
    let (train, held_out) = split(&tokenizer, &texts)?;
    run(&preset, &tokenizer, &train, &held_out)
}

fn set(preset: &mut TrainingPreset, name: &str, value: u32) {
    match name {
        "rounds" => preset.rounds = value,
        "workers" => preset.shards = value,
        "steps" => preset.hyper.steps = value,
        "batch" => preset.hyper.batch = value,
        "context" => preset.hyper.context = value,
        "lr" => preset.hyper.learning_rate_ppb = value * 1_000,
        "warmup" => preset.hyper.warmup = value,
        "keep" => preset.hyper.keep = value,
        "wd" => preset.hyper.weight_decay_ppm = value,
        "beta2" => preset.hyper.beta2_ppm = value,
        "alpha" => preset.alpha_ppm = value,
        "decay" => preset.final_rate_ppm = value,
        "width" => preset.model.width = value,
        "layers" => preset.model.layers = value,
        "heads" => preset.model.heads = value,
        "ffn" => preset.model.ffn = value,
        _ => panic!("no setting is named {name}"),
    }
}

/// All text files below a folder, in the order of their paths.
fn read(folder: &Path) -> Result<Vec<String>> {
    let mut paths: Vec<_> =
        std::fs::read_dir(folder)?.map(|e| Ok(e?.path())).collect::<Result<_>>()?;
    paths.sort();
    let mut texts = Vec::new();
    for path in paths {
        if path.is_dir() {
            texts.extend(read(&path)?);
        } else if path.extension().is_some_and(|e| e == "txt") {
            texts.push(std::fs::read_to_string(path)?);
        }
    }
    Ok(texts)
}

/// Token ids of units; every twentieth is held out.
fn split(tokenizer: &Tokenizer, texts: &[String]) -> Result<(Units, Units)> {
    let (mut train, mut held_out) = (Vec::new(), Vec::new());
    for text in texts {
        let chars: Vec<char> = text.chars().collect();
        for (number, unit) in chars.chunks(UNIT).enumerate() {
            let ids = tokenizer.encode(&unit.iter().collect::<String>())?;
            if number % 20 == 7 { &mut held_out } else { &mut train }.push(ids);
        }
    }
    Ok((train, held_out))
}

fn run(
    preset: &TrainingPreset,
    tokenizer: &Tokenizer,
    train: &[Vec<u32>],
    held_out: &[Vec<u32>],
) -> Result<()> {
    let engine = Engine::cpu();
    let nats = |micro: u64| micro as f64 / 1e6;
    let config: &ModelConfig = &preset.model;
    let unigram = nats(eval::unigram(train, held_out, config.vocab)?.loss);
    let bigram = nats(eval::bigram(train, held_out, config.vocab)?.loss);
    let count: usize = train.iter().map(Vec::len).sum();
    println!("{} parameters, {count} training tokens", config.parameters());
    println!("unigram {unigram:.3}, bigram {bigram:.3}, goal {:.3}", unigram * 0.85);
    let mut checkpoint = Checkpoint::init(config, tokenizer.hash(), 1)?;
    let (mut seconds, mut tokens) = (0.0, 0);
    for round in 0..preset.rounds {
        let mut payloads = Vec::new();
        let (mut first, mut last) = (0.0, 0.0);
        for worker in 0..preset.shards {
            let part = round * preset.shards + worker;
            let parts = (preset.rounds * preset.shards) as usize;
            let units = train.iter().skip(part as usize).step_by(parts).cloned().collect();
            let input = ShardInput {
                checkpoint: Arc::new(checkpoint.clone()),
                adapter: None,
                units,
                seed: [part as u8; 32],
                hyper: preset.hyper_of(round),
            };
            let start = Instant::now();
            let output = shard::run(&engine, &input)?;
            seconds += start.elapsed().as_secs_f64();
            tokens += output.tokens;
            first += nats(output.loss_first) / f64::from(preset.shards);
            last += nats(output.loss_last) / f64::from(preset.shards);
            payloads.push(output.payload);
        }
        checkpoint = outer::step(&checkpoint, &payloads, preset.alpha_ppm)?;
        let loss = nats(eval::model(&engine, &checkpoint, held_out)?.loss);
        println!(
            "round {round}: inner {first:.3} -> {last:.3}, held out {loss:.3} ({:+.1} % of unigram), \
             payload {} kB, {tokens} tokens, {seconds:.1} s, {:.0} tokens/s",
            (loss / unigram - 1.0) * 100.0,
            payloads[0].to_bytes().len() / 1000,
            tokens as f64 / seconds,
        );
    }
    Ok(())
}
