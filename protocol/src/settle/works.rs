//! What the lines of a settlement are about: the model behind a record, and what became of an output's fee.

use crate::{
    blob::BlobRef,
    ids::{AccountId, Digest, Hash, ModelId},
};

/// A record of a settlement that is about a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Work {
    /// Id of the record, which the chain took in.
    pub record: Digest,
    /// The model that was trained, used or audited by it.
    pub model: ModelId,
    /// The output, where the record attributes one.
    pub output: Option<Output>,
}

/// An output as its attribution names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Output {
    /// Who served it.
    pub server: AccountId,
    /// The checkpoint that answered.
    pub checkpoint: Hash,
    /// Prompt, output and shares, as whoever served it stored them.
    pub transcript: BlobRef,
    /// How its fee was divided; none where this settlement divides no fee of it.
    pub division: Option<Division>,
}

/// How the contributors' part of an output's fee was divided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Division {
    /// By the attribution, which most of the drawn auditors passed.
    Attributed,
    /// By the bytes that each contributor brought: no majority of the drawn auditors spoke.
    Declared,
    /// Not at all: most of the drawn auditors found the attribution false.
    FoundFalse,
    /// Not at all: the shares of the attribution are not a whole.
    NotWhole,
}
