//! Shared pieces: generated text, a tokenizer of it, a small shard.

use std::sync::{Arc, OnceLock};

use compute::checkpoint::Checkpoint;
use compute::model::ModelConfig;
use compute::shard::{ShardHyper, ShardInput};
use compute::tokenizer::Tokenizer;

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
    ShardInput { checkpoint: checkpoint(), units: units(1, 8), seed: [3; 32], hyper: hyper() }
}
