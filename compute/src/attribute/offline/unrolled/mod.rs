//! Tier 3: the exact derivative of an output by the weight of every training sample.
//!
//! A run of stochastic gradient descent with momentum is a smooth function of the weights that its
//! samples have, `θ_T(w)`. [`Run::record`] executes it, deterministically, keeping a checkpoint every
//! √T steps; [`Run::influence`] walks it backwards with two adjoint vectors and returns
//! `-d f(θ_T) / d w_i` for every sample at once, whatever measurement `f` is: one output's loss, or a
//! fee-weighted sum of thousands. (The method is that of MAGIC, arXiv 2504.16430; second derivatives
//! are central differences of gradients, so a backward pass is all that a model must offer.)
//!
//! Only such a run can be differentiated: the second moments of AdamW make its adjoint ill-conditioned
//! where they start near zero, and runs that used it are refused.

mod adjoint;
mod run;

pub use adjoint::Difference;
pub use run::{Optimizer, Recipe, Run, UnrollError};
