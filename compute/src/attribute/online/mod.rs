//! What runs for every output, while it is served and while it is audited.

mod freivalds;
mod gpu;
mod influence;
mod kernel;
mod likelihood;
mod recompute;
mod score;

pub use freivalds::{CheckError, GramCheck, ScoreCheck};
pub use gpu::{GpuKernel, GpuRows, KernelError};
pub use influence::{Aggregate, FitError, Preconditioner, Query, QueryError, ScoreError};
pub use kernel::Rows;
pub use likelihood::{LikelihoodError, Unigram};
pub use recompute::{
    IndexMismatch, LeafAuditError, LeafReport, LeafRule, check_index, detection, draw_leaves,
    leaves_for,
};
pub use score::{CombineError, ScorePart, ScorePartError};
