//! The GPUs that wgpu sees, as plain facts.

use std::fmt;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use burn::tensor::DeviceKind;
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
    /// How burn names the device; `None` for kinds that it cannot name.
    pub(crate) fn device_kind(&self) -> Option<DeviceKind> {
        match self.kind {
            GpuKind::Discrete => Some(DeviceKind::DiscreteGpu(self.index)),
            GpuKind::Integrated => Some(DeviceKind::IntegratedGpu(self.index)),
            GpuKind::Virtual => Some(DeviceKind::VirtualGpu(self.index)),
            GpuKind::Cpu => Some(DeviceKind::Cpu),
            GpuKind::Other => None,
        }
    }
}

/// Every device that the machine's native graphics interface offers, best kind first. Empty where
/// there is no such interface, for example without a Vulkan loader.
pub fn list_gpus() -> Vec<GpuInfo> {
    let mut all: Vec<GpuInfo> = adapters().into_iter().map(|(gpu, _)| gpu).collect();
    all.sort_by_key(|gpu| (gpu.kind, gpu.index));
    all
}

/// wgpu's handle of a listed device; none when it is gone.
pub(crate) fn adapter_of(gpu: &GpuInfo) -> Option<wgpu::Adapter> {
    adapters().into_iter().find(|(info, _)| info == gpu).map(|(_, adapter)| adapter)
}

fn adapters() -> Vec<(GpuInfo, wgpu::Adapter)> {
    let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle());
    let mut all: Vec<(GpuInfo, wgpu::Adapter)> = Vec::new();
    // burn settles on the first interface that has any device, in this order.
    for backend in [wgpu::Backends::METAL, wgpu::Backends::VULKAN, wgpu::Backends::DX12] {
        for adapter in ready(instance.enumerate_adapters(backend)).unwrap_or_default() {
            let info = adapter.get_info();
            let kind = match info.device_type {
                wgpu::DeviceType::DiscreteGpu => GpuKind::Discrete,
                wgpu::DeviceType::IntegratedGpu => GpuKind::Integrated,
                wgpu::DeviceType::VirtualGpu => GpuKind::Virtual,
                wgpu::DeviceType::Cpu => GpuKind::Cpu,
                wgpu::DeviceType::Other => GpuKind::Other,
            };
            let index = all.iter().filter(|(gpu, _)| gpu.kind == kind).count();
            let backend = info.backend.to_str().to_owned();
            all.push((GpuInfo { name: info.name, backend, kind, index }, adapter));
        }
        if !all.is_empty() {
            break;
        }
    }
    all
}

/// The value of a future that native wgpu completes at once; nothing, should it not.
pub(crate) fn ready<T>(future: impl Future<Output = T>) -> Option<T> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => Some(value),
        Poll::Pending => None,
    }
}
