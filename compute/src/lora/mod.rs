//! LoRA adapters: small trained additions to a base model, and what they are worth.
//!
//! An adapter adds `s · (x Aᵀ) Bᵀ` to chosen linear maps of a base that stays as it is. [`Adapter`]
//! is bytes and numbers and binds itself to one base checkpoint and tokenizer by their hashes;
//! [`AdaptedModel`] runs it beside its base, unmerged; [`train`] makes one from units by
//! deterministic SGD with momentum, so that its influence can be traced.
//!
//! Which unit of an adapter's data made an output: [`Capturer::adapter`] sketches gradients of the
//! adapter's own parameters, and everything after that is as for full models. How much of a fee
//! goes to the adapter's data at all: [`AdaptedModel::losses`] measures, and
//! [`OutputLosses::alpha_ppm`] decides.
//!
//! [`Capturer::adapter`]: crate::attribution::Capturer::adapter
//! [`OutputLosses::alpha_ppm`]: protocol::adapter::OutputLosses::alpha_ppm

mod config;
mod file;
mod likelihood;
mod model;
mod train;

pub use config::{LoraConfig, LoraConfigError, MAX_RANK};
pub use file::{Adapter, AdapterError, BaseId};
pub use likelihood::{LikelihoodError, Unigram};
pub use model::{AdaptedModel, LoadError};
pub use train::{LoraHyper, Progress, TrainError, TrainInput, TrainOutput, train};
