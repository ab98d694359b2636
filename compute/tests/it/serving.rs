//! Serving with eight-bit weights: what is computed, and that sequences don't disturb each other.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use compute::device::Engine;
use compute::formats::Checkpoint;
use compute::lora::{Adapter, BaseId, LoraConfig};
use compute::model::layout::{self, LINEARS_PER_LAYER, Role};
use compute::model::{Decoder, ModelConfig};
use compute::serve::Sampling;
use compute::serve::batch::{
    Batcher, EnterError, Limits, PackError, PackedAdapter, QuantisedDecoder, SequenceId,
};
use protocol::Hash;

/// A model that is surer of what it says than one at its initial weights.
fn checkpoint() -> Checkpoint {
    let config = ModelConfig { heads: 6, kv_heads: 2, width: 192, ..ModelConfig::nano() };
    let initial = Checkpoint::init(&config, Hash::ZERO, 3).unwrap();
    let mut rest = initial.values();
    let mut values = Vec::new();
    for spec in layout::tensors(&config) {
        let (own, tail) = rest.split_at(spec.len());
        let factor = if spec.role == Role::Embedding { 10.0 } else { 1.0 };
        values.extend(own.iter().map(|value| value * factor));
        rest = tail;
    }
    Checkpoint::from_values(&config, Hash::ZERO, values).unwrap()
}

fn model() -> Arc<QuantisedDecoder> {
    Arc::new(QuantisedDecoder::load(&checkpoint(), None).unwrap())
}

fn sampling(tokens: u32, seed: u64) -> Sampling {
    // Every other one draws.
    Sampling {
        tokens,
        temperature_ppm: (seed % 2) as u32 * 900_000,
        top: 40,
        top_p_ppm: Sampling::ALL,
        seed,
    }
}

fn prompt(seed: u32, length: u32) -> Vec<u32> {
    (0..length).map(|at| (seed * 7_919 + at * at * 31 + at * 17) % 512).collect()
}

fn limits(pass_tokens: usize) -> Limits {
    Limits { pass_tokens, sequences: 12, cache_bytes: 1 << 26 }
}

/// Tokens of each sequence, and the bits of all logits from which they were drawn.
type Said = BTreeMap<SequenceId, (Vec<u32>, Vec<u32>)>;

fn step(batcher: &mut Batcher, said: &mut Said) {
    let mut seen = Vec::new();
    let produced = batcher.step_seeing(&mut |id, logits| {
        seen.push((id, logits.iter().map(|logit| logit.to_bits()).collect::<Vec<_>>()));
    });
    assert_eq!(
        produced.iter().map(|p| p.id).collect::<Vec<_>>(),
        seen.iter().map(|s| s.0).collect::<Vec<_>>()
    );
    for (produced, (id, logits)) in produced.into_iter().zip(seen) {
        let (tokens, bits) = said.entry(id).or_default();
        tokens.push(produced.token);
        bits.extend(logits);
    }
}

fn alone(
    model: &Arc<QuantisedDecoder>,
    prompt: &[u32],
    sampling: &Sampling,
) -> (Vec<u32>, Vec<u32>) {
    let mut batcher = Batcher::new(Arc::clone(model), limits(1_000));
    let id = batcher.enter(prompt, sampling).unwrap();
    let mut said = Said::new();
    while !batcher.is_empty() {
        step(&mut batcher, &mut said);
    }
    said.remove(&id).unwrap()
}

/// Natural logarithms of probabilities.
fn log_softmax(logits: impl Iterator<Item = f32>) -> Vec<f64> {
    let logits: Vec<f64> = logits.map(f64::from).collect();
    let most = logits.iter().copied().fold(f64::MIN, f64::max);
    let sum: f64 = logits.iter().map(|logit| (logit - most).exp()).sum();
    logits.iter().map(|logit| logit - most - sum.ln()).collect()
}

#[test]
fn eight_bits_say_nearly_what_f32_says() {
    let (checkpoint, model) = (checkpoint(), model());
    let exact = Decoder::new(checkpoint.config(), checkpoint.values(), Engine::cpu().device());
    let ids = prompt(1, 100);
    let logits: Vec<f32> = exact.forward(exact.tokens(&[&ids])).try_into_vec_as().unwrap();
    let (mut divergence, mut worst, mut surest) = (0.0f64, 0.0f64, 0.0f64);
    for (length, logits) in (1..).zip(logits.chunks(512)) {
        let (_, bits) = alone(&model, &ids[..length], &sampling(1, 0));
        let exact = log_softmax(logits.iter().copied());
        let rounded = log_softmax(bits.into_iter().map(f32::from_bits));
        let terms = exact.iter().zip(&rounded).map(|(p, q)| p.exp() * (p - q));
        divergence += terms.sum::<f64>() / 100.0;
        surest = exact.iter().fold(surest, |most, p| most.max(p.exp()));
        let off =
            exact.iter().zip(&rounded).filter(|(p, _)| **p > -5.0).map(|(p, q)| (p - q).abs());
        worst = off.fold(worst, f64::max);
    }
    assert!(surest > 0.5, "a model that knows nothing shows nothing: {surest}");
    assert!(divergence < 1.0e-3 && worst < 0.4, "{divergence} {worst}");
}

#[test]
fn a_sequence_says_the_same_alone_and_in_any_company() {
    let model = model();
    let wanted: Vec<_> = (0u32..9)
        .map(|seed| (prompt(seed, 1 + seed * seed), sampling(30 - seed, seed.into())))
        .collect();
    let expected: Vec<_> = wanted.iter().map(|(p, s)| alone(&model, p, s)).collect();
    assert!(
        expected[1].0 != expected[0].0
            && expected.iter().zip(&wanted).all(|(e, w)| e.0.len() == w.1.tokens as usize)
    );
    // With the least room for prompts they are read in pieces of a few tokens, with the most in one go.
    for pass_tokens in [0, 17, 1_000] {
        let mut batcher = Batcher::new(Arc::clone(&model), limits(pass_tokens));
        let (mut said, mut ids) = (Said::new(), Vec::new());
        for (prompt, sampling) in &wanted {
            ids.push(batcher.enter(prompt, sampling).unwrap());
            step(&mut batcher, &mut said);
        }
        // Who leaves disturbs nobody, whether it is being answered or read.
        let guest = batcher.enter(&prompt(99, 100), &sampling(20, 1)).unwrap();
        step(&mut batcher, &mut said);
        assert!(batcher.leave(guest) && !batcher.leave(guest));
        while !batcher.is_empty() {
            step(&mut batcher, &mut said);
        }
        for (id, expected) in ids.iter().zip(&expected) {
            assert!(said[id] == *expected, "{id:?} with {pass_tokens} tokens a pass");
        }
        assert_eq!(batcher.cache_bytes(), 0);
    }
}

#[test]
fn prompts_are_read_in_turns_beside_answers() {
    let mut batcher =
        Batcher::new(model(), Limits { pass_tokens: 16, sequences: 4, cache_bytes: 1 << 26 });
    let talker = batcher.enter(&prompt(1, 2), &sampling(60, 0)).unwrap();
    assert_eq!(batcher.step().len(), 1);
    let long = batcher.enter(&prompt(2, 100), &sampling(2, 0)).unwrap();
    let short = batcher.enter(&prompt(3, 20), &sampling(2, 0)).unwrap();
    let mut first = BTreeMap::new();
    for pass in 0..20 {
        let produced = batcher.step();
        // Whoever is being answered waits for no prompt.
        assert!(produced.iter().any(|p| p.id == talker), "{pass}");
        for produced in produced {
            first.entry(produced.id).or_insert(pass);
        }
    }
    // Fifteen tokens a pass, in turns: 15 of the long one, 15 of the short, 15 of the long, 5 and 10, …
    assert!(first[&short] == 3 && first[&long] == 8, "{first:?}");
}

#[test]
fn memory_is_promised_before_anything_is_read() {
    let model = model();
    // A page has 16 positions: 3 layers of 2 heads of 32 keys and values, two bytes each.
    let page = 16 * 3 * 2 * 2 * 32 * 2;
    let limits = Limits { cache_bytes: 5 * page + 1, sequences: 3, pass_tokens: 8 };
    let mut batcher = Batcher::new(Arc::clone(&model), limits);
    let needed = 6 * page;
    let refused = batcher.enter(&prompt(1, 60), &sampling(22, 0));
    assert_eq!(refused, Err(EnterError::TooLarge { needed, limit: 5 * page + 1 }));
    // The last token is not read: 32 positions and no more.
    let two = batcher.enter(&prompt(1, 30), &sampling(3, 0)).unwrap();
    assert_eq!(batcher.cache_bytes(), 2 * page);
    let refused = batcher.enter(&prompt(1, 60), &sampling(4, 0));
    assert_eq!(refused, Err(EnterError::Full { needed: 4 * page, free: 3 * page }));
    let three = batcher.enter(&prompt(1, 40), &sampling(9, 0)).unwrap();
    assert!(two != three && batcher.leave(two));
    let four = batcher.enter(&prompt(1, 1), &sampling(1, 0)).unwrap();
    batcher.enter(&prompt(1, 1), &sampling(16, 0)).unwrap();
    assert_eq!(batcher.enter(&[1], &sampling(1, 0)), Err(EnterError::Busy(3)));
    assert!(four != two, "names are never given twice");
    while !batcher.is_empty() {
        batcher.step();
    }
    assert_eq!(batcher.cache_bytes(), 0);
}

#[test]
fn what_can_not_be_read_is_refused() {
    let mut batcher = Batcher::new(model(), limits(64));
    let mut enter = |prompt: &[u32], tokens| batcher.enter(prompt, &sampling(tokens, 0)).err();
    assert_eq!(enter(&[], 1), Some(EnterError::EmptyPrompt));
    assert_eq!(enter(&[1], 0), Some(EnterError::NoTokens));
    assert_eq!(enter(&[1, 512], 1), Some(EnterError::UnknownId { id: 512, vocab: 512 }));
    let long = |prompt, tokens| Some(EnterError::TooLong { prompt, tokens, context: 128 });
    assert_eq!(enter(&vec![1; 129], 1), long(129, 1));
    assert_eq!(enter(&[1, 2], 128), long(2, 128));
    assert_eq!(enter(&[1], u32::MAX), long(1, u32::MAX));
    assert_eq!(enter(&vec![1; 1_000_000], 1), long(1_000_000, 1));
    assert_eq!(enter(&[1, 2], 127), None);
}

#[test]
fn nothing_of_one_sequence_reaches_who_gets_its_memory() {
    let model = model();
    let wanted = (prompt(5, 37), sampling(40, 3));
    let cold = alone(&model, &wanted.0, &wanted.1);
    // Room for one sequence: each gets the pages of the one before.
    let limits = Limits { cache_bytes: 1 << 26, sequences: 1, pass_tokens: 64 };
    let mut batcher = Batcher::new(Arc::clone(&model), limits);
    for seed in 0..3 {
        batcher.enter(&prompt(seed, 90), &sampling(30, 1)).unwrap();
        while !batcher.is_empty() {
            batcher.step();
        }
        let id = batcher.enter(&wanted.0, &wanted.1).unwrap();
        let mut said = Said::new();
        while !batcher.is_empty() {
            step(&mut batcher, &mut said);
        }
        assert!(said[&id] == cold);
    }
}

#[test]
fn one_prompt_is_answered_until_somebody_has_heard_enough() {
    let model = model();
    let (prompt, sampling) = (prompt(4, 9), sampling(12, 5));
    let whole = alone(&model, &prompt, &sampling).0;
    assert_eq!(model.generate_while(&prompt, &sampling, &mut |_| true), Ok(whole.clone()));
    let mut heard = Vec::new();
    let mut three = |token| {
        heard.push(token);
        heard.len() < 3
    };
    assert_eq!(model.generate_while(&prompt, &sampling, &mut three), Ok(whole[..3].to_vec()));
    assert_eq!(heard, whole[..3]);
}

/// An adapter of some rank, whose `B` is no longer zero; of all linear maps, or of queries and values.
fn adapter(rank: u32, is_whole: bool, seed: u64) -> Adapter {
    let base = BaseId::of(&checkpoint());
    let mut config = LoraConfig::standard(rank, &base.model);
    if is_whole {
        config.linears = (0..(base.model.layers as usize * LINEARS_PER_LAYER) as u16).collect();
    }
    let initial = Adapter::init(&base, &config, seed).unwrap();
    let numbered = initial.values().iter().zip(0u64..);
    let values = numbered.map(|(value, at)| match *value {
        0.0 => ((at * 7_919 + seed * 31) % 401) as f32 / 4_000.0 - 0.05,
        value => value,
    });
    Adapter::from_values(&base, &config, values.collect()).unwrap()
}

fn packed(adapter: &Adapter) -> Option<Arc<PackedAdapter>> {
    Some(Arc::new(PackedAdapter::new(adapter).unwrap()))
}

/// Logits behind a prompt, alone under an adapter.
fn under(model: &Arc<QuantisedDecoder>, adapter: Option<Arc<PackedAdapter>>) -> Vec<u32> {
    let mut batcher = Batcher::new(Arc::clone(model), limits(64));
    let id = batcher.enter_adapted(&prompt(6, 9), &sampling(1, 0), adapter).unwrap();
    let mut said = Said::new();
    step(&mut batcher, &mut said);
    said[&id].1.clone()
}

#[test]
fn an_adapter_says_what_merged_weights_say() {
    let (checkpoint, model) = (checkpoint(), model());
    for adapter in [adapter(8, false, 1), adapter(16, true, 2), adapter(1, true, 3)] {
        let merged = adapter.merged(&checkpoint).unwrap();
        let merged = Decoder::new(merged.config(), merged.values(), Engine::cpu().device());
        let exact: Vec<f32> =
            merged.forward(merged.tokens(&[&prompt(6, 9)])).try_into_vec_as().unwrap();
        let exact = log_softmax(exact[8 * 512..].iter().copied());
        let divergence = |logits: Vec<u32>| -> f64 {
            let found = log_softmax(logits.into_iter().map(f32::from_bits));
            exact.iter().zip(found).map(|(p, q)| p.exp() * (p - q)).sum()
        };
        let (with, without) =
            (divergence(under(&model, packed(&adapter))), divergence(under(&model, None)));
        // What eight bits alone differ by, and far less than what the adapter adds.
        assert!(with.abs() < 3.0e-3 && without > 10.0 * with.abs(), "{with} {without}");
    }
}

/// Nothing of a request under one adapter changes another's, whoever shares its passes and its prompt.
#[test]
fn adapters_of_one_batch_do_not_touch_each_other() {
    let model = model();
    let adapters = [
        None,
        packed(&adapter(8, false, 1)),
        packed(&adapter(16, true, 2)),
        packed(&adapter(2, true, 3)),
    ];
    let expected: Vec<_> = adapters.iter().map(|adapter| under(&model, adapter.clone())).collect();
    for order in [[0, 1, 2, 3], [3, 2, 1, 0], [1, 1, 0, 2]] {
        let mut batcher = Batcher::new(Arc::clone(&model), limits(64));
        let enter = |at: usize| {
            let adapter = adapters[at].clone();
            batcher.enter_adapted(&prompt(6, 9), &sampling(1, 0), adapter).unwrap()
        };
        let ids = order.map(enter);
        let mut said = Said::new();
        step(&mut batcher, &mut said);
        for (id, at) in ids.iter().zip(order) {
            assert!(said[id].1 == expected[at], "{order:?} {at}");
        }
    }
    let different: BTreeSet<_> = expected.iter().collect();
    assert_eq!(different.len(), 4);
}

#[test]
fn an_adapter_of_another_shape_does_not_enter() {
    let other = BaseId { model: ModelConfig::tiny(), ..BaseId::of(&checkpoint()) };
    let other = Adapter::init(&other, &LoraConfig::standard(8, &other.model), 1).unwrap();
    let mut batcher = Batcher::new(model(), limits(64));
    let refused = batcher.enter_adapted(&prompt(1, 4), &sampling(1, 0), packed(&other));
    assert_eq!(refused, Err(EnterError::OtherModel));
    let base = BaseId::of(&checkpoint());
    let config = LoraConfig::standard(1, &base.model);
    let mut values = Adapter::init(&base, &config, 1).unwrap().values().to_vec();
    values[5] = 1.0e6;
    let large = Adapter::from_values(&base, &config, values).unwrap();
    assert_eq!(PackedAdapter::new(&large).map(|_| ()), Err(PackError::TooLarge(5)));
}
