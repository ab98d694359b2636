//! The bodies of records, one type per kind, in the canonical encoding.

mod audit;

use alloc::{boxed::Box, vec::Vec};

pub use audit::{AuditBody, Finding, ReplayReport, Verdict};

use super::Kind;
use crate::{
    blob::BlobRef,
    codec::{DecodeError, Reader, Wire, encode_list},
    ids::{AccountId, Digest, Hash, ModelId, Round},
    limits::{MAX_ABSENT_PACKS, MAX_SHARDS_PER_ROUND, MAX_SHARES},
    ranges::Ranges,
    receipt::SignedReceipt,
};

/// Declares a body: its fields in wire order, and the codec for them.
macro_rules! body {
    ($(#[$doc:meta])* $name:ident { $($(#[$fdoc:meta])* $field:ident: $ty:ty $([max $limit:expr])?,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub struct $name {
            $($(#[$fdoc])* pub $field: $ty,)*
        }

        impl Wire for $name {
            fn encode(&self, out: &mut Vec<u8>) {
                $(body!(@encode self.$field, out $(, $limit)?);)*
            }
            fn decode(input: &mut Reader<'_>) -> Result<Self, DecodeError> {
                Ok(Self { $($field: body!(@decode input $(, $limit)?),)* })
            }
        }
    };
    (@encode $value:expr, $out:ident) => { $value.encode($out) };
    (@encode $value:expr, $out:ident, $limit:expr) => { encode_list(&$value, $out) };
    (@decode $input:ident) => { Wire::decode($input)? };
    (@decode $input:ident, $limit:expr) => { $input.list($limit)? };
}

body! {
    /// Commits to one chunk of every cell before the sample is known (Proof of Holding, round 1).
    StorageCommitBody {
        /// Merkle-sum root over (pack, length) with cells as sums.
        inventory: Digest,
        /// Merkle root over the rows of all cells.
        rows: Digest,
        /// Bytes of all packs in the inventory.
        bytes: u64,
        /// Cells of all packs in the inventory.
        cells: u32,
        /// The first 8 bytes of the seed that picked the chunks. Where its block was replaced, nobody
        /// can show what is committed to, and nobody is asked to.
        seed: u64,
        /// Assigned packs that the node does not have: unpaid, and no fault.
        absent: Vec<Hash> [max MAX_ABSENT_PACKS],
    }
}

body! {
    /// Opens the sampled cells (Proof of Holding, round 2).
    StorageProofBody {
        /// Id of the commitment that is opened.
        commit: Digest,
        /// BLAKE3 hash of the blob of openings ([`crate::holding::Openings`]).
        openings: Hash,
        /// Length of that blob in bytes.
        length: u32,
    }
}

body! {
    /// A finished shard.
    ShardBody {
        /// The training run.
        model: ModelId,
        /// The round that the shard is part of.
        round: Round,
        /// Which part of the round's work.
        slot: u32,
        /// The checkpoint from which the shard started.
        base: Hash,
        /// BLAKE3 hash of the payload blob.
        payload: Hash,
        /// Length of the payload in bytes.
        length: u32,
        /// Mean loss of the first step, in micro-nats per token.
        loss_first: u32,
        /// Mean loss of the last step, in micro-nats per token.
        loss_last: u32,
        /// Tokens that were processed.
        tokens: u32,
    }
}

body! {
    /// Fixes which shards make the next checkpoint, so that checkpoints cannot diverge.
    RoundCloseBody {
        /// The training run.
        model: ModelId,
        /// The round that is closed.
        round: Round,
        /// The checkpoint before.
        base: Hash,
        /// Ids of the shard records that enter, sorted.
        shards: Vec<Digest> [max MAX_SHARDS_PER_ROUND],
        /// The checkpoint after; for the sketch round, the root of the sketches as a hash.
        next: Hash,
    }
}

body! {
    /// Attributes one paid output to the accounts behind its data.
    AttributionBody {
        /// The model that gave the output.
        model: ModelId,
        /// The checkpoint that served.
        checkpoint: Hash,
        /// The consumer's receipt: for all of the use, though it may have been paid for step by step.
        receipt: SignedReceipt,
        /// The promises that pay for it.
        ranges: Ranges,
        /// BLAKE3 hash of the blob that says what was asked, what was answered and how it was attributed.
        transcript: Hash,
        /// Its length in bytes.
        length: u32,
        /// Length of the prompt in tokens.
        tokens_in: u32,
        /// Number of tokens that were generated.
        tokens_out: u32,
        /// Weight of the span evidence, in ppm.
        lambda: u32,
        /// Who is paid, in ppm of the contributors' share; sums to a million.
        shares: Vec<(AccountId, u32)> [max MAX_SHARES],
    }
}

impl ShardBody {
    /// The payload, as the blob to fetch.
    pub(crate) fn payload_blob(&self) -> BlobRef {
        BlobRef::new(self.payload, self.length.into())
    }
}

/// The body of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    /// What a node commits to hold, before the sample.
    StorageCommit(StorageCommitBody),
    /// The opening of the cells that were sampled.
    StorageProof(StorageProofBody),
    /// One finished part of a training round.
    Shard(ShardBody),
    /// Which shards make the next checkpoint.
    RoundClose(RoundCloseBody),
    /// What an auditor found.
    Audit(AuditBody),
    /// Who is paid for an output: the longest, and so kept apart.
    Attribution(Box<AttributionBody>),
}

impl Body {
    /// The kind of record that carries it.
    pub const fn kind(&self) -> Kind {
        match self {
            Self::StorageCommit(_) => Kind::StorageCommit,
            Self::StorageProof(_) => Kind::StorageProof,
            Self::Shard(_) => Kind::ShardResult,
            Self::RoundClose(_) => Kind::RoundClose,
            Self::Audit(_) => Kind::Audit,
            Self::Attribution(_) => Kind::Attribution,
        }
    }

    /// The canonical encoding, whose keccak the header carries.
    pub fn to_bytes(&self) -> Vec<u8> {
        match self {
            Self::StorageCommit(body) => body.to_bytes(),
            Self::StorageProof(body) => body.to_bytes(),
            Self::Shard(body) => body.to_bytes(),
            Self::RoundClose(body) => body.to_bytes(),
            Self::Audit(body) => body.to_bytes(),
            Self::Attribution(body) => body.to_bytes(),
        }
    }

    /// Reads the body of a kind.
    ///
    /// # Errors
    /// [`DecodeError`] for anything that [`Self::to_bytes`] never writes.
    pub(crate) fn from_kind(kind: Kind, bytes: &[u8]) -> Result<Self, DecodeError> {
        Ok(match kind {
            Kind::StorageCommit => Self::StorageCommit(Wire::from_bytes(bytes)?),
            Kind::StorageProof => Self::StorageProof(Wire::from_bytes(bytes)?),
            Kind::ShardResult => Self::Shard(Wire::from_bytes(bytes)?),
            Kind::RoundClose => Self::RoundClose(Wire::from_bytes(bytes)?),
            Kind::Audit => Self::Audit(Wire::from_bytes(bytes)?),
            Kind::Attribution => Self::Attribution(Box::new(Wire::from_bytes(bytes)?)),
        })
    }
}
