//! The language model: a Llama-family decoder over burn tensors.
//!
//! [`ModelConfig`] says which decoder, [`layout`] names its parameters in the one order that every
//! checkpoint, update and sketch uses, and [`Decoder`] runs it. A [`Decoder`] is made of burn
//! tensors and stays inside this crate's Rust API; what the node sees is a
//! [`Checkpoint`](crate::checkpoint::Checkpoint), which is bytes and numbers.

mod config;
mod decoder;
mod gradients;
pub mod layout;

pub(crate) use config::MAX_PARAMETERS;
pub use config::{ConfigError, ModelConfig};
pub use decoder::{Cache, Decoder, Probe};
pub(crate) use decoder::{Watch, token_losses};
pub use gradients::Captured;
pub(crate) use gradients::Entry;
