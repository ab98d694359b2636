//! Why gradients could not be captured.

use protocol::Hash;

use crate::attribute::sketch::SpecError;
use crate::device::DeviceFault;
use crate::lora::LoadError;

/// Why gradients could not be captured.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CaptureError {
    /// The spec does not fit the model.
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// A unit has no tokens.
    #[error("unit {0} has no tokens")]
    EmptyUnit(Hash),
    /// A unit is much longer than the model's context.
    #[error("unit {unit} has {found} tokens; with this context at most {limit} are sketched")]
    UnitTooLong {
        /// The unit that is too long.
        unit: Hash,
        /// How many tokens it has.
        found: usize,
        /// The most tokens that are sketched under this context.
        limit: usize,
    },
    /// The output has no tokens, or too many.
    #[error("an output of {0} tokens can't be attributed")]
    Output(usize),
    /// A token lies outside the model's vocabulary: text of another tokenizer.
    #[error("token {token} lies outside the model's vocabulary of {vocab}: another tokenizer's")]
    Token {
        /// The token id.
        token: u32,
        /// Ids of the vocabulary.
        vocab: u32,
    },
    /// A gradient is infinite or not a number: the checkpoint is broken.
    #[error("the gradients are not finite: the checkpoint is damaged or has diverged")]
    NotFinite,
    /// The checkpoint is not the one that the spec names.
    #[error("the spec names checkpoint {expected}, this one is {found}")]
    Checkpoint {
        /// The spec's checkpoint.
        expected: Hash,
        /// The checkpoint found.
        found: Hash,
    },
    /// The device failed.
    #[error(transparent)]
    Device(#[from] DeviceFault),
}

/// Why an adapter could not be loaded for capturing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AdapterCaptureError {
    /// The adapter does not belong to the base, or the device failed.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The spec is wrong, or of another adapter.
    #[error(transparent)]
    Capture(#[from] CaptureError),
    /// A block's values are no multiple of the rank.
    #[error("blocks of {side} × {side} values do not divide by rank {rank}")]
    Rank {
        /// Side of the spec.
        side: u16,
        /// Rank of the adapter.
        rank: u32,
    },
}
