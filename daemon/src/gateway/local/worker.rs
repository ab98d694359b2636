//! A loaded model and the thread that answers with it, one request after the other.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

use anyhow::{Context, Result};
use compute::device::Engine;
use compute::formats::Base;
use compute::serve::{Chosen, Generator, Sampling};
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio_util::sync::CancellationToken;

use crate::bases::{Detokenizer, TokenBytes};
use crate::gateway::backend::{Finish, Refused, Said, Token};
use crate::gateway::choice::Scored;

/// Questions that wait for a model; one more is told to come again.
const MAX_WAITING: usize = 64;
/// The longest that anybody is told to wait, in seconds.
const MAX_RETRY: u64 = 60;

/// A question that was turned into tokens.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) prompt: Vec<u32>,
    pub(super) sampling: Sampling,
    pub(super) logprobs: Option<u32>,
    /// Has room for the whole answer.
    pub(super) say: mpsc::Sender<Result<Said, Refused>>,
    pub(super) enough: CancellationToken,
}

/// A model in memory. Dropped, its thread ends after the questions that it has.
#[derive(Debug)]
pub(super) struct Model {
    pub(super) base: Arc<Base>,
    queue: mpsc::Sender<Job>,
    load: Arc<Load>,
}

/// How much there is to do.
#[derive(Debug, Default)]
struct Load {
    /// Questions that wait or are answered.
    open: AtomicUsize,
    /// How long answers took lately, in milliseconds.
    average: AtomicU64,
}

impl Model {
    /// Loads a base onto the processor; `memory` is given back when its thread has ended.
    pub(super) fn load(base: Base, memory: OwnedSemaphorePermit) -> Result<Self> {
        let generator = Generator::new(&Engine::cpu(), base.checkpoint())?;
        let bytes = TokenBytes::of(base.tokenizer())?;
        let (base, load) = (Arc::new(base), Arc::<Load>::default());
        let (queue, mut jobs) = mpsc::channel(MAX_WAITING);
        let speaker = Speaker { generator, bytes, base: Arc::clone(&base), _memory: memory };
        let done = Arc::clone(&load);
        let work = move || {
            while let Some(job) = jobs.blocking_recv() {
                let since = Instant::now();
                speaker.answer(&job);
                done.answered(since);
            }
        };
        let thread = thread::Builder::new().name("model".to_owned()).spawn(work);
        thread.context("no thread can be started for the model")?;
        Ok(Self { base, queue, load })
    }

    /// Puts a question to the others that wait.
    pub(super) fn ask(&self, job: Job) -> Result<(), Refused> {
        self.load.open.fetch_add(1, Ordering::Relaxed);
        self.queue.try_send(job).map_err(|error| {
            self.load.open.fetch_sub(1, Ordering::Relaxed);
            match error {
                mpsc::error::TrySendError::Full(_) => Refused::Busy(self.load.retry()),
                mpsc::error::TrySendError::Closed(_) => {
                    Refused::Failed("the model stopped answering; ask again".to_owned())
                }
            }
        })
    }

    /// Whether nobody waits for it.
    pub(super) fn is_idle(&self) -> bool {
        self.load.open.load(Ordering::Relaxed) == 0
    }

    /// Whether its thread still answers.
    pub(super) fn is_alive(&self) -> bool {
        !self.queue.is_closed()
    }
}

impl Load {
    fn answered(&self, since: Instant) {
        let took = u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX);
        let before = self.average.load(Ordering::Relaxed);
        self.average.store(before - before / 4 + took / 4, Ordering::Relaxed);
        self.open.fetch_sub(1, Ordering::Relaxed);
    }

    /// In how many seconds half of those that wait have probably been answered.
    fn retry(&self) -> u32 {
        let half = self.average.load(Ordering::Relaxed) * (MAX_WAITING as u64 / 2) / 1000;
        u32::try_from(half.clamp(1, MAX_RETRY)).unwrap_or(1)
    }
}

/// What the thread has.
struct Speaker {
    generator: Generator,
    bytes: TokenBytes,
    base: Arc<Base>,
    _memory: OwnedSemaphorePermit,
}

impl Speaker {
    fn answer(&self, job: &Job) {
        // Whoever hung up while waiting wants nothing.
        if job.say.is_closed() {
            return;
        }
        let end = self.speak(job).unwrap_or_else(|error| {
            tracing::error!(%error, "a model failed");
            Err(Refused::Failed(format!("the model failed: {error}")))
        });
        // Nobody may listen any more.
        let _ = job.say.try_send(end);
    }

    fn speak(&self, job: &Job) -> Result<Result<Said, Refused>, String> {
        let ends = self.base.card().ends.as_slice();
        let mut characters = Detokenizer::default();
        let mut scored: Vec<Scored> = Vec::new();
        let (mut drawn, mut finish) = (0, Finish::Length);
        let mut hear = |chosen: Chosen| {
            drawn += 1;
            if ends.contains(&chosen.token) {
                finish = Finish::Stop;
                return false;
            }
            let text = characters.push(self.bytes.of_token(chosen.token));
            scored.extend(self.scored(chosen));
            if text.is_empty() {
                return !job.enough.is_cancelled() && !job.say.is_closed();
            }
            let said = Said::Text { text, tokens: std::mem::take(&mut scored) };
            !job.enough.is_cancelled() && job.say.try_send(Ok(said)).is_ok()
        };
        let done =
            self.generator.generate_scored(&job.prompt, &job.sampling, job.logprobs, &mut hear);
        done.map_err(|error| error.to_string())?;
        let text = characters.rest();
        if !text.is_empty() || !scored.is_empty() {
            // As with every part: nobody may listen any more.
            let _ = job.say.try_send(Ok(Said::Text { text, tokens: scored }));
        }
        Ok(Ok(Said::End { finish, tokens_out: drawn, paid: None }))
    }

    fn scored(&self, chosen: Chosen) -> Option<Scored> {
        let token = |id, logprob| Token { bytes: self.bytes.of_token(id).to_vec(), logprob };
        let scores = chosen.scores?;
        let likeliest = scores.likeliest.into_iter().map(|(id, logprob)| token(id, logprob));
        Some((token(chosen.token, scores.logprob), likeliest.collect()))
    }
}
