//! The card of a base model: what goes with its weights.

use protocol::Hash;
use serde::{Deserialize, Serialize};

/// The largest card.
pub const MAX_CARD_BYTES: usize = 1 << 18;
/// The longest of a card's names.
pub(super) const MAX_NAME_BYTES: usize = 256;
/// The most tokens that may end an answer.
const MAX_ENDS: usize = 16;

/// What a model is, where it came from and how one talks to it. Its bytes are canonical JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Card {
    /// What people call the model.
    pub name: String,
    /// The licence that its file states, as the file writes it (mostly an SPDX name).
    pub licence: Option<String>,
    /// Who made it or where it was published, as its file says.
    pub origin: Option<String>,
    /// BLAKE3 of the canonical checkpoint.
    pub checkpoint: Hash,
    /// BLAKE3 of the tokenizer's file.
    pub tokenizer: Hash,
    /// The Jinja template that writes conversations, if there is one.
    pub template: Option<String>,
    /// The token that every text but a conversation begins with, if there is one (BOS).
    pub begin: Option<u32>,
    /// The token that templates call `bos_token`.
    pub bos: Option<u32>,
    /// The token that templates call `eos_token`.
    pub eos: Option<u32>,
    /// Tokens that end an answer, ascending.
    pub ends: Vec<u32>,
    /// The file that it was made of: its format, the form of most of its weights, and BLAKE3 of its
    /// bytes (of a folder: of its files' hashes in the order of their names).
    pub source: CardSource,
}

/// What a base was imported from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CardSource {
    /// `gguf` or `hugging-face`.
    pub format: String,
    /// How most of the weights were stored there, such as `Q4_1` or `BF16`.
    pub weights: String,
    /// BLAKE3 of the file.
    pub hash: Hash,
}

/// Why bytes are no card.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CardError {
    /// The card is too large.
    #[error("the card has {0} bytes; at most {MAX_CARD_BYTES} are read")]
    TooLarge(usize),
    /// The bytes are no card.
    #[error("not a model card: {reason}")]
    Parse {
        /// What the parser said.
        reason: String,
    },
    /// A name is empty, too long or not to be shown.
    #[error(
        "the card's {0} is empty, longer than {MAX_NAME_BYTES} bytes, or has control characters"
    )]
    Name(&'static str),
    /// The tokens that end an answer are too many or out of order.
    #[error("the card names too many tokens that end an answer, or not in ascending order")]
    Ends,
    /// The card has other bytes than it should.
    #[error("the card is not in the canonical form")]
    NotCanonical,
}

impl Card {
    /// Reads a card.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, CardError> {
        if bytes.len() > MAX_CARD_BYTES {
            return Err(CardError::TooLarge(bytes.len()));
        }
        let card: Self = serde_json::from_slice(bytes)
            .map_err(|error| CardError::Parse { reason: error.to_string() })?;
        card.check()?;
        if card.to_bytes() != bytes {
            return Err(CardError::NotCanonical);
        }
        Ok(card)
    }

    /// The JSON that [`from_bytes`](Self::from_bytes) reads.
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("plain structs serialise")
    }

    /// Refuses names that cannot be shown and lists that are not in order.
    pub fn check(&self) -> Result<(), CardError> {
        let names = [
            ("name", Some(&self.name)),
            ("licence", self.licence.as_ref()),
            ("origin", self.origin.as_ref()),
            ("format", Some(&self.source.format)),
            ("form of weights", Some(&self.source.weights)),
        ];
        for (what, text) in names {
            let is_bad = |text: &String| {
                text.is_empty() || text.len() > MAX_NAME_BYTES || text.contains(char::is_control)
            };
            if text.is_some_and(is_bad) {
                return Err(CardError::Name(what));
            }
        }
        if self.ends.len() > MAX_ENDS || !self.ends.is_sorted_by(|a, b| a < b) {
            return Err(CardError::Ends);
        }
        Ok(())
    }
}
