//! A training run on one node: the data that it reads, and each of its jobs as a function of bytes.
//!
//! Whoever drives a node's machine has the bytes; what becomes of them is the same here for all
//! drivers. What others claim is never trusted: every error says whose fault it is
//! ([`RunError::failure`]).
//!
//! Not here: fetching and publishing those bytes, and the arithmetic of the jobs
//! ([`train`](crate::train), [`attribute`](crate::attribute)).

mod base;
mod data;
mod error;
mod jobs;
mod weights;

pub use base::BaseFiles;
pub use data::{RunData, SnapshotUnit};
pub use error::RunError;
pub use jobs::{Shard, sketch_spec};
pub use weights::Weights;
