//! The settlement chain as the rest of openledger sees it: contracts, typed bindings, and a whole
//! EVM chain for development, tests and simulation.
//!
//! - [`devchain`]: the embedded chain (revm), one synchronous value without sockets or clocks.
//! - [`rpc`]: the same chain behind JSON-RPC, for wallets and tools.

pub mod devchain;
mod http;
pub mod rpc;

pub use http::{RpcError, install_crypto_provider};
