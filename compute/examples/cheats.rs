//! Which dishonest answers an auditor tells from honest ones, on a real model.
//!
//! ```sh
//! cargo run --release -p openledger-compute --example cheats -- FOLDER [ANSWERS [TOKENS]]
//! ```
//!
//! `FOLDER` is what the example `base` has left of a model and prompts. The model that is said to answer is that
//! base with an adapter of rank 8 of all linear maps. Each cheat answers the same prompts with the same
//! seeds, half of them by the likeliest token and half by draws, and says that the model did. Printed is how many
//! answers of each the auditor's limits refuse, and the medians of the two measures: the slack of its tokens and
//! the distance of its digest, both in ppm. With `--features gpu`, and a device, one row is honest answers of that
//! device.

use std::path::Path;
use std::{env, fs, process};

use compute::device::{DeviceChoice, Engine, list_gpus};
use compute::formats::Checkpoint;
use compute::lora::{Adapter, BaseId, LoraConfig};
use compute::math::Stream;
use compute::model::layout::{self, LINEARS_PER_LAYER, Role};
use compute::serve::{Claimed, Generation, Generator, Reread, Sampling};
use compute::train::open_engine;
use protocol::params::Params;

type Failure = Box<dyn std::error::Error>;

/// Answers and tokens of each where nothing is said.
const ANSWERS: usize = 8;
const TOKENS: u32 = 64;
/// Values that share a scale in eight-bit weights, and the greatest of them.
const BLOCK: usize = 32;
const GREATEST: f32 = 127.0;

fn main() {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let number = |text: &str| text.parse::<usize>().map_err(Failure::from);
    let done = match arguments.as_slice() {
        [folder] => table(Path::new(folder), ANSWERS, TOKENS),
        [folder, answers] => number(answers).and_then(|n| table(Path::new(folder), n, TOKENS)),
        [folder, answers, tokens] => number(answers)
            .and_then(|n| Ok((n, tokens.parse::<u32>()?)))
            .and_then(|(n, tokens)| table(Path::new(folder), n, tokens)),
        _ => Err("usage: cheats FOLDER [ANSWERS [TOKENS]]".into()),
    };
    if let Err(error) = done {
        eprintln!("{error}");
        process::exit(1);
    }
}

/// An answer with all that is said of it.
struct Answer {
    prompt: Vec<u32>,
    output: Vec<u32>,
    sampling: Sampling,
    activations: Vec<i32>,
}

struct Lab {
    prompts: Vec<Vec<u32>>,
    tokens: u32,
    auditor: Generator,
}

impl Lab {
    fn sampling(&self, number: usize, seed: u64) -> Sampling {
        let temperature_ppm = if number.is_multiple_of(2) { 0 } else { 800_000 };
        let (tokens, top_p_ppm) = (self.tokens, Sampling::ALL);
        Sampling { tokens, temperature_ppm, top: 0, top_p_ppm, seed: seed + number as u64 }
    }

    fn answers(&self, model: &Generator, seed: u64) -> Result<Vec<Answer>, Failure> {
        let answer = |(number, prompt): (usize, &Vec<u32>)| {
            let sampling = self.sampling(number, seed);
            let mut generation = model.begin(prompt, &sampling, None)?;
            model.advance(&mut generation, self.tokens, &mut |_| true)?;
            Ok(Answer::of(&generation))
        };
        self.prompts.iter().enumerate().map(answer).collect()
    }

    /// Prints what the auditor finds.
    fn row(&self, name: &str, answers: &[Answer]) -> Result<(), Failure> {
        let limits = Params::mainnet().attribution;
        let found = answers.iter().map(|answer| self.auditor.reread(&answer.claimed()));
        let found = found.collect::<Result<Vec<Reread>, _>>()?;
        let slacks: Vec<u32> = found.iter().map(|one| one.slack_ppm).collect();
        let distances: Vec<u32> = found.iter().map(|one| one.distance_ppm).collect();
        let by_tokens = slacks.iter().filter(|slack| **slack > limits.max_token_slack_ppm).count();
        let by_digest =
            distances.iter().filter(|far| **far > limits.max_activation_distance_ppm).count();
        let refused = found.iter().filter(|one| {
            one.slack_ppm > limits.max_token_slack_ppm
                || one.distance_ppm > limits.max_activation_distance_ppm
        });
        println!(
            "| {name} | {} of {} | {by_tokens} | {by_digest} | {} | {} |",
            refused.count(),
            found.len(),
            said(slacks),
            said(distances),
        );
        Ok(())
    }
}

/// The median.
fn said(mut values: Vec<u32>) -> String {
    values.sort_unstable();
    match values.get(values.len() / 2) {
        None => "–".to_owned(),
        Some(&u32::MAX) => "none does".to_owned(),
        Some(value) => value.to_string(),
    }
}

impl Answer {
    fn of(generation: &Generation) -> Self {
        Self {
            prompt: generation.prompt().to_vec(),
            output: generation.output().to_vec(),
            sampling: generation.sampling().clone(),
            activations: generation.activations(),
        }
    }

    fn claimed(&self) -> Claimed<'_> {
        let Self { prompt, output, sampling, activations } = self;
        Claimed { prompt, output, sampling, activations }
    }
}

fn table(folder: &Path, answers: usize, tokens: u32) -> Result<(), Failure> {
    let base = Checkpoint::from_bytes(&fs::read(folder.join("checkpoint.safetensors"))?)?;
    let prompts: Vec<Vec<u32>> = serde_json::from_slice(&fs::read(folder.join("ids.json"))?)?;
    let named = adapter(&base, 1)?.merged(&base)?;
    let cpu = Engine::cpu();
    let auditor = Generator::new(&cpu, &named)?;
    let lab = Lab { prompts: prompts.into_iter().cycle().take(answers).collect(), tokens, auditor };
    println!("| who answers | refused | by tokens | by digest | slack | distance |");
    println!("|---|---|---|---|---|---|");
    let honest = lab.answers(&lab.auditor, 1)?;
    lab.row("the model, on the CPU", &honest)?;
    if let Some(gpu) = list_gpus().into_iter().next() {
        let there = open_engine(&DeviceChoice::Named(gpu.name.clone()))?.engine;
        let model = Generator::new(&there, &named)?;
        lab.row(&format!("the model, on {}", gpu.name), &lab.answers(&model, 1)?)?;
    }
    let others = [
        ("its weights in 16 bits (BF16)", rounded(&named, bf16)?),
        ("its weights in 8 bits (Q8_0)", rounded(&named, eight_bits)?),
        ("its base, without the adapter", base.clone()),
        ("its base, with another adapter", adapter(&base, 2)?.merged(&base)?),
        ("the model, but for one layer", without_a_layer(&named)?),
    ];
    for (name, weights) in others {
        lab.row(name, &lab.answers(&Generator::new(&cpu, &weights)?, 1)?)?;
    }
    let mut edited = honest;
    for answer in &mut edited {
        let middle = answer.output.len() / 2;
        answer.output[middle] = (answer.output[middle] + 1) % named.config().vocab;
    }
    lab.row("the model, one token edited", &edited)?;
    let mut reseeded = lab.answers(&lab.auditor, 1_000)?;
    reseeded.retain(|answer| answer.sampling.temperature_ppm > 0);
    for (answer, number) in reseeded.iter_mut().zip((1..).step_by(2)) {
        answer.sampling = lab.sampling(number, 1);
    }
    lab.row("the model, drawn by another seed", &reseeded)
}

/// An adapter that changes the model about as much as training does.
fn adapter(base: &Checkpoint, seed: u64) -> Result<Adapter, Failure> {
    let model = base.config();
    let linears = (0..).take(model.layers as usize * LINEARS_PER_LAYER).collect();
    let config = LoraConfig { linears, ..LoraConfig::standard(8, model) };
    let id = BaseId::of(base);
    let mut random = Stream::new("adapter", &seed.to_be_bytes());
    let drawn = Adapter::init(&id, &config, seed)?;
    // Training begins with zeros in the second factor.
    let values = drawn.values().iter().map(|v| if *v == 0.0 { random.bell(0.005) } else { *v });
    Ok(Adapter::from_values(&id, &config, values.collect())?)
}

/// The weights, all but those of norms, each row of values rounded.
fn rounded(of: &Checkpoint, round: fn(&mut [f32])) -> Result<Checkpoint, Failure> {
    changed(of, |role, _, values| match role {
        Role::Norm => (),
        _ => round(values),
    })
}

/// The model whose middle layer adds nothing.
fn without_a_layer(of: &Checkpoint) -> Result<Checkpoint, Failure> {
    let layer = format!("layers.{}.", of.config().layers / 2);
    changed(of, |_, name, values| {
        let adds = name.contains("o_proj") || name.contains("down_proj");
        if name.contains(&layer) && adds {
            values.fill(0.0);
        }
    })
}

fn changed(
    of: &Checkpoint,
    change: impl Fn(Role, &str, &mut [f32]),
) -> Result<Checkpoint, Failure> {
    let mut values = of.values().to_vec();
    let mut rest = values.as_mut_slice();
    for spec in layout::tensors(of.config()) {
        let (tensor, tail) = std::mem::take(&mut rest).split_at_mut(spec.len());
        change(spec.role, &spec.name, tensor);
        rest = tail;
    }
    Ok(Checkpoint::from_values(of.config(), of.tokenizer(), values)?)
}

fn bf16(values: &mut [f32]) {
    for value in values {
        let bits = value.to_bits();
        *value = f32::from_bits((bits + 0x7fff + ((bits >> 16) & 1)) & 0xffff_0000);
    }
}

fn eight_bits(values: &mut [f32]) {
    for block in values.chunks_mut(BLOCK) {
        let scale = block.iter().fold(0.0_f32, |most, value| most.max(value.abs())) / GREATEST;
        if scale > 0.0 {
            block.iter_mut().for_each(|value| *value = (*value / scale).round() * scale);
        }
    }
}
