//! Sampling from a model, token by token, with the keys and values of past tokens kept.

use burn::tensor::Tensor;
use protocol::Hash;
use serde::{Deserialize, Serialize};

use super::likeliest::likeliest;
use crate::device::{DeviceFault, Engine, guarded};
use crate::formats::Checkpoint;
use crate::math::Stream;
use crate::model::{Cache, Decoder, Trace, Watch};

/// The most tokens of one answer.
pub(crate) const MAX_NEW_TOKENS: u32 = 65_536;

/// How to choose tokens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sampling {
    /// Tokens to generate.
    pub tokens: u32,
    /// Temperature in parts per million; zero takes the likeliest token each time.
    pub temperature_ppm: u32,
    /// Choose among this many likeliest tokens only; zero: among all.
    pub top: u32,
    /// Seed of the draws.
    pub seed: u64,
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InferError {
    /// The prompt has no token.
    #[error("the prompt is empty")]
    EmptyPrompt,
    /// Too many tokens were asked for.
    #[error("{0} tokens were asked for; at most {MAX_NEW_TOKENS} are generated")]
    TooManyTokens(u32),
    /// A token id is not in the model's vocabulary.
    #[error("token id {id} is not below the vocabulary of {vocab}")]
    UnknownId {
        /// The unknown token id.
        id: u32,
        /// Ids of the model.
        vocab: u32,
    },
    /// The device failed.
    #[error(transparent)]
    Device(#[from] DeviceFault),
}

/// A model loaded for answering.
pub struct Generator {
    model: Decoder,
    tokenizer: Hash,
}

impl Generator {
    /// Loads a checkpoint onto the engine's device.
    pub fn new(engine: &Engine, checkpoint: &Checkpoint) -> Result<Self, InferError> {
        let load = || Decoder::new(checkpoint.config(), checkpoint.values(), engine.device());
        Ok(Self { model: guarded(load)?, tokenizer: checkpoint.tokenizer() })
    }

    /// The tokenizer whose ids the model speaks.
    pub fn tokenizer(&self) -> Hash {
        self.tokenizer
    }

    /// The tokens that follow a prompt; of a prompt longer than the context, its end counts.
    pub fn generate(&self, prompt: &[u32], sampling: &Sampling) -> Result<Vec<u32>, InferError> {
        Ok(self.generate_traced(prompt, sampling, None)?.0)
    }

    /// The same, token by token: each is given to `keep_going`, and the first of which it says no is the
    /// last. With the same seed the tokens are those of [`generate`](Self::generate).
    pub fn generate_while(
        &self,
        prompt: &[u32],
        sampling: &Sampling,
        keep_going: &mut dyn FnMut(u32) -> bool,
    ) -> Result<Vec<u32>, InferError> {
        self.check(prompt, sampling)?;
        Ok(guarded(|| self.sample(prompt, sampling, None, keep_going))?.0)
    }

    /// The same, with a trace of what entered the model's layer of that number; none without a layer,
    /// and when prompt and output are more than the model reads at once.
    pub fn generate_traced(
        &self,
        prompt: &[u32],
        sampling: &Sampling,
        layer: Option<usize>,
    ) -> Result<(Vec<u32>, Option<Trace>), InferError> {
        self.check(prompt, sampling)?;
        Ok(guarded(|| self.sample(prompt, sampling, layer, &mut |_| true))?)
    }

    fn check(&self, prompt: &[u32], sampling: &Sampling) -> Result<(), InferError> {
        let vocab = self.model.config().vocab;
        if prompt.is_empty() {
            return Err(InferError::EmptyPrompt);
        }
        if sampling.tokens > MAX_NEW_TOKENS {
            return Err(InferError::TooManyTokens(sampling.tokens));
        }
        match prompt.iter().find(|id| **id >= vocab) {
            Some(&id) => Err(InferError::UnknownId { id, vocab }),
            None => Ok(()),
        }
    }

    fn sample(
        &self,
        prompt: &[u32],
        sampling: &Sampling,
        layer: Option<usize>,
        keep_going: &mut dyn FnMut(u32) -> bool,
    ) -> (Vec<u32>, Option<Trace>) {
        let context = self.model.config().context as usize;
        let mut random = Stream::new("sampling", &sampling.seed.to_be_bytes());
        let mut tokens = prompt.to_vec();
        let mut cache = Cache::default();
        let mut keeper = Keeper { layer, rows: Vec::new() };
        let mut fresh = context.min(tokens.len());
        for _ in 0..sampling.tokens {
            if cache.len() + fresh > context {
                // Full: start again from the later half of what was said.
                cache = Cache::default();
                fresh = (context / 2).max(1);
            }
            // After the first pass one token a pass: the cache holds the others.
            let input = &tokens[tokens.len() - fresh..];
            let input = self.model.tokens(&[input]);
            let logits = self.model.run(input, Some(&mut cache), &mut keeper);
            let vocab = logits.dims()[2];
            let last = logits.slice([0..1, fresh - 1..fresh, 0..vocab]).into_data();
            let last = last.as_slice::<f32>().expect("logits are f32");
            let token = choose(last, sampling, &mut random);
            tokens.push(token);
            fresh = 1;
            if !keep_going(token) {
                break;
            }
        }
        let output = tokens.split_off(prompt.len());
        let read = prompt.len() + output.len().saturating_sub(1);
        // After a new start, and of an empty output, not everything was read in one go.
        let layer = keeper.layer.filter(|_| cache.len() == read && !keeper.rows.is_empty());
        let trace = layer.map(|layer| Trace {
            tokens: prompt.iter().chain(&output).copied().take(read).collect(),
            hidden: Tensor::cat(keeper.rows, 0),
            layer,
        });
        (output, trace)
    }
}

/// Keeps what enters one layer, token by token.
struct Keeper {
    layer: Option<usize>,
    rows: Vec<Tensor<2>>,
}

impl Watch for Keeper {
    fn linear(&mut self, _: Tensor<2>, output: Tensor<2>) -> Tensor<2> {
        output
    }

    fn entered(&mut self, layer: usize, rows: &Tensor<2>) {
        if self.layer == Some(layer) {
            self.rows.push(rows.clone());
        }
    }
}

/// Draws a token; ties go to the lower id, values that are no numbers are never chosen.
pub(super) fn choose(logits: &[f32], sampling: &Sampling, random: &mut Stream) -> u32 {
    if sampling.temperature_ppm == 0 {
        return likeliest(logits, 1)[0].1;
    }
    let order = likeliest(logits, sampling.top as usize);
    let temperature = f64::from(sampling.temperature_ppm) / 1.0e6;
    // Relative to the best, so that the largest exponent is zero and none overflows.
    let best = f64::from(order[0].0);
    let weights: Vec<f64> =
        order.iter().map(|(logit, _)| ((f64::from(*logit) - best) / temperature).exp()).collect();
    let mut draw = random.unit() * weights.iter().sum::<f64>();
    for (weight, (_, id)) in weights.iter().zip(&order) {
        draw -= weight;
        if draw < 0.0 {
            return *id;
        }
    }
    // Rounding may leave a last crumb of the draw.
    order[0].1
}
