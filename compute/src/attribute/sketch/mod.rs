//! What is kept of a unit: its gradient, randomly projected and rounded to eight bits.

pub(super) mod cover;
pub(super) mod gram;
pub(super) mod part;
pub(super) mod projection;
pub(super) mod quantise;
pub(super) mod set;
pub(super) mod spec;

pub use cover::CoverError;
pub use gram::{Gram, GramError, GramPart, SumError};
pub use part::{PartError, SketchPart};
pub use projection::{Projection, projections};
pub use quantise::{Difference, Sketch};
pub use set::{AssembleError, SketchSet, verify_leaf};
pub use spec::{SketchSpec, SpecError};
