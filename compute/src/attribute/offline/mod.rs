//! What runs between outputs: fitting, streaming the training set, differentiating through a run.
//!
//! * **Tier 1**: [`Preconditioner`] is fitted once per checkpoint, to sketches or to their Gram matrices.
//! * **Tier 2**: [`EkFac`] preconditions a query's gradient, past which the training set then streams
//!   ([`products`]); nothing is kept per unit.
//! * **Tier 3**: [`unrolled`] differentiates through a recorded run, for audits and settlements.
//!
//! Tiers 2 and 3 ask a [`Network`]: flat parameters, numbered samples, gradients. [`TextNetwork`] is a
//! decoder with texts, [`AdapterNetwork`] an adapter beside its base.
//!
//! Not here: anything that an answer waits for ([`online`](super::online)).

mod adapter_network;
mod ekfac;
mod network;
mod preconditioner;
mod streamed;
mod text;
pub mod unrolled;

pub use adapter_network::{AdapterNetwork, AdapterNetworkError};
pub use ekfac::{EkFac, EkFacError};
pub use network::{Gradient, Network, Targets, row_sums, sampled, weighted};
pub use preconditioner::{FitError, Preconditioner};
pub use streamed::{Direction, batches, products};
pub use text::{TextError, TextNetwork};
