//! How well a model predicts text, and how well counting alone would.
//!
//! Every figure is the mean over the same tokens: all but the first of each sequence. The model
//! sees at most its context before a token, cut anew at each window.

use crate::device::{DeviceFault, Engine, guarded};
use crate::formats::Checkpoint;
use crate::math::micro_nats;
use crate::model::{Decoder, token_losses};

/// Sequences that are evaluated in one pass.
const BATCH: usize = 8;

/// Why nothing could be measured.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EvalError {
    /// No sequence has a token to predict.
    #[error("there is no token to predict")]
    NoTokens,
    /// A token id is not in the vocabulary.
    #[error("token id {id} is not below the vocabulary of {vocab}")]
    UnknownId {
        /// The unknown token id.
        id: u32,
        /// Ids of the vocabulary.
        vocab: u32,
    },
    /// The device failed.
    #[error(transparent)]
    Device(#[from] DeviceFault),
}

/// A mean loss.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EvalReport {
    /// Millionths of a nat per token.
    pub loss: u64,
    /// Tokens that were predicted.
    pub tokens: u64,
}

/// The model's mean loss over sequences of token ids.
pub fn model(
    engine: &Engine,
    checkpoint: &Checkpoint,
    sequences: &[Vec<u32>],
) -> Result<EvalReport, EvalError> {
    let config = checkpoint.config();
    check(sequences, config.vocab)?;
    let mut windows: Vec<&[u32]> =
        sequences.iter().flat_map(|ids| windows(ids, config.context as usize)).collect();
    // Windows of one length share a batch.
    windows.sort_by_key(|window| std::cmp::Reverse(window.len()));
    let (sum, tokens) = guarded(|| {
        let model = Decoder::new(config, checkpoint.values(), engine.device());
        let groups = windows.chunk_by(|a, b| a.len() == b.len()).flat_map(|g| g.chunks(BATCH));
        groups.fold((0.0, 0), |(sum, tokens), batch| {
            let (loss, count) = batch_loss(&model, batch);
            (sum + loss, tokens + count)
        })
    })?;
    report(sum, tokens)
}

/// The mean loss of predicting by the frequency of tokens in `train`, each counted once more.
pub fn unigram(
    train: &[Vec<u32>],
    held_out: &[Vec<u32>],
    vocab: u32,
) -> Result<EvalReport, EvalError> {
    check(train, vocab)?;
    check(held_out, vocab)?;
    let counts = Counts::new(train, vocab);
    counts.report(held_out, |_, next| counts.unigram(next))
}

/// The mean loss of predicting by the frequency of pairs in `train`, interpolated with
/// [`unigram`] by the number of different followers (Witten and Bell).
pub fn bigram(
    train: &[Vec<u32>],
    held_out: &[Vec<u32>],
    vocab: u32,
) -> Result<EvalReport, EvalError> {
    check(train, vocab)?;
    check(held_out, vocab)?;
    let counts = Counts::new(train, vocab);
    counts.report(held_out, |last, next| counts.bigram(last, next))
}

fn check(sequences: &[Vec<u32>], vocab: u32) -> Result<(), EvalError> {
    match sequences.iter().flatten().find(|id| **id >= vocab) {
        Some(&id) => Err(EvalError::UnknownId { id, vocab }),
        None => Ok(()),
    }
}

/// Windows of up to `context` predictions, one token longer, sharing their border tokens.
fn windows(ids: &[u32], context: usize) -> impl Iterator<Item = &[u32]> {
    (0..ids.len().saturating_sub(1))
        .step_by(context)
        .map(move |start| &ids[start..(start + context + 1).min(ids.len())])
}

fn batch_loss(model: &Decoder, batch: &[&[u32]]) -> (f64, u64) {
    let inputs: Vec<&[u32]> = batch.iter().map(|w| &w[..w.len() - 1]).collect();
    let targets: Vec<&[u32]> = batch.iter().map(|w| &w[1..]).collect();
    let losses = token_losses(model.forward(model.tokens(&inputs)), model.tokens(&targets));
    let losses = losses.into_data();
    let losses = losses.as_slice::<f32>().expect("losses are f32");
    (losses.iter().map(|l| f64::from(*l)).sum(), losses.len() as u64)
}

fn report(sum: f64, tokens: u64) -> Result<EvalReport, EvalError> {
    if tokens == 0 {
        return Err(EvalError::NoTokens);
    }
    Ok(EvalReport { loss: micro_nats(sum / tokens as f64), tokens })
}

/// How often tokens and pairs of tokens occur.
struct Counts {
    vocab: f64,
    total: f64,
    tokens: Vec<f64>,
    pairs: std::collections::BTreeMap<(u32, u32), f64>,
    followers: Vec<f64>,
    leaders: Vec<f64>,
}

impl Counts {
    fn new(train: &[Vec<u32>], vocab: u32) -> Self {
        let n = vocab as usize;
        let mut counts = Self {
            vocab: f64::from(vocab),
            total: 0.0,
            tokens: vec![0.0; n],
            pairs: std::collections::BTreeMap::new(),
            followers: vec![0.0; n],
            leaders: vec![0.0; n],
        };
        for ids in train {
            for &id in ids {
                counts.tokens[id as usize] += 1.0;
                counts.total += 1.0;
            }
            for pair in ids.windows(2) {
                let count = counts.pairs.entry((pair[0], pair[1])).or_insert(0.0);
                if *count == 0.0 {
                    counts.followers[pair[0] as usize] += 1.0;
                }
                *count += 1.0;
                counts.leaders[pair[0] as usize] += 1.0;
            }
        }
        counts
    }

    fn unigram(&self, next: u32) -> f64 {
        (self.tokens[next as usize] + 1.0) / (self.total + self.vocab)
    }

    fn bigram(&self, last: u32, next: u32) -> f64 {
        let pair = self.pairs.get(&(last, next)).copied().unwrap_or(0.0);
        let weight = self.followers[last as usize].max(1.0);
        (pair + weight * self.unigram(next)) / (self.leaders[last as usize] + weight)
    }

    fn report(
        &self,
        held_out: &[Vec<u32>],
        probability: impl Fn(u32, u32) -> f64,
    ) -> Result<EvalReport, EvalError> {
        let pairs = || held_out.iter().flat_map(|ids| ids.windows(2));
        let sum = pairs().map(|pair| -probability(pair[0], pair[1]).ln()).sum();
        report(sum, pairs().count() as u64)
    }
}
