//! The one handle that everything is computed on.
//!
//! On the CPU, burn's `flex` backend shares rayon's global pool. Its size is fixed by the environment
//! variable `RAYON_NUM_THREADS` when the process starts, so whoever starts a node process sets it
//! there; results do not depend on it.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use burn::tensor::Device;
use serde::{Deserialize, Serialize};

use super::gpu::{GpuInfo, GpuKind, HAS_GPU_SUPPORT};
use super::list::list_gpus;

/// Which device to compute on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DeviceChoice {
    /// The best real GPU, if there is one that passes the self-test; otherwise the CPU.
    #[default]
    Auto,
    /// The CPU, whatever GPUs there are.
    Cpu,
    /// The first device whose name contains this text, whatever the case; also software devices.
    Named(String),
}

/// The device that shards, attribution and inference run on.
pub struct Engine {
    device: Device,
    gpu: Option<GpuInfo>,
}

/// Why no engine could be opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EngineError {
    /// A GPU was asked for by name from a build that has none.
    #[error(
        "this openledger was built without GPUs, so {name:?} cannot be used; build it with \
         `--features gpu`, or choose \"cpu\""
    )]
    BuiltWithoutGpus {
        /// The name that was asked for.
        name: String,
    },
    /// No device has that name.
    #[error("no device named {name:?}; there are: {available:?} and the CPU")]
    NotFound {
        /// The name that was asked for.
        name: String,
        /// Names of all devices.
        available: Vec<String>,
    },
}

impl DeviceChoice {
    /// The GPU that is meant; `None` for the CPU.
    pub(crate) fn gpu(&self) -> Result<Option<GpuInfo>, EngineError> {
        match self {
            Self::Cpu => Ok(None),
            Self::Auto => Ok(list_gpus().into_iter().find(|gpu| gpu.kind != GpuKind::Cpu)),
            Self::Named(name) if name.eq_ignore_ascii_case("cpu") => Ok(None),
            Self::Named(name) if !HAS_GPU_SUPPORT => {
                Err(EngineError::BuiltWithoutGpus { name: name.clone() })
            }
            Self::Named(name) => named(name, list_gpus()).map(Some),
        }
    }
}

/// The device stopped in the middle of its work.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the device failed: {message}")]
pub struct DeviceFault {
    /// What the backend said.
    pub message: String,
}

impl Engine {
    /// The engine that computes on the CPU, which every machine has.
    pub fn cpu() -> Self {
        Self { device: Device::flex(), gpu: None }
    }

    /// A GPU that has proven nothing yet; `None` for one that burn cannot name.
    pub(crate) fn unproven(gpu: &GpuInfo) -> Result<Option<Self>, DeviceFault> {
        let opened = guarded(|| gpu.open())?;
        Ok(opened.map(|device| Self { device, gpu: Some(gpu.clone()) }))
    }

    /// The GPU that is used; `None` on the CPU.
    pub fn gpu(&self) -> Option<&GpuInfo> {
        self.gpu.as_ref()
    }

    /// A name for people: the GPU's, or `cpu`.
    pub fn name(&self) -> String {
        self.gpu.as_ref().map_or_else(|| "cpu".to_owned(), GpuInfo::to_string)
    }

    /// burn's device, without autodiff.
    pub fn device(&self) -> &Device {
        &self.device
    }
}

fn named(name: &str, gpus: Vec<GpuInfo>) -> Result<GpuInfo, EngineError> {
    let wanted = name.to_lowercase();
    let available = gpus.iter().map(|gpu| gpu.name.clone()).collect();
    gpus.into_iter()
        .find(|gpu| gpu.name.to_lowercase().contains(&wanted))
        .ok_or_else(|| EngineError::NotFound { name: name.to_owned(), available })
}

/// Runs work on a device whose driver reports failure by panicking, and returns that as an error.
pub fn guarded<T>(work: impl FnOnce() -> T) -> Result<T, DeviceFault> {
    let done = catch_unwind(AssertUnwindSafe(work));
    done.map_err(|panic| DeviceFault { message: panic_text(&*panic).to_owned() })
}

/// What a panic says, of the payload that unwinding it carried.
pub fn panic_text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no reason given")
}
