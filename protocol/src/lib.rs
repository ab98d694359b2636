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

pub mod adapter;
pub mod attribution;
pub mod blob;
pub mod chain;
pub mod codec;
pub mod draw;
pub mod eip712;
pub mod hash;
pub mod holding;
pub mod identity;
pub mod ids;
pub mod limits;
pub mod manifest;
pub mod math;
pub mod merkle;
pub mod message;
pub mod node;
pub mod params;
pub mod placement;
pub mod receipt;
pub mod record;
pub mod rules;
pub mod settle;
pub mod slice;
pub mod sync;
pub mod training;

pub use blob::BlobRef;
pub use ids::{
    AccountId, Amount, BlockNumber, Blocks, DatanetId, Digest, Epoch, EvmAddress, Hash, ModelId,
    NodeId, Round, Timestamp,
};
