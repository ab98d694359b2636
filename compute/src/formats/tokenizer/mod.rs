//! Byte-level BPE: any text becomes token ids and comes back.
//!
//! Trained here, or taken from a model that others trained; stored as the `tokenizer.json` that the
//! field uses. A tokenizer is part of a model: its hash is in every checkpoint. Accepted are byte-level
//! BPE with one of a few ways of splitting (`splitting`), no normaliser, ids without gaps; what a
//! post-processor would put around a text is left to the [`Card`](super::Card).
//!
//! Added tokens are **control tokens**: they lie outside of what text is encoded with, so no text
//! becomes one, however it is written. Only a [`ChatTemplate`](super::ChatTemplate) makes them.

mod alphabet;
mod bpe;
mod detokenizer;
mod error;
mod file;
mod splitting;

pub use bpe::Tokenizer;
pub use detokenizer::Detokenizer;
pub use error::{MAX_TOKENIZER_BYTES, MAX_VOCAB, MIN_VOCAB, TokenizerError};
pub(super) use file::{Beginning, Parts, pairs};
pub(super) use splitting::Splitting;
