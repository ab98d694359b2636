//! What T1 costs beside what it is attached to: `cargo bench -p openledger-compute --bench attribution`.
//!
//! The table at the end holds medians of alternating runs, so that a busy machine slows both sides of
//! a ratio alike, and the fastest runs beside them. For figures of one core start it with
//! `RAYON_NUM_THREADS=1`. A plain training step is forward and backward alone, without the optimiser.

use std::cell::Cell;
use std::hint::black_box;
use std::time::{Duration, Instant};

use burn::tensor::activation::log_softmax;
use compute::attribute::{
    Aggregate, CaptureUnit, Capturer, Preconditioner, Query, Scope, Sketch, SketchPart, SketchSet,
    SketchSpec,
};
use compute::device::Engine;
use compute::formats::Checkpoint;
use compute::model::Trace;
use compute::model::{Decoder, ModelConfig};
use compute::serve::{Generator, Sampling};
use criterion::Criterion;
use protocol::Hash;

/// Contributors and values of the scoring goal.
const CONTRIBUTORS: u32 = 1000;
const DIMS: usize = 8192;
/// Tokens that are generated; after the longer prompt they outgrow what the model reads at once.
const GENERATED: u32 = 128;
const PROMPTS: [usize; 2] = [1, 32];
/// Alternating runs behind each median of the table.
const ROUNDS: usize = 21;

fn main() {
    let mut criterion = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .configure_from_args();
    let (scoring, model) = (Scoring::new(), Nano::new());
    criterion.bench_function("score/1000x8192", |b| b.iter(|| scoring.run()));
    criterion.bench_function("capture/nano-4x128", |b| b.iter(|| model.capture()));
    criterion.bench_function("step/nano-4x128", |b| b.iter(|| model.train_step()));
    for answer in &model.answers {
        let name = |what| format!("{what}/nano-{}+{GENERATED}", answer.prompt.len());
        criterion.bench_function(&name("attribute"), |b| b.iter(|| model.attribute(answer)));
        criterion.bench_function(&name("decode"), |b| b.iter(|| model.decode(answer.prompt.len())));
    }
    criterion.final_summary();
    if !std::env::args().any(|arg| arg == "--test") {
        table(&scoring, &model);
        on_gpu(&scoring);
    }
}

/// One output against the aggregates of many contributors.
struct Scoring {
    set: SketchSet,
    sums: Vec<Aggregate>,
    query: Query,
}

impl Scoring {
    fn new() -> Self {
        let spec = SketchSpec {
            checkpoint: Hash::ZERO,
            seed: 1,
            side: 16,
            linears: (0..(DIMS / 256) as u16).collect(),
        };
        let mut bytes = vec![0u8; 64 * DIMS];
        blake3::Hasher::new().finalize_xof().fill(&mut bytes);
        let sketch = |(rank, bytes): (usize, &[u8])| Sketch {
            unit: protocol::hash::blake3(&rank.to_be_bytes()),
            tokens: 1,
            exponents: vec![0; spec.blocks()],
            values: bytes.iter().map(|&byte| byte as i8).collect(),
        };
        let sketches: Vec<_> = bytes.chunks_exact(DIMS).enumerate().map(sketch).collect();
        let units: Vec<_> = sketches.iter().map(|sketch| (sketch.unit, sketch.tokens)).collect();
        let part = SketchPart { spec: spec.id(), first: 0, sketches };
        let set = SketchSet::assemble(spec, &units, vec![part]).expect("one part covers all");
        let sum = |i: u32| set.aggregate(&[i % 64, i * 7 % 64, i * 31 % 64]);
        let sums = (0..CONTRIBUTORS).map(sum).collect();
        let mut bytes = vec![0u8; set.spec().blocks() + 2 * DIMS];
        blake3::Hasher::new().update(b"query").finalize_xof().fill(&mut bytes);
        bytes[..set.spec().blocks()].fill(0);
        let query = Query::decode(&bytes, set.spec()).expect("bytes of the right number");
        Self { set, sums, query }
    }

    fn run(&self) -> Vec<i64> {
        self.set.score_contributors(black_box(&self.sums), &self.query).expect("of one spec")
    }
}

/// An exchange, with what the generator kept of it.
struct Answer {
    prompt: Vec<u32>,
    output: Vec<u32>,
    trace: Option<Trace>,
}

/// The model `nano` with everything that answers and attributes.
struct Nano {
    answers: Vec<Answer>,
    capturer: Capturer,
    generator: Generator,
    tracked: Decoder,
    decoder: Decoder,
    set: SketchSet,
    sums: Vec<Aggregate>,
    preconditioner: Preconditioner,
    texts: Vec<Vec<u32>>,
    seed: Cell<u64>,
}

impl Nano {
    fn new() -> Self {
        let engine = Engine::cpu();
        let config = ModelConfig::nano();
        let checkpoint = Checkpoint::init(&config, Hash::ZERO, 1).expect("a valid preset");
        let spec = SketchSpec::standard(checkpoint.hash(), 1, &config);
        let capturer = Capturer::new(&engine, &checkpoint, &spec).expect("its own checkpoint");
        let text = |i: u32| (0..=config.context).map(|t| (t * t + 7 * i * t + i) % 509).collect();
        let texts: Vec<Vec<u32>> = (0..64).map(text).collect();
        let part = capturer.units(0, &units(&texts)).expect("tokens of the vocabulary");
        let shape: Vec<_> = part.sketches.iter().map(|s| (s.unit, s.tokens)).collect();
        let set = SketchSet::assemble(spec, &shape, vec![part]).expect("one part covers all");
        let preconditioner =
            Preconditioner::fit(&set, Preconditioner::DAMPING_PPM).expect("damped");
        let decoder = Decoder::new(&config, checkpoint.values(), engine.device());
        let generator = Generator::new(&engine, &checkpoint).expect("the CPU is there");
        let answer = |prompt: usize| {
            let (prompt, layer) = (texts[0][..prompt].to_vec(), capturer.traced_layer());
            let generated = generator.generate_traced(&prompt, &sampling(0), layer);
            let (output, trace) = generated.expect("a valid prompt");
            Answer { prompt, output, trace }
        };
        Self {
            answers: PROMPTS.into_iter().map(answer).collect(),
            generator,
            sums: (0..16).map(|c| set.aggregate(&[c, c + 16, c + 32, c + 48])).collect(),
            tracked: decoder.tracked(),
            capturer,
            decoder,
            set,
            preconditioner,
            texts,
            seed: Cell::new(0),
        }
    }

    fn capture(&self) -> SketchPart {
        self.capturer.units(0, &units(&self.texts[..4])).expect("tokens of the vocabulary")
    }

    /// Forward and backward with all weight gradients, on the batch that `capture` reads.
    fn train_step(&self) -> f32 {
        let batch = &self.texts[..4];
        let inputs: Vec<&[u32]> = batch.iter().map(|t| &t[..t.len() - 1]).collect();
        let targets: Vec<&[u32]> = batch.iter().map(|t| &t[1..]).collect();
        let logits = self.tracked.forward(self.decoder.tokens(&inputs));
        let [rows, time, vocab] = logits.dims();
        let logs = log_softmax(logits.reshape([rows * time, vocab]), 1);
        let targets = self.decoder.tokens(&targets).reshape([rows * time, 1]);
        let loss = logs.gather(1, targets).mean().neg();
        let gradients = loss.backward();
        let embedding = &self.tracked.params()[0];
        black_box(embedding.grad(&gradients).expect("part of the loss"));
        loss.inner().into_scalar::<f32>()
    }

    /// Decodes, and keeps what attribution can use.
    fn decode(&self, prompt: usize) -> (Vec<u32>, Option<Trace>) {
        self.seed.set(self.seed.get() + 1);
        let (prompt, layer) = (&self.texts[0][..prompt], self.capturer.traced_layer());
        let answer = self.generator.generate_traced(prompt, &sampling(self.seed.get()), layer);
        answer.expect("a valid prompt")
    }

    /// All that T1 adds to an answer: sketch, query, and the scores of units and contributors.
    fn attribute(&self, answer: &Answer) -> (Vec<i64>, Vec<i64>) {
        let Answer { prompt, output, trace } = answer;
        let sketch = self.capturer.output_traced(prompt, output, Scope::default(), trace.as_ref());
        let query = self.preconditioner.query(&sketch.expect("tokens")).expect("finite");
        let units = self.set.scores(&query).expect("of one spec");
        (units, self.set.score_contributors(&self.sums, &query).expect("of one spec"))
    }

    fn bytes_per_unit(&self) -> usize {
        let (one, two) = (&self.texts[..1], &self.texts[..2]);
        let bytes = |texts: &[Vec<u32>]| {
            self.capturer.units(0, &units(texts)).expect("tokens of the vocabulary").encode().len()
        };
        bytes(two) - bytes(one)
    }
}

fn sampling(seed: u64) -> Sampling {
    Sampling { tokens: GENERATED, temperature_ppm: 800_000, top: 0, top_p_ppm: Sampling::ALL, seed }
}

fn units(texts: &[Vec<u32>]) -> Vec<CaptureUnit<'_>> {
    let name = |i: usize| protocol::hash::blake3(&i.to_be_bytes());
    texts.iter().enumerate().map(|(i, t)| CaptureUnit { hash: name(i), tokens: t }).collect()
}

fn table(scoring: &Scoring, model: &Nano) {
    let [score] = timed([&mut || drop(black_box(scoring.run()))]);
    let [capture, step] = timed([&mut || drop(black_box(model.capture())), &mut || {
        black_box(model.train_step());
    }]);
    println!("\n| what | median | fastest | goal |\n|---|---|---|---|");
    let row = |what: &str, median: String, fastest: String, goal: &str| {
        println!("| {what} | {median} | {fastest} | {goal} |");
    };
    let ms = |time: f64| format!("{:.2} ms", time * 1e3);
    row("T1 score, 1,000 aggregates of 8,192", ms(score.median), ms(score.fastest), "2 ms");
    let ratio = |a: f64, b: f64| format!("{:.2} ({} / {})", a / b, ms(a), ms(b));
    let pair = |a: &Timed, b: &Timed| (ratio(a.median, b.median), ratio(a.fastest, b.fastest));
    let (median, fastest) = pair(&capture, &step);
    row("T1 capture / training step, nano, 4 x 128", median, fastest, "1.50");
    for answer in &model.answers {
        let prompt = answer.prompt.len();
        let [attribute, decode] =
            timed([&mut || drop(black_box(model.attribute(answer))), &mut || {
                drop(black_box(model.decode(prompt)));
            }]);
        let (median, fastest) = pair(&attribute, &decode);
        let what = format!("T1 / decoding {GENERATED} tokens after {prompt}, nano");
        row(&what, median, fastest, "0.30");
    }
    let bytes = model.bytes_per_unit().to_string();
    row("bytes per unit, nano", bytes.clone(), bytes, "8,000");
}

/// The same scores on the first GPU, with the rows already in its memory.
#[cfg(feature = "gpu")]
fn on_gpu(scoring: &Scoring) {
    use compute::attribute::{GpuKernel, Rows};
    use compute::device::list_gpus;

    let Some(gpu) = list_gpus().into_iter().next() else {
        println!("\nno GPU: no Vulkan, Metal or DirectX 12 device was found");
        return;
    };
    let kernel = GpuKernel::open(&gpu).expect("a listed device opens");
    let rows = Rows::contributors(&scoring.set, &scoring.sums).expect("of one spec");
    let mut rows = kernel.load(&rows).expect("it fits into memory");
    let mut run = || {
        let products = rows.products(&scoring.query).expect("the device lasts");
        let scores = scoring.set.contributor_scores_of(&scoring.sums, &scoring.query, &products);
        scores.expect("of one spec")
    };
    assert_eq!(run(), scoring.run(), "equal on every device");
    let [time] = timed([&mut || drop(black_box(run()))]);
    println!("\nthe same 1,000 scores on {gpu}: {:.2} ms, equal to the CPU's", time.median * 1e3);
}

#[cfg(not(feature = "gpu"))]
fn on_gpu(_: &Scoring) {
    println!("\nno GPU: built without the feature `gpu`");
}

/// Seconds of a piece of work.
struct Timed {
    median: f64,
    fastest: f64,
}

/// Times several pieces of work that are run in turn.
fn timed<const N: usize>(mut works: [&mut dyn FnMut(); N]) -> [Timed; N] {
    let mut samples = [const { Vec::new() }; N];
    for _ in 0..ROUNDS {
        for (work, samples) in works.iter_mut().zip(&mut samples) {
            let start = Instant::now();
            work();
            samples.push(start.elapsed().as_secs_f64());
        }
    }
    samples.map(|mut samples| {
        samples.sort_by(f64::total_cmp);
        Timed { median: samples[ROUNDS / 2], fastest: samples[0] }
    })
}
