//! Sampling from a model, token by token, with the keys and values of past tokens kept.

use std::sync::Arc;

use burn::tensor::Tensor;
use protocol::Hash;

use super::activations::{Activations, Signs};
use super::draw::choose;
use super::likeliest::likeliest;
use super::sampling::Sampling;
use crate::device::{DeviceFault, Engine, guarded};
use crate::formats::Checkpoint;
use crate::math::Stream;
use crate::model::{Cache, Decoder, Trace, Watch};

/// The most tokens of one answer.
pub(crate) const MAX_NEW_TOKENS: u32 = 65_536;

/// A token that was chosen.
#[derive(Clone, Debug, PartialEq)]
pub struct Chosen {
    /// Its id in the vocabulary.
    pub token: u32,
    /// How likely it was, where that was asked for.
    pub scores: Option<Scores>,
}

/// How likely tokens were in one place: natural logarithms of their probabilities, before temperature and cuts.
#[derive(Clone, Debug, PartialEq)]
pub struct Scores {
    /// Of the token that was chosen.
    pub logprob: f32,
    /// The likeliest tokens and theirs, the likeliest first; as many as were asked for.
    pub likeliest: Vec<(u32, f32)>,
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
    pub(super) model: Decoder,
    signs: Arc<Signs>,
    tokenizer: Hash,
}

impl Generator {
    /// Loads a checkpoint onto the engine's device.
    pub fn new(engine: &Engine, checkpoint: &Checkpoint) -> Result<Self, InferError> {
        let load = || Decoder::new(checkpoint.config(), checkpoint.values(), engine.device());
        let signs = Arc::new(Signs::of(checkpoint.config().width));
        Ok(Self { model: guarded(load)?, signs, tokenizer: checkpoint.tokenizer() })
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
        self.generate_scored(prompt, sampling, None, &mut |chosen| keep_going(chosen.token))
    }

    /// The same, with how likely each token was, and beside it the likeliest ones; as many as `scores` says.
    pub fn generate_scored(
        &self,
        prompt: &[u32],
        sampling: &Sampling,
        scores: Option<u32>,
        keep_going: &mut dyn FnMut(Chosen) -> bool,
    ) -> Result<Vec<u32>, InferError> {
        let mut generation = self.begin(prompt, sampling, None)?;
        let most = sampling.tokens as usize;
        let mut keep_going = |token, logits: &[f32]| {
            let scores = scores.map(|count| Scores::of(logits, token, count as usize));
            keep_going(Chosen { token, scores })
        };
        guarded(|| self.sample(&mut generation, most, &mut keep_going))?;
        Ok(generation.finish().0)
    }

    /// Begins an answer of which nothing is generated yet; with a trace as
    /// [`generate_traced`](Self::generate_traced) has one.
    pub fn begin(
        &self,
        prompt: &[u32],
        sampling: &Sampling,
        layer: Option<usize>,
    ) -> Result<Generation, InferError> {
        self.check(prompt, sampling)?;
        Ok(Generation {
            prompt: prompt.len(),
            tokens: prompt.to_vec(),
            fresh: prompt.len().min(self.model.config().context as usize),
            random: stream(sampling),
            sampling: sampling.clone(),
            cache: Cache::default(),
            keeper: self.keeper(layer),
        })
    }

    /// Goes on with an answer until it has `most` tokens, or as many as its sampling says. Each new one is given
    /// to `keep_going`, and the first of which it says no is the last of this call.
    pub fn advance(
        &self,
        generation: &mut Generation,
        most: u32,
        keep_going: &mut dyn FnMut(u32) -> bool,
    ) -> Result<(), InferError> {
        let most = most.min(generation.sampling.tokens) as usize;
        Ok(guarded(|| self.sample(generation, most, &mut |token, _| keep_going(token)))?)
    }

    /// The same, with a trace of what entered the model's layer of that number; none without a layer,
    /// and when prompt and output are more than the model reads at once.
    pub fn generate_traced(
        &self,
        prompt: &[u32],
        sampling: &Sampling,
        layer: Option<usize>,
    ) -> Result<(Vec<u32>, Option<Trace>), InferError> {
        let mut generation = self.begin(prompt, sampling, layer)?;
        self.advance(&mut generation, sampling.tokens, &mut |_| true)?;
        Ok(generation.finish())
    }

    pub(super) fn keeper(&self, layer: Option<usize>) -> Keeper {
        let (signs, activations) = (Arc::clone(&self.signs), Activations::new());
        let layers = self.model.config().layers as usize;
        Keeper { layer, rows: Vec::new(), behind: 1, layers, signs, activations }
    }

    pub(super) fn check(&self, prompt: &[u32], sampling: &Sampling) -> Result<(), InferError> {
        if prompt.is_empty() {
            return Err(InferError::EmptyPrompt);
        }
        if sampling.tokens > MAX_NEW_TOKENS {
            return Err(InferError::TooManyTokens(sampling.tokens));
        }
        self.check_ids(prompt)
    }

    pub(super) fn check_ids(&self, tokens: &[u32]) -> Result<(), InferError> {
        let vocab = self.model.config().vocab;
        match tokens.iter().find(|id| **id >= vocab) {
            Some(&id) => Err(InferError::UnknownId { id, vocab }),
            None => Ok(()),
        }
    }

    fn sample(
        &self,
        generation: &mut Generation,
        most: usize,
        keep_going: &mut dyn FnMut(u32, &[f32]) -> bool,
    ) {
        let context = self.model.config().context as usize;
        let Generation { prompt, tokens, sampling, random, cache, keeper, fresh } = generation;
        while tokens.len() - *prompt < most {
            *fresh = make_room(cache, *fresh, context);
            // After the first pass one token a pass: the cache holds the others.
            let input = &tokens[tokens.len() - *fresh..];
            let input = self.model.tokens(&[input]);
            let logits = self.model.run(input, Some(cache), keeper);
            let vocab = logits.dims()[2];
            let last = logits.slice([0..1, *fresh - 1..*fresh, 0..vocab]).into_data();
            let last = last.as_slice::<f32>().expect("logits are f32");
            let token = choose(last, sampling, random);
            tokens.push(token);
            *fresh = 1;
            if !keep_going(token, last) {
                break;
            }
        }
    }
}

/// How many tokens are read next, of which `fresh` are new: where the cache is full, it is emptied, and the later
/// half of what it may hold is read again.
pub(super) fn make_room(cache: &mut Cache, fresh: usize, context: usize) -> usize {
    if cache.len() + fresh <= context {
        return fresh;
    }
    *cache = Cache::default();
    (context / 2).max(1)
}

/// An answer on its way: what was said so far, and what the model remembers of it.
pub struct Generation {
    /// Tokens of the prompt, which the others begin with.
    prompt: usize,
    tokens: Vec<u32>,
    /// Tokens at the end that the model has not read yet.
    fresh: usize,
    sampling: Sampling,
    random: Stream,
    cache: Cache,
    keeper: Keeper,
}

impl Generation {
    /// The tokens of the prompt.
    pub fn prompt(&self) -> &[u32] {
        &self.tokens[..self.prompt]
    }

    /// The tokens of the answer so far.
    pub fn output(&self) -> &[u32] {
        &self.tokens[self.prompt..]
    }

    /// How its tokens are drawn.
    pub fn sampling(&self) -> &Sampling {
        &self.sampling
    }

    /// The digest of what the model computed for it so far.
    pub fn activations(&self) -> Vec<i32> {
        self.keeper.activations.digest()
    }

    /// The whole answer, and its trace if there is one.
    pub(super) fn finish(mut self) -> (Vec<u32>, Option<Trace>) {
        let output = self.tokens.split_off(self.prompt);
        let (prompt, keeper) = (self.tokens, self.keeper);
        let read = prompt.len() + output.len().saturating_sub(1);
        // After a new start, and of an empty output, not everything was read in one go.
        let layer = keeper.layer.filter(|_| self.cache.len() == read && !keeper.rows.is_empty());
        let trace = layer.map(|layer| Trace {
            tokens: prompt.iter().chain(&output).copied().take(read).collect(),
            hidden: Tensor::cat(keeper.rows, 0),
            layer,
        });
        (output, trace)
    }
}

pub(super) fn stream(sampling: &Sampling) -> Stream {
    Stream::new("sampling", &sampling.seed.to_be_bytes())
}

/// Keeps what enters one layer, token by token, and a digest of what leaves the last.
pub(super) struct Keeper {
    layer: Option<usize>,
    rows: Vec<Tensor<2>>,
    /// Tokens at the end of a pass behind which one of the answer is drawn.
    pub(super) behind: usize,
    /// Layers of the model.
    layers: usize,
    signs: Arc<Signs>,
    pub(super) activations: Activations,
}

impl Keeper {
    fn digest(&mut self, rows: &Tensor<2>) {
        let [count, width] = rows.dims();
        let states = rows.clone().slice([count - self.behind..count, 0..width]).into_data();
        let states = states.as_slice::<f32>().expect("states are f32");
        for state in states.chunks_exact(width) {
            self.activations.add(state, &self.signs);
        }
    }
}

impl Watch for Keeper {
    fn linear(&mut self, _: Tensor<2>, output: Tensor<2>) -> Tensor<2> {
        output
    }

    fn entered(&mut self, layer: usize, rows: &Tensor<2>) {
        if self.layer == Some(layer) {
            self.rows.push(rows.clone());
        }
        if layer == self.layers {
            self.digest(rows);
        }
    }
}

impl Scores {
    /// Of `token` among these logits, with so many of the likeliest.
    pub fn of(logits: &[f32], token: u32, count: usize) -> Self {
        let order = likeliest(logits, 0);
        let best = f64::from(order[0].0);
        let sum: f64 = order.iter().map(|(logit, _)| (f64::from(*logit) - best).exp()).sum();
        let logprob = |logit: f32| (f64::from(logit) - best - sum.ln()) as f32;
        let chosen = order.iter().find(|(_, id)| *id == token);
        Self {
            logprob: chosen.map_or(f32::MIN, |(logit, _)| logprob(*logit)),
            likeliest: order.iter().take(count).map(|(logit, id)| (*id, logprob(*logit))).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Probabilities 0.6, 0.3 and 0.1 of tokens 2, 0 and 1.
    fn logits() -> Vec<f32> {
        [0.3_f32, 0.1, 0.6].map(f32::ln).to_vec()
    }

    #[test]
    fn scores_are_of_the_whole_vocabulary_and_in_order() {
        let scores = Scores::of(&logits(), 1, 2);
        assert!((scores.logprob - 0.1_f32.ln()).abs() < 1e-6);
        assert_eq!(scores.likeliest.iter().map(|(id, _)| *id).collect::<Vec<_>>(), [2, 0]);
        assert!((scores.likeliest[1].1 - 0.3_f32.ln()).abs() < 1e-6);
        // What is no number is never likely, and no number comes of it.
        let broken = Scores::of(&[f32::NAN, 0.0], 0, 2);
        assert!(broken.logprob.is_finite() && broken.likeliest[0] == (1, 0.0));
    }
}
