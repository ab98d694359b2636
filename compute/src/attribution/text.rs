//! A decoder and its sequences as a [`Network`].

use burn::tensor::{Device, Tensor, TensorData};

use super::capture::padded;
use super::network::{Captured, Gradient, Network, Targets, sampled};
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

/// The sum of every row, in double precision.
pub(crate) fn row_sums(losses: Tensor<2>) -> Vec<f64> {
    let time = losses.dims()[1].max(1);
    let values: Vec<f32> =
        losses.try_into_vec_as().expect("a device that can't be read is caught by the caller");
    values.chunks(time).map(|row| row.iter().map(|&loss| f64::from(loss)).sum()).collect()
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
            let losses = self.token_losses(&twin, batch, true);
            let weights = TensorData::new(weights.to_vec(), [batch.len(), 1]);
            let weights = Tensor::<2>::from_data(weights, &self.device).autodiff();
            let gradients = (losses.clone() * weights).sum().backward();
            let mut values = Vec::with_capacity(parameters.len());
            for param in twin.params() {
                let part = param.grad(&gradients).expect("every parameter is part of the loss");
                let part: Vec<f32> =
                    part.try_into_vec_as().expect("an unreadable device is caught by guarded");
                values.extend(part);
            }
            Gradient { losses: row_sums(losses.inner()), values }
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
            let gradients = (token_losses(logits, targets) * mask.autodiff()).sum().backward();
            probes
                .into_iter()
                .map(|probe| Captured {
                    gradient: probe.leaf.grad(&gradients).expect("part of the loss").inner(),
                    input: probe.input,
                })
                .collect()
        })
    }
}
