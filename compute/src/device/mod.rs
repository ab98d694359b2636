//! Where tensors are computed: the CPU, or a GPU where the feature `gpu` is built in.
//!
//! [`Engine`] is the one handle that everything else computes on. burn panics when a driver fails;
//! [`guarded`] is the only place where that becomes an error, [`DeviceFault`], and every entry point of
//! this crate that touches a device goes through it.
//!
//! Not here: the test by which a GPU earns its use, since it trains a shard
//! ([`train::open_engine`](crate::train::open_engine)), and the integer kernel of scores
//! ([`attribute::GpuKernel`](crate::attribute::GpuKernel)), which talks to wgpu itself.

#[cfg(feature = "gpu")]
pub(crate) mod adapters;
mod engine;
mod gpu;
mod list;

pub use engine::{DeviceChoice, DeviceFault, Engine, EngineError, guarded, panic_text};
pub use gpu::{GpuInfo, GpuKind, HAS_GPU_SUPPORT};
pub use list::list_gpus;
