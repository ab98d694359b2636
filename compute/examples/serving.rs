//! Serves a base with eight-bit weights: how far it is from `f32`, and how fast.
//!
//! ```sh
//! cargo run --release -p openledger-compute --example serving -- FOLDER --divergence
//! cargo run --release -p openledger-compute --example serving -- FOLDER --speed [THREADS]
//! RAYON_NUM_THREADS=1 cargo run --release -p openledger-compute --example serving -- FOLDER --candle
//! ```
//!
//! `FOLDER` is what the example `base` has left. The first compares logits behind every token of the prompts
//! in `FOLDER/ids.json` with those of the `f32` decoder in `FOLDER/logits.f32`, and writes the weights
//! (`q8_0.safetensors`) and the logits behind each prompt's end (`q8_0.f32`). The others print speeds as JSON,
//! in tokens per second of processor time, of all threads together (per second of the clock where the system
//! does not say). `--candle` is the products of the same weights by candle's `QMatMul`, and nothing else.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;
use std::{env, fs, hint, process};

use candle_core::quantized::{GgmlDType, QMatMul, QTensor};
use candle_core::{Device, Module, Tensor};
use compute::formats::{Base, Checkpoint, Quantised};
use compute::model::layout;
use compute::serve::Sampling;
use compute::serve::batch::{Batcher, Limits, QuantisedDecoder};
use serde_json::json;

type Failure = Box<dyn std::error::Error>;

/// Tokens of the prompt and of the answer of one request.
const REQUEST: (u32, u32) = (32, 128);
/// Tokens of the prompt whose reading is timed.
const PROMPT: u32 = 512;

fn main() {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match arguments.as_slice() {
        [folder, "--divergence"] => divergence(Path::new(folder)),
        [folder, "--speed"] => speed(Path::new(folder), None),
        [folder, "--speed", threads] => speed(Path::new(folder), threads.parse().ok()),
        [folder, "--candle"] => candle(Path::new(folder)),
        _ => Err("usage: serving FOLDER --divergence | --speed [THREADS] | --candle".into()),
    };
    if let Err(error) = done {
        eprintln!("{error}");
        process::exit(1);
    }
}

fn read(folder: &Path) -> Result<Base, Failure> {
    let file = |name: &str| fs::read(folder.join(name));
    let base = Base::from_bytes(
        &file("checkpoint.safetensors")?,
        &file("tokenizer.json")?,
        &file("card.json")?,
    )?;
    Ok(base)
}

/// Seconds of processor time of all threads so far.
fn processor_seconds() -> f64 {
    let of = |task: PathBuf| {
        let text = fs::read_to_string(task.join("schedstat")).ok()?;
        text.split_whitespace().next()?.parse::<f64>().ok()
    };
    let tasks = fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let times: Vec<f64> = tasks.filter_map(|task| of(task.path())).collect();
    match times.is_empty() {
        true => {
            static START: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
            START.get_or_init(Instant::now).elapsed().as_secs_f64()
        }
        false => times.iter().sum::<f64>() / 1.0e9,
    }
}

fn prompt(seed: u32, length: u32) -> Vec<u32> {
    (0..length).map(|at| 100 + (seed * 104_729 + at * at * 7_919 + at * 31) % 40_000).collect()
}

fn greedy(tokens: u32) -> Sampling {
    Sampling { tokens, temperature_ppm: 0, top: 0, top_p_ppm: Sampling::ALL, seed: 0 }
}

fn divergence(folder: &Path) -> Result<(), Failure> {
    let base = read(folder)?;
    let checkpoint = base.checkpoint();
    let start = Instant::now();
    let model = Arc::new(QuantisedDecoder::load(checkpoint, None)?);
    println!("{}: loaded in {:.1} s", model.hash(), start.elapsed().as_secs_f64());
    fs::write(folder.join("q8_0.safetensors"), Quantised::of(checkpoint)?.to_bytes())?;
    let ids: Vec<Vec<u32>> = serde_json::from_slice(&fs::read(folder.join("ids.json"))?)?;
    let exact = fs::read(folder.join("logits.f32"))?;
    let exact: Vec<f32> =
        exact.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
    let mut exact = exact.chunks_exact(checkpoint.config().vocab as usize);
    let mut batcher = Batcher::new(model, Limits::default());
    let (mut sum, mut worst, mut same, mut count) = (0.0, 0.0f64, 0, 0);
    let mut ends = Vec::new();
    for tokens in &ids {
        for length in 1..=tokens.len() {
            let exact = exact.next().ok_or("logits.f32 is of other prompts than ids.json")?;
            batcher.enter(&tokens[..length], &greedy(1))?;
            let mut found = Vec::new();
            batcher.step_seeing(&mut |_, logits| found = logits.to_vec());
            let kl = kl(exact, &found);
            (sum, worst, count) = (sum + kl, worst.max(kl), count + 1);
            same += usize::from(likeliest(exact) == likeliest(&found));
            if length == tokens.len() {
                ends.extend(found.iter().flat_map(|value| value.to_le_bytes()));
            }
        }
    }
    fs::write(folder.join("q8_0.f32"), ends)?;
    println!(
        "{count} positions, mean KL {:.1e} nats, at most {worst:.1e}, the likeliest token the same in {same}",
        sum / f64::from(count)
    );
    Ok(())
}

fn likeliest(logits: &[f32]) -> Option<usize> {
    (0..logits.len()).max_by(|a, b| logits[*a].total_cmp(&logits[*b]))
}

fn kl(exact: &[f32], found: &[f32]) -> f64 {
    let normed = |logits: &[f32]| {
        let most = logits.iter().fold(f32::MIN, |most, logit| most.max(*logit));
        let sum: f64 = logits.iter().map(|logit| f64::from(logit - most).exp()).sum();
        let all = sum.ln() + f64::from(most);
        logits.iter().map(|logit| f64::from(*logit) - all).collect::<Vec<_>>()
    };
    normed(exact).iter().zip(normed(found)).map(|(p, q)| p.exp() * (p - q)).sum()
}

fn speed(folder: &Path, threads: Option<NonZeroUsize>) -> Result<(), Failure> {
    let base = read(folder)?;
    let start = Instant::now();
    let model = Arc::new(QuantisedDecoder::load(base.checkpoint(), threads)?);
    let loaded = start.elapsed().as_secs_f64();
    // Once, so that all memory has been touched.
    requests(&model, 1)?;
    let (decode, alone) = requests(&model, 1)?;
    let start = processor_seconds();
    let mut batcher = Batcher::new(Arc::clone(&model), Limits::default());
    batcher.enter(&prompt(7, PROMPT), &greedy(1))?;
    while !batcher.is_empty() {
        batcher.step();
    }
    let prefill = f64::from(PROMPT) / (processor_seconds() - start);
    let (_, sixteen) = requests(&model, 16)?;
    println!(
        "{}",
        json!({
            "load_seconds": loaded,
            "decode": decode,
            "prefill": prefill,
            "request": alone,
            "sixteen_requests": sixteen,
        })
    );
    Ok(())
}

/// Tokens a second of so many requests at once: after the first token of each, and over all.
fn requests(model: &Arc<QuantisedDecoder>, count: u32) -> Result<(f64, f64), Failure> {
    let mut batcher = Batcher::new(Arc::clone(model), Limits::default());
    let start = processor_seconds();
    for seed in 0..count {
        batcher.enter(&prompt(seed, REQUEST.0), &greedy(REQUEST.1))?;
    }
    let mut first = Vec::new();
    while first.len() < count as usize {
        first.extend(batcher.step());
    }
    let (begun, before) = (processor_seconds(), first.len());
    let mut after = 0;
    while !batcher.is_empty() {
        after += batcher.step().len();
    }
    let end = processor_seconds();
    Ok((after as f64 / (end - begun), (before + after) as f64 / (end - start)))
}

/// The products of one pass over so many tokens by candle, as tokens a second.
fn candle(folder: &Path) -> Result<(), Failure> {
    let base = read(folder)?;
    let checkpoint: &Checkpoint = base.checkpoint();
    let mut rest = checkpoint.values();
    let mut maps = Vec::new();
    for spec in layout::tensors(checkpoint.config()) {
        let (values, tail) = rest.split_at(spec.len());
        rest = tail;
        if spec.rows > 1 {
            let tensor = Tensor::from_slice(values, (spec.rows, spec.cols), &Device::Cpu)?;
            let map = QMatMul::from_qtensor(QTensor::quantize(&tensor, GgmlDType::Q8_0)?)?;
            maps.push((spec.cols, map));
        }
    }
    let mut speeds = serde_json::Map::new();
    for (rows, passes) in [(1, 60), (16, 8), (512, 1)] {
        let pass = || -> Result<(), Failure> {
            for (columns, map) in &maps {
                let input = Tensor::ones((rows, *columns), candle_core::DType::F32, &Device::Cpu)?;
                hint::black_box(map.forward(&input)?);
            }
            Ok(())
        };
        pass()?;
        let start = processor_seconds();
        for _ in 0..passes {
            pass()?;
        }
        let speed = f64::from(passes * rows as u32) / (processor_seconds() - start);
        speeds.insert(rows.to_string(), speed.into());
    }
    println!("{}", json!({ "products_of_rows": speeds }));
    Ok(())
}
