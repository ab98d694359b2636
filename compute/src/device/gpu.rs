//! The GPUs that wgpu sees, as plain facts. A build without the feature `gpu` sees none.

use std::fmt;

use burn::tensor::Device;
use serde::{Deserialize, Serialize};

/// What a device is, in wgpu's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GpuKind {
    /// A card of its own.
    Discrete,
    /// Part of the processor.
    Integrated,
    /// Lent by a hypervisor.
    Virtual,
    /// Something that wgpu does not know.
    Other,
    /// The processor posing as a GPU (lavapipe, WARP): used only when named.
    Cpu,
}

/// Whether this build can compute on GPUs (the feature `gpu`).
pub const HAS_GPU_SUPPORT: bool = cfg!(feature = "gpu");

/// One device that wgpu can reach.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GpuInfo {
    /// Its name, as the driver states it.
    pub name: String,
    /// The graphics interface: `vulkan`, `metal` or `dx12`.
    pub backend: String,
    /// What it is.
    pub kind: GpuKind,
    /// Its place among devices of that kind.
    pub index: usize,
}

impl fmt::Display for GpuInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}, {:?})", self.name, self.backend, self.kind)
    }
}

impl GpuInfo {
    /// The device as burn opens it, which may panic in the driver; `None` for a kind that burn cannot
    /// name, and in a build without GPUs.
    #[cfg(feature = "gpu")]
    pub(crate) fn open(&self) -> Option<Device> {
        use burn::tensor::DeviceKind;
        Some(Device::wgpu(match self.kind {
            GpuKind::Discrete => DeviceKind::DiscreteGpu(self.index),
            GpuKind::Integrated => DeviceKind::IntegratedGpu(self.index),
            GpuKind::Virtual => DeviceKind::VirtualGpu(self.index),
            GpuKind::Cpu => DeviceKind::Cpu,
            GpuKind::Other => return None,
        }))
    }

    #[cfg(not(feature = "gpu"))]
    pub(crate) fn open(&self) -> Option<Device> {
        None
    }
}
