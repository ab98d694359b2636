//! The language model of openledger: its files, its training shard, its answers, and the attribution
//! of what it says to the data that it was trained on.
//!
//! Bytes and numbers go in and come out. Rooms, each of which uses only those above it:
//!
//! | room | duty |
//! |---|---|
//! | [`math`] | random streams and residues that are the same bits everywhere |
//! | [`device`] | where tensors are computed: the CPU or a GPU |
//! | [`model`] | the decoder: its shape, the order of its parameters, forward and backward |
//! | [`formats`] | what is named by its hash: checkpoints, tokenizers, cards; models that others made |
//! | [`lora`] | adapters: small additions to a base that stays as it is |
//! | [`data`] | units of text, and which of them repeat earlier ones |
//! | [`spans`] | what an output repeats word for word, with proofs |
//! | [`attribute`] | which units made an output likelier; what adapters added to it |
//! | [`train`] | shards, updates, the outer step, training an adapter |
//! | [`serve`] | answers of a model |
//! | [`run`] | a training run on one node: each of its jobs as a function of bytes |
//!
//! [`train::shard::run`] is a pure function of (checkpoint, units, seed, hyper-parameters), so an
//! auditor repeats it on whatever hardware it has and compares by stated tolerances
//! ([`train::update::compare`]); [`train::outer::step`] is integer-exact, so the next checkpoint is
//! the same bits on every node.
//!
//! What is not here: networks, chains, files by name, clocks, money. How outputs are turned into
//! shares of a fee is `protocol`'s rule; that it is asked with all evidence is [`serve`]'s duty.

pub mod attribute;
pub mod data;
pub mod device;
pub mod formats;
pub mod lora;
pub mod math;
pub mod model;
pub mod run;
pub mod serve;
pub mod spans;
pub mod train;
