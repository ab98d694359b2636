//! Sketches, preconditioner and scores: exactness, and every way in which their input can be wrong.

use burn::tensor::Device;
use compute::attribute::{
    AssembleError, CaptureError, CaptureUnit, Capturer, CoverError, FitError, OutputSketch,
    PartError, Preconditioner, Query, QueryError, Scope, ScoreError, SketchPart, SketchSet,
    SketchSpec, SpecError, verify_leaf,
};
use compute::device::Engine;
use compute::formats::Checkpoint;
use compute::model::Trace;
use compute::model::{Decoder, ModelConfig};
use compute::serve::{Generator, Sampling};
use proptest::prelude::*;
use protocol::{Digest, Hash};

use crate::fixture;

fn name(rank: usize) -> Hash {
    protocol::hash::blake3(&rank.to_be_bytes())
}

fn spec(checkpoint: &Checkpoint) -> SketchSpec {
    // All fourteen linear maps of the tiny model.
    let standard = SketchSpec::standard(checkpoint.hash(), 7, checkpoint.config());
    SketchSpec { side: 4, linears: (0..14).collect(), ..standard }
}

fn capture(checkpoint: &Checkpoint, spec: &SketchSpec, units: &[Vec<u32>]) -> SketchPart {
    let units: Vec<_> =
        units.iter().enumerate().map(|(i, t)| CaptureUnit { hash: name(i), tokens: t }).collect();
    Capturer::new(&Engine::cpu(), checkpoint, spec).unwrap().units(0, &units).unwrap()
}

fn shape(units: &[Vec<u32>]) -> Vec<(Hash, u32)> {
    units.iter().enumerate().map(|(i, t)| (name(i), t.len() as u32)).collect()
}

fn snapshot() -> (SketchSet, Vec<Vec<u32>>) {
    let checkpoint = fixture::checkpoint();
    let units = fixture::units(1, 6);
    let spec = spec(&checkpoint);
    let part = capture(&checkpoint, &spec, &units);
    (SketchSet::assemble(spec, &shape(&units), vec![part]).unwrap(), units)
}

/// The projected gradient of a whole text by the model's own weight gradients: what a sketch is, up
/// to quantisation, without probes, windows or batches.
fn weight_gradient_norms(checkpoint: &Checkpoint, tokens: &[u32]) -> Vec<f64> {
    let decoder = Decoder::new(checkpoint.config(), checkpoint.values(), &Device::flex());
    let twin = decoder.tracked();
    let (inputs, targets) = (&tokens[..tokens.len() - 1], &tokens[1..]);
    let logits = twin.forward(decoder.tokens(&[inputs]));
    let [_, time, vocab] = logits.dims();
    let logs = burn::tensor::activation::log_softmax(logits.reshape([time, vocab]), 1);
    let chosen = logs.gather(1, decoder.tokens(&[targets]).reshape([time, 1]));
    let grads = chosen.sum().neg().backward();
    let linear = [1, 2, 3, 4, 6, 7, 8];
    (0..checkpoint.config().layers as usize)
        .flat_map(|layer| linear.map(|at| 1 + layer * 9 + at))
        .map(|index| {
            let g: Vec<f32> = twin.params()[index].grad(&grads).unwrap().try_into_vec_as().unwrap();
            g.iter().map(|v| f64::from(*v) * f64::from(*v)).sum::<f64>()
        })
        .collect()
}

#[test]
fn a_sketch_keeps_the_norm_of_the_gradient_on_average() {
    // E |P' G Q|^2 = side^2 |G|^2 for random signs; sixteen seeds of all blocks come near it.
    let checkpoint = fixture::checkpoint();
    let tokens = fixture::units(1, 1)[0][..30].to_vec();
    let exact: f64 = weight_gradient_norms(&checkpoint, &tokens).iter().sum();
    let mean = (0..16)
        .map(|seed| {
            let spec = SketchSpec { seed, ..spec(&checkpoint) };
            let part = capture(&checkpoint, &spec, std::slice::from_ref(&tokens));
            let norm: f64 =
                part.sketches[0].dequantised(16).map(|v| f64::from(v) * f64::from(v)).sum();
            norm / 16.0 / 16.0
        })
        .sum::<f64>();
    assert!((mean / exact - 1.0).abs() < 0.25, "{mean} is not near {exact}");
}

#[test]
fn the_last_layer_alone_gives_the_last_blocks_of_all() {
    let checkpoint = fixture::checkpoint();
    let (set, units) = snapshot();
    let last = SketchSpec { linears: (7..14).collect(), ..set.spec().clone() };
    let part = capture(&checkpoint, &last, &units);
    for (all, last) in set.sketches().iter().zip(&part.sketches) {
        let mut tail = all.clone();
        tail.values.drain(..7 * 16);
        tail.exponents.drain(..7);
        assert!(tail.cosine_ppm(last).unwrap() > 999_900);
    }
}

#[test]
fn how_units_are_batched_and_ranged_changes_no_sketch() {
    let checkpoint = fixture::checkpoint();
    let (set, units) = snapshot();
    let capturer = Capturer::new(&Engine::cpu(), &checkpoint, set.spec()).unwrap();
    let mut parts: Vec<_> = units
        .iter()
        .enumerate()
        .map(|(i, tokens)| {
            capturer.units(i as u32, &[CaptureUnit { hash: name(i), tokens }]).unwrap()
        })
        .collect();
    parts.reverse();
    let other = SketchSet::assemble(set.spec().clone(), &shape(&units), parts).unwrap();
    for (a, b) in set.sketches().iter().zip(other.sketches()) {
        assert!(a.cosine_ppm(b).unwrap() > 999_900);
    }
}

#[test]
fn text_that_a_unit_holds_scores_highest_there() {
    let (set, units) = snapshot();
    let checkpoint = fixture::checkpoint();
    let capturer = Capturer::new(&Engine::cpu(), &checkpoint, set.spec()).unwrap();
    let preconditioner = Preconditioner::fit(&set, 100_000).unwrap();
    for (rank, unit) in units.iter().enumerate() {
        let sketch = capturer.output(&unit[..1], &unit[1..], Scope::Output).unwrap();
        let query = preconditioner.query(&sketch).unwrap();
        let scores = set.scores(&query).unwrap();
        let best = scores.iter().enumerate().max_by_key(|(_, score)| **score).unwrap().0;
        assert_eq!(best, rank, "{scores:?}");
        let again = Query::decode(&query.encode(), set.spec()).unwrap();
        assert_eq!(again, query);
        assert_eq!(query.cosine_ppm(&again), Some(1_000_000));
        let all: Vec<u32> = (0..units.len() as u32).collect();
        let sums = [set.aggregate(&all[..2]), set.aggregate(&all), set.aggregate(&[])];
        let sums = set.score_contributors(&sums, &query).unwrap();
        let (two, whole) = (scores[..2].iter().sum::<i64>(), scores.iter().sum::<i64>());
        let tolerance = scores.iter().map(|s| s.abs()).sum::<i64>() / 1000 + 8;
        assert!((sums[0] - two).abs() <= tolerance && (sums[1] - whole).abs() <= tolerance);
        assert_eq!(sums[2], 0);
    }
}

#[test]
fn an_exchange_differentiates_the_prompt_too() {
    let (set, units) = snapshot();
    let checkpoint = fixture::checkpoint();
    let capturer = Capturer::new(&Engine::cpu(), &checkpoint, set.spec()).unwrap();
    let (prompt, output) = units[0].split_at(20);
    let sketch = |prompt: &[u32], output: &[u32], scope| {
        capturer.output(prompt, output, scope).unwrap().values
    };
    let whole = sketch(&units[0][..1], &units[0][1..], Scope::Output);
    assert_eq!(sketch(prompt, output, Scope::Exchange), whole);
    assert_ne!(sketch(prompt, output, Scope::Output), whole);
}

#[test]
fn what_a_generator_has_read_is_not_read_again() {
    let checkpoint = fixture::checkpoint();
    let new = |spec| Capturer::new(&Engine::cpu(), &checkpoint, &spec).unwrap();
    assert_eq!(new(spec(&checkpoint)).traced_layer(), None, "nothing lies below the first layer");
    let capturer = new(SketchSpec::standard(checkpoint.hash(), 7, checkpoint.config()));
    let generator = Generator::new(&Engine::cpu(), &checkpoint).unwrap();
    let unit = &fixture::units(1, 2)[1];
    let generate = |tokens| {
        let sampling = Sampling {
            tokens,
            temperature_ppm: 800_000,
            top: 0,
            top_p_ppm: Sampling::ALL,
            seed: 3,
        };
        let plain = generator.generate(&unit[..9], &sampling).unwrap();
        let layer = capturer.traced_layer();
        let (output, trace) = generator.generate_traced(&unit[..9], &sampling, layer).unwrap();
        assert_eq!(output, plain);
        (output, trace)
    };
    let sketch = |prompt: &[u32], output: &[u32], trace: Option<&Trace>| {
        capturer.output_traced(prompt, output, Scope::default(), trace).unwrap().values
    };
    // The model reads 32 tokens at once, and the last is not read.
    for tokens in [1, 12, 24] {
        let (output, trace) = generate(tokens);
        let again = sketch(&unit[..9], &output, None);
        let largest = again.iter().fold(0.0f32, |max, value| max.max(value.abs()));
        let traced = sketch(&unit[..9], &output, trace.as_ref());
        assert!(trace.is_some() && traced.iter().any(|value| *value != 0.0));
        for (traced, again) in traced.iter().zip(&again) {
            assert!((traced - again).abs() <= 1e-4 * largest, "{traced} is not {again}");
        }
        // Of anything else the trace says nothing.
        let other = [&output[..], &[5]].concat();
        let again = sketch(&unit[..9], &other, None);
        assert_eq!(sketch(&unit[..9], &other, trace.as_ref()), again);
        let again = sketch(&unit[1..9], &output, None);
        assert_eq!(sketch(&unit[1..9], &output, trace.as_ref()), again);
    }
    assert!(generate(25).1.is_none(), "the generator started again");
    assert!(generate(0).1.is_none(), "nothing was read");
}

#[test]
fn a_leaf_proves_itself_and_no_other() {
    let (set, _) = snapshot();
    let (commitment, root, sketches) = (set.commitment(), set.root(), set.sketches());
    let count = sketches.len() as u32;
    let path = set.prove(2).unwrap();
    let verify =
        |rank, sketch| verify_leaf(&commitment, set.spec(), &root, (rank, count), sketch, &path);
    assert!(verify(2, &sketches[2]));
    assert!(!verify(3, &sketches[2]) && !verify(2, &sketches[3]));
    let mut wrong = sketches[2].clone();
    wrong.values[5] ^= 1;
    assert!(!verify(2, &wrong));
    let other = SketchSpec { seed: 8, ..set.spec().clone() };
    assert!(!verify_leaf(&commitment, &other, &root, (2, count), &sketches[2], &path));
    assert_eq!(set.prove(count), None);
}

#[test]
fn sketches_with_a_wrong_leaf_are_refused() {
    let (set, units) = snapshot();
    let mut sketches = set.sketches().to_vec();
    sketches[1].exponents[0] += 1;
    let part = SketchPart { spec: set.spec().id(), first: 0, sketches };
    let wrong = SketchSet::assemble(set.spec().clone(), &shape(&units), vec![part]).unwrap();
    let (expected, found) = (set.commitment(), wrong.commitment());
    assert_eq!(wrong.check(&expected), Err(AssembleError::Commitment { expected, found }));
    assert_eq!(set.check(&expected), Ok(()));
    assert!(set.check(&Digest::ZERO).is_err());
}

#[test]
fn parts_must_cover_the_snapshot_exactly() {
    let (set, units) = snapshot();
    let part = |from: usize, to: usize| SketchPart {
        spec: set.spec().id(),
        first: from as u32,
        sketches: set.sketches()[from..to].to_vec(),
    };
    let assemble = |parts| SketchSet::assemble(set.spec().clone(), &shape(&units), parts);
    assert_eq!(assemble(vec![part(4, 6), part(0, 4)]).as_ref(), Ok(&set));
    assert_eq!(assemble(vec![part(0, 2), part(4, 6)]), Err(CoverError::Missing(2).into()));
    assert_eq!(assemble(vec![part(0, 4)]), Err(CoverError::Missing(4).into()));
    assert_eq!(assemble(vec![part(0, 4), part(3, 6)]), Err(CoverError::Surplus(3).into()));
    let shifted = SketchPart { first: 0, ..part(1, 6) };
    let wrong = AssembleError::WrongUnit { rank: 0, unit: name(0) };
    assert_eq!(assemble(vec![shifted]), Err(wrong));
    let mut foreign = part(0, 6);
    foreign.spec = Hash::ZERO;
    assert!(matches!(assemble(vec![foreign]), Err(AssembleError::Cover(CoverError::Spec { .. }))));
    let none = SketchSet::assemble(set.spec().clone(), &[], vec![]);
    assert_eq!(none, Err(CoverError::NoUnits.into()));
    let short = SketchSet::assemble(set.spec().clone(), &shape(&units)[..5], vec![part(0, 6)]);
    assert_eq!(short, Err(CoverError::Surplus(5).into()));
}

#[test]
fn wrong_input_to_capture_has_its_error() {
    let checkpoint = fixture::checkpoint();
    let spec = spec(&checkpoint);
    let new = |spec: &SketchSpec| Capturer::new(&Engine::cpu(), &checkpoint, spec).err().unwrap();
    let other = SketchSpec { checkpoint: Hash::ZERO, ..spec.clone() };
    assert!(matches!(new(&other), CaptureError::Checkpoint { .. }));
    let flat = SketchSpec { side: 0, ..spec.clone() };
    assert_eq!(new(&flat), CaptureError::Spec(SpecError::Side(0)));
    let capturer = Capturer::new(&Engine::cpu(), &checkpoint, &spec).unwrap();
    let unit =
        |tokens: &[u32]| capturer.units(0, &[CaptureUnit { hash: name(1), tokens }]).unwrap_err();
    assert_eq!(unit(&[]), CaptureError::EmptyUnit(name(1)));
    let limit = 64 * checkpoint.config().context as usize;
    let long = CaptureError::UnitTooLong { unit: name(1), found: limit + 1, limit };
    assert_eq!(unit(&vec![0; limit + 1]), long);
    let vocab = checkpoint.config().vocab;
    assert_eq!(unit(&[1, vocab]), CaptureError::Token { token: vocab, vocab });
    let output = |prompt: &[u32], output: &[u32]| {
        capturer.output(prompt, output, Scope::default()).unwrap_err()
    };
    assert_eq!(output(&[1], &[vocab]), CaptureError::Token { token: vocab, vocab });
    assert_eq!(output(&[1], &[]), CaptureError::Output(0));
    assert_eq!(output(&[], &[1]), CaptureError::Output(1));
}

#[test]
fn queries_and_sketches_of_other_models_are_refused() {
    let (set, _) = snapshot();
    let preconditioner = Preconditioner::fit(&set, 100_000).unwrap();
    let expected = set.spec().id();
    let foreign = OutputSketch { spec: Hash::ZERO, values: vec![0.0; set.spec().dims()] };
    let refused = QueryError::Spec { expected, found: Hash::ZERO };
    assert_eq!(preconditioner.query(&foreign), Err(refused));
    let nan = OutputSketch { spec: expected, values: vec![f32::NAN; set.spec().dims()] };
    assert_eq!(preconditioner.query(&nan), Err(QueryError::NotFinite));
    let zero = OutputSketch { spec: expected, values: vec![0.0; set.spec().dims()] };
    let query = preconditioner.query(&zero).unwrap();
    assert_eq!(set.scores(&query).unwrap(), [0; 6]);
    let other = Query { spec: Hash::ZERO, ..query.clone() };
    let refused = ScoreError::Spec { expected, found: Hash::ZERO };
    assert_eq!(set.scores(&other), Err(refused));
    let short = Query { values: vec![0; 3], ..query.clone() };
    assert_eq!(set.scores(&short), Err(ScoreError::Shape));
    assert_eq!(Query::decode(&query.encode()[1..], set.spec()), Err(QueryError::Malformed));
    let mut bytes = query.encode();
    bytes[0] = 127;
    assert_eq!(Query::decode(&bytes, set.spec()), Err(QueryError::Malformed));
    assert_eq!(Preconditioner::fit(&set, 0).err(), Some(FitError::Damping));
}

#[test]
fn a_checkpoint_that_is_not_finite_is_refused() {
    let checkpoint = fixture::checkpoint();
    let mut values = checkpoint.values().to_vec();
    values.iter_mut().for_each(|value| *value *= 1e30);
    let config: &ModelConfig = checkpoint.config();
    // Either the checkpoint itself is refused, or the gradients that it gives.
    if let Ok(broken) = Checkpoint::from_values(config, checkpoint.tokenizer(), values) {
        let spec = spec(&broken);
        let capturer = Capturer::new(&Engine::cpu(), &broken, &spec).unwrap();
        let unit = CaptureUnit { hash: name(0), tokens: &[1, 2, 3, 4] };
        assert_eq!(capturer.units(0, &[unit]), Err(CaptureError::NotFinite));
    }
}

#[test]
fn each_kind_of_wrong_bytes_of_a_part_has_its_error() {
    let (set, _) = snapshot();
    let spec = set.spec();
    let sketches = set.sketches()[..2].to_vec();
    let bytes = SketchPart { spec: spec.id(), first: 3, sketches }.encode();
    let decode = |bytes: &[u8]| SketchPart::decode(bytes, spec).unwrap_err();
    assert!(matches!(decode(&bytes[..10]), PartError::Length { .. }));
    assert!(matches!(decode(&bytes[..bytes.len() - 1]), PartError::Length { .. }));
    let changed = |at: usize, value: u8| {
        let mut bytes = bytes.clone();
        bytes[at] = value;
        decode(&bytes)
    };
    assert_eq!(changed(0, b'X'), PartError::Magic);
    assert!(matches!(changed(7, bytes[7] ^ 1), PartError::Spec { .. }));
    assert_eq!(changed(47, 1), PartError::Shape);
    assert!(matches!(changed(42, 255), PartError::Length { .. }));
    assert_eq!(changed(50 + 36, 100), PartError::Range(0));
    let empty = SketchPart { spec: spec.id(), first: 0, sketches: vec![] };
    assert_eq!(SketchPart::decode(&empty.encode(), spec), Ok(empty));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn arbitrary_bytes_are_no_part_and_no_query(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let config = ModelConfig::tiny();
        let spec = SketchSpec { side: 2, ..SketchSpec::standard(Hash::ZERO, 1, &config) };
        prop_assert!(SketchPart::decode(&bytes, &spec).is_err());
        if let Ok(query) = Query::decode(&bytes, &spec) {
            prop_assert_eq!(query.encode(), bytes);
        }
    }
}
