//! wgpu's own handles of the devices.

use std::pin::pin;
use std::task::{Context, Poll, Waker};

use super::gpu::{GpuInfo, GpuKind};

/// wgpu's handle of a listed device; none when it is gone.
pub(crate) fn of(gpu: &GpuInfo) -> Option<wgpu::Adapter> {
    all().into_iter().find(|(info, _)| info == gpu).map(|(_, adapter)| adapter)
}

/// What the first interface with any device offers: burn settles on the same, in this order.
pub(super) fn all() -> Vec<(GpuInfo, wgpu::Adapter)> {
    let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle());
    let mut found: Vec<(GpuInfo, wgpu::Adapter)> = Vec::new();
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
            let index = found.iter().filter(|(gpu, _)| gpu.kind == kind).count();
            let backend = info.backend.to_str().to_owned();
            found.push((GpuInfo { name: info.name, backend, kind, index }, adapter));
        }
        if !found.is_empty() {
            break;
        }
    }
    found
}

/// The value of a future that native wgpu completes at once; nothing, should it not.
pub(crate) fn ready<T>(future: impl Future<Output = T>) -> Option<T> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => Some(value),
        Poll::Pending => None,
    }
}
