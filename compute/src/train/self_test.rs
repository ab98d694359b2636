//! The test by which a GPU earns its use: it trains a small shard as the CPU does.

use std::fmt;
use std::sync::Arc;

use protocol::Hash;
use protocol::params::Params;
use protocol::record::ReplayReport;

use super::hyper::ShardHyper;
use super::shard::{self, ShardError, ShardInput, ShardOutput};
use super::update::compare;
use crate::device::{DeviceChoice, Engine, EngineError, GpuInfo};
use crate::formats::Checkpoint;
use crate::model::ModelConfig;

/// A device that may be computed on, and what became of the one that was wanted.
pub struct ProvenEngine {
    /// The device to compute on: the chosen GPU, or the CPU.
    pub engine: Engine,
    /// The GPU that was chosen and is not used.
    pub refused: Option<Refusal>,
}

/// A GPU that is not used, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The GPU that was chosen.
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

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is not used: {}", self.gpu, self.reason)
    }
}

/// Opens the chosen device. A GPU first proves itself by a small shard compared with the CPU's; one
/// that fails is named in [`ProvenEngine::refused`], and the engine is the CPU.
pub fn open_engine(choice: &DeviceChoice) -> Result<ProvenEngine, EngineError> {
    let Some(gpu) = choice.gpu()? else {
        return Ok(ProvenEngine { engine: Engine::cpu(), refused: None });
    };
    match prove(&gpu) {
        Ok(engine) => Ok(ProvenEngine { engine, refused: None }),
        Err(reason) => {
            let refused = Refusal { gpu, reason };
            tracing::warn!("{refused}; computing on the CPU");
            Ok(ProvenEngine { engine: Engine::cpu(), refused: Some(refused) })
        }
    }
}

fn prove(gpu: &GpuInfo) -> Result<Engine, RefusalReason> {
    let engine = Engine::unproven(gpu).map_err(ShardError::from)?;
    let engine = engine.ok_or(RefusalReason::Unnameable)?;
    let there = self_test(&engine)?;
    let here = self_test(&Engine::cpu())?;
    let report = compare(&there.payload, &here.payload).expect("one input, one shape");
    let limits = &Params::mainnet().training;
    if report.accepts(limits) { Ok(engine) } else { Err(RefusalReason::Differs(report)) }
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
    let input =
        ShardInput { checkpoint: Arc::new(checkpoint), adapter: None, units, seed: [7; 32], hyper };
    shard::run(engine, &input)
}
