//! Answers of a model.
//!
//! [`Generator`] samples token by token. Equal checkpoint, prompt, [`Sampling`] and device give equal
//! tokens.
//!
//! Not here: sessions, prices and queues (the daemon's), and the forward pass itself
//! ([`model`](crate::model)). Serving many adapters at once and quantised weights belong here.

mod generate;

pub use generate::{Generator, InferError, MAX_NEW_TOKENS, Sampling};
