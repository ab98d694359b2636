//! Why a model is not imported.

use super::super::base::BaseError;
use super::super::chat::ChatError;
use super::super::checkpoint::CheckpointError;
use super::super::tokenizer::TokenizerError;
use crate::model::ConfigError;

/// Why a model is not imported.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ImportError {
    /// The file is no GGUF file of a version that is read.
    #[error("not a GGUF file of version 2 or 3, little-endian")]
    NotGguf,
    /// The file ends too early.
    #[error("the file ends within its {section}")]
    Truncated {
        /// The part that is cut off.
        section: &'static str,
    },
    /// A part of the file is wrong.
    #[error("the file's {section} is wrong: {reason}")]
    Malformed {
        /// The part that cannot be read on.
        section: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// A file of the folder is missing.
    #[error("the folder has no {0}")]
    NoFile(String),
    /// A file could not be read.
    #[error("{name} could not be read: {reason}")]
    Unreadable {
        /// The file's name within its folder.
        name: String,
        /// What the system said.
        reason: String,
    },
    /// Something that the model needs is not said.
    #[error("the file does not say {0}")]
    Missing(String),
    /// The decoder cannot represent the model.
    #[error("the decoder has no {what}: {found}")]
    Unsupported {
        /// What it lacks.
        what: &'static str,
        /// What the file says.
        found: String,
    },
    /// A tensor that the shape asks for is missing.
    #[error("tensor {0} is missing")]
    NoTensor(String),
    /// A tensor that the decoder has no use for.
    #[error("tensor {0} is one too many: the decoder has no such part")]
    ExtraTensor(String),
    /// A tensor has another shape than the model's.
    #[error("tensor {name} has shape {found:?}, not {expected:?}")]
    Shape {
        /// The tensor's name in the file.
        name: String,
        /// The shape that is needed, rows first.
        expected: Vec<u64>,
        /// The shape in the file, rows first.
        found: Vec<u64>,
    },
    /// A tensor is stored in a form that is not read.
    #[error("tensor {name} is stored as {form}, which is not read")]
    Form {
        /// The tensor's name in the file.
        name: String,
        /// The form's name or number.
        form: String,
    },
    /// A tensor holds something that is not a number or infinite.
    #[error("tensor {0} holds values that are not finite")]
    NotFinite(String),
    /// The shape is refused.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The weights are refused.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The tokenizer is refused.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// The chat template is refused.
    #[error(transparent)]
    Chat(#[from] ChatError),
    /// The parts don't fit together.
    #[error(transparent)]
    Base(#[from] BaseError),
}
