//! The openledger node: control plane, data plane, chain, disk and device around the machine of
//! [`protocol::node`], its API and its command line.

mod adapters;
pub mod api;
mod bases;
mod clean;
pub mod cli;
mod client;
pub mod config;
pub mod demo;
pub mod devchain;
pub mod gateway;
pub mod ingest;
pub mod keys;
mod memory;
pub mod net;
pub mod network;
pub mod node;
mod output;
mod report;
mod signals;
mod words;
