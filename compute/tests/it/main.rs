//! Integration tests of the compute crate.

mod model;
mod spans;
