//! Where tensors are computed: a GPU that has proven itself against the CPU, or the CPU.
//!
//! On the CPU, burn's `flex` backend shares rayon's global pool. Its size is fixed by the environment
//! variable `RAYON_NUM_THREADS` when the process starts, so whoever starts a node process sets it
//! there; results do not depend on it.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use burn::tensor::Device;
use protocol::Hash;
use protocol::params::Params;
use protocol::training::ReplayReport;
use serde::{Deserialize, Serialize};

use super::gpu::{GpuInfo, GpuKind, list_gpus};
use crate::formats::Checkpoint;
use crate::model::ModelConfig;
use crate::train::shard::{self, ShardError, ShardHyper, ShardInput, ShardOutput};
use crate::train::update::compare;

/// Which device to compute on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DeviceChoice {
    /// The best real GPU, if there is one that passes the self-test; otherwise the CPU.
    #[default]
    Auto,
    /// The CPU.
    Cpu,
    /// The first device whose name contains this text, whatever the case; also software devices.
    Named(String),
}

/// The device that shards, attribution and inference run on.
pub struct Engine {
    device: Device,
    gpu: Option<GpuInfo>,
    refused: Option<Refusal>,
}

/// A GPU that is not used, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The GPU.
    pub gpu: GpuInfo,
    /// Why it is not used.
    pub reason: RefusalReason,
}

/// Why a GPU is not used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RefusalReason {
    /// The self-test's shard failed on it.
    #[error("the self-test failed: {0}")]
    Failed(#[from] ShardError),
    /// Its result differs from the CPU's by more than audits tolerate.
    #[error("the self-test differs from the CPU by more than audits tolerate: {0:?}")]
    Differs(ReplayReport),
    /// wgpu does not say what kind of device it is.
    #[error("a device of unknown kind cannot be selected")]
    Unnameable,
}

/// Why no engine could be opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EngineError {
    /// No device has that name.
    #[error("no device named {name:?}; there are: {available:?} and the CPU")]
    NotFound {
        /// The name that was asked for.
        name: String,
        /// Names of all devices.
        available: Vec<String>,
    },
}

/// The device stopped in the middle of its work.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the device failed: {message}")]
pub struct DeviceFault {
    /// What the backend said.
    pub message: String,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is not used: {}", self.gpu, self.reason)
    }
}

impl Engine {
    /// The CPU.
    pub fn cpu() -> Self {
        Self { device: Device::flex(), gpu: None, refused: None }
    }

    /// Opens the chosen device. A GPU first proves itself by a small shard compared with the CPU's;
    /// one that fails is named in [`refused`](Self::refused), and the engine is the CPU.
    pub fn open(choice: &DeviceChoice) -> Result<Self, EngineError> {
        let gpu = match choice {
            DeviceChoice::Cpu => None,
            DeviceChoice::Auto => list_gpus().into_iter().find(|gpu| gpu.kind != GpuKind::Cpu),
            DeviceChoice::Named(name) if name.eq_ignore_ascii_case("cpu") => None,
            DeviceChoice::Named(name) => Some(named(name, list_gpus())?),
        };
        let Some(gpu) = gpu else {
            return Ok(Self::cpu());
        };
        match Self::prove(&gpu) {
            Ok(device) => Ok(Self { device, gpu: Some(gpu), refused: None }),
            Err(reason) => {
                let refused = Refusal { gpu, reason };
                tracing::warn!("{refused}; computing on the CPU");
                Ok(Self { refused: Some(refused), ..Self::cpu() })
            }
        }
    }

    /// The GPU that is used; `None` on the CPU.
    pub fn gpu(&self) -> Option<&GpuInfo> {
        self.gpu.as_ref()
    }

    /// The GPU that was asked for and is not used, and why.
    pub fn refused(&self) -> Option<&Refusal> {
        self.refused.as_ref()
    }

    /// A name for people: the GPU's, or `cpu`.
    pub fn name(&self) -> String {
        self.gpu.as_ref().map_or_else(|| "cpu".to_owned(), GpuInfo::to_string)
    }

    /// burn's device, without autodiff.
    pub fn device(&self) -> &Device {
        &self.device
    }

    fn prove(gpu: &GpuInfo) -> Result<Device, RefusalReason> {
        let kind = gpu.device_kind().ok_or(RefusalReason::Unnameable)?;
        let device = guarded(|| Device::wgpu(kind)).map_err(ShardError::from)?;
        let candidate = Self { device: device.clone(), gpu: None, refused: None };
        let there = self_test(&candidate)?;
        let here = self_test(&Self::cpu())?;
        let report = compare(&there.payload, &here.payload).expect("one input, one shape");
        let limits = &Params::mainnet().training;
        if report.accepts(limits) { Ok(device) } else { Err(RefusalReason::Differs(report)) }
    }
}

fn named(name: &str, gpus: Vec<GpuInfo>) -> Result<GpuInfo, EngineError> {
    let wanted = name.to_lowercase();
    let available = gpus.iter().map(|gpu| gpu.name.clone()).collect();
    gpus.into_iter()
        .find(|gpu| gpu.name.to_lowercase().contains(&wanted))
        .ok_or_else(|| EngineError::NotFound { name: name.to_owned(), available })
}

/// A shard small enough for every start of a node.
fn self_test(engine: &Engine) -> Result<ShardOutput, ShardError> {
    let config = ModelConfig::tiny();
    let checkpoint = Checkpoint::init(&config, Hash::ZERO, 1).expect("the preset is valid");
    let hyper = ShardHyper {
        steps: 4,
        batch: 2,
        context: 16,
        learning_rate_ppb: 3_000_000,
        warmup: 1,
        beta1_ppm: 900_000,
        beta2_ppm: 950_000,
        weight_decay_ppm: 100_000,
        clip_ppm: 1_000_000,
        keep: 64,
    };
    let units = vec![(0..200u32).map(|i| (i * i + 7 * i) % 97).collect()];
    let input = ShardInput { checkpoint: Arc::new(checkpoint), units, seed: [7; 32], hyper };
    shard::run(engine, &input)
}

/// Runs work on a device whose driver reports failure by panicking, and returns that as an error.
pub fn guarded<T>(work: impl FnOnce() -> T) -> Result<T, DeviceFault> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
        DeviceFault { message: text.unwrap_or("no reason given").to_owned() }
    })
}
