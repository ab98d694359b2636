//! A decoder and its sequences as a [`Network`].

use burn::tensor::{Device, Tensor};

use super::capture::padded;
use super::network::{Captured, Gradient, Network, Targets, captured, row_sums, sampled, weighted};
use super::window::Window;
use crate::engine::{DeviceFault, Engine, guarded};
use crate::model::{Decoder, ModelConfig, layout, token_losses};

/// A decoder's shape and the sequences that it may be asked about: training units and outputs alike.
/// The parameters are given anew with each call.
pub struct TextNetwork {
    config: ModelConfig,
    device: Device,
    sequences: Vec<Vec<u32>>,
}

/// Why a text can't be a sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TextError {
    /// Nothing to predict, or more than the model reads at once.
    #[error("sample {sample} has {found} tokens; 2 to {limit} are possible: cut it first")]
    Length {
        /// The sample.
        sample: usize,
        /// Its tokens.
        found: usize,
        /// Tokens allowed.
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

impl TextNetwork {
    /// A network over `sequences`, each of which is read in one window.
    pub fn new(
        engine: &Engine,
        config: &ModelConfig,
        sequences: Vec<Vec<u32>>,
    ) -> Result<Self, TextError> {
        let (limit, vocab) = (config.context as usize + 1, config.vocab);
        for (sample, tokens) in sequences.iter().enumerate() {
            if !(2..=limit).contains(&tokens.len()) {
                return Err(TextError::Length { sample, found: tokens.len(), limit });
            }
            if let Some(&token) = tokens.iter().find(|&&token| token >= vocab) {
                return Err(TextError::Token { token, vocab });
            }
        }
        Ok(Self { config: config.clone(), device: engine.device().clone(), sequences })
    }

    fn windows(&self, batch: &[usize]) -> Vec<(usize, Window<'_>)> {
        let window = |&sample: &usize| {
            let tokens = &self.sequences[sample];
            let (inputs, targets) = (&tokens[..tokens.len() - 1], &tokens[1..]);
            (sample, Window { inputs, targets, counted: targets.len() })
        };
        batch.iter().map(window).collect()
    }

    fn decoder(&self, parameters: &[f32]) -> Decoder {
        Decoder::new(&self.config, parameters, &self.device)
    }

    /// Losses `[samples, time]`, zero where a sample has ended.
    fn token_losses(&self, model: &Decoder, batch: &[usize], tracked: bool) -> Tensor<2> {
        let windows = self.windows(batch);
        let (inputs, targets, mask) = padded(&windows, longest(&windows), &self.device);
        let mask = if tracked { mask.autodiff() } else { mask };
        token_losses(model.forward(inputs), targets) * mask
    }
}

fn longest(windows: &[(usize, Window<'_>)]) -> usize {
    windows.iter().map(|(_, window)| window.inputs.len()).max().unwrap_or(0)
}

impl Network for TextNetwork {
    fn parameters(&self) -> usize {
        self.config.parameters() as usize
    }

    fn samples(&self) -> usize {
        self.sequences.len()
    }

    fn size(&self, sample: usize) -> usize {
        self.sequences[sample].len() - 1
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
            weighted(self.token_losses(&twin, batch, true), weights, twin.params())
        })
    }

    fn losses(&self, parameters: &[f32], batch: &[usize]) -> Result<Vec<f64>, DeviceFault> {
        guarded(|| row_sums(self.token_losses(&self.decoder(parameters), batch, false)))
    }

    fn capture(
        &self,
        parameters: &[f32],
        batch: &[usize],
        targets: Targets,
    ) -> Result<Vec<Captured>, DeviceFault> {
        guarded(|| {
            let decoder = self.decoder(parameters);
            let windows = self.windows(batch);
            let (inputs, given, mask) = padded(&windows, longest(&windows), &self.device);
            let (logits, probes) = decoder.probing().forward_probed(inputs);
            let targets = match targets {
                Targets::Given => given,
                Targets::Sampled(seed) => sampled(logits.clone().inner(), seed),
            };
            captured(token_losses(logits, targets) * mask.autodiff(), probes)
        })
    }
}
