//! Which GPUs there are.

#[cfg(feature = "gpu")]
use super::adapters;
use super::gpu::GpuInfo;

/// Every device that the machine's native graphics interface offers, best kind first. Empty where
/// there is no such interface, for example without a Vulkan loader.
#[cfg(feature = "gpu")]
pub fn list_gpus() -> Vec<GpuInfo> {
    let mut all: Vec<GpuInfo> = adapters::all().into_iter().map(|(gpu, _)| gpu).collect();
    all.sort_by_key(|gpu| (gpu.kind, gpu.index));
    all
}

/// None: this is a build without GPUs.
#[cfg(not(feature = "gpu"))]
pub fn list_gpus() -> Vec<GpuInfo> {
    Vec::new()
}
