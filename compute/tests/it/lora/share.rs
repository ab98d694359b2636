//! The adapter's share of a fee: high for text like its own, next to nothing for other text.

use compute::attribute::{LikelihoodError, Unigram};
use compute::device::Engine;
use compute::lora::AdaptedModel;
use compute::train::eval;
use protocol::math::PPM;

use super::{adapter, base, enormous, initial, style};
use crate::fixture;

fn unigram() -> Unigram {
    Unigram::count(&counted(), base().0.config().vocab).unwrap()
}

/// The base's data: what the adapter teaches of frequencies is the adapter's gain, too.
fn counted() -> Vec<Vec<u32>> {
    fixture::units(1, 24)
}

#[test]
fn its_own_kind_of_text_pays_the_adapter_and_other_text_does_not() {
    let model = AdaptedModel::new(&Engine::cpu(), &base().0, adapter()).unwrap();
    let unigram = unigram();
    let alpha = |text: &[u32]| {
        let (prompt, output) = text.split_at(8);
        model.losses(prompt, output, &unigram).unwrap().alpha_ppm()
    };
    let own: Vec<u32> = (0..4).map(|c| alpha(&style(c, 950 + c as u64))).collect();
    assert!(own.iter().all(|alpha| *alpha > PPM / 10), "{own:?}");
    assert!(own.iter().sum::<u32>() > 4 * PPM / 3, "{own:?}");
    let other: Vec<u32> = fixture::units(7, 4).iter().map(|unit| alpha(unit)).collect();
    assert!(other.iter().all(|alpha| *alpha < PPM / 50), "{other:?}");
}

#[test]
fn a_fresh_adapter_earns_nothing() {
    let model = AdaptedModel::new(&Engine::cpu(), &base().0, &initial(4)).unwrap();
    let text = style(0, 1);
    let losses = model.losses(&text[..4], &text[4..], &unigram()).unwrap();
    assert_eq!(losses.base, losses.adapted);
    assert_eq!(losses.alpha_ppm(), 0);
}

#[test]
fn losses_are_those_of_the_evaluation() {
    // One window and no prompt: the same tokens in the same context as the evaluation's.
    let model = AdaptedModel::new(&Engine::cpu(), &base().0, adapter()).unwrap();
    let text = style(2, 4)[..30].to_vec();
    let losses = model.losses(&[], &text, &unigram()).unwrap();
    let merged = adapter().merged(&base().0).unwrap();
    let held_out = std::slice::from_ref(&text);
    let near = |sum: u64, mean: u64| sum.abs_diff(mean * 29) < 1_000;
    let engine = Engine::cpu();
    assert!(near(losses.base, eval::model(&engine, &base().0, held_out).unwrap().loss));
    assert!(near(losses.adapted, eval::model(&engine, &merged, held_out).unwrap().loss));
    let vocab = base().0.config().vocab;
    assert!(near(losses.unigram, eval::unigram(&counted(), held_out, vocab).unwrap().loss));
}

#[test]
fn long_outputs_count_every_token_once() {
    let model = AdaptedModel::new(&Engine::cpu(), &base().0, adapter()).unwrap();
    let unigram = unigram();
    let text = [style(0, 1), style(1, 1), style(2, 1)].concat();
    let of = |prompt: usize| model.losses(&text[..prompt], &text[prompt..], &unigram).unwrap();
    // Sums of frequencies over any cut add up to the whole.
    let first = model.losses(&text[..1], &text[1..100], &unigram).unwrap();
    assert!((first.unigram + of(100).unigram).abs_diff(of(1).unigram) <= 1);
    assert_eq!(of(0).unigram, of(1).unigram);
}

#[test]
fn what_cannot_be_measured_has_its_error() {
    let engine = Engine::cpu();
    let model = AdaptedModel::new(&engine, &base().0, adapter()).unwrap();
    let unigram = unigram();
    let vocab = base().0.config().vocab;
    let error = |prompt: &[u32], output: &[u32]| model.losses(prompt, output, &unigram);
    assert_eq!(error(&[1], &[]), Err(LikelihoodError::Output(0)));
    assert_eq!(error(&[], &[1]), Err(LikelihoodError::Output(1)));
    let limit = 64 * base().0.config().context as usize;
    assert_eq!(error(&[1], &vec![1; limit]), Err(LikelihoodError::Output(limit)));
    let unknown = LikelihoodError::Token { token: vocab, vocab };
    assert_eq!(error(&[1], &[vocab]), Err(unknown));
    let narrow = Unigram::count(&[vec![1]], vocab - 1).unwrap();
    let wrong = LikelihoodError::Vocabulary { expected: vocab, found: vocab as usize - 1 };
    assert_eq!(model.losses(&[1], &[2], &narrow), Err(wrong));
    let broken = AdaptedModel::new(&engine, &base().0, &enormous()).unwrap();
    assert_eq!(broken.losses(&[1], &[2, 3, 4], &unigram), Err(LikelihoodError::NotFinite));
}
