//! The language model: a Llama-family decoder over burn tensors.
//!
//! [`ModelConfig`] says which decoder, [`layout`] names its parameters in the one order that every
//! checkpoint, update and sketch uses, and [`Decoder`] runs it. A [`Decoder`] is made of burn
//! tensors and stays inside this crate's Rust API; what the node sees is a
//! [`Checkpoint`](crate::formats::Checkpoint), which is bytes and numbers.

mod config;
mod decoder;
mod gradients;
pub mod layout;
mod trace;
pub(crate) mod window;

pub(crate) use config::MAX_PARAMETERS;
pub use config::{ConfigError, ModelConfig, shape_of};
pub(crate) use decoder::Watch;
pub use decoder::{Cache, Decoder, Probe, token_losses};
pub use gradients::Captured;
pub(crate) use gradients::Entry;
pub use trace::Trace;
