//! Why a job of a run gives nothing, and whose fault it is.

use protocol::codec::DecodeError;
use protocol::node::Failure;

use crate::attribute::{AdapterCaptureError, CaptureError, LeafAuditError, PartError};
use crate::formats::{BaseError, CheckpointError, TokenizerError};
use crate::lora::{AdapterError, LoraConfigError};
use crate::train::outer::OuterError;
use crate::train::shard::ShardError;
use crate::train::update::{CompareError, PayloadError};

/// Why a job of a run gives nothing.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The order is no run, or not one within its limits.
    #[error("the order of the run cannot be read: {0:?}")]
    Order(DecodeError),
    /// No model has that number.
    #[error("there is no preset {0} of a model")]
    Preset(u8),
    /// The files of the base that the order names were not given.
    #[error("the run trains an adapter, and its base was not given")]
    NoBase,
    /// The files are no base.
    #[error(transparent)]
    Base(#[from] BaseError),
    /// They are another base.
    #[error("the checkpoint is not of the base that the order names")]
    OtherBase,
    /// The base has another shape than the order states.
    #[error("the base has another shape than the order states")]
    OtherShape,
    /// The base has no such adapter.
    #[error(transparent)]
    Lora(#[from] LoraConfigError),
    /// An adapter cannot be used.
    #[error("an adapter cannot be used: {0}")]
    Adapter(#[from] AdapterError),
    /// The run's tokenizer cannot be used.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// The run has no initial checkpoint.
    #[error("the run has no initial checkpoint: {0}")]
    Initial(CheckpointError),
    /// A checkpoint cannot be used.
    #[error("a checkpoint cannot be used: {0}")]
    Checkpoint(CheckpointError),
    /// The shard could not be computed.
    #[error("a shard could not be computed: {0}")]
    Shard(#[from] ShardError),
    /// An update is malformed.
    #[error("a payload is malformed: {0}")]
    Payload(#[from] PayloadError),
    /// Updates of different runs.
    #[error(transparent)]
    Compare(#[from] CompareError),
    /// The outer step failed.
    #[error("the outer step failed: {0}")]
    Outer(#[from] OuterError),
    /// The sketches could not be captured.
    #[error(transparent)]
    Capture(#[from] CaptureError),
    /// The sketches of an adapter could not be captured.
    #[error(transparent)]
    AdapterCapture(#[from] AdapterCaptureError),
    /// Claimed sketches are malformed.
    #[error(transparent)]
    Part(#[from] PartError),
    /// Claimed sketches could not be audited.
    #[error(transparent)]
    LeafAudit(#[from] LeafAuditError),
}

impl RunError {
    /// What the machine is told: whether the bytes are to blame or this node.
    pub const fn failure(&self) -> Failure {
        match self {
            Self::Initial(_)
            | Self::Shard(_)
            | Self::Outer(_)
            | Self::Checkpoint(
                CheckpointError::OtherModel | CheckpointError::OtherTokenizer { .. },
            )
            | Self::Adapter(
                AdapterError::OtherBase { .. }
                | AdapterError::OtherTokenizer { .. }
                | AdapterError::OtherModel,
            ) => Failure::Local,
            _ => Failure::Invalid,
        }
    }
}
