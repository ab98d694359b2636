//! Reading an answer again: did this model give it?
//!
//! One pass over prompt and answer, in parts, costs a fraction of what the answer did, and gives the logits and
//! states that whoever answered must have had. Two things are held against them: each token with what the
//! published seed draws ([`Reread::slack_ppm`]), which an edited answer, another model or another seed fails; and the
//! digest of the states ([`Reread::distance_ppm`]), which fails where the tokens happen to be the same, for
//! instance of weights with fewer bits.

use super::activations::distance_ppm;
use super::draw::slack;
use super::generate::{Generator, InferError, make_room, stream};
use super::sampling::Sampling;
use crate::device::guarded;
use crate::model::Cache;

/// Tokens of an answer that are read again at once.
const AT_ONCE: usize = 32;

/// An answer as whoever gave it tells of it.
#[derive(Clone, Copy, Debug)]
pub struct Claimed<'a> {
    /// Token ids of the prompt.
    pub prompt: &'a [u32],
    /// Token ids of the answer.
    pub output: &'a [u32],
    /// How they were drawn.
    pub sampling: &'a Sampling,
    /// The digest of what the model computed ([`Generation::activations`](super::Generation::activations)).
    pub activations: &'a [i32],
}

/// What whoever reads an answer again finds of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reread {
    /// How far one's own logits are, in millionths of a nat, from some that draw exactly these tokens; at most
    /// twice as far as they really are, and [`u32::MAX`] where no close ones do.
    pub slack_ppm: u32,
    /// How far the published digest is from one's own, in ppm of one's own.
    pub distance_ppm: u32,
}

impl Generator {
    /// Reads an answer again that somebody says this model gave.
    pub fn reread(&self, answer: &Claimed<'_>) -> Result<Reread, InferError> {
        self.check(answer.prompt, answer.sampling)?;
        self.check_ids(answer.output)?;
        Ok(guarded(|| self.read_again(answer))?)
    }

    fn read_again(&self, answer: &Claimed<'_>) -> Reread {
        let context = self.model.config().context as usize;
        let tokens = [answer.prompt, answer.output].concat();
        let mut random = stream(answer.sampling);
        let (mut cache, mut keeper) = (Cache::default(), self.keeper(None));
        let mut fresh = answer.prompt.len().min(context);
        let (mut at, mut most) = (answer.prompt.len(), 0.0_f64);
        while at < tokens.len() {
            fresh = make_room(&mut cache, fresh, context);
            // Behind the fresh tokens as many more as there is room for.
            let room = context - cache.len() - fresh;
            let ahead = room.min(AT_ONCE - 1).min(tokens.len() - at - 1);
            let input = self.model.tokens(&[&tokens[at - fresh..at + ahead]]);
            keeper.behind = ahead + 1;
            let logits = self.model.run(input, Some(&mut cache), &mut keeper);
            let vocab = logits.dims()[2];
            let rows = logits.slice([0..1, fresh - 1..fresh + ahead, 0..vocab]).into_data();
            let rows = rows.as_slice::<f32>().expect("logits are f32");
            for (logits, token) in rows.chunks_exact(vocab).zip(&tokens[at..]) {
                most = most.max(slack(logits, answer.sampling, &mut random, *token));
            }
            (at, fresh) = (at + ahead + 1, 1);
        }
        let distance_ppm = distance_ppm(answer.activations, &keeper.activations.digest());
        Reread { slack_ppm: (most * 1e6).ceil() as u32, distance_ppm }
    }
}
