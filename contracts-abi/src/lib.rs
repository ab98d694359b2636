//! The settlement chain as the rest of openledger sees it: contracts, typed bindings, and a whole
//! EVM chain for development, tests and simulation.
//!
//! - [`devchain`]: the embedded chain (revm), one synchronous value without sockets or clocks.
//! - [`ChainClient`], [`deploy`]: the contracts of a network behind any RPC, in protocol types.
//! - [`embedded`]: the same on the embedded chain, for simulation.
//! - [`rpc`]: the same chain behind JSON-RPC, for wallets and tools.

mod bindings;
mod client;
mod convert;
mod deployment;
pub mod devchain;
pub mod embedded;
mod genesis;
mod http;
mod locks;
mod reads;
mod replaced;
pub mod rpc;
mod sender;
mod view;

pub use client::{ChainClient, ClientError, DeployError, POLL_LIMIT, deploy};
pub use convert::RevertReason;
pub use deployment::Deployment;
pub use genesis::{GenesisConfig, GenesisError, SUPPLY};
pub use http::{RpcError, install_crypto_provider};
pub use locks::{Bonds, DataDeposit};
pub use reads::{ProposalState, ReadError, VaultState};
pub use replaced::Replaced;
pub use sender::{FeeLimits, TxError, TxReceipt};
