//! From a model and tokens to sketches.

mod adapter;
mod capturer;
mod error;
mod model;

pub use capturer::{CaptureUnit, Capturer, OutputSketch, Scope};
pub use error::{AdapterCaptureError, CaptureError};
