//! Files that nodes name by their hash: checkpoints, tokenizers and the cards of base models, and the
//! canonical form of named tensors that adapters use too (`weights`). [`import`] makes them of the files
//! that others publish; [`Quantised`] is a checkpoint in eight bits, for serving.
//!
//! Every format is **canonical**: reading and writing again gives the same bytes, whose BLAKE3 hash
//! is the name. Bytes come from anybody: all of them are checked, every refusal has its own error, and
//! nothing is allocated beyond a small multiple of what was given.
//!
//! Not here: opening files (callers bring bytes) and tensors on a device ([`model`](crate::model)).

mod base;
mod card;
mod chat;
mod checkpoint;
pub mod import;
mod quantised;
mod tokenizer;
pub(crate) mod weights;

pub use base::{Base, BaseError};
pub use card::{Card, CardError, CardSource, MAX_CARD_BYTES};
pub use chat::{
    ChatError, ChatTemplate, MAX_CHAT_BYTES, MAX_MESSAGES, MAX_TEMPLATE_BYTES, Message,
};
pub use checkpoint::{Checkpoint, CheckpointError};
pub(crate) use quantised::QUANT_BYTES;
pub use quantised::{QuantiseError, Quantised};
pub use tokenizer::{
    Detokenizer, MAX_TOKENIZER_BYTES, MAX_VOCAB, MIN_VOCAB, Tokenizer, TokenizerError,
};
pub use weights::WeightsError;
