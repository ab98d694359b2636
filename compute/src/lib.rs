//! The language model of openledger: its tokenizer, its training shard, the exchange of updates,
//! inference, and the attribution of outputs to data.
//!
//! Bytes and numbers go in and come out. [`shard::run`] is a pure function of
//! (checkpoint, units, seed, hyper-parameters), so an auditor repeats it on whatever hardware it
//! has and compares by stated tolerances ([`update::compare`]);
//! [`outer::step`] is integer-exact, so the next checkpoint is the same bits on
//! every node. Knows nothing of networks and chains; files are handed to it open.

mod adamw;
pub mod attribution;
pub mod checkpoint;
pub mod clusters;
pub mod device;
pub mod engine;
pub mod eval;
pub mod infer;
pub mod lora;
pub mod model;
pub mod outer;
pub mod preset;
pub mod quality;
pub mod run;
mod seed;
pub mod shard;
pub mod spans;
pub mod tokenizer;
pub mod update;
pub mod weights;
