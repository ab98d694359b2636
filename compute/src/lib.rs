//! The language model of openledger: its tokenizer, its training shard, the exchange of updates,
//! inference, and the attribution of outputs to data.
//!
//! Bytes and numbers go in and come out. [`shard::run`](crate::shard::run) is a pure function of
//! (checkpoint, units, seed, hyper-parameters), so an auditor repeats it on whatever hardware it
//! has and compares by stated tolerances ([`update::compare`](crate::update::compare));
//! [`outer::step`](crate::outer::step) is integer-exact, so the next checkpoint is the same bits on
//! every node. Knows nothing of networks, chains or disks.

pub mod model;
pub mod spans;
