//! Continuous batching: sequences enter and leave between passes, and each pass takes all of them on.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::adapted::PackedAdapter;
use super::decoder::{Part, QuantisedDecoder, Workspace};
use super::pages::{Cache, Pool, Short};
use crate::math::Stream;
use crate::serve::Sampling;
use crate::serve::draw::choose;

/// The name of a sequence in a batch; never given twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SequenceId(u64);

/// What a batcher may use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes for the keys and values of all sequences together.
    pub cache_bytes: u64,
    /// Sequences at once.
    pub sequences: usize,
    /// Tokens of one pass: one of each sequence that is being answered, the rest for prompts. More make
    /// prompts faster, and others wait longer for their next token.
    pub pass_tokens: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { cache_bytes: 1 << 30, sequences: 64, pass_tokens: 192 }
    }
}

/// Why a sequence may not enter.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EnterError {
    /// The prompt has no token.
    #[error("the prompt is empty")]
    EmptyPrompt,
    /// The adapter adds to a model of another shape.
    #[error("the adapter is one of a model of another shape")]
    OtherModel,
    /// No token was asked for.
    #[error("no token was asked for; ask for one at least")]
    NoTokens,
    /// A token id is not in the model's vocabulary.
    #[error("token id {id} is not below the vocabulary of {vocab}")]
    UnknownId {
        /// The unknown token id.
        id: u32,
        /// Ids of the model.
        vocab: u32,
    },
    /// Prompt and answer are more than the model reads at once.
    #[error(
        "a prompt of {prompt} tokens and {tokens} to answer are more than the {context} that the model reads \
         at once; shorten the prompt or ask for fewer"
    )]
    TooLong {
        /// Tokens of the prompt.
        prompt: usize,
        /// Tokens that were asked for.
        tokens: u32,
        /// Most tokens of the model.
        context: u32,
    },
    /// Its keys and values need more than all memory for them.
    #[error(
        "{needed} bytes are needed for keys and values, and there are {limit} in all; ask for fewer tokens"
    )]
    TooLarge {
        /// Bytes that it needs.
        needed: u64,
        /// Bytes for all sequences.
        limit: u64,
    },
    /// Others use the memory at present.
    #[error("{needed} bytes are needed for keys and values, and {free} are free; ask again later")]
    Full {
        /// Bytes that it needs.
        needed: u64,
        /// Bytes that no other sequence may need.
        free: u64,
    },
    /// As many sequences as may be are here.
    #[error("{0} sequences are being answered, and no more are at once; ask again later")]
    Busy(usize),
}

/// A token of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Produced {
    /// Whose it is.
    pub id: SequenceId,
    /// The token that was drawn.
    pub token: u32,
    /// Whether it is the last that was asked for; then the sequence has left.
    pub is_last: bool,
}

/// Answers many sequences at once.
///
/// A sequence's tokens depend on its prompt and its sampling alone, not on who else is here.
pub struct Batcher {
    model: Arc<QuantisedDecoder>,
    limits: Limits,
    pool: Pool,
    sequences: BTreeMap<SequenceId, Sequence>,
    /// Whose prompt is not read yet; the first is next.
    prompts: VecDeque<SequenceId>,
    entered: u64,
    work: Workspace,
    logits: Vec<f32>,
}

struct Sequence {
    adapter: Option<Arc<PackedAdapter>>,
    /// The prompt; while it is answered, the last token.
    tokens: Vec<u32>,
    /// How many of them were read.
    read: usize,
    cache: Cache,
    sampling: Sampling,
    random: Stream,
    produced: u32,
}

impl Sequence {
    fn is_answering(&self) -> bool {
        self.produced > 0
    }

    fn unread(&self) -> usize {
        self.tokens.len() - self.read
    }
}

impl Batcher {
    /// An empty batch of a model. A pass has room for a token of each sequence at least.
    pub fn new(model: Arc<QuantisedDecoder>, limits: Limits) -> Self {
        let pass_tokens = limits.pass_tokens.max(limits.sequences + 1);
        Self {
            pool: Pool::new(model.pages(), limits.cache_bytes),
            limits: Limits { pass_tokens, ..limits },
            model,
            sequences: BTreeMap::new(),
            prompts: VecDeque::new(),
            entered: 0,
            work: Workspace::default(),
            logits: Vec::new(),
        }
    }

    /// Takes a sequence of the base alone in, or says why not ([`enter_adapted`](Self::enter_adapted)).
    pub fn enter(&mut self, prompt: &[u32], sampling: &Sampling) -> Result<SequenceId, EnterError> {
        self.enter_adapted(prompt, sampling, None)
    }

    /// Takes a sequence in, answered with an adapter, or says why not. Memory for all of its tokens is kept for
    /// it from now on, so that it is never stopped for want of it.
    pub fn enter_adapted(
        &mut self,
        prompt: &[u32],
        sampling: &Sampling,
        adapter: Option<Arc<PackedAdapter>>,
    ) -> Result<SequenceId, EnterError> {
        let config = self.model.config();
        let (vocab, context) = (config.vocab, config.context);
        if adapter.as_ref().is_some_and(|adapter| adapter.model() != config) {
            return Err(EnterError::OtherModel);
        }
        if prompt.is_empty() {
            return Err(EnterError::EmptyPrompt);
        }
        if sampling.tokens == 0 {
            return Err(EnterError::NoTokens);
        }
        // The last token of an answer is not read.
        let positions = (prompt.len() as u64).saturating_add(u64::from(sampling.tokens) - 1);
        if positions > u64::from(context) {
            let (prompt, tokens) = (prompt.len(), sampling.tokens);
            return Err(EnterError::TooLong { prompt, tokens, context });
        }
        if let Some(&id) = prompt.iter().find(|id| **id >= vocab) {
            return Err(EnterError::UnknownId { id, vocab });
        }
        if self.sequences.len() >= self.limits.sequences {
            return Err(EnterError::Busy(self.limits.sequences));
        }
        let positions = positions as usize;
        let needed = self.model.pages().bytes_of(positions);
        let cache = self.pool.promise(positions).map_err(|short| match short {
            Short::Ever => EnterError::TooLarge { needed, limit: self.limits.cache_bytes },
            Short::Now(free) => EnterError::Full { needed, free },
        })?;
        let id = SequenceId(self.entered);
        self.entered += 1;
        let sequence = Sequence {
            adapter,
            tokens: prompt.to_vec(),
            read: 0,
            cache,
            sampling: sampling.clone(),
            random: Stream::new("sampling", &sampling.seed.to_be_bytes()),
            produced: 0,
        };
        self.sequences.insert(id, sequence);
        self.prompts.push_back(id);
        Ok(id)
    }

    /// Takes a sequence out, wherever it is, and gives its memory to others; whether it was here.
    pub fn leave(&mut self, id: SequenceId) -> bool {
        let Some(sequence) = self.sequences.remove(&id) else { return false };
        self.prompts.retain(|prompt| *prompt != id);
        self.pool.take_back(sequence.cache);
        true
    }

    /// Sequences that are here.
    pub fn len(&self) -> usize {
        self.sequences.len()
    }

    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.sequences.is_empty()
    }

    /// Bytes of keys and values that are kept for the sequences here.
    pub fn cache_bytes(&self) -> u64 {
        self.pool.promised_bytes()
    }

    /// One pass: a token more for each sequence that is being answered, and a piece of the prompts of others,
    /// in turns.
    pub fn step(&mut self) -> Vec<Produced> {
        self.step_seeing(&mut |_, _| {})
    }

    /// The same; `see` is shown the logits from which each token is drawn.
    pub fn step_seeing(&mut self, see: &mut dyn FnMut(SequenceId, &[f32])) -> Vec<Produced> {
        let shares = self.shares();
        let (mut parts, mut speaking) = (Vec::with_capacity(shares.len()), Vec::new());
        for (&id, sequence) in &mut self.sequences {
            let Some(&count) = shares.get(&id) else { continue };
            self.pool.grow(&mut sequence.cache, count);
            let tokens = &sequence.tokens[sequence.read..][..count];
            let speaks = count == sequence.tokens.len() - sequence.read;
            if speaks {
                speaking.push(id);
            }
            let adapter = sequence.adapter.as_deref();
            parts.push(Part { adapter, tokens, cache: &mut sequence.cache, speaks });
        }
        if parts.is_empty() {
            return Vec::new();
        }
        self.model.read(&mut self.work, &mut parts);
        for (id, count) in shares {
            if let Some(sequence) = self.sequences.get_mut(&id) {
                sequence.read += count;
            }
        }
        speaking.into_iter().enumerate().filter_map(|(at, id)| self.draw(at, id, see)).collect()
    }

    /// How many tokens each sequence reads in the next pass.
    fn shares(&mut self) -> BTreeMap<SequenceId, usize> {
        let answering = self.sequences.iter().filter(|(_, sequence)| sequence.is_answering());
        let mut shares: BTreeMap<_, _> = answering.map(|(id, _)| (*id, 1)).collect();
        let mut left = self.limits.pass_tokens.saturating_sub(shares.len());
        for _ in 0..self.prompts.len() {
            if left == 0 {
                break;
            }
            let Some(id) = self.prompts.pop_front() else { break };
            let unread = self.sequences.get(&id).map_or(0, Sequence::unread);
            let count = unread.min(left);
            left -= count;
            shares.insert(id, count);
            if count < unread {
                self.prompts.push_back(id);
            }
        }
        shares
    }

    /// Draws the next token of a sequence.
    fn draw(
        &mut self,
        at: usize,
        id: SequenceId,
        see: &mut dyn FnMut(SequenceId, &[f32]),
    ) -> Option<Produced> {
        let sequence = self.sequences.get_mut(&id)?;
        self.model.logits(&self.work, at, &mut self.logits);
        see(id, &self.logits);
        let token = choose(&self.logits, &sequence.sampling, &mut sequence.random);
        sequence.produced += 1;
        (sequence.tokens, sequence.read) = (vec![token], 0);
        let is_last = sequence.produced == sequence.sampling.tokens;
        if is_last {
            self.leave(id);
        }
        Some(Produced { id, token, is_last })
    }
}

impl QuantisedDecoder {
    /// Answers one prompt by itself: each token is given to `keep_going`, and the first of which it says no is
    /// the last.
    pub fn generate_while(
        self: &Arc<Self>,
        prompt: &[u32],
        sampling: &Sampling,
        keep_going: &mut dyn FnMut(u32) -> bool,
    ) -> Result<Vec<u32>, EnterError> {
        let limits = Limits { cache_bytes: u64::MAX, sequences: 1, ..Limits::default() };
        let mut batcher = Batcher::new(Arc::clone(self), limits);
        batcher.enter(prompt, sampling)?;
        let mut output = Vec::new();
        while !batcher.is_empty() {
            for produced in batcher.step() {
                output.push(produced.token);
                if !keep_going(produced.token) {
                    return Ok(output);
                }
            }
        }
        Ok(output)
    }
}
