//! The base models of this machine as a backend: free of charge, nothing leaves the machine.

mod jobs;
mod shelf;
mod speaking;
mod worker;

use std::path::Path;
use std::sync::Arc;

use anyhow::Result;
use compute::formats::{BaseError, ChatError, Message};
use compute::serve::Sampling;
use protocol::Amount;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use self::jobs::Job;
use self::shelf::Shelf;
use self::worker::Model;
use super::backend::{Answering, Backend, Later, Offered, Prompt, Question, Refused};
use crate::bases::{Bases, Found, short, title};

/// The base models of a data directory.
pub(crate) struct Local {
    bases: Arc<Bases>,
    shelf: Shelf,
}

impl Local {
    /// Serves those of a directory, with at most so many bytes of weights in memory.
    pub(crate) fn of_dir(dir: &Path, max_memory: u64) -> Self {
        Self { bases: Arc::new(Bases::of_dir(dir)), shelf: Shelf::new(max_memory) }
    }

    /// The models that can be asked, with the names by which they are.
    pub(crate) fn offered(&self) -> Result<Vec<Offered>> {
        let all = self.bases.all()?;
        let offered = all.iter().map(|found| Offered {
            id: id_of(found, &all),
            owner: found.card.origin.clone().unwrap_or_else(|| "unknown".to_owned()),
            chats: found.card.template.is_some(),
        });
        Ok(offered.collect())
    }

    async fn find(&self, named: &str) -> Result<Found, Refused> {
        let (bases, name) = (Arc::clone(&self.bases), named.to_owned());
        let found = blocking(move || {
            let all = bases.all()?;
            let exact = all.iter().find(|found| id_of(found, &all) == name).cloned();
            // Whoever types a name by hand may be short, as with `openledger model ask`.
            anyhow::Ok(exact.or_else(|| bases.find(&name).ok()))
        });
        let found = found.await?.map_err(|error| Refused::Failed(format!("{error:#}")))?;
        found.ok_or_else(|| Refused::UnknownModel(named.to_owned()))
    }

    async fn begin(&self, question: Question) -> Result<Answering, Refused> {
        let found = self.find(&question.model).await?;
        let model = self.shelf.get(&self.bases, &found).await?;
        let (of_model, name) = (Arc::clone(&model), question.model.clone());
        let prompt = question.prompt;
        let prompt = blocking(move || tokens(&of_model, &name, &prompt)).await??;
        let context = model.base.checkpoint().config().context;
        let tokens_in = u32::try_from(prompt.len()).unwrap_or(u32::MAX);
        let room = context.saturating_sub(tokens_in);
        if room == 0 {
            let text = format!(
                "the prompt has {tokens_in} tokens, and the model reads {context} with its answer"
            );
            return Err(Refused::TooLong(text));
        }
        let tokens = question.max_tokens.map_or(room, |most| most.min(room));
        let sampling = Sampling {
            tokens,
            temperature_ppm: question.temperature_ppm,
            top: question.top_k,
            top_p_ppm: question.top_p_ppm,
            seed: question.seed,
        };
        // Room for a whole answer: who reads slowly keeps nobody else from the model.
        let (say, said) = mpsc::channel(tokens as usize + 2);
        let enough = CancellationToken::new();
        let (logprobs, done) = (question.logprobs, enough.clone());
        model.ask(Job { prompt, sampling, logprobs, say, enough: done })?;
        Ok(Answering { tokens_in, most: Amount::ZERO, enough, said })
    }
}

impl Backend for Local {
    fn models(&self) -> Later<'_, Vec<Offered>> {
        Box::pin(async {
            self.offered().unwrap_or_else(|error| {
                tracing::error!(%error, "the base models cannot be listed");
                Vec::new()
            })
        })
    }

    fn ask(&self, question: Question) -> Later<'_, Result<Answering, Refused>> {
        Box::pin(self.begin(question))
    }
}

/// A base's name, with the start of its hash where another has the name as well.
fn id_of(found: &Found, all: &[Found]) -> String {
    let name = &found.card.name;
    let namesakes = all.iter().filter(|other| other.card.name == *name).count();
    if namesakes > 1 { format!("{name}@{}", short(&found.card)) } else { name.clone() }
}

/// The token ids of a prompt. What people write is never read as control tokens.
fn tokens(model: &Model, name: &str, prompt: &Prompt) -> Result<Vec<u32>, Refused> {
    let read = match prompt {
        Prompt::Text(text) => model.base.text(text),
        Prompt::Chat(lines) => {
            let message = |line: &super::backend::Line| Message {
                role: line.role.clone(),
                content: line.content.clone(),
            };
            model.base.chat(&lines.iter().map(message).collect::<Vec<_>>())
        }
    };
    let ids = read.map_err(|error| match error {
        BaseError::NoTemplate(_) => Refused::NoChat(name.to_owned()),
        BaseError::Chat(error @ ChatError::Tokenizer(_)) => Refused::Failed(error.to_string()),
        error => Refused::Invalid(error.to_string()),
    })?;
    if ids.is_empty() {
        let title = title(model.base.card());
        let text =
            format!("the prompt has no token, and {title} goes on from nothing less than one");
        return Err(Refused::Invalid(text));
    }
    Ok(ids)
}

/// Does slow work where it keeps nobody waiting.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Refused> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| Refused::Failed(format!("the model failed: {error}")))
}
