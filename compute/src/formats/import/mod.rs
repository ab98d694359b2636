//! Models that others made, as ours: GGUF files and Hugging Face folders of the Llama family.
//!
//! An import ends in three files, of which nodes need no more than these: the canonical checkpoint, the
//! tokenizer, and the [`Card`](super::Card). What the decoder cannot represent is refused by its name;
//! nothing is left out or rounded in silence. Quantised weights become the `f32` values that their
//! blocks stand for.
//!
//! Whoever calls brings the bytes; they are from anybody, so every length is checked against what is
//! there before anything is made of it.

mod blocks;
mod error;
mod folder;
mod gguf;
mod header;
mod metadata;
mod names;
mod result;
mod settings;
mod tensors;
mod vocabulary;

pub use error::ImportError;
pub use folder::{Folder, folder};
pub use gguf::gguf;
pub use result::{Imported, Options};
pub use tensors::Progress;
