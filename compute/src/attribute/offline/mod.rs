//! What runs between outputs.

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
