//! LoRA adapters: files, training, and what their data is worth.

use std::sync::OnceLock;

use burn::tensor::{Device, Tensor};
use compute::device::Engine;
use compute::formats::Checkpoint;
use compute::formats::WeightsError;
use compute::lora::{
    AdaptedModel, Adapter, AdapterError, BaseId, LoadError, LoraConfig, LoraConfigError,
};
use compute::model::{Cache, Decoder, ModelConfig};
use compute::train::ShardHyper;
use compute::train::lora::{LoraHyper, Progress, TrainError, TrainInput, TrainOutput, train};
use compute::train::shard::{self, ShardInput};
use protocol::Hash;

use crate::fixture::{self, edit};

mod influence;
mod network;
mod share;

/// A base that has learned the fixture's grammar, and its identity.
fn base() -> &'static (Checkpoint, BaseId) {
    static BASE: OnceLock<(Checkpoint, BaseId)> = OnceLock::new();
    BASE.get_or_init(|| {
        let hyper = ShardHyper { steps: 150, batch: 8, keep: 4096, ..fixture::hyper() };
        let units = fixture::units(1, 24);
        let checkpoint = fixture::checkpoint();
        let input = ShardInput {
            checkpoint: checkpoint.clone(),
            adapter: None,
            units,
            seed: [3; 32],
            hyper,
        };
        let update = shard::run(&Engine::cpu(), &input).unwrap().payload;
        let base = compute::train::outer::step(&checkpoint, &[update], 1_000_000).unwrap();
        let id = BaseId::of(&base);
        (base, id)
    })
}

/// Text of one of four contributors, in pairs of the base's words that are nobody else's.
fn style(contributor: usize, seed: u64) -> Vec<u32> {
    const WORDS: [[&str; 4]; 4] = [
        ["farmer crosses", "letter before", "winter every", "mill watches"],
        ["captain carries", "garden forgets", "river without", "old storm"],
        ["sailor follows", "mountain near", "morning the", "word remembers"],
        ["year letter", "farmer captain", "crosses in", "storm garden"],
    ];
    let words = &WORDS[contributor];
    let mut state = (seed + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut pick = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        words[(state % 4) as usize]
    };
    let text: String = (0..5).map(|_| format!("{} {} {} ", pick(), pick(), pick())).collect();
    let mut tokens = fixture::tokenizer().encode(&text).unwrap();
    tokens.truncate(60);
    tokens
}

fn standard(rank: u32) -> LoraConfig {
    LoraConfig::standard(rank, base().0.config())
}

fn initial(rank: u32) -> Adapter {
    Adapter::init(&base().1, &standard(rank), 5).unwrap()
}

/// An adapter whose two factors are both random.
fn random(config: &LoraConfig) -> Adapter {
    let other = Adapter::init(&base().1, config, 9).unwrap();
    let values = other.values().iter().enumerate();
    let values = values.map(|(i, v)| if *v == 0.0 { (i as f32 * 1.7).sin() * 0.1 } else { *v });
    Adapter::from_values(&base().1, config, values.collect()).unwrap()
}

fn hyper() -> LoraHyper {
    LoraHyper {
        steps: 80,
        batch: 8,
        learning_rate_ppb: 60_000_000,
        warmup: 5,
        momentum_ppm: 900_000,
        clip_ppm: 1_000_000,
    }
}

fn trained(steps: u32, seed: u8, progress: &mut dyn FnMut(Progress)) -> TrainOutput {
    let (start, units, hyper) = (initial(4), units(), LoraHyper { steps, ..hyper() });
    let (base, seed) = (&base().0, [seed; 32]);
    let input = TrainInput { base, start: &start, units: &units, seed, hyper: &hyper };
    train(&Engine::cpu(), &input, progress).unwrap()
}

/// Four units of each contributor, by contributor.
fn units() -> Vec<Vec<u32>> {
    (0..16).map(|i| style(i / 4, 100 + i as u64)).collect()
}

/// An adapter trained on all four contributors.
fn adapter() -> &'static Adapter {
    static ADAPTER: OnceLock<Adapter> = OnceLock::new();
    ADAPTER.get_or_init(|| trained(80, 1, &mut |_| ()).adapter)
}

fn values(tensor: Tensor<3>) -> Vec<f32> {
    tensor.try_into_vec_as().unwrap()
}

fn largest_difference(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

#[test]
fn a_fresh_adapter_changes_no_bit() {
    let model = AdaptedModel::new(&Engine::cpu(), &base().0, &initial(8)).unwrap();
    let tokens = style(0, 1);
    let tokens = model.base().tokens(&[&tokens[..20], &tokens[20..40]]);
    let adapted = values(model.forward(tokens.clone()));
    assert_eq!(adapted, values(model.base().forward(tokens)));
}

#[test]
fn unmerged_merged_and_cached_passes_agree() {
    let all = LoraConfig { linears: (0..14).collect(), ..standard(4) };
    for adapter in [random(&all), random(&standard(2))] {
        let model = AdaptedModel::new(&Engine::cpu(), &base().0, &adapter).unwrap();
        let merged = adapter.merged(&base().0).unwrap();
        let merged = Decoder::new(merged.config(), merged.values(), &Device::flex());
        let tokens = style(1, 1);
        let whole = model.base().tokens(&[&tokens[..24]]);
        let adapted = values(model.forward(whole.clone()));
        assert!(largest_difference(&adapted, &values(merged.forward(whole.clone()))) < 1e-3);
        let alone = values(model.base().forward(whole));
        assert!(largest_difference(&adapted, &alone) > 0.1, "the adapter does something");
        let mut cache = Cache::default();
        let mut cached = Vec::new();
        for part in [&tokens[..10], &tokens[10..11], &tokens[11..24]] {
            let part = model.base().tokens(&[part]);
            cached.extend(values(model.forward_cached(part, &mut cache)));
        }
        assert!(largest_difference(&adapted, &cached) < 1e-3);
    }
}

#[test]
fn training_lowers_the_loss_and_repeats_bit_for_bit() {
    let mut losses = Vec::new();
    let first = trained(20, 1, &mut |progress| {
        assert_eq!((progress.step as usize, progress.steps), (losses.len() + 1, 20));
        losses.push(progress.loss);
    });
    assert_eq!((losses.len(), losses[0], losses[19]), (20, first.loss_first, first.loss_last));
    assert!(first.loss_last < first.loss_first * 3 / 4, "{losses:?}");
    assert_eq!(&trained(20, 1, &mut |_| ()), &first);
    assert_ne!(trained(20, 2, &mut |_| ()).adapter, first.adapter);
    assert_eq!(first.adapter.base(), &base().1);
}

#[test]
fn what_cannot_be_trained_has_its_error() {
    let (start, units) = (initial(4), units());
    let run = |hyper: &LoraHyper, start: &Adapter, units: &[Vec<u32>]| {
        let input = TrainInput { base: &base().0, start, units, seed: [0; 32], hyper };
        train(&Engine::cpu(), &input, &mut |_| ()).unwrap_err()
    };
    let bad = [
        ("steps", LoraHyper { steps: 0, ..hyper() }),
        ("batch", LoraHyper { batch: 0, ..hyper() }),
        ("learning_rate_ppb", LoraHyper { learning_rate_ppb: 0, ..hyper() }),
        ("warmup", LoraHyper { warmup: 81, ..hyper() }),
        ("momentum_ppm", LoraHyper { momentum_ppm: 1_000_000, ..hyper() }),
        ("clip_ppm", LoraHyper { clip_ppm: 0, ..hyper() }),
    ];
    for (name, bad) in bad {
        let error = run(&bad, &start, &units);
        assert!(matches!(error, TrainError::Hyper(ref error) if error.field == name), "{error}");
    }
    assert_eq!(run(&hyper(), &start, &[]), TrainError::NoTokens);
    assert_eq!(run(&hyper(), &start, &[vec![1]]), TrainError::NoTokens);
    let vocab = base().0.config().vocab;
    let unknown = TrainError::UnknownId { unit: 1, id: vocab, vocab };
    assert_eq!(run(&hyper(), &start, &[vec![1, 2], vec![vocab]]), unknown);
    assert_eq!(run(&hyper(), &enormous(), &units), TrainError::Diverged { step: 0 });
}

/// An adapter of finite weights whose outputs are not.
fn enormous() -> Adapter {
    let values = random(&standard(4)).values().iter().map(|v| v * 1e30).collect();
    Adapter::from_values(&base().1, &standard(4), values).unwrap()
}

#[test]
fn an_adapter_of_another_base_is_refused() {
    let (checkpoint, id) = base();
    let adapter = initial(4);
    let refused = |other: &Checkpoint| adapter.expect_base(&BaseId::of(other)).unwrap_err();
    let mut weights = checkpoint.values().to_vec();
    weights[7] += 0.5;
    let tuned = Checkpoint::from_values(&id.model, id.tokenizer, weights).unwrap();
    let error = AdapterError::OtherBase { expected: tuned.hash(), found: id.checkpoint };
    assert_eq!(refused(&tuned), error);
    let engine = Engine::cpu();
    let loaded = AdaptedModel::new(&engine, &tuned, &adapter).err();
    assert_eq!(loaded, Some(LoadError::Adapter(error.clone())));
    assert_eq!(adapter.merged(&tuned), Err(error.clone()));
    let (units, hyper) = (units(), hyper());
    let input =
        TrainInput { base: &tuned, start: &adapter, units: &units, seed: [0; 32], hyper: &hyper };
    let error = TrainError::Load(LoadError::Adapter(error));
    assert_eq!(train(&engine, &input, &mut |_| ()), Err(error));
    let values = checkpoint.values().to_vec();
    let foreign = Checkpoint::from_values(&id.model, Hash([8; 32]), values).unwrap();
    assert!(matches!(refused(&foreign), AdapterError::OtherTokenizer { .. }));
    let lying = BaseId { model: ModelConfig { rope_base: 5, ..id.model.clone() }, ..id.clone() };
    let lying = Adapter::init(&lying, &standard(4), 5).unwrap();
    assert_eq!(lying.expect_base(id), Err(AdapterError::OtherModel));
    assert_eq!(adapter.expect_base(id), Ok(()));
}

/// An identity that depends on no training.
pub(crate) fn plain() -> Adapter {
    let model = ModelConfig::tiny();
    let base = BaseId { checkpoint: Hash([3; 32]), tokenizer: Hash([9; 32]), model };
    Adapter::init(&base, &LoraConfig::standard(2, &ModelConfig::tiny()), 7).unwrap()
}

const GOLDEN: &str = "2f94f4ce50c37474cad25654e1031a4dbde37aacc4e20ce8962b3b659ee9d2fc";

#[test]
fn the_initial_adapter_is_the_same_bits_everywhere() {
    // Golden: these bits must not depend on platform, build or version.
    assert_eq!(plain().hash().to_string(), GOLDEN);
    let other = Adapter::init(plain().base(), plain().config(), 8).unwrap();
    assert_ne!(other.hash(), plain().hash());
}

#[test]
fn each_wrong_file_has_its_error() {
    let good = plain().to_bytes();
    assert_eq!(Adapter::from_bytes(&good).as_ref(), Ok(&plain()));
    let error = |bytes: &[u8]| Adapter::from_bytes(bytes).unwrap_err();
    let shape = |from, to| match error(&edit(&good, from, to)) {
        AdapterError::Config(error) => error,
        other => panic!("{other}"),
    };
    assert_eq!(shape("\\\"rank\\\":2", "\\\"rank\\\":3"), LoraConfigError::Rank(3));
    let scale = shape("\\\"scale_ppm\\\":2000000", "\\\"scale_ppm\\\":      0");
    assert_eq!(scale, LoraConfigError::Scale(0));
    assert_eq!(shape("[0,2,7,9]", "[0,2,7,7]"), LoraConfigError::Linears(14));
    let heads = shape("\\\"heads\\\":2", "\\\"heads\\\":3");
    assert!(matches!(heads, LoraConfigError::Model(_)));
    let bad = edit(&good, "\\\"rank\\\":2", "\\\"rank\\\":8");
    assert!(matches!(error(&bad), AdapterError::Weights(WeightsError::Length { .. })));
    let bad = edit(&good, "[0,2,7,9]", "[0,2,7,8]");
    assert!(matches!(error(&bad), AdapterError::Weights(WeightsError::Tensor { .. })));
    let bad = edit(&good, "[0,2,7,9]", "[0,2, 7 ]");
    assert_eq!(error(&bad), AdapterError::Weights(WeightsError::NotCanonical));
    let limit = (4 << 26) + (1 << 20);
    let huge = vec![0; limit as usize + 1];
    let large = WeightsError::TooLarge { limit, found: limit + 1 };
    assert_eq!(error(&huge), AdapterError::Weights(large));
    let short = Adapter::from_values(plain().base(), plain().config(), vec![0.0; 3]);
    assert!(matches!(short, Err(AdapterError::Weights(WeightsError::Length { found: 3, .. }))));
    let mut values = plain().values().to_vec();
    values[1] = f32::NAN;
    let broken = Adapter::from_values(plain().base(), plain().config(), values);
    assert_eq!(broken, Err(AdapterError::Weights(WeightsError::NotFinite { index: 1 })));
}
