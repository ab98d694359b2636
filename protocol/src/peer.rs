//! What nodes say to each other.

pub mod awaited;
pub mod message;
pub mod purchase;
pub mod sync;
pub mod usage;
