//! What runs for every output, while it is served and while it is audited.

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
pub use recompute::{
    IndexMismatch, LeafAuditError, LeafReport, LeafRule, check_index, detection, draw_leaves,
    leaves_for,
};
pub use score_part::{CombineError, ScorePart, ScorePartError};
