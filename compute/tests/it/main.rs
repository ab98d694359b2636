//! Integration tests of the compute crate.

mod attribution;
mod checkpoint;
mod device;
mod fixture;
mod model;
mod spans;
mod tokenizer;
mod training;
mod update;
