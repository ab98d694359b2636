//! The base models of this machine and their adapters as a backend: free of charge, nothing leaves the machine.

mod jobs;
mod shelf;
mod speaking;
mod worker;

use std::path::Path;
use std::sync::Arc;

use anyhow::Result;
use compute::formats::{BaseError, ChatError, Message};
use compute::serve::Sampling;
use compute::serve::batch::PackedAdapter;
use protocol::Amount;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use self::jobs::Job;
use self::shelf::Shelf;
use self::worker::Model;
use super::backend::{Answering, Backend, Later, Offered, Prompt, Question, Refused};
use crate::adapters::{AdapterCard, Adapters};
use crate::bases::{Bases, Found, short, title};

/// Bytes for the adapters of a model where nothing is said.
pub(crate) const ADAPTER_MEMORY: u64 = 256 << 20;
/// Stands between the names of a base and of an adapter.
const COLON: char = ':';

/// The base models of a data directory, and their adapters.
pub(crate) struct Local {
    bases: Arc<Bases>,
    adapters: Arc<Adapters>,
    shelf: Shelf,
}

impl Local {
    /// Serves those of a directory, with at most so many bytes of weights in memory, and of each model's adapters.
    pub(crate) fn of_dir(dir: &Path, max_memory: u64, adapter_memory: u64) -> Self {
        let (bases, adapters) = (Arc::new(Bases::of_dir(dir)), Arc::new(Adapters::of_dir(dir)));
        Self { bases, adapters, shelf: Shelf::new(max_memory, adapter_memory) }
    }

    /// The models that can be asked, with the names by which they are.
    pub(crate) fn offered(&self) -> Result<Vec<Offered>> {
        let (all, adapters) = (self.bases.all()?, self.adapters.all()?);
        let of_base = |found: &Found| {
            let id = id_of(found, &all);
            let own = adapters.iter().filter(|card| card.base == found.card.checkpoint);
            let adapted = own.map(|card| format!("{id}{COLON}{}", card.name)).collect::<Vec<_>>();
            let offered = |id| Offered {
                id,
                owner: found.card.origin.clone().unwrap_or_else(|| "unknown".to_owned()),
                chats: found.card.template.is_some(),
            };
            [id].into_iter().chain(adapted).map(offered).collect::<Vec<_>>()
        };
        Ok(all.iter().flat_map(of_base).collect())
    }

    /// The base that is asked, and its adapter where one is.
    async fn find(&self, named: &str) -> Result<(Found, Option<AdapterCard>), Refused> {
        let (bases, adapters) = (Arc::clone(&self.bases), Arc::clone(&self.adapters));
        let name = named.to_owned();
        let found = blocking(move || {
            let all = bases.all()?;
            // Whoever types a name by hand may be short, as with `openledger model ask`.
            let base = |name: &str| {
                let exact = all.iter().find(|found| id_of(found, &all) == name).cloned();
                exact.or_else(|| bases.find(name).ok())
            };
            // A base may have a colon in its own name, an adapter has none.
            if let Some(found) = base(&name) {
                return anyhow::Ok(Some((found, None)));
            }
            let Some((base_name, adapter)) = name.rsplit_once(COLON) else { return Ok(None) };
            let Some(found) = base(base_name) else { return Ok(None) };
            let card = adapters.get(&found.card.checkpoint, adapter)?;
            Ok(card.map(|card| (found, Some(card))))
        });
        let found = found.await?.map_err(|error| Refused::Failed(format!("{error:#}")))?;
        found.ok_or_else(|| Refused::UnknownModel(named.to_owned()))
    }

    /// The adapter in memory, if one is asked.
    async fn adapter(
        &self,
        model: &Arc<Model>,
        card: Option<AdapterCard>,
    ) -> Result<Option<Arc<PackedAdapter>>, Refused> {
        let Some(card) = card else { return Ok(None) };
        let (adapters, model) = (Arc::clone(&self.adapters), Arc::clone(model));
        blocking(move || model.adapter(&adapters, &card)).await?.map(Some)
    }

    async fn begin(&self, question: Question) -> Result<Answering, Refused> {
        let (found, card) = self.find(&question.model).await?;
        let model = self.shelf.get(&self.bases, &found).await?;
        let adapter = self.adapter(&model, card).await?;
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
        model.ask(Job { prompt, adapter, sampling, logprobs, say, enough: done })?;
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
