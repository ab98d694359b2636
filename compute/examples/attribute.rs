//! How often attribution names the right contributor, on text of anybody's choice.
//!
//! `cargo run --release -p openledger-compute --example attribute -- [FOLDER] [--name value]…`, where
//! the folder has one sub-folder of text files per contributor, and the names are `seeds`, `prompts`
//! (per contributor), `prompt` and `answer` (tokens), `rounds`, `side`, `skip` (linear maps left out
//! at the bottom; 14 leaves the last layer), `damping` (ppm), `floor` (lower tail that is noise, ppm), `lambda` (ppm),
//! `temperature` (ppm), `span-bits`, `span-count` (least evidence and most occurrences of a span) and
//! `output-only` (any number: attribute the generated tokens alone). The last
//! tenth of each contributor's units is held out of training; prompts begin there.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use compute::attribute::{CaptureUnit, Capturer, Preconditioner, Scope, SketchSet, SketchSpec};
use compute::device::Engine;
use compute::formats::Checkpoint;
use compute::formats::Tokenizer;
use compute::serve::{Generator, Sampling};
use compute::spans::{SpanIndex, SpanParams, SpanUnit, Spans};
use compute::train::TrainingPreset;
use compute::train::shard::{self, ShardInput};
use compute::train::{eval, outer};
use protocol::attribution::{
    Share, UnitEvidence, WeighParams, Weights, leader, noise_floor, weigh,
};
use protocol::manifest::cut_units;
use protocol::{AccountId, Hash};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Bytes of one unit, about 256 tokens.
const UNIT_BYTES: u32 = 640;

struct Settings {
    seeds: u64,
    prompts: usize,
    prompt: usize,
    answer: u32,
    side: u16,
    skip: u16,
    damping: u32,
    floor: u32,
    lambda: u32,
    temperature: u32,
    scope: Scope,
    spans: SpanParams,
    preset: TrainingPreset,
}

impl Settings {
    fn set(&mut self, name: &str, value: u32) {
        match name {
            "seeds" => self.seeds = value.into(),
            "prompts" => self.prompts = value as usize,
            "prompt" => self.prompt = value as usize,
            "answer" => self.answer = value,
            "side" => self.side = value as u16,
            "skip" => self.skip = value as u16,
            "damping" => self.damping = value,
            "floor" => self.floor = value,
            "lambda" => self.lambda = value,
            "temperature" => self.temperature = value,
            "span-bits" => self.spans.min_millibits = u64::from(value) * 1000,
            "span-count" => self.spans.max_count = value,
            "output-only" => self.scope = Scope::Output,
            "rounds" => self.preset.rounds = value,
            _ => panic!("no setting is named {name}"),
        }
    }
}

/// One unit of the snapshot.
struct Unit {
    owner: usize,
    hash: Hash,
    tokens: Vec<u32>,
}

/// What is trained on and attributed to, and what prompts are taken from.
struct Corpus {
    owners: Vec<String>,
    tokenizer: Tokenizer,
    train: Vec<Unit>,
    held_out: Vec<Unit>,
}

/// Correct first places.
#[derive(Default)]
struct Tally {
    right: u32,
    gradient: u32,
    spans: u32,
    permuted: u32,
    of: u32,
}

fn main() -> Result<()> {
    let mut settings = Settings {
        seeds: 3,
        prompts: 3,
        prompt: 96,
        answer: 32,
        side: 16,
        skip: 14,
        damping: Preconditioner::DAMPING_PPM,
        floor: 1_000_000,
        lambda: 500_000,
        temperature: 800_000,
        scope: Scope::default(),
        spans: SpanParams::DEFAULT,
        preset: TrainingPreset::demo(),
    };
    let mut args = std::env::args().skip(1).peekable();
    let folder = args.next_if(|arg| !arg.starts_with("--"));
    while let (Some(name), Some(value)) = (args.next(), args.next()) {
        settings.set(name.trim_start_matches("--"), value.parse()?);
    }
    let corpus = Corpus::read(Path::new(folder.as_deref().unwrap_or("daemon/data/demo")))?;
    let mut all = Tally::default();
    for seed in 1..=settings.seeds {
        run(&settings, &corpus, seed, &mut all)?;
    }
    all.print("pooled");
    Ok(())
}

impl Tally {
    fn print(&self, name: &str) {
        println!(
            "{name}: right {}, right_gradient {}, right_spans {}, right_permuted {} of {}",
            self.right, self.gradient, self.spans, self.permuted, self.of
        );
    }
}

impl Corpus {
    fn read(folder: &Path) -> Result<Self> {
        let mut paths: Vec<_> =
            std::fs::read_dir(folder)?.map(|e| Ok(e?.path())).collect::<Result<_>>()?;
        paths.retain(|path| path.is_dir());
        paths.sort();
        let texts: Vec<String> = paths.iter().map(|path| read_all(path)).collect::<Result<_>>()?;
        let tokenizer = Tokenizer::train(texts.iter().map(String::as_str), 512)?;
        let owners = paths
            .iter()
            .map(|path| path.file_name().unwrap_or_default().to_string_lossy().into_owned())
            .collect();
        let (mut train, mut held_out) = (Vec::new(), Vec::new());
        for (owner, text) in texts.iter().enumerate() {
            let cut = cut_units(0, text.as_bytes(), UNIT_BYTES);
            for (number, unit) in cut.iter().enumerate() {
                let from = unit.offset as usize;
                let text = &text[from..from + unit.length as usize];
                let hash = protocol::hash::blake3(format!("{owner}/{number}").as_bytes());
                let unit = Unit { owner, hash, tokens: tokenizer.encode(text)? };
                let is_tail = number >= cut.len() * 9 / 10;
                if is_tail { &mut held_out } else { &mut train }.push(unit);
            }
        }
        Ok(Self { owners, tokenizer, train, held_out })
    }
}

fn read_all(folder: &Path) -> Result<String> {
    let mut paths: Vec<_> =
        std::fs::read_dir(folder)?.map(|e| Ok(e?.path())).collect::<Result<_>>()?;
    paths.sort();
    Ok(paths.iter().map(std::fs::read_to_string).collect::<std::io::Result<String>>()?)
}

fn run(settings: &Settings, corpus: &Corpus, seed: u64, all: &mut Tally) -> Result<()> {
    let engine = Engine::cpu();
    let checkpoint = train(&engine, settings, corpus, seed)?;
    let linears = compute::model::layout::linears(checkpoint.config()).len() as u16;
    let spec = SketchSpec {
        side: settings.side,
        linears: (settings.skip.min(linears)..linears).collect(),
        ..SketchSpec::standard(checkpoint.hash(), seed, checkpoint.config())
    };
    let capturer = Capturer::new(&engine, &checkpoint, &spec)?;
    let set = sketches(&capturer, &spec, corpus)?;
    let start = Instant::now();
    let preconditioner = Preconditioner::fit(&set, settings.damping)?;
    let units: Vec<_> =
        corpus.train.iter().map(|u| SpanUnit { hash: u.hash, tokens: &u.tokens }).collect();
    let fitted = start.elapsed().as_secs_f64();
    let start = Instant::now();
    let vocab = corpus.tokenizer.vocab();
    let index = SpanIndex::build(corpus.tokenizer.hash(), vocab, &units)?;
    println!("preconditioner {fitted:.2} s, index {:.2} s", start.elapsed().as_secs_f64());
    let mut context = Context { settings, corpus, capturer, set, preconditioner, index };
    let generator = Generator::new(&engine, &checkpoint)?;
    let mut tally = Tally::default();
    let start = Instant::now();
    for owner in 0..corpus.owners.len() {
        for number in 0..settings.prompts {
            let own: Vec<&Unit> = corpus.held_out.iter().filter(|u| u.owner == owner).collect();
            let unit = own[(seed as usize * 7 + number * own.len() / settings.prompts) % own.len()];
            let prompt = &unit.tokens[..settings.prompt.min(unit.tokens.len())];
            let sampling = Sampling {
                tokens: settings.answer,
                temperature_ppm: settings.temperature,
                top: 0,
                top_p_ppm: Sampling::ALL,
                seed: seed * 100 + number as u64,
            };
            let output = generator.generate(prompt, &sampling)?;
            context.judge(owner, prompt, &output, &mut tally)?;
        }
    }
    println!("{} outputs in {:.1} s", tally.of, start.elapsed().as_secs_f64());
    tally.print(&format!("seed {seed}"));
    all.right += tally.right;
    all.gradient += tally.gradient;
    all.spans += tally.spans;
    all.permuted += tally.permuted;
    all.of += tally.of;
    Ok(())
}

/// Trains as the demo does: rounds of shards, each followed by an outer step.
fn train(engine: &Engine, settings: &Settings, corpus: &Corpus, seed: u64) -> Result<Checkpoint> {
    let preset = &settings.preset;
    let start = Instant::now();
    let mut checkpoint = Checkpoint::init(&preset.model, corpus.tokenizer.hash(), seed)?;
    let parts = (preset.rounds * preset.shards) as usize;
    for round in 0..preset.rounds {
        let mut payloads = Vec::new();
        for worker in 0..preset.shards {
            let part = (round * preset.shards + worker) as usize;
            let units = corpus.train.iter().skip(part).step_by(parts);
            let input = ShardInput {
                checkpoint: Arc::new(checkpoint.clone()),
                adapter: None,
                units: units.map(|unit| unit.tokens.clone()).collect(),
                seed: *protocol::hash::blake3(format!("{seed}/{part}").as_bytes()).as_bytes(),
                hyper: preset.hyper_of(round),
            };
            payloads.push(shard::run(engine, &input)?.payload);
        }
        checkpoint = outer::step(&checkpoint, &payloads, preset.alpha_ppm)?;
    }
    let tokens = |units: &[Unit]| units.iter().map(|u| u.tokens.clone()).collect::<Vec<_>>();
    let (train, held_out) = (tokens(&corpus.train), tokens(&corpus.held_out));
    let loss = eval::model(engine, &checkpoint, &held_out)?.loss as f64 / 1e6;
    let unigram = eval::unigram(&train, &held_out, preset.model.vocab)?.loss as f64 / 1e6;
    println!(
        "seed {seed}: trained on {} tokens in {:.1} s, held-out loss {loss:.3}, unigram {unigram:.3}",
        preset.tokens(),
        start.elapsed().as_secs_f64()
    );
    Ok(checkpoint)
}

/// Captures in five ranges, as five nodes would.
fn sketches(capturer: &Capturer, spec: &SketchSpec, corpus: &Corpus) -> Result<SketchSet> {
    let start = Instant::now();
    let units: Vec<_> =
        corpus.train.iter().map(|u| CaptureUnit { hash: u.hash, tokens: &u.tokens }).collect();
    let range = units.len().div_ceil(5);
    let mut parts = Vec::new();
    for (number, units) in units.chunks(range).enumerate() {
        parts.push(capturer.units((number * range) as u32, units)?);
    }
    let tokens: usize = corpus.train.iter().map(|u| u.tokens.len()).sum();
    let seconds = start.elapsed().as_secs_f64();
    println!(
        "captured {} units, {tokens} tokens in {seconds:.1} s ({:.0} tokens/s), {} bytes each",
        units.len(),
        tokens as f64 / seconds,
        spec.dims() + spec.blocks()
    );
    let shape: Vec<_> = corpus.train.iter().map(|u| (u.hash, u.tokens.len() as u32)).collect();
    Ok(SketchSet::assemble(spec.clone(), &shape, parts)?)
}

struct Context<'a> {
    settings: &'a Settings,
    corpus: &'a Corpus,
    capturer: Capturer,
    set: SketchSet,
    preconditioner: Preconditioner,
    index: SpanIndex,
}

impl Context<'_> {
    /// Attributes one output and counts who came first.
    fn judge(
        &mut self,
        owner: usize,
        prompt: &[u32],
        output: &[u32],
        tally: &mut Tally,
    ) -> Result<()> {
        let (evidence, millibits) = self.evidence(prompt, output)?;
        let weights = self.weigh(&evidence, millibits)?;
        let account = |owner: usize| Some(AccountId(owner as u64 + 1));
        tally.of += 1;
        tally.right += u32::from(leader(&weights.shares) == account(owner));
        tally.gradient += u32::from(leader(&weights.gradient) == account(owner));
        tally.spans += u32::from(leader(&weights.spans) == account(owner));
        let salt: Vec<u8> = prompt.iter().flat_map(|token| token.to_be_bytes()).collect();
        let permuted = self.weigh(&shuffled(&evidence, &salt), millibits)?;
        tally.permuted += u32::from(leader(&permuted.shares) == account(owner));
        let percent = |shares: &[Share]| {
            let of = |o: usize| shares.iter().find(|s| Some(s.account) == account(o));
            let parts = (0..self.corpus.owners.len()).map(|o| of(o).map_or(0, |s| s.ppm / 10_000));
            parts.map(|p| format!("{p:3}")).collect::<Vec<_>>().join(" ")
        };
        println!(
            "{:>12} | all {} | gradient {} | spans {} | lambda {:2} % | {:?}",
            self.corpus.owners[owner],
            percent(&weights.shares),
            percent(&weights.gradient),
            percent(&weights.spans),
            weights.lambda_ppm / 10_000,
            self.corpus.tokenizer.decode(output)?.chars().take(70).collect::<String>(),
        );
        Ok(())
    }

    fn evidence(&self, prompt: &[u32], output: &[u32]) -> Result<(Vec<UnitEvidence>, u64)> {
        let query = self.preconditioner.query(&self.capturer.output(
            prompt,
            output,
            self.settings.scope,
        )?)?;
        let scores = self.set.scores(&query)?;
        let tokenizer = self.corpus.tokenizer.hash();
        let found = self.index.attribute(tokenizer, prompt, output, self.settings.spans)?;
        let spans = found.by_unit(self.corpus.train.len());
        let evidence = self
            .corpus
            .train
            .iter()
            .zip(scores.iter().zip(spans))
            .enumerate()
            .map(|(rank, (unit, (&score, span_millibits)))| UnitEvidence {
                unit: unit.hash,
                owner: AccountId(unit.owner as u64 + 1),
                cluster: rank as u64,
                tokens: unit.tokens.len() as u32,
                score,
                span_millibits,
            })
            .collect();
        Ok((evidence, found.output_millibits))
    }

    fn weigh(&self, evidence: &[UnitEvidence], millibits: u64) -> Result<Weights> {
        let floor_per_token = noise_floor(evidence, self.settings.floor);
        let lambda_max_ppm = self.settings.lambda;
        Ok(weigh(evidence, millibits, WeighParams { floor_per_token, lambda_max_ppm })?)
    }
}

/// The same evidence with the owners dealt out anew, differently for every prompt.
fn shuffled(evidence: &[UnitEvidence], salt: &[u8]) -> Vec<UnitEvidence> {
    let mut owners: Vec<(Hash, AccountId)> = evidence
        .iter()
        .map(|unit| (protocol::hash::blake3(&[&unit.unit.0, salt].concat()), unit.owner))
        .collect();
    owners.sort_unstable();
    evidence.iter().zip(owners).map(|(u, (_, owner))| UnitEvidence { owner, ..*u }).collect()
}
