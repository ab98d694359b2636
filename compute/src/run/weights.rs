//! What a run trains: a whole model, or an adapter of a base that stays as it is.

use protocol::Hash;

use crate::formats::Checkpoint;
use crate::lora::Adapter;

/// The weights that a run's rounds hand on: what its members agree on by hash.
#[derive(Clone, Debug, PartialEq)]
pub enum Weights {
    /// Of all of a model.
    Model(Checkpoint),
    /// Of an adapter alone, without its base.
    Adapter(Adapter),
}

impl Weights {
    /// The file whose BLAKE3 hash names them.
    pub fn to_bytes(&self) -> Vec<u8> {
        match self {
            Self::Model(checkpoint) => checkpoint.to_bytes(),
            Self::Adapter(adapter) => adapter.to_bytes(),
        }
    }

    /// BLAKE3 of the file.
    pub fn hash(&self) -> Hash {
        match self {
            Self::Model(checkpoint) => checkpoint.hash(),
            Self::Adapter(adapter) => adapter.hash(),
        }
    }

    /// The parameters, in the one order of their kind.
    pub(super) fn values(&self) -> &[f32] {
        match self {
            Self::Model(checkpoint) => checkpoint.values(),
            Self::Adapter(adapter) => adapter.values(),
        }
    }
}
