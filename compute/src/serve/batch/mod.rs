//! Serving on the CPU: eight-bit weights, and many sequences in each pass.
//!
//! [`QuantisedDecoder`] computes with the canonical eight-bit form of a checkpoint
//! ([`Quantised`](crate::formats::Quantised)), whose hash it names; a [`Batcher`] lets sequences enter and
//! leave between passes, reads long prompts in pieces beside the answers of others, and keeps their keys
//! and values within stated bytes. Each sequence may have an adapter of its own ([`PackedAdapter`]), of which
//! [`Residents`] keeps as many in memory as stated bytes allow.
//!
//! A sequence's logits are the same bits alone and in any batch, however its prompt was cut, on any number
//! of threads, and whichever instructions the processor has. (Sines of positions are the platform's.)
//!
//! Not here: queues, prices and who may enter (the daemon's), and answers with evidence
//! ([`Attributor`](super::Attributor), which computes in `f32`).

mod adapted;
mod attention;
mod batcher;
mod decoder;
mod kernel;
mod matrix;
mod pages;
mod residents;
mod rows;
mod threads;

pub use adapted::{PackError, PackedAdapter};
pub use batcher::{Batcher, EnterError, Limits, Produced, SequenceId};
pub use decoder::{LoadError, QuantisedDecoder};
pub use residents::{NoRoom, Residents};
