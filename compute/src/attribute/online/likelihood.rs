//! How likely an output is under the base, under base and adapter, and by frequencies alone: what
//! the adapter's share of a fee is decided from.
//!
//! Two forward passes over the same windows, and a sum of logarithms that is exact in integers.

use protocol::adapter::OutputLosses;
use protocol::math::{mul_div, neg_log2};

use crate::device::{DeviceFault, guarded};
use crate::lora::AdaptedModel;
use crate::model::token_losses;
use crate::model::window::{self, Window, batch_size, padded};

/// Longest output with its prompt, in windows of the model's context.
const MAX_WINDOWS: usize = 64;
/// `ln 2` in units of 10⁻¹⁵.
const LN_2: u128 = 693_147_180_559_945;
/// `neg_log2`'s fixed point and [`LN_2`]'s scale over a million.
const MICRO_NATS: u128 = (1 << 32) * 1_000_000_000;

/// Frequencies of tokens in the base's data, each counted once more than it occurs. Published beside
/// the base, so that all nodes measure against the same counts, and so that what an adapter teaches
/// of frequencies is its own gain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unigram {
    counts: Vec<u64>,
    total: u64,
}

/// Why an output's likelihoods could not be measured.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LikelihoodError {
    /// The output has no token that can be predicted, or too many.
    #[error("an output of {0} tokens can't be measured")]
    Output(usize),
    /// A token lies outside the vocabulary: text of another tokenizer.
    #[error("token {token} lies outside the vocabulary of {vocab}: another tokenizer's")]
    Token {
        /// The token id.
        token: u32,
        /// Ids of the vocabulary.
        vocab: u32,
    },
    /// The frequencies are those of another vocabulary.
    #[error("the frequencies are of {found} token ids, the model has {expected}")]
    Vocabulary {
        /// Ids of the model.
        expected: u32,
        /// Ids that were counted.
        found: usize,
    },
    /// A likelihood is not a number: base or adapter is damaged.
    #[error("the likelihoods are not finite: base or adapter is damaged or has diverged")]
    NotFinite,
    /// The device failed.
    #[error(transparent)]
    Device(#[from] DeviceFault),
}

impl Unigram {
    /// Counts the tokens of units.
    pub fn count(units: &[Vec<u32>], vocab: u32) -> Result<Self, LikelihoodError> {
        let mut counts = vec![1u64; vocab as usize];
        for &token in units.iter().flatten() {
            let count = counts.get_mut(token as usize);
            *count.ok_or(LikelihoodError::Token { token, vocab })? += 1;
        }
        let total = counts.iter().sum();
        Ok(Self { counts, total })
    }

    /// Negative log-likelihood of known tokens, in millionths of a nat; equal on every node.
    fn micro_nats<'a>(&self, tokens: impl Iterator<Item = &'a u32>) -> u64 {
        let bits: u128 = tokens.map(|&token| u128::from(self.bits(token))).sum();
        u64::try_from(bits * LN_2 / MICRO_NATS).expect("sequences are bounded")
    }

    /// `-log2` of a token's frequency, in fixed point with 32 bits.
    fn bits(&self, token: u32) -> u64 {
        let count = self.counts[token as usize];
        let share = mul_div(count.into(), 1 << 64, self.total.into()).unwrap_or(0);
        neg_log2(u64::try_from(share.saturating_sub(1)).unwrap_or(u64::MAX))
    }
}

impl AdaptedModel {
    /// Measures an output of this base and adapter, given its prompt. Every output token counts
    /// once, with as much before it as fits into the context; a first token without a prompt is
    /// not predicted and does not count.
    pub fn losses(
        &self,
        prompt: &[u32],
        output: &[u32],
        unigram: &Unigram,
    ) -> Result<OutputLosses, LikelihoodError> {
        let (vocab, context) = (self.base().config().vocab, self.base().config().context as usize);
        if unigram.counts.len() != vocab as usize {
            let found = unigram.counts.len();
            return Err(LikelihoodError::Vocabulary { expected: vocab, found });
        }
        let sequence = [prompt, output].concat();
        if let Some(&token) = sequence.iter().find(|&&token| token >= vocab) {
            return Err(LikelihoodError::Token { token, vocab });
        }
        if output.is_empty() || sequence.len() < 2 || sequence.len() > MAX_WINDOWS * context {
            return Err(LikelihoodError::Output(output.len()));
        }
        let windows: Vec<(usize, Window<'_>)> =
            window::output(&sequence, prompt.len(), context).into_iter().map(|w| (0, w)).collect();
        let (base, adapted) = guarded(|| self.pass(&windows))?;
        let counted = &sequence[prompt.len().max(1)..];
        Ok(OutputLosses {
            base: micro_nats(base)?,
            adapted: micro_nats(adapted)?,
            unigram: unigram.micro_nats(counted.iter()),
        })
    }

    /// Summed losses without and with the adapter.
    fn pass(&self, windows: &[(usize, Window<'_>)]) -> (f64, f64) {
        let (mut base, mut adapted) = (0.0, 0.0);
        let mut rest = windows;
        while !rest.is_empty() {
            let (batch, tail) = rest.split_at(batch_size(rest));
            rest = tail;
            let time = batch.iter().map(|(_, w)| w.inputs.len()).max().unwrap_or(0);
            let (inputs, targets, mask) = padded(batch, time, self.base().device());
            let sum = |logits| {
                let losses = token_losses(logits, targets.clone()) * mask.clone();
                let losses = losses.into_data();
                let losses = losses.as_slice::<f32>().expect("losses are f32");
                losses.iter().map(|loss| f64::from(*loss)).sum::<f64>()
            };
            base += sum(self.base().forward(inputs.clone()));
            adapted += sum(self.forward(inputs));
        }
        (base, adapted)
    }
}

/// A sum of losses as millionths of a nat; unlike a mean for people, never a silent zero.
fn micro_nats(loss: f64) -> Result<u64, LikelihoodError> {
    match loss.is_finite() {
        true => Ok(crate::math::micro_nats(loss)),
        false => Err(LikelihoodError::NotFinite),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frequencies_are_logarithms_of_counts() {
        let units = vec![vec![0, 0, 0, 1], vec![0, 2]];
        let unigram = Unigram::count(&units, 4).unwrap();
        // Counted once more each: 5, 2, 2, 1 of 10.
        for (token, share) in [(0u32, 0.5f64), (1, 0.2), (2, 0.2), (3, 0.1)] {
            let expected = -share.ln() * 1e6;
            let found = unigram.micro_nats([token].iter()) as f64;
            assert!((found - expected).abs() <= 1.0, "{token}: {found} {expected}");
        }
        let sum = unigram.micro_nats([0, 1, 2, 3].iter()) as f64;
        assert!((sum + (0.5f64 * 0.2 * 0.2 * 0.1).ln() * 1e6).abs() <= 1.0);
        let error = Unigram::count(&units, 2).unwrap_err();
        assert_eq!(error, LikelihoodError::Token { token: 2, vocab: 2 });
    }

    #[test]
    fn a_certain_token_costs_nothing() {
        let unigram = Unigram::count(&[vec![0; 9]], 1).unwrap();
        assert_eq!(unigram.micro_nats([0, 0].iter()), 0);
    }

    #[test]
    fn what_is_no_number_is_an_error() {
        assert_eq!(micro_nats(f64::NAN), Err(LikelihoodError::NotFinite));
        assert_eq!(micro_nats(f64::INFINITY), Err(LikelihoodError::NotFinite));
        assert_eq!(micro_nats(1.5), Ok(1_500_000));
    }
}
