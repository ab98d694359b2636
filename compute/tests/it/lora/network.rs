//! Tiers 2 and 3 on adapter data.

use compute::attribute::unrolled::{Difference, Optimizer, Recipe, Run};
use compute::attribute::{
    AdapterNetwork, AdapterNetworkError, Direction, EkFac, Network, TextError, products,
};
use compute::device::Engine;
use compute::formats::Checkpoint;
use compute::lora::{AdapterError, LoadError};
use protocol::Hash;

use super::{adapter, base, initial, random, standard, style, units};

/// The units of four contributors, then a new text of each.
fn network() -> AdapterNetwork {
    let texts = units().into_iter().chain((0..4).map(|c| style(c, 900)));
    let texts = texts.map(|tokens| tokens[..25].to_vec()).collect();
    AdapterNetwork::new(&Engine::cpu(), &base().0, &initial(2), texts).unwrap()
}

fn recipe() -> Recipe {
    Recipe {
        optimizer: Optimizer::SgdMomentum { momentum_ppm: 900_000 },
        steps: 12,
        batch: 8,
        learning_rate_ppm: 20_000,
        warmup: 3,
        decay_ppm: 10_000,
        clip_milli: 0,
        seed: 1,
    }
}

#[test]
fn streamed_products_are_those_of_whole_gradients() {
    let (network, adapter) = (network(), random(&standard(2)));
    assert_eq!(network.parameters(), adapter.values().len());
    let whole =
        |sample: usize| network.gradient(adapter.values(), &[sample], &[1.0]).unwrap().values;
    let query = Direction::gradient(&network, adapter.values(), 17).unwrap();
    let samples = [5, 0, 11];
    let streamed = products(&network, adapter.values(), &samples, &[query]).unwrap();
    for (&sample, streamed) in samples.iter().zip(&streamed[0]) {
        let pairs = whole(17).into_iter().zip(whole(sample));
        let naive: f64 = pairs.map(|(a, b)| f64::from(a) * f64::from(b)).sum();
        assert!((naive - streamed).abs() < 1e-3 * naive.abs().max(1.0), "{naive} {streamed}");
    }
}

#[test]
fn influence_is_the_derivative_of_training_the_adapter_again() {
    let (network, start) = (network(), initial(2));
    let weights = vec![1.0; 16];
    let run = Run::record(&network, start.values(), recipe(), &weights).unwrap();
    let loss = |parameters: &[f32]| network.losses(parameters, &[16]).unwrap()[0];
    assert!(loss(run.parameters()) < loss(start.values()), "the adapter learns");
    let measured = network.gradient(run.parameters(), &[16], &[1.0]).unwrap();
    let scores = run.influence(&measured.values, Difference::DEFAULT).unwrap();
    let retrained: Vec<f64> = (0..16)
        .map(|sample| {
            let at = |weight: f32| {
                let mut weights = weights.clone();
                weights[sample] = weight;
                loss(&Run::train(&network, start.values(), recipe(), &weights).unwrap())
            };
            -(at(1.2) - at(0.8)) / 0.4
        })
        .collect();
    let largest = retrained.iter().fold(0.0f64, |max, value| max.max(value.abs()));
    for (score, real) in scores.iter().zip(&retrained) {
        assert!((score - real).abs() < 0.05 * largest, "{score} {real} of {largest}");
    }
}

#[test]
fn the_fisher_matrix_of_an_adapter_finds_whose_text_it_is() {
    let (units, adapter) = (units(), adapter());
    let asked = (0..20).map(|number| style(number % 4, 900 + number as u64));
    let texts = units.into_iter().chain(asked).map(|tokens| tokens[..33].to_vec()).collect();
    let network = AdapterNetwork::new(&Engine::cpu(), &base().0, adapter, texts).unwrap();
    let samples: Vec<usize> = (0..16).collect();
    let fitted = EkFac::fit(&network, adapter.values(), &samples, 1).unwrap();
    let is_right = |number: &usize| {
        let query = Direction::gradient(&network, adapter.values(), 16 + number).unwrap();
        let query = fitted.precondition(&query, 1_000_000).unwrap();
        let scores = products(&network, adapter.values(), &samples, &[query]).unwrap();
        let sums: Vec<f64> = scores[0].chunks(4).map(|own| own.iter().sum()).collect();
        (0..4).max_by(|&a, &b| sums[a].total_cmp(&sums[b])) == Some(number % 4)
    };
    // Chance is 5 of 20.
    let right = (0..20).filter(is_right).count();
    assert!(right >= 17, "{right} of 20");
}

#[test]
fn what_is_no_network_has_its_error() {
    let new = |base: &Checkpoint, texts| {
        AdapterNetwork::new(&Engine::cpu(), base, &initial(2), texts).err().unwrap()
    };
    let short = TextError::Length { sample: 0, found: 1, limit: 33 };
    assert_eq!(new(&base().0, vec![vec![1]]), AdapterNetworkError::Text(short));
    let (model, values) = (&base().1.model, base().0.values().to_vec());
    let stranger = Checkpoint::from_values(model, Hash([8; 32]), values).unwrap();
    let wrong =
        AdapterError::OtherTokenizer { expected: stranger.tokenizer(), found: base().1.tokenizer };
    let wrong = AdapterNetworkError::Load(LoadError::Adapter(wrong));
    assert_eq!(new(&stranger, vec![vec![1, 2]]), wrong);
}
