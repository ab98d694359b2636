//! What answers: a model with its evidence, or a base as it is.

use std::sync::Arc;

use anyhow::Result;
use compute::device::Engine;
use compute::formats::{Base, Message, Tokenizer};
use compute::serve::{Attributor, Generation, Generator, Sampling, Transcript};
use protocol::ask::{Line, Prompt};
use protocol::node::Failure;

use super::answer::{Answer, describe, unattributed};
use super::failures::not_served;
use super::run_data::RunData;

/// How texts become tokens of a model and back.
#[derive(Debug, Clone)]
pub(crate) enum Language {
    Run(Arc<RunData>),
    Base(Arc<Base>),
}

impl Language {
    /// Token ids of what a model is asked.
    pub(super) fn encode(&self, prompt: &Prompt) -> Result<Vec<u32>> {
        let tokens = match (self, prompt) {
            (Self::Run(run), Prompt::Text(text)) => run.prompt(text)?,
            (Self::Base(base), Prompt::Text(text)) => base.text(text)?,
            (Self::Run(run), Prompt::Chat(lines)) => run.chat(&messages(lines))?,
            (Self::Base(base), Prompt::Chat(lines)) => base.chat(&messages(lines))?,
        };
        Ok(tokens)
    }

    /// The most tokens that the model reads at once.
    pub(super) fn context(&self) -> u32 {
        match self {
            Self::Run(run) => run.shape.context,
            Self::Base(base) => base.checkpoint().config().context,
        }
    }
}

fn messages(lines: &[Line]) -> Vec<Message> {
    let said = lines.iter().cloned();
    said.map(|Line { role, content }| Message { role, content }).collect()
}

/// A model on the computing thread.
pub(crate) enum Speaker {
    Model(Box<Attributor>),
    Base(Arc<Base>, Box<Generator>),
}

impl Speaker {
    /// Loads a base.
    pub(super) fn base(engine: &Engine, base: Arc<Base>) -> Result<Self, Failure> {
        let generator = Generator::new(engine, base.checkpoint());
        let generator = generator.map_err(|error| not_served(error.into()))?;
        Ok(Self::Base(base, Box::new(generator)))
    }

    /// The tokenizer, and the tokens that end an answer.
    pub(super) fn endings(&self) -> (&Tokenizer, &[u32]) {
        match self {
            Self::Model(model) => (&model.run().tokenizer, model.run().ends()),
            Self::Base(base, _) => (base.tokenizer(), &base.card().ends),
        }
    }

    /// Begins an answer.
    pub(super) fn begin(&self, prompt: &[u32], sampling: &Sampling) -> Result<Generation, Failure> {
        match self {
            Self::Model(model) => model.begin(prompt, sampling).map_err(not_served),
            Self::Base(_, generator) => {
                generator.begin(prompt, sampling, None).map_err(|error| not_served(error.into()))
            }
        }
    }

    /// Goes on with an answer up to so many tokens, as long as it is told to.
    pub(super) fn advance(
        &self,
        generation: &mut Generation,
        most: u32,
        keep_going: &mut dyn FnMut(u32) -> bool,
    ) -> Result<(), Failure> {
        let advanced = match self {
            Self::Model(model) => model.advance(generation, most, keep_going),
            Self::Base(_, generator) => {
                generator.advance(generation, most, keep_going).map_err(Into::into)
            }
        };
        advanced.map_err(not_served)
    }

    /// What is published of an answer, and what whoever asked is told. Of a base's nothing is attributed: what
    /// it was trained on is not known here.
    pub(super) fn finish(&self, generation: Generation) -> Result<(Transcript, Answer), Failure> {
        match self {
            Self::Model(model) => {
                let (transcript, evidence) = model.finish(generation).map_err(not_served)?;
                let answer = describe(model.run(), &transcript, &evidence)?;
                Ok((transcript, answer))
            }
            Self::Base(base, _) => {
                let (prompt, output) = (generation.prompt().to_vec(), generation.output().to_vec());
                let (sampling, activations) =
                    (generation.sampling().clone(), generation.activations());
                let (query, shares) = (Vec::new(), Vec::new());
                let transcript =
                    Transcript { prompt, output, sampling, activations, query, shares };
                let answer = unattributed(base.tokenizer(), &transcript)?;
                Ok((transcript, answer))
            }
        }
    }
}
