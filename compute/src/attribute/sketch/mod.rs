//! What is kept of a unit: its gradient, randomly projected on both sides and rounded to eight bits.
//!
//! [`SketchSpec`] names a family of comparable sketches, [`SketchPart`] is a range of units as canonical
//! bytes, [`SketchSet`] a snapshot with its commitment, [`Gram`] the exact sums from which a
//! preconditioner is fitted. From the rounded values on everything is integers; a scale is a power of
//! two, so that parts add up in any order to the same sums on every machine.
//!
//! Not here: how gradients are taken ([`capture`](super::capture)), and what is asked of sketches
//! ([`online`](super::online)).

pub(super) mod cover;
pub(super) mod gram;
mod part;
mod projection;
pub(super) mod quantise;
mod set;
mod spec;

pub use cover::CoverError;
pub use gram::{Gram, GramError, GramPart, SumError};
pub use part::{PartError, SketchPart};
pub use projection::{Projection, projections};
pub(super) use projection::{project, signs};
pub use quantise::{Difference, Sketch};
pub use set::{AssembleError, SketchSet, verify_leaf};
pub use spec::{SketchSpec, SpecError};
