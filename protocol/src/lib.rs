//! The rules of openledger, and nothing else.
//!
//! Types, the canonical encoding, the sans-IO [`node::Node`] machine, and [`settle::settle`], the
//! pure function from an epoch's records to payouts. **This crate knows no clock, file, socket,
//! thread, randomness or float**: it is `no_std`, so the compiler keeps that promise. The daemon and
//! simnet are two drivers of the same code.
#![no_std]
#![cfg_attr(
    not(test),
    deny(
        clippy::arithmetic_side_effects,
        clippy::indexing_slicing,
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::float_arithmetic
    )
)]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod chain;
mod crypto;
pub mod node;
mod peer;
pub mod record;
pub mod rules;
pub mod settle;
mod types;
mod work;

pub use crypto::{eip712, hash, identity, merkle, slice};
pub use peer::{awaited, message, purchase, sync, usage};
pub use record::{ask, ranges, receipt};
pub use types::{balance, blob, codec, ids, limits, manifest, math, params};
pub use work::{
    adapter, attribution, base, draw, escrow, holding, model, order, placement, training,
};

pub use balance::Balance;
pub use blob::BlobRef;
pub use ids::{
    AccountId, Amount, BlockNumber, Blocks, DatanetId, Digest, Epoch, EvmAddress, Hash, ModelId,
    NodeId, Round, Timestamp,
};
