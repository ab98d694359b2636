//! From a model and tokens to sketches.
//!
//! One [`Capturer`] for a model's own linear maps and for an adapter's factors: it cuts sequences into
//! windows, sums their sketches and rounds them. No operation mixes samples, so a unit's sketch does not
//! depend on what else was in its batch, but for the rounding of floats, which [`LeafRule`] allows for.
//!
//! Not here: the backward pass ([`model`](crate::model)), and the family and form of what comes out
//! ([`sketch`](super::sketch)).
//!
//! [`LeafRule`]: crate::attribute::LeafRule

mod adapter;
mod capturer;
mod error;
mod model;

pub use capturer::{CaptureUnit, Capturer, OutputSketch, Scope};
pub use error::{AdapterCaptureError, CaptureError};
