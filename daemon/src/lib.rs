//! Placeholder.

pub mod keys;
pub mod net;
pub mod network;
