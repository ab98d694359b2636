//! A base model: weights, tokenizer, and the card that says how one talks to it.

use std::sync::Arc;

use protocol::Hash;

use super::card::{Card, CardError};
use super::chat::{ChatError, ChatTemplate, Message};
use super::checkpoint::{Checkpoint, CheckpointError};
use super::tokenizer::{Tokenizer, TokenizerError};

/// A base model that was read and checked.
#[derive(Debug)]
pub struct Base {
    checkpoint: Arc<Checkpoint>,
    tokenizer: Tokenizer,
    card: Card,
    template: Option<ChatTemplate>,
}

/// Why files are no base model.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BaseError {
    /// The card is refused.
    #[error(transparent)]
    Card(#[from] CardError),
    /// The weights are refused.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The tokenizer is refused.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// The chat template is refused, or refuses a conversation.
    #[error(transparent)]
    Chat(#[from] ChatError),
    /// A file is not the one that the card names.
    #[error("the {what} has the hash {found}; the card names {expected}")]
    OtherFile {
        /// `checkpoint` or `tokenizer`.
        what: &'static str,
        /// The hash that the card names.
        expected: Hash,
        /// The file's hash.
        found: Hash,
    },
    /// Model and tokenizer don't fit together.
    #[error("the tokenizer has {tokenizer} ids, the model {model}")]
    Vocabulary {
        /// Ids of the tokenizer.
        tokenizer: u32,
        /// Ids of the model.
        model: u32,
    },
    /// The card names a token that is none.
    #[error("the card names token {id}, which is not below the vocabulary of {vocab}")]
    Token {
        /// The unknown token id.
        id: u32,
        /// Ids of the model.
        vocab: u32,
    },
    /// The model has no way of writing conversations.
    #[error("the model {0:?} has no chat template: it continues texts only")]
    NoTemplate(String),
}

impl Base {
    /// Reads a base from the bytes of its three files and checks that they belong together.
    pub fn from_bytes(checkpoint: &[u8], tokenizer: &[u8], card: &[u8]) -> Result<Self, BaseError> {
        let card = Card::from_bytes(card)?;
        for (what, bytes, expected) in
            [("checkpoint", checkpoint, card.checkpoint), ("tokenizer", tokenizer, card.tokenizer)]
        {
            let found = Hash(*blake3::hash(bytes).as_bytes());
            if found != expected {
                return Err(BaseError::OtherFile { what, expected, found });
            }
        }
        Self::new(Checkpoint::from_bytes(checkpoint)?, Tokenizer::from_bytes(tokenizer)?, card)
    }

    /// Puts checked parts together; `card` must name their hashes.
    pub(super) fn new(
        checkpoint: Checkpoint,
        tokenizer: Tokenizer,
        card: Card,
    ) -> Result<Self, BaseError> {
        card.check()?;
        checkpoint.expect_model(checkpoint.config(), tokenizer.hash())?;
        let vocab = checkpoint.config().vocab;
        if tokenizer.vocab() != vocab {
            return Err(BaseError::Vocabulary { tokenizer: tokenizer.vocab(), model: vocab });
        }
        let mut named = card.begin.iter().chain(&card.bos).chain(&card.eos).chain(&card.ends);
        if let Some(&id) = named.find(|id| **id >= vocab) {
            return Err(BaseError::Token { id, vocab });
        }
        let template = card.template.as_deref().map(ChatTemplate::new).transpose()?;
        Ok(Self { checkpoint: Arc::new(checkpoint), tokenizer, card, template })
    }

    /// Its weights, of the tokenizer's vocabulary.
    pub fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }

    /// The same, shared.
    pub fn shared_checkpoint(&self) -> Arc<Checkpoint> {
        Arc::clone(&self.checkpoint)
    }

    /// The tokenizer whose ids the weights speak.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// What is said of the model, with the hashes of weights and tokenizer.
    pub fn card(&self) -> &Card {
        &self.card
    }

    /// Token ids of a text that the model shall continue.
    pub fn text(&self, text: &str) -> Result<Vec<u32>, BaseError> {
        let mut ids: Vec<u32> = self.card.begin.into_iter().collect();
        ids.extend(self.tokenizer.encode(text)?);
        Ok(ids)
    }

    /// Token ids of a conversation, up to where the model's answer begins.
    pub fn chat(&self, messages: &[Message]) -> Result<Vec<u32>, BaseError> {
        let none = || BaseError::NoTemplate(self.card.name.clone());
        let template = self.template.as_ref().ok_or_else(none)?;
        let named = [self.card.bos, self.card.eos];
        Ok(template.tokens(&self.tokenizer, messages, true, named)?)
    }
}
