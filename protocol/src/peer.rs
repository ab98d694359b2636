//! What nodes say to each other.

pub mod message;
pub mod sync;
