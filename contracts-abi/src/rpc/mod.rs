//! The development chain behind JSON-RPC 2.0 over HTTP, for alloy, `cast` and wallets.
//!
//! Loopback only by default. Two things keep web pages away from the unlocked development
//! accounts: a request must say `application/json` (which a page can't send without a preflight
//! that is never granted) and its `Host` must be a loopback name (against DNS rebinding).
//!
//! Invariants: bodies, batches and answers are bounded; a request can't stop the server; the chain
//! is locked for one request at a time, so answers are never torn.

mod accounts;
mod blocks;
mod control;
mod error;
mod fees;
mod filters;
mod logs;
mod methods;
mod server;
mod signing;
mod transactions;
mod wire;

pub use server::{DevChainHandle, DevChainServer, Mining, ServerConfig, StartError};
