//! How fast a span index is built and asked, in time of one core, against the stated goals.
//!
//! ```text
//! cargo bench -p openledger-compute --bench spans
//! SPANS_TOKENS=100000000 SPANS_EXPORT=/some/folder cargo bench -p openledger-compute --bench spans
//! ```
//!
//! The corpus is synthetic: units of 256 tokens, ids distributed as words are (Zipf), every eighth
//! unit with a stretch copied from an earlier one. Outputs of 500 tokens alternate copied stretches
//! with fresh ones. `SPANS_EXPORT` names a folder for corpus, outputs and results, from which
//! `tests/reference/infini_gram.py` measures another implementation.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use compute::spans::proof::{Prover, Side, verify_lookup};
use compute::spans::{Attributed, FileBytes, MaximalSpan, SpanIndex, SpanParams, SpanUnit, Spans};
use criterion::measurement::{Measurement, ValueFormatter, WallTime};
use criterion::{Criterion, Throughput};
use protocol::Hash;
use protocol::codec::Wire;

const VOCAB: u32 = 49_152;
const UNIT: usize = 256;
const OUTPUT: usize = 500;
const OUTPUTS: usize = 32;
const TOKENIZER: Hash = Hash([7; 32]);
const MAX_COUNT: u32 = SpanParams::DEFAULT.max_count;
/// Goal: tokens indexed per second of one core.
const BUILD_GOAL: f64 = 10e6;
/// Goal: all maximal spans of one output.
const QUERY_GOAL: Duration = Duration::from_millis(10);

/// Time that this thread really ran; wall time where the system doesn't tell.
struct CpuTime;

fn ran(start: Instant) -> Duration {
    let told = fs::read_to_string("/proc/thread-self/schedstat").ok();
    let nanos = told.and_then(|told| told.split(' ').next()?.parse().ok());
    nanos.map_or_else(|| start.elapsed(), Duration::from_nanos)
}

impl Measurement for CpuTime {
    type Intermediate = (Instant, Duration);
    type Value = Duration;

    fn start(&self) -> Self::Intermediate {
        let start = Instant::now();
        (start, ran(start))
    }
    fn end(&self, (start, before): Self::Intermediate) -> Duration {
        ran(start).saturating_sub(before).max(Duration::from_nanos(1))
    }
    fn add(&self, a: &Duration, b: &Duration) -> Duration {
        *a + *b
    }
    fn zero(&self) -> Duration {
        Duration::ZERO
    }
    fn to_f64(&self, value: &Duration) -> f64 {
        value.as_nanos() as f64
    }
    fn formatter(&self) -> &dyn ValueFormatter {
        const { &WallTime }.formatter()
    }
}

/// A seeded stream of numbers (SplitMix64).
struct Draw(u64);

impl Draw {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        ((u128::from(self.next()) * bound as u128) >> 64) as usize
    }

    /// A token whose chance falls as one over its rank.
    fn token(&mut self) -> u32 {
        let unit = (self.next() >> 11) as f64 / (1u64 << 53) as f64;
        (f64::from(VOCAB).powf(unit) as u32).clamp(1, VOCAB) - 1
    }
}

fn corpus(tokens: usize) -> Vec<u32> {
    let mut draw = Draw(4);
    let mut text: Vec<u32> = (0..tokens).map(|_| draw.token()).collect();
    for unit in (8..tokens / UNIT).step_by(8) {
        let len = 32 + draw.below(96);
        let from = draw.below(unit) * UNIT + draw.below(UNIT - len);
        text.copy_within(from..from + len, unit * UNIT + draw.below(UNIT - len));
    }
    text
}

fn outputs(text: &[u32]) -> Vec<Vec<u32>> {
    let mut draw = Draw(5);
    let mut output = || {
        let mut output = Vec::new();
        while output.len() < OUTPUT {
            let len = 10 + draw.below(30);
            let from = draw.below(text.len() / UNIT) * UNIT + draw.below(UNIT - len);
            output.extend(&text[from..from + len]);
            output.extend((0..10 + draw.below(20)).map(|_| draw.token()));
        }
        output.truncate(OUTPUT);
        output
    };
    (0..OUTPUTS).map(|_| output()).collect()
}

fn units(text: &[u32]) -> Vec<SpanUnit<'_>> {
    let name = |rank: usize| {
        let mut hash = [0; 32];
        hash[..8].copy_from_slice(&(rank as u64).to_be_bytes());
        Hash(hash)
    };
    let unit = |(rank, tokens)| SpanUnit { hash: name(rank), tokens };
    text.chunks(UNIT).enumerate().map(unit).collect()
}

fn build(text: &[u32]) -> SpanIndex {
    SpanIndex::build(TOKENIZER, VOCAB, &units(text)).expect("the corpus is well-formed")
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

/// The median over outputs of the median time of each.
fn time_each<T>(outputs: &[Vec<u32>], ask: impl Fn(&[u32]) -> T) -> Duration {
    let of = |output: &Vec<u32>| {
        let once = |_| {
            let start = Instant::now();
            std::hint::black_box(ask(output));
            start.elapsed()
        };
        median((0..15).map(once).collect())
    };
    median(outputs.iter().map(of).collect())
}

/// Sizes and times of proofs.
fn prove<B: AsRef<[u8]>>(index: &SpanIndex<B>, outputs: &[Vec<u32>]) {
    let start = Instant::now();
    let prover = Prover::new(index);
    println!("commitment: {:.2} s", start.elapsed().as_secs_f64());
    let runs: Vec<&[u32]> = outputs.iter().flat_map(|output| output.chunks(20)).collect();
    let proofs: Vec<_> = runs.iter().map(|run| prover.lookup(run, Side::Lower)).collect();
    let proofs: Vec<_> = proofs.into_iter().map(|proof| proof.expect("runs are valid")).collect();
    let mut sizes: Vec<_> = proofs.iter().map(|proof| proof.to_bytes().len()).collect();
    sizes.sort_unstable();
    let (middle, most) = (sizes[sizes.len() / 2], sizes[sizes.len() - 1]);
    println!("proof of a longest match of up to 20 tokens: median {middle} bytes, most {most}");
    let start = Instant::now();
    for (run, proof) in runs.iter().zip(&proofs) {
        verify_lookup(prover.commitment(), run, Side::Lower, proof).expect("proofs hold");
    }
    println!("verification: {:?} each", start.elapsed() / proofs.len() as u32);
}

/// Corpus, outputs and results, in the form that `infini_gram.py` reads.
fn export(folder: &Path, text: &[u32], outputs: &[Vec<u32>], result: serde_json::Value) {
    let write = || -> std::io::Result<()> {
        fs::create_dir_all(folder)?;
        let mut tokens = std::io::BufWriter::new(fs::File::create(folder.join("tokenized.0"))?);
        let mut offsets = std::io::BufWriter::new(fs::File::create(folder.join("offset.0"))?);
        for (rank, unit) in text.chunks(UNIT).enumerate() {
            offsets.write_all(&((rank * (UNIT + 1) * 2) as u64).to_le_bytes())?;
            tokens.write_all(&u16::MAX.to_le_bytes())?;
            for &token in unit {
                tokens.write_all(&(token as u16).to_le_bytes())?;
            }
        }
        let all = serde_json::json!({ "vocab": VOCAB, "outputs": outputs, "openledger": result });
        fs::write(folder.join("openledger.json"), all.to_string())
    };
    write().expect("the folder can be written");
}

/// Builds the whole index; gives it with the seconds of a core that it took.
fn build_once(text: &[u32]) -> (SpanIndex, f64) {
    let start = Instant::now();
    let before = ran(start);
    let index = build(text);
    let (core, wall) = (ran(start).saturating_sub(before).as_secs_f64(), start.elapsed());
    let rate = text.len() as f64 / core;
    println!("{} tokens, {} units, {} bytes", text.len(), index.units(), index.bytes().len());
    println!(
        "build: {:.2} M tokens/s a core ({:.2} x goal), {core:.2} s of a core, {wall:.2?} of wall",
        rate / 1e6,
        rate / BUILD_GOAL,
    );
    (index, core)
}

fn main() {
    let tokens = std::env::var("SPANS_TOKENS").ok().and_then(|n| n.parse().ok());
    let tokens = tokens.unwrap_or(4_000_000usize).max(UNIT) / UNIT * UNIT;
    let text = corpus(tokens);
    let outputs = outputs(&text);

    let (index, build_seconds) = build_once(&text);
    // Asked as a node would: from a mapped file.
    let mut file = tempfile::tempfile().expect("a temporary file can be made");
    file.write_all(index.bytes()).expect("the disk has room");
    let bytes = FileBytes::map(&file).expect("the file can be mapped");
    let index = SpanIndex::attach(bytes, &index.snapshot()).expect("the index was just built");
    let maximal = |output: &[u32]| index.maximal(TOKENIZER, output, MAX_COUNT).expect("valid");
    let attribute = |output: &[u32]| {
        index.attribute(TOKENIZER, &[], output, SpanParams::DEFAULT).expect("valid")
    };
    let first = Instant::now();
    outputs.iter().for_each(|output| drop(maximal(output)));
    let first = first.elapsed() / OUTPUTS as u32;
    let (spans, evidence) = (time_each(&outputs, maximal), time_each(&outputs, attribute));
    let ratio = QUERY_GOAL.as_secs_f64() / spans.as_secs_f64();
    println!(
        "all maximal spans of {OUTPUT} tokens: {spans:?} ({ratio:.1} x goal), {first:?} at first"
    );
    println!("their evidence, credited: {evidence:?}");
    prove(&index, &outputs);

    if let Ok(folder) = std::env::var("SPANS_EXPORT") {
        let found: Vec<Vec<_>> = outputs
            .iter()
            .map(|output| maximal(output).iter().map(|s| (s.start, s.len, s.count)).collect())
            .collect();
        let result = serde_json::json!({
            "build_seconds": build_seconds,
            "query_seconds": spans.as_secs_f64(),
            "max_count": MAX_COUNT,
            "spans": found,
        });
        export(Path::new(&folder), &text, &outputs, result);
    }

    measure(&text, &outputs, maximal, attribute);
}

/// The same with criterion, in time of one core.
fn measure(
    text: &[u32],
    outputs: &[Vec<u32>],
    maximal: impl Fn(&[u32]) -> Vec<MaximalSpan>,
    attribute: impl Fn(&[u32]) -> Attributed,
) {
    let mut criterion = Criterion::default().with_measurement(CpuTime).configure_from_args();
    let mut group = criterion.benchmark_group("spans");
    group.sample_size(10);
    let part = &text[..text.len().min(4_000_000 / UNIT * UNIT)];
    group.throughput(Throughput::Elements(part.len() as u64));
    group.bench_function("build", |b| b.iter(|| build(part)));
    group.throughput(Throughput::Elements(OUTPUTS as u64));
    group.bench_function("maximal", |b| {
        b.iter(|| outputs.iter().map(|output| maximal(output).len()).sum::<usize>());
    });
    group.bench_function("attribute", |b| {
        b.iter(|| outputs.iter().map(|output| attribute(output).spans.len()).sum::<usize>());
    });
    group.finish();
    criterion.final_summary();
}
