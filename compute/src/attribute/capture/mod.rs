//! From a model and tokens to sketches.

mod adapter;
mod capturer;

pub use adapter::AdapterCaptureError;
pub use capturer::{CaptureError, CaptureUnit, Capturer, OutputSketch, Scope};
