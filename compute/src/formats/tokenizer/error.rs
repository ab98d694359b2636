//! Why a tokenizer is refused, and its bounds.

/// The largest tokenizer file that is read.
pub const MAX_TOKENIZER_BYTES: usize = 16 << 20;
/// The fewest token ids that are trained: one per byte.
pub const MIN_VOCAB: u32 = 256;
/// The most token ids.
pub const MAX_VOCAB: u32 = 1 << 18;

/// Why a tokenizer could not be trained, read or used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenizerError {
    /// The vocabulary size is out of bounds.
    #[error("a vocabulary of {0} ids is not between {MIN_VOCAB} and {MAX_VOCAB}")]
    VocabSize(u32),
    /// The texts are too short or too uniform for that many ids.
    #[error("the texts give only {found} of {wanted} token ids; add text or lower the vocabulary")]
    TooLittleText {
        /// Ids that were asked for.
        wanted: u32,
        /// Ids that the texts gave.
        found: u32,
    },
    /// The file is too large.
    #[error("the tokenizer has {0} bytes; at most {MAX_TOKENIZER_BYTES} are read")]
    TooLarge(usize),
    /// The bytes are no tokenizer file.
    #[error("not a tokenizer file: {reason}")]
    Parse {
        /// What the parser said.
        reason: String,
    },
    /// The file describes something other than plain byte-level BPE.
    #[error("not plain byte-level BPE: {0}")]
    Kind(&'static str),
    /// The text is split in a way that is not known here.
    #[error("text is split by {0:?}, which is not known here")]
    Splitting(String),
    /// The text could not be encoded, which a valid tokenizer never does.
    #[error("the text could not be encoded: {reason}")]
    Encode {
        /// What the encoder said.
        reason: String,
    },
    /// A token id is not in the vocabulary.
    #[error("token id {id} is not below the vocabulary of {vocab}")]
    UnknownId {
        /// The unknown token id.
        id: u32,
        /// Ids in the vocabulary.
        vocab: u32,
    },
}
