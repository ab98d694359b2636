//! Answering with one model: questions enter and leave between passes, and each pass takes all of them on.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use compute::formats::{Base, Detokenizer, Tokenizer};
use compute::serve::Scores;
use compute::serve::batch::{Batcher, EnterError, Produced, SequenceId};
use tokio::sync::mpsc;

use super::jobs::{Job, Load};
use crate::gateway::backend::{Finish, Refused, Said, Token};
use crate::gateway::choice::Scored;

/// What the thread of a model has.
pub(super) struct Speaker {
    batcher: Batcher,
    base: Arc<Base>,
    load: Arc<Load>,
    open: BTreeMap<SequenceId, Speaking>,
    /// The question for which there was no memory: it is the next.
    waiting: Option<Job>,
}

/// A question that is being answered.
struct Speaking {
    job: Job,
    since: Instant,
    characters: Detokenizer,
    /// Tokens that were drawn and not shown yet, where that is asked for.
    scored: Vec<Scored>,
    drawn: u32,
}

impl Speaker {
    pub(super) fn new(batcher: Batcher, base: Arc<Base>, load: Arc<Load>) -> Self {
        Self { batcher, base, load, open: BTreeMap::new(), waiting: None }
    }

    /// Answers until nobody can ask any more.
    pub(super) fn answer_all(mut self, mut jobs: mpsc::Receiver<Job>) {
        loop {
            while let Some(job) = self.next(&mut jobs) {
                self.enter(job);
                if self.waiting.is_some() {
                    break;
                }
            }
            if self.open.is_empty() && self.waiting.is_none() {
                return;
            }
            self.pass();
        }
    }

    /// The next question; where nothing else is to be done, it is waited for.
    fn next(&mut self, jobs: &mut mpsc::Receiver<Job>) -> Option<Job> {
        match self.waiting.take() {
            Some(job) => Some(job),
            None if self.open.is_empty() => jobs.blocking_recv(),
            None => jobs.try_recv().ok(),
        }
    }

    /// Takes a question on, or keeps it where others use the memory at present.
    fn enter(&mut self, job: Job) {
        let since = Instant::now();
        // Whoever hung up while waiting wants nothing.
        if job.say.is_closed() {
            return self.load.answered(since);
        }
        let adapter = job.adapter.clone();
        match self.batcher.enter_adapted(&job.prompt, &job.sampling, adapter) {
            Ok(id) => {
                let (characters, scored) = (Detokenizer::default(), Vec::new());
                let speaking = Speaking { job, since, characters, scored, drawn: 0 };
                self.open.insert(id, speaking);
            }
            Err(EnterError::Full { .. } | EnterError::Busy(_)) if !self.open.is_empty() => {
                self.waiting = Some(job);
            }
            Err(error) => {
                // Nobody may listen any more.
                let _ = job.say.try_send(Err(Refused::Invalid(error.to_string())));
                self.load.answered(since);
            }
        }
    }

    /// One pass over all questions.
    fn pass(&mut self) {
        let open = &self.open;
        let mut seen: BTreeMap<SequenceId, Vec<f32>> = BTreeMap::new();
        let produced = self.batcher.step_seeing(&mut |id, logits| {
            if open.get(&id).is_some_and(|speaking| speaking.job.logprobs.is_some()) {
                seen.insert(id, logits.to_vec());
            }
        });
        for Produced { id, token, is_last } in produced {
            let Some(speaking) = self.open.get_mut(&id) else { continue };
            let count = speaking.job.logprobs.unwrap_or_default() as usize;
            let scores = seen.remove(&id).map(|logits| Scores::of(&logits, token, count));
            let is_end = self.base.card().ends.contains(&token);
            let goes_on = !is_end && speaking.hear(self.base.tokenizer(), token, scores);
            if goes_on && !is_last {
                continue;
            }
            self.batcher.leave(id);
            if let Some(speaking) = self.open.remove(&id) {
                self.load.answered(speaking.since);
                speaking.end(is_end);
            }
        }
    }
}

impl Speaking {
    /// A token more; whether anybody wants the next.
    fn hear(&mut self, tokenizer: &Tokenizer, token: u32, scores: Option<Scores>) -> bool {
        self.drawn += 1;
        let text = self.characters.push(&tokenizer.token_bytes(token));
        self.scored.extend(scores.map(|scores| scored(tokenizer, token, scores)));
        let is_heard = match text.is_empty() {
            true => !self.job.say.is_closed(),
            false => {
                let tokens = std::mem::take(&mut self.scored);
                self.job.say.try_send(Ok(Said::Text { text, tokens })).is_ok()
            }
        };
        is_heard && !self.job.enough.is_cancelled()
    }

    /// What is left of the text, and the end. Nobody may listen any more.
    fn end(mut self, is_done: bool) {
        let (text, tokens) = (self.characters.rest(), self.scored);
        if !text.is_empty() || !tokens.is_empty() {
            let _ = self.job.say.try_send(Ok(Said::Text { text, tokens }));
        }
        let finish = if is_done { Finish::Stop } else { Finish::Length };
        // The token that ends an answer was drawn as well.
        let tokens_out = self.drawn + u32::from(is_done);
        let _ = self.job.say.try_send(Ok(Said::End { finish, tokens_out, paid: None }));
    }
}

fn scored(tokenizer: &Tokenizer, token: u32, scores: Scores) -> Scored {
    let of = |id, logprob| Token { bytes: tokenizer.token_bytes(id), logprob };
    let likeliest = scores.likeliest.into_iter().map(|(id, logprob)| of(id, logprob));
    (of(token, scores.logprob), likeliest.collect())
}
