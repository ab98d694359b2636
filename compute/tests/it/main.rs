//! Integration tests of the compute crate.

mod attribution;
mod checkpoint;
mod device;
mod fixture;
mod model;
mod spans;
mod spans_proof;
mod tokenizer;
mod training;
mod update;
