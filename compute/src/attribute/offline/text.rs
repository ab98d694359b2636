//! A decoder and its sequences as a [`Network`].

use burn::tensor::{Device, Int, Tensor};

use super::network::{Gradient, Network, Targets, row_sums, sampled, weighted};
use crate::device::{DeviceFault, Engine, guarded};
use crate::model::window::{Window, padded};
use crate::model::{Captured, Decoder, Entry, ModelConfig, layout, token_losses};

/// A decoder's shape and the sequences that it may be asked about: training units and outputs alike.
/// The parameters are given anew with each call.
pub struct TextNetwork {
    config: ModelConfig,
    samples: Sequences,
}

/// Sequences of tokens as samples, each of which is read in one window.
pub(super) struct Sequences {
    tokens: Vec<Vec<u32>>,
    device: Device,
}

/// Why a text can't be a sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TextError {
    /// Nothing to predict, or more than the model reads at once.
    #[error("sample {sample} has {found} tokens; 2 to {limit} are possible: cut it first")]
    Length {
        /// The number of the sample.
        sample: usize,
        /// How many tokens it has.
        found: usize,
        /// The most tokens that one window reads.
        limit: usize,
    },
    /// A token lies outside the model's vocabulary.
    #[error("token {token} lies outside the model's vocabulary of {vocab}: another tokenizer's")]
    Token {
        /// The token id.
        token: u32,
        /// Ids of the vocabulary.
        vocab: u32,
    },
}

impl Sequences {
    pub(super) fn new(
        engine: &Engine,
        config: &ModelConfig,
        tokens: Vec<Vec<u32>>,
    ) -> Result<Self, TextError> {
        let (limit, vocab) = (config.context as usize + 1, config.vocab);
        for (sample, tokens) in tokens.iter().enumerate() {
            if !(2..=limit).contains(&tokens.len()) {
                return Err(TextError::Length { sample, found: tokens.len(), limit });
            }
            if let Some(&token) = tokens.iter().find(|&&token| token >= vocab) {
                return Err(TextError::Token { token, vocab });
            }
        }
        Ok(Self { tokens, device: engine.device().clone() })
    }

    pub(super) fn len(&self) -> usize {
        self.tokens.len()
    }

    /// Targets of a sample.
    pub(super) fn size(&self, sample: usize) -> usize {
        self.tokens[sample].len() - 1
    }

    /// Inputs, targets and mask of a batch, `[samples, time]`; zero where a sample has ended.
    pub(super) fn batch(&self, batch: &[usize]) -> (Tensor<2, Int>, Tensor<2, Int>, Tensor<2>) {
        let window = |&sample: &usize| {
            let tokens = &self.tokens[sample];
            let (inputs, targets) = (&tokens[..tokens.len() - 1], &tokens[1..]);
            (sample, Window { inputs, targets, counted: targets.len() })
        };
        let windows: Vec<_> = batch.iter().map(window).collect();
        let longest = batch.iter().map(|&sample| self.size(sample)).max().unwrap_or(0);
        padded(&windows, longest, &self.device)
    }
}

impl TextNetwork {
    /// A network over `sequences`, each of which is read in one window.
    pub fn new(
        engine: &Engine,
        config: &ModelConfig,
        sequences: Vec<Vec<u32>>,
    ) -> Result<Self, TextError> {
        Ok(Self { config: config.clone(), samples: Sequences::new(engine, config, sequences)? })
    }

    fn decoder(&self, parameters: &[f32]) -> Decoder {
        Decoder::new(&self.config, parameters, &self.samples.device)
    }
}

impl Network for TextNetwork {
    fn parameters(&self) -> usize {
        self.config.parameters() as usize
    }

    fn samples(&self) -> usize {
        self.samples.len()
    }

    fn size(&self, sample: usize) -> usize {
        self.samples.size(sample)
    }

    fn linears(&self) -> Vec<(usize, usize)> {
        layout::linears(&self.config)
    }

    fn gradient(
        &self,
        parameters: &[f32],
        batch: &[usize],
        weights: &[f32],
    ) -> Result<Gradient, DeviceFault> {
        guarded(|| {
            let twin = self.decoder(parameters).tracked();
            let (inputs, targets, mask) = self.samples.batch(batch);
            let losses = token_losses(twin.forward(inputs), targets) * mask.autodiff();
            weighted(losses, weights, twin.params())
        })
    }

    fn losses(&self, parameters: &[f32], batch: &[usize]) -> Result<Vec<f64>, DeviceFault> {
        guarded(|| {
            let (inputs, targets, mask) = self.samples.batch(batch);
            row_sums(token_losses(self.decoder(parameters).forward(inputs), targets) * mask)
        })
    }

    fn capture(
        &self,
        parameters: &[f32],
        batch: &[usize],
        targets: Targets,
    ) -> Result<Vec<Captured>, DeviceFault> {
        guarded(|| {
            let (inputs, given, mask) = self.samples.batch(batch);
            let targets = |logits: &Tensor<3>| match targets {
                Targets::Given => given,
                Targets::Sampled(seed) => sampled(logits.clone(), seed),
            };
            self.decoder(parameters).capture(0, Entry::Tokens(inputs), targets, mask)
        })
    }
}
