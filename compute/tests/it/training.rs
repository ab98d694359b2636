//! Shards: they repeat bit for bit, replay tolerances separate honest from dishonest work, rounds
//! learn, models answer.

use std::process::Command;

use compute::device::Engine;
use compute::serve::{Generator, InferError, Sampling};
use compute::train::shard::{self, ShardError, ShardInput};
use compute::train::update::compare;
use compute::train::{eval, outer};

use protocol::params::{Params, Training};

use crate::fixture;

/// Set for the child of [`threads_do_not_change_a_bit`]: print the shard's hash and stop.
const CHILD: &str = "COMPUTE_TEST_PRINT_SHARD";

fn limits() -> Training {
    Params::mainnet().training
}

fn shard_hash(input: &ShardInput) -> String {
    let payload = shard::run(&Engine::cpu(), input).unwrap().payload;
    blake3::hash(&payload.to_bytes()).to_string()
}

/// Large enough that matrix products are split over threads.
fn wide() -> ShardInput {
    let mut input = fixture::input();
    let config = compute::model::ModelConfig {
        width: 128,
        ffn: 512,
        heads: 4,
        context: 64,
        ..input.checkpoint.config().clone()
    };
    let tokenizer = fixture::tokenizer().hash();
    input.checkpoint = compute::formats::Checkpoint::init(&config, tokenizer, 1).unwrap().into();
    input.hyper.steps = 3;
    input.hyper.batch = 16;
    input.hyper.context = 64;
    input
}

#[test]
fn a_shard_repeats_bit_for_bit() {
    let input = fixture::input();
    let first = shard::run(&Engine::cpu(), &input).unwrap();
    assert_eq!(shard::run(&Engine::cpu(), &input).unwrap(), first);
    assert!(first.loss_last < first.loss_first);
    assert_eq!(first.tokens, 12 * 4 * 32);
    let other = ShardInput { seed: [4; 32], ..input };
    assert_ne!(shard::run(&Engine::cpu(), &other).unwrap().payload, first.payload);
}

#[test]
fn threads_do_not_change_a_bit() {
    if std::env::var_os(CHILD).is_some() {
        println!("shard {}", shard_hash(&wide()));
        return;
    }
    let expected = format!("shard {}", shard_hash(&wide()));
    for threads in ["1", "2", "5"] {
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "training::threads_do_not_change_a_bit", "--nocapture"])
            .env(CHILD, "1")
            .env("RAYON_NUM_THREADS", threads)
            .output()
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(text.contains(&expected), "{threads} threads: {text}");
    }
}

#[test]
fn tolerances_separate_honest_from_dishonest_work() {
    let honest = fixture::input();
    let run = |input: &ShardInput| shard::run(&Engine::cpu(), input).unwrap().payload;
    let base = run(&honest);
    assert!(compare(&base, &run(&honest)).unwrap().accepts(&limits()));

    let other_data = ShardInput { units: fixture::units(2, 8), ..honest.clone() };
    let mut swapped = honest.clone();
    // Same length, so that every other window stays as it was.
    let length = swapped.units[3].len();
    let other: Vec<u32> = fixture::units(3, 2).concat();
    swapped.units[3] = other[..length].to_vec();
    let mut half = honest.clone();
    half.hyper.steps /= 2;
    let mut lazy_batch = honest;
    lazy_batch.hyper.batch -= 1;
    let cheats = [("other data", other_data), ("one unit swapped", swapped), ("half", half)];
    for (name, cheat) in cheats.into_iter().chain([("a smaller batch", lazy_batch)]) {
        let report = compare(&run(&cheat), &base).unwrap();
        println!("{name}: {report:?}");
        assert!(!report.accepts(&limits()), "{name}: {report:?}");
    }
}

#[test]
fn rounds_of_shards_learn_more_than_frequencies() {
    let (train, held_out) = (fixture::units(1, 40), fixture::units(9, 6));
    let mut checkpoint = (*fixture::checkpoint()).clone();
    let vocab = checkpoint.config().vocab;
    let unigram = eval::unigram(&train, &held_out, vocab).unwrap();
    let bigram = eval::bigram(&train, &held_out, vocab).unwrap();
    assert!(bigram.loss < unigram.loss && bigram.tokens == unigram.tokens);
    let engine = Engine::cpu();
    let first = eval::model(&engine, &checkpoint, &held_out).unwrap();
    assert_eq!(first.tokens, unigram.tokens);
    for round in 0..3u8 {
        let payloads: Vec<_> = (0..3u8)
            .map(|worker| {
                let mut input = fixture::input();
                input.checkpoint = checkpoint.clone().into();
                input.units = train.iter().skip(worker.into()).step_by(3).cloned().collect();
                input.seed = [round * 3 + worker; 32];
                input.hyper.steps = 20;
                input.hyper.learning_rate_ppb = 10_000_000;
                input.hyper.keep = 1024;
                shard::run(&engine, &input).unwrap().payload
            })
            .collect();
        checkpoint = outer::step(&checkpoint, &payloads, 1_000_000).unwrap();
    }
    let last = eval::model(&engine, &checkpoint, &held_out).unwrap();
    println!("{first:?} -> {last:?}, unigram {unigram:?}, bigram {bigram:?}");
    assert!(last.loss * 100 < unigram.loss * 85, "{last:?} {unigram:?}");
}

#[test]
fn wrong_shards_have_typed_errors() {
    let run = |edit: &dyn Fn(&mut ShardInput)| {
        let mut input = fixture::input();
        edit(&mut input);
        shard::run(&Engine::cpu(), &input).unwrap_err()
    };
    let hyper = |error| matches!(error, ShardError::Hyper(_));
    assert!(hyper(run(&|i| i.hyper.steps = 0)));
    assert!(hyper(run(&|i| i.hyper.context = 33)));
    assert!(hyper(run(&|i| i.hyper.keep = 63)));
    assert!(hyper(run(&|i| i.hyper.beta1_ppm = 1_000_000)));
    assert!(matches!(run(&|i| i.units.clear()), ShardError::TooFewTokens { found: 0, .. }));
    assert!(matches!(
        run(&|i| i.units[1][0] = 300),
        ShardError::UnknownId { unit: 1, id: 300, .. }
    ));
    let wild = run(&|i| {
        let config = i.checkpoint.config().clone();
        let values = i.checkpoint.values().iter().map(|v| v * 1e30).collect();
        let checkpoint =
            compute::formats::Checkpoint::from_values(&config, i.checkpoint.tokenizer(), values);
        i.checkpoint = checkpoint.unwrap().into();
    });
    assert!(matches!(wild, ShardError::Diverged { .. } | ShardError::Compress(_)), "{wild:?}");
}

#[test]
fn answers_repeat_and_may_outgrow_the_context() {
    let generator = Generator::new(&Engine::cpu(), &fixture::checkpoint()).unwrap();
    let prompt = fixture::tokenizer().encode("The farmer").unwrap();
    let sampling = Sampling {
        tokens: 80,
        temperature_ppm: 800_000,
        top: 40,
        top_p_ppm: Sampling::ALL,
        seed: 5,
    };
    let first = generator.generate(&prompt, &sampling).unwrap();
    assert_eq!(first.len(), 80);
    assert_eq!(generator.generate(&prompt, &sampling).unwrap(), first);
    let other = generator.generate(&prompt, &Sampling { seed: 6, ..sampling }).unwrap();
    assert_ne!(other, first);
    let greedy = Sampling { temperature_ppm: 0, ..sampling };
    let long: Vec<u32> = prompt.iter().cycle().take(100).copied().collect();
    assert_eq!(generator.generate(&long, &greedy).unwrap().len(), 80);
    assert_eq!(generator.generate(&[], &greedy), Err(InferError::EmptyPrompt));
    assert!(matches!(generator.generate(&[999], &greedy), Err(InferError::UnknownId { .. })));
    let many = Sampling { tokens: u32::MAX, ..greedy };
    assert_eq!(generator.generate(&prompt, &many), Err(InferError::TooManyTokens(u32::MAX)));
}
