//! Shared pieces: generated text, a tokenizer of it, a small shard, made-up sketches.

use std::sync::{Arc, OnceLock};

use compute::attribute::{Query, Sketch, SketchPart, SketchSet, SketchSpec};
use compute::formats::Checkpoint;
use compute::formats::Tokenizer;
use compute::model::ModelConfig;
use compute::train::ShardHyper;
use compute::train::shard::ShardInput;
use protocol::Hash;

/// English-like sentences of a seed: words follow a fixed grammar, so that there is something to
/// learn beyond frequencies.
pub(crate) fn text(seed: u64, sentences: usize) -> String {
    const NOUNS: [&str; 8] =
        ["farmer", "river", "captain", "winter", "garden", "letter", "mountain", "sailor"];
    const VERBS: [&str; 6] = ["carries", "follows", "remembers", "crosses", "watches", "forgets"];
    const ENDS: [&str; 5] =
        ["before the storm", "without a word", "in the morning", "near the old mill", "every year"];
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut pick = |n: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % n as u64) as usize
    };
    (0..sentences)
        .map(|_| {
            let (a, v, b, e) = (pick(8), pick(6), pick(8), pick(5));
            format!("The {} {} the {} {}. ", NOUNS[a], VERBS[v], NOUNS[b], ENDS[e])
        })
        .collect()
}

/// A tokenizer of 300 ids trained on that text.
pub(crate) fn tokenizer() -> &'static Tokenizer {
    static TOKENIZER: OnceLock<Tokenizer> = OnceLock::new();
    TOKENIZER.get_or_init(|| {
        let text = text(1, 400);
        Tokenizer::train(std::iter::once(text.as_str()), 300).unwrap()
    })
}

/// The units of a seed, about 100 tokens each.
pub(crate) fn units(seed: u64, count: u64) -> Vec<Vec<u32>> {
    (0..count).map(|i| tokenizer().encode(&text(seed * 1000 + i, 8)).unwrap()).collect()
}

/// The tiny model with the tokenizer's vocabulary, at its initial weights.
pub(crate) fn checkpoint() -> Arc<Checkpoint> {
    let config = ModelConfig { vocab: tokenizer().vocab(), ..ModelConfig::tiny() };
    Arc::new(Checkpoint::init(&config, tokenizer().hash(), 1).unwrap())
}

/// A shard of a second at most.
pub(crate) fn hyper() -> ShardHyper {
    ShardHyper {
        steps: 12,
        batch: 4,
        context: 32,
        learning_rate_ppb: 5_000_000,
        warmup: 2,
        beta1_ppm: 900_000,
        beta2_ppm: 950_000,
        weight_decay_ppm: 100_000,
        clip_ppm: 1_000_000,
        keep: 256,
    }
}

/// A shard on the units of seed 1.
pub(crate) fn input() -> ShardInput {
    ShardInput {
        checkpoint: checkpoint(),
        adapter: None,
        units: units(1, 8),
        seed: [3; 32],
        hyper: hyper(),
    }
}

/// The sketches of `count` made-up units under a spec of two blocks of `side²` values: any bytes, with
/// exponents of a few kinds.
pub(crate) fn sketches(seed: u64, count: u32, side: u16) -> (SketchSpec, SketchPart) {
    let spec = SketchSpec { checkpoint: Hash::ZERO, seed: 1, side, linears: vec![0, 1] };
    let mut bytes = vec![0u8; count as usize * (spec.blocks() + spec.dims())];
    blake3::Hasher::new().update(&seed.to_be_bytes()).finalize_xof().fill(&mut bytes);
    let row = spec.blocks() + spec.dims();
    let sketch = |(rank, bytes): (usize, &[u8])| Sketch {
        unit: protocol::hash::blake3(&rank.to_be_bytes()),
        tokens: 7,
        exponents: bytes[..spec.blocks()].iter().map(|&byte| (byte % 5) as i8 - 12).collect(),
        values: bytes[spec.blocks()..].iter().map(|&byte| byte as i8).collect(),
    };
    let sketches = bytes.chunks_exact(row).enumerate().map(sketch).collect();
    (spec.clone(), SketchPart { spec: spec.id(), first: 0, sketches })
}

/// Those sketches as a whole snapshot.
pub(crate) fn sketch_set(seed: u64, count: u32, side: u16) -> SketchSet {
    let (spec, part) = sketches(seed, count, side);
    let units: Vec<_> = part.sketches.iter().map(|s| (s.unit, s.tokens)).collect();
    SketchSet::assemble(spec, &units, vec![part]).unwrap()
}

/// A query of arbitrary values.
pub(crate) fn query(seed: u64, spec: &SketchSpec) -> Query {
    let mut bytes = vec![0u8; spec.blocks() + 2 * spec.dims()];
    blake3::Hasher::new().update(&(!seed).to_be_bytes()).finalize_xof().fill(&mut bytes);
    bytes[..spec.blocks()].iter_mut().for_each(|byte| *byte %= 7);
    Query::decode(&bytes, spec).unwrap()
}

/// The part of the units from one rank up to another.
pub(crate) fn slice(part: &SketchPart, from: u32, to: u32) -> SketchPart {
    let sketches = part.sketches[from as usize..to as usize].to_vec();
    SketchPart { spec: part.spec, first: from, sketches }
}

/// Replaces the first occurrence of a text of the same length in a file's header.
pub(crate) fn edit(bytes: &[u8], from: &str, to: &str) -> Vec<u8> {
    assert_eq!(from.len(), to.len());
    let at = bytes.windows(from.len()).position(|w| w == from.as_bytes()).expect(from);
    let mut out = bytes.to_vec();
    out[at..at + to.len()].copy_from_slice(to.as_bytes());
    out
}
