//! Integration tests of the compute crate.

mod checkpoint;
mod device;
mod fixture;
mod model;
mod tokenizer;
mod training;
mod update;
mod spans;
