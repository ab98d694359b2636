//! What everything else is made of: names, units, bytes, bounds and exact arithmetic.
//!
//! Nothing here knows what a record, a node or a chain is.

pub mod balance;
pub mod blob;
pub mod codec;
pub mod ids;
pub mod limits;
pub mod manifest;
pub mod math;
pub mod params;
