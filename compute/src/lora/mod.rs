//! LoRA adapters: small trained additions to a base model.
//!
//! An adapter adds `s · (x Aᵀ) Bᵀ` to chosen linear maps of a base that stays as it is. [`Adapter`]
//! is bytes and numbers and binds itself to one base checkpoint and tokenizer by their hashes;
//! [`AdaptedModel`] runs it beside its base, unmerged.
//!
//! Not here: training one ([`train::lora`](crate::train::lora)), which unit of its data made an output
//! ([`Capturer::adapter`](crate::attribute::Capturer::adapter)), and how much of a fee goes to its data
//! at all (`AdaptedModel::losses` measures, in [`attribute`](crate::attribute), and
//! [`OutputLosses::alpha_ppm`](protocol::adapter::OutputLosses::alpha_ppm) decides).

mod adapter;
mod config;
mod model;
mod peft;

pub use adapter::{Adapter, AdapterError, BaseId};
pub use config::{LoraConfig, LoraConfigError};
pub use model::{AdaptedModel, LoadError};
pub use peft::{PeftError, PeftFiles};
