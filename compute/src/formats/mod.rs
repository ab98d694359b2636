//! Files that nodes name by their hash: checkpoints and tokenizers, and the canonical form of named
//! tensors that adapters use too (`weights`).
//!
//! Every format is **canonical**: reading and writing again gives the same bytes, whose BLAKE3 hash
//! is the name. Bytes come from anybody: all of them are checked, every refusal has its own error, and
//! nothing is allocated beyond a small multiple of what was given.
//!
//! Not here: opening files (callers bring bytes) and tensors on a device ([`model`](crate::model)).
//! Readers of other formats (GGUF, Hugging Face folders) belong here, as siblings that give a
//! [`Checkpoint`] and a [`Tokenizer`].

mod checkpoint;
mod tokenizer;
pub(crate) mod weights;

pub use checkpoint::{Checkpoint, CheckpointError};
pub use tokenizer::{MAX_TOKENIZER_BYTES, MAX_VOCAB, MIN_VOCAB, Tokenizer, TokenizerError};
pub use weights::WeightsError;
