//! What nodes are asked to do and who does it, as pure functions of public seeds: holding packs,
//! training, attributing.
//!
//! Nothing here looks at a chain: which seed, which accounts and which block is for others to say.

pub mod adapter;
pub mod attribution;
pub mod base;
pub mod draw;
pub mod escrow;
pub mod holding;
pub mod model;
pub mod order;
pub mod placement;
pub mod training;
