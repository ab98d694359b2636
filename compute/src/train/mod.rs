//! Training: the shard of a node, the update that it sends, and the step that joins all updates.
//!
//! * [`shard`] trains some AdamW steps from zero optimiser state: state never leaves a shard, so an
//!   auditor needs only the checkpoint to repeat it. The same input gives the same bits on one machine.
//! * [`update`] makes the change of the parameters small, and compares a claim with a replay.
//! * [`outer`] joins updates in integers: the same bits on every node.
//! * [`lora`] trains an adapter by SGD with momentum, so that its influence can be traced.
//! * [`open_engine`] lets a GPU compute only after it has trained a small shard as the CPU does.
//! * [`eval`] measures loss on text that was held out.
//!
//! Not here: which units a shard reads and who audits it (`protocol::training`), and runs that are
//! recorded to be differentiated ([`attribute::unrolled`](crate::attribute::unrolled)).

mod adamw;
pub mod eval;
mod hyper;
pub mod lora;
pub mod outer;
mod preset;
mod self_test;
pub mod shard;
mod trainee;
pub mod update;

pub use hyper::{HyperError, MAX_BATCH, ShardHyper};
pub use preset::{ShardSize, TrainingPreset};
pub(crate) use preset::{preset, run_hyper};
pub use self_test::{ProvenEngine, Refusal, RefusalReason, open_engine};
