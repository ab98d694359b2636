//! What runs for every output, while it is served and while it is audited.
//!
//! * **Serving**: a [`Query`] is published of an output; its exact products with all sketches
//!   ([`Rows`] on the CPU, [`GpuKernel`] on a GPU) become integer scores, equal on every node.
//!   [`Unigram`] and `AdaptedModel::losses` measure what an adapter added.
//! * **Auditing**: [`ScoreCheck`] and [`GramCheck`] check products and sums by a secret at the cost of
//!   reading them (Freivalds), [`LeafRule`] captures a sample of leaves again, [`check_index`]
//!   compares an index whole.
//!
//! Not here: anything that is made once per checkpoint ([`offline`](super::offline)), and the rule that
//! turns scores into shares (`protocol::attribution`).

mod aggregate;
mod fixed_point;
mod freivalds;
#[cfg(feature = "gpu")]
mod gpu;
mod kernel;
mod likelihood;
mod query;
mod recompute;
mod score_part;
mod scores;

pub use aggregate::Aggregate;
pub use freivalds::{CheckError, GramCheck, ScoreCheck};
#[cfg(feature = "gpu")]
pub use gpu::{GpuKernel, GpuRows, KernelError};
pub use kernel::Rows;
pub use likelihood::{LikelihoodError, Unigram};
pub use query::{Query, QueryError, ScoreError};
pub use recompute::{IndexMismatch, LeafAuditError, LeafReport, LeafRule, check_index, detection};
pub use score_part::{CombineError, ScorePart, ScorePartError};
