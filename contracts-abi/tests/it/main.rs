//! Integration tests of the crate.

mod code;
mod devchain;
mod devchain_rpc;
