//! Integration tests of the crate.

mod budget;
mod client;
mod clients;
mod code;
mod contracts;
mod devchain;
mod devchain_rpc;
mod embedded;
mod genesis;
mod hostile_chain;
mod random;
mod replaced;
mod roles;
mod sequences;
