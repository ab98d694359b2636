//! What a record is about, as one digest: the name under which work may count once an epoch.

use crate::{
    hash::keccak,
    ids::{AccountId, Digest, Epoch, Hash, ModelId, Round},
};

/// The subject of an account's storage commitment and of its storage proof in an epoch.
pub fn storage_subject(epoch: Epoch, account: AccountId) -> Digest {
    keccak(&[b"openledger/subject/storage", &epoch.0.to_be_bytes(), &account.0.to_be_bytes()])
}

/// The subject of a shard record. Work for another checkpoint is other work.
pub fn shard_subject(model: ModelId, round: Round, slot: u32, base: &Hash) -> Digest {
    keccak(&[
        b"openledger/subject/shard",
        &model.0.to_be_bytes(),
        &round.0.to_be_bytes(),
        &slot.to_be_bytes(),
        &base.0,
    ])
}

/// The subject of a round's close.
pub fn round_subject(model: ModelId, round: Round, base: &Hash) -> Digest {
    let (model, round) = (model.0.to_be_bytes(), round.0.to_be_bytes());
    keccak(&[b"openledger/subject/round", &model, &round, &base.0])
}

/// The subject of an audit of some work of an account.
pub fn audit_subject(of: AccountId, work: &Digest) -> Digest {
    keccak(&[b"openledger/subject/audit", &of.0.to_be_bytes(), &work.0])
}
