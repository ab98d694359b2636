//! Integration tests of the compute crate.

mod attacks;
mod attribution;
mod checkpoint;
mod checks;
mod clusters;
mod device;
mod fixture;
mod gguf;
#[cfg(feature = "gpu")]
mod gpu;
mod import;
mod kernel;
mod lora;
mod model;
mod quality;
mod reread;
mod runs;
mod serving;
mod spans;
mod spans_proof;
mod tokenizer;
mod training;
mod update;
mod weights;
