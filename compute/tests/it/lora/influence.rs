//! Sketches of adapters: exact where nothing is projected, and right about who taught what.

use burn::tensor::Device;
use compute::attribute::{
    AdapterCaptureError, CaptureError, CaptureUnit, Capturer, Preconditioner, QueryError, Scope,
    SketchSet, SketchSpec, SpecError,
};
use compute::device::Engine;
use compute::formats::Checkpoint;
use compute::lora::{Adapter, AdapterError, BaseId, LoadError, LoraConfig};
use compute::model::{Decoder, ModelConfig};
use protocol::Hash;

use super::{adapter, base, enormous, initial, random, standard, style, units};

fn name(rank: usize) -> Hash {
    protocol::hash::blake3(&rank.to_be_bytes())
}

fn capturer(adapter: &Adapter, spec: &SketchSpec) -> Capturer {
    Capturer::adapter(&Engine::cpu(), &base().0, adapter, spec).unwrap()
}

fn capture_units(units: &[Vec<u32>]) -> Vec<CaptureUnit<'_>> {
    units.iter().enumerate().map(|(i, t)| CaptureUnit { hash: name(i), tokens: t }).collect()
}

/// The sketches of all units of the trained adapter.
fn snapshot(spec: &SketchSpec) -> SketchSet {
    let units = units();
    let shape: Vec<_> = units.iter().enumerate().map(|(i, t)| (name(i), t.len() as u32)).collect();
    let part = capturer(adapter(), spec).units(0, &capture_units(&units)).unwrap();
    SketchSet::assemble(spec.clone(), &shape, vec![part]).unwrap()
}

/// The summed loss of a short text under the merged weights, in double precision after the logits:
/// nothing of the adapter's own pass takes part.
fn loss(merged: &Checkpoint, tokens: &[u32]) -> f64 {
    let decoder = Decoder::new(merged.config(), merged.values(), &Device::flex());
    let logits = decoder.forward(decoder.tokens(&[&tokens[..tokens.len() - 1]]));
    let vocab = merged.config().vocab as usize;
    let logits: Vec<f32> = logits.try_into_vec_as().unwrap();
    let rows = logits.chunks_exact(vocab).zip(&tokens[1..]);
    rows.map(|(row, &target)| {
        let sum: f64 = row.iter().map(|l| f64::from(*l).exp()).sum();
        sum.ln() - f64::from(row[target as usize])
    })
    .sum()
}

/// Central differences of the loss by every parameter of an adapter.
fn finite_differences(adapter: &Adapter, tokens: &[u32]) -> Vec<f64> {
    const STEP: f32 = 1.0 / 128.0;
    let loss = |index: usize, step: f32| {
        let mut values = adapter.values().to_vec();
        values[index] += step;
        let moved = Adapter::from_values(adapter.base(), adapter.config(), values).unwrap();
        loss(&moved.merged(&base().0).unwrap(), tokens)
    };
    (0..adapter.values().len())
        .map(|i| (loss(i, STEP) - loss(i, -STEP)) / f64::from(2.0 * STEP))
        .collect()
}

#[test]
fn an_unprojected_sketch_is_the_gradient_by_finite_differences() {
    // q of the first layer and down of the last: 2 · (32 + 32 + 64 + 32) parameters.
    let config = LoraConfig { linears: vec![0, 13], ..standard(2) };
    let adapter = random(&config);
    // Blocks of 144 values hold the longest factor, 2 · 64, and zeros.
    let spec = SketchSpec { side: 12, ..SketchSpec::of_adapter(&adapter, 1) };
    assert_eq!(spec.linears, [0, 1, 26, 27]);
    let tokens = &style(0, 1)[..20];
    let sketch = capturer(&adapter, &spec).output(&tokens[..1], &tokens[1..], Scope::Output);
    let sketch = sketch.unwrap().values;
    let expected = finite_differences(&adapter, tokens);
    let mut expected = &expected[..];
    for (block, size) in sketch.chunks_exact(144).zip([64, 64, 128, 64]) {
        let (known, rest) = expected.split_at(size);
        expected = rest;
        let (found, zeros) = block.split_at(size);
        assert!(zeros.iter().all(|value| *value == 0.0));
        let norm: f64 = known.iter().map(|v| v * v).sum();
        let error: f64 = known.iter().zip(found).map(|(a, b)| (a - f64::from(*b)).powi(2)).sum();
        assert!(norm > 1e-2, "a block without gradient checks nothing: {norm}");
        assert!((error / norm).sqrt() < 0.002, "{error} of {norm}");
    }
    assert!(expected.is_empty());
}

#[test]
fn a_fresh_adapter_has_gradients_by_its_second_factor_only() {
    let adapter = initial(4);
    let spec = SketchSpec::of_adapter(&adapter, 1);
    let tokens = style(1, 1);
    let sketch = capturer(&adapter, &spec).output(&[], &tokens, Scope::Output).unwrap();
    for (index, block) in sketch.values.chunks_exact(spec.block()).enumerate() {
        assert_eq!(block.iter().all(|value| *value == 0.0), index % 2 == 0);
    }
}

#[test]
fn projecting_the_long_side_keeps_products_on_average() {
    // E <P' g, P' h> = k <g, h> for k random signs a row; here k = 4² / 4 = 4.
    let config = LoraConfig { linears: vec![2, 7], ..standard(4) };
    let adapter = random(&config);
    let tokens = style(2, 1);
    let norm = |side: u16, seed: u64| -> f64 {
        let spec = SketchSpec { side, ..SketchSpec::of_adapter(&adapter, seed) };
        let sketch = capturer(&adapter, &spec).output(&[], &tokens, Scope::Output).unwrap();
        sketch.values.iter().map(|v| f64::from(*v).powi(2)).sum()
    };
    let exact = norm(16, 0);
    let mean = (0..16).map(|seed| norm(4, seed) / 4.0).sum::<f64>() / 16.0;
    assert!((mean / exact - 1.0).abs() < 0.25, "{mean} is not near {exact}");
}

#[test]
fn how_units_are_batched_and_ranged_changes_no_sketch() {
    let spec = SketchSpec { side: 8, ..SketchSpec::of_adapter(adapter(), 3) };
    let set = snapshot(&spec);
    let units = units();
    let capturer = capturer(adapter(), &spec);
    for (unit, sketch) in capture_units(&units).iter().zip(set.sketches()) {
        let alone = capturer.units(0, std::slice::from_ref(unit)).unwrap();
        assert!(alone.sketches[0].cosine_ppm(sketch).unwrap() > 999_900);
    }
    assert_eq!(snapshot(&spec), set);
}

#[test]
fn held_out_text_is_traced_to_its_contributor() {
    let spec = SketchSpec::of_adapter(adapter(), 3);
    let set = snapshot(&spec);
    let capturer = capturer(adapter(), &spec);
    let preconditioner = Preconditioner::fit(&set, Preconditioner::DAMPING_PPM).unwrap();
    let mut right = 0;
    for contributor in 0..4 {
        for seed in 0..5 {
            let text = style(contributor, 900 + 10 * contributor as u64 + seed);
            let (prompt, output) = text.split_at(8);
            let sketch = capturer.output(prompt, output, Scope::Output).unwrap();
            let scores = set.scores(&preconditioner.query(&sketch).unwrap()).unwrap();
            let best = scores.iter().enumerate().max_by_key(|(_, score)| **score).unwrap().0;
            right += usize::from(best / 4 == contributor);
        }
    }
    // Chance is 5 of 20.
    assert!(right >= 18, "{right} of 20");
}

#[test]
fn families_of_sketches_never_mix() {
    let (other, engine) = (initial(4), Engine::cpu());
    let spec = SketchSpec::of_adapter(adapter(), 3);
    let new = |adapter: &Adapter, spec: &SketchSpec| {
        Capturer::adapter(&engine, &base().0, adapter, spec).err().unwrap()
    };
    let wrong = CaptureError::Checkpoint { expected: adapter().hash(), found: other.hash() };
    assert_eq!(new(&other, &spec), AdapterCaptureError::Capture(wrong));
    let wrong = CaptureError::Checkpoint { expected: adapter().hash(), found: base().1.checkpoint };
    assert_eq!(Capturer::new(&engine, &base().0, &spec).err(), Some(wrong));
    let of_base = SketchSpec::standard(base().1.checkpoint, 3, base().0.config());
    let wrong = new(adapter(), &of_base);
    assert!(matches!(wrong, AdapterCaptureError::Capture(CaptureError::Checkpoint { .. })));
    let sketch = capturer(&other, &SketchSpec::of_adapter(&other, 3));
    let sketch = sketch.output(&[], &style(0, 1), Scope::Output).unwrap();
    let preconditioner = Preconditioner::fit(&snapshot(&spec), 10_000).unwrap();
    let (expected, found) = (spec.id(), sketch.spec);
    assert_eq!(preconditioner.query(&sketch), Err(QueryError::Spec { expected, found }));
}

#[test]
fn what_cannot_be_captured_has_its_error() {
    let spec = SketchSpec::of_adapter(adapter(), 3);
    let new = |base: &Checkpoint, spec: &SketchSpec| {
        Capturer::adapter(&Engine::cpu(), base, adapter(), spec).err().unwrap()
    };
    let flawed = |spec: SketchSpec| new(&base().0, &spec);
    let of_spec = |error| AdapterCaptureError::Capture(CaptureError::Spec(error));
    assert_eq!(flawed(SketchSpec { side: 0, ..spec.clone() }), of_spec(SpecError::Side(0)));
    // The model has fourteen linear maps; the adapter's are 0, 2, 7 and 9.
    for (linears, known) in [(vec![], 28), (vec![28], 28), (vec![2], 8)] {
        let error = flawed(SketchSpec { linears, ..spec.clone() });
        assert_eq!(error, of_spec(SpecError::Linears(known)));
    }
    let odd = flawed(SketchSpec { side: 5, ..spec.clone() });
    assert_eq!(odd, AdapterCaptureError::Rank { side: 5, rank: 4 });
    let model = ModelConfig { vocab: base().0.config().vocab, ..ModelConfig::tiny() };
    let stranger = Checkpoint::init(&model, base().1.tokenizer, 77).unwrap();
    let (expected, found) = (BaseId::of(&stranger).checkpoint, base().1.checkpoint);
    let error = LoadError::Adapter(AdapterError::OtherBase { expected, found });
    assert_eq!(new(&stranger, &spec), AdapterCaptureError::Load(error));
    let capturer = capturer(adapter(), &spec);
    let vocab = model.vocab;
    let unit = CaptureUnit { hash: name(0), tokens: &[1, vocab] };
    assert_eq!(capturer.units(0, &[unit]), Err(CaptureError::Token { token: vocab, vocab }));
    let unit = CaptureUnit { hash: name(0), tokens: &[] };
    assert_eq!(capturer.units(0, &[unit]), Err(CaptureError::EmptyUnit(name(0))));
    let broken = enormous();
    let spec = SketchSpec::of_adapter(&broken, 1);
    let broken = self::capturer(&broken, &spec);
    let unit = CaptureUnit { hash: name(0), tokens: &[1, 2, 3, 4] };
    assert_eq!(broken.units(0, &[unit]), Err(CaptureError::NotFinite));
}

#[test]
fn the_standard_spec_stays_below_eight_kilobytes() {
    let model = ModelConfig::smol_135m();
    let base = BaseId { checkpoint: Hash::ZERO, tokenizer: Hash::ZERO, model: model.clone() };
    let adapter = Adapter::init(&base, &LoraConfig::standard(8, &model), 1).unwrap();
    let large = SketchSpec::of_adapter(&adapter, 1);
    assert_eq!((large.side, large.dims()), (8, 7680));
    let small = SketchSpec::of_adapter(super::adapter(), 1);
    assert_eq!((small.side, small.dims()), (16, 8 * 256));
}
