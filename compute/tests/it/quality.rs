//! Influence against what retraining really does.

use compute::attribute::unrolled::{Difference, Optimizer, Recipe, Run, UnrollError};
use compute::attribute::{Direction, EkFac, EkFacError, Network, TextError, TextNetwork, products};
use compute::device::Engine;
use compute::model::ModelConfig;
use quality::digits::{self, Digits};
use quality::{language, spearman};

fn setting() -> digits::Setting {
    digits::Setting { training: 40, contributors: 4, queries: 3, ..digits::Setting::small() }
}

/// Momentum, decay and a limit on the gradient that most steps run into.
fn recipe() -> Recipe {
    Recipe { steps: 12, batch: 10, decay_ppm: 50_000, clip_milli: 400, ..setting().recipe }
}

fn loss_with(network: &Digits, recipe: Recipe, weights: &[f32]) -> f64 {
    let trained = Run::train(network, &network.start(1), recipe, weights).unwrap();
    network.losses(&trained, &[40]).unwrap()[0]
}

#[test]
fn influence_is_the_derivative_of_retraining() {
    let (network, owners) = Digits::new(&setting()).unwrap();
    for recipe in [recipe(), Recipe { clip_milli: 0, decay_ppm: 0, ..recipe() }] {
        let weights = vec![1.0; owners.len()];
        let run = Run::record(&network, &network.start(1), recipe, &weights).unwrap();
        let query = network.gradient(run.parameters(), &[40], &[1.0]).unwrap();
        let scores = run.influence(&query.values, Difference::DEFAULT).unwrap();
        let retrained: Vec<f64> = (0..owners.len())
            .map(|sample| {
                let at = |weight: f32| {
                    let mut weights = weights.clone();
                    weights[sample] = weight;
                    loss_with(&network, recipe, &weights)
                };
                -(at(1.2) - at(0.8)) / 0.4
            })
            .collect();
        let largest = retrained.iter().fold(0.0f64, |max, value| max.max(value.abs()));
        for (sample, (score, real)) in scores.iter().zip(&retrained).enumerate() {
            assert!((score - real).abs() < 0.03 * largest, "{sample}: {score} {real} {recipe:?}");
        }
    }
}

#[test]
fn one_walk_settles_a_weighted_sum_of_outputs() {
    let (network, owners) = Digits::new(&setting()).unwrap();
    let weights = vec![1.0; owners.len()];
    let run = Run::record(&network, &network.start(1), recipe(), &weights).unwrap();
    let influence = |batch: &[usize], fees: &[f32]| {
        let measured = network.gradient(run.parameters(), batch, fees).unwrap();
        run.influence(&measured.values, Difference::DEFAULT).unwrap()
    };
    let (first, second) = (influence(&[40], &[1.0]), influence(&[41], &[1.0]));
    let both = influence(&[40, 41], &[3.0, 2.0]);
    let scale = both.iter().fold(0.0f64, |max, value| max.max(value.abs()));
    for ((a, b), sum) in first.iter().zip(&second).zip(&both) {
        assert!((3.0 * a + 2.0 * b - sum).abs() < 0.01 * scale, "{a} {b} {sum}");
    }
}

#[test]
fn runs_that_cannot_be_unrolled_are_refused() {
    let (network, owners) = Digits::new(&setting()).unwrap();
    let (start, weights) = (network.start(1), vec![1.0; owners.len()]);
    let refuse = |recipe: Recipe, start: &[f32], weights: &[f32]| {
        Run::record(&network, start, recipe, weights).err().expect("refused")
    };
    let adam = Recipe { optimizer: Optimizer::AdamW, ..recipe() };
    assert_eq!(refuse(adam, &start, &weights), UnrollError::AdamW);
    let error = refuse(Recipe { steps: 0, ..recipe() }, &start, &weights);
    assert!(matches!(error, UnrollError::Recipe { field: "steps", .. }), "{error}");
    let error = refuse(recipe(), &start[1..], &weights);
    assert!(matches!(error, UnrollError::Shape { what: "parameters", .. }), "{error}");
    let broken = vec![f32::NAN; start.len()];
    assert_eq!(refuse(recipe(), &broken, &weights), UnrollError::Diverged { step: 0 });
    let run = Run::record(&network, &start, recipe(), &weights).unwrap();
    let error = run.influence(&[1.0], Difference::DEFAULT).unwrap_err();
    assert!(matches!(error, UnrollError::Shape { .. }), "{error}");
}

#[test]
fn streamed_products_are_those_of_whole_gradients() {
    let (network, _) = Digits::new(&setting()).unwrap();
    let start = network.start(1);
    let whole = |sample: usize| network.gradient(&start, &[sample], &[1.0]).unwrap().values;
    let query = Direction::gradient(&network, &start, 40).unwrap();
    let samples = [5, 0, 17];
    let streamed = products(&network, &start, &samples, &[query]).unwrap();
    for (&sample, streamed) in samples.iter().zip(&streamed[0]) {
        let pairs = whole(40).into_iter().zip(whole(sample));
        let naive: f64 = pairs.map(|(a, b)| f64::from(a) * f64::from(b)).sum();
        assert!((naive - streamed).abs() < 1e-4 * naive.abs().max(1.0), "{naive} {streamed}");
    }
}

#[test]
fn much_damping_turns_ekfac_into_plain_products() {
    let (network, owners) = Digits::new(&setting()).unwrap();
    let start = network.start(1);
    let samples: Vec<usize> = (0..owners.len()).collect();
    let fitted = EkFac::fit(&network, &start, &samples, 1).unwrap();
    let query = Direction::gradient(&network, &start, 40).unwrap();
    let solve = |damping| fitted.precondition(&query, damping).unwrap();
    // Damping is relative to each map, so one map alone is compared at a time by its ranks.
    let all = [query.clone(), solve(u32::MAX), solve(1)];
    let scores = products(&network, &start, &samples, &all).unwrap();
    assert!(spearman(&scores[0], &scores[1]) > 0.9, "{}", spearman(&scores[0], &scores[1]));
    assert!(spearman(&scores[0], &scores[2]) < spearman(&scores[0], &scores[1]));
    assert_eq!(fitted.precondition(&query, 0).err(), Some(EkFacError::Damping));
    assert_eq!(EkFac::fit(&network, &start, &[], 1).err(), Some(EkFacError::NoSamples));
    let broken = vec![f32::NAN; start.len()];
    let error = EkFac::fit(&network, &broken, &samples, 1).err();
    assert_eq!(error, Some(EkFacError::NotFinite(0)));
}

#[test]
fn texts_of_another_model_are_refused() {
    let config = ModelConfig::tiny();
    let new = |tokens: Vec<u32>| TextNetwork::new(&Engine::cpu(), &config, vec![tokens]).err();
    assert_eq!(new(vec![1]), Some(TextError::Length { sample: 0, found: 1, limit: 33 }));
    assert_eq!(new(vec![1; 34]), Some(TextError::Length { sample: 0, found: 34, limit: 33 }));
    assert_eq!(new(vec![512, 1]), Some(TextError::Token { token: 512, vocab: 512 }));
    assert_eq!(new(vec![1; 33]), None);
}

#[test]
fn better_tiers_predict_retraining_better_on_digits() {
    let report = digits::measure(&digits::Setting::small(), &|_| ()).unwrap();
    assert!(report.lds.t1 > 0.4 && report.lds.t2 > 0.5, "{report:?}");
    assert!(report.lds.t3 > 0.8 && report.t3_loo > 0.95, "{report:?}");
    assert!(report.lds.baselines["random"].abs() < 0.4, "{report:?}");
}

#[test]
fn the_unrolled_run_predicts_retraining_on_text() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../daemon/data/demo");
    let read = |name: &str| std::fs::read_to_string(format!("{folder}/{name}-01.txt")).unwrap();
    let texts = ["bierce/devils-dictionary", "jargon/jargon-file", "king-james/genesis-exodus"];
    // Each text becomes two contributors.
    let sources: Vec<language::Source> = texts
        .iter()
        .flat_map(|name| {
            let text = read(name);
            let middle = text.floor_char_boundary(text.len() / 2);
            let (first, second) = text.split_at(middle);
            [first.to_owned(), second.to_owned()]
        })
        .map(|text| language::Source { name: String::new(), text })
        .collect();
    let report = language::measure(&language::Setting::small(), &sources, &|_| ()).unwrap();
    assert!(report.loss.1 < report.loss.0, "{report:?}");
    assert!(report.lds.t3 > 0.8 && report.lds.t3 > report.lds.t1, "{report:?}");
    assert!(report.quoted.both >= report.plain.both, "{report:?}");
}
