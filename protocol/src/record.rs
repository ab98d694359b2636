//! Records: everything that may earn or cost money, signed, in one EIP-712 type.
//!
//! A record is a small fixed header, which a contract can check, and a body of its kind, which the
//! header names by hash. (kind, account, subject) is unique inside an epoch, so counting work twice
//! is provable from two headers alone. No record, no pay: presence earns nothing.

pub mod ask;
pub mod batch;
mod body;
pub mod ranges;
pub mod receipt;
mod subject;

use alloc::vec::Vec;

pub use body::{
    AttributionBody, AuditBody, Body, Finding, ReplayReport, RoundCloseBody, ShardBody,
    StorageCommitBody, StorageProofBody, Verdict,
};
pub use subject::{audit_subject, round_subject, shard_subject, storage_subject};

use crate::{
    codec::{DecodeError, Reader, Wire, encode_bytes},
    eip712::{BadSignature, Domain, Ecrecover, EvmKey, Recover, Signature, word},
    hash::keccak,
    ids::{AccountId, Digest, Epoch, EvmAddress},
    limits::MAX_RECORD_BODY_BYTES,
};

/// What a record is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Kind {
    /// A node commits to one chunk of every cell it holds.
    StorageCommit = 1,
    /// A node opens the sampled cells.
    StorageProof = 2,
    /// A node finished a shard of a training run.
    ShardResult = 3,
    /// A leader lists the shards that make the next checkpoint.
    RoundClose = 4,
    /// An auditor judged another's record.
    Audit = 5,
    /// A server attributes an output that a consumer paid for.
    Attribution = 6,
}

impl Kind {
    const ALL: [Self; 6] = [
        Self::StorageCommit,
        Self::StorageProof,
        Self::ShardResult,
        Self::RoundClose,
        Self::Audit,
        Self::Attribution,
    ];

    /// The number in the header.
    pub const fn tag(self) -> u8 {
        self as u8
    }
}

impl Wire for Kind {
    fn encode(&self, out: &mut Vec<u8>) {
        self.tag().encode(out);
    }
    fn decode(input: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let tag = u8::decode(input)?;
        Self::ALL.into_iter().find(|kind| kind.tag() == tag).ok_or(DecodeError::Tag(tag))
    }
}

/// Keccak of `Record(uint8 kind,uint64 epoch,uint64 account,bytes32 subject,bytes32 body)`.
const TYPE_HASH: [u8; 32] = [
    0xcd, 0x8f, 0x79, 0x71, 0xe1, 0x63, 0xca, 0xc6, 0xd9, 0x60, 0x1b, 0x40, 0x33, 0x6c, 0xa6, 0xaa,
    0x9d, 0x17, 0x4f, 0xfb, 0x51, 0x4f, 0xd7, 0xea, 0xf0, 0xed, 0x2d, 0xf7, 0xbe, 0xcf, 0x3c, 0xbc,
];

/// A record before it is signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The epoch it belongs to.
    pub epoch: Epoch,
    /// Who did the work.
    pub account: AccountId,
    /// What it is about; together with kind and account unique inside the epoch.
    pub subject: Digest,
    /// The claim itself.
    pub body: Body,
}

impl Record {
    /// The EIP-712 digest that the operator signs: the record's id.
    pub fn id(&self, domain: &Domain) -> Digest {
        domain.digest(&keccak(&[
            &TYPE_HASH,
            &word(u128::from(self.body.kind().tag())),
            &word(u128::from(self.epoch.0)),
            &word(u128::from(self.account.0)),
            &self.subject.0,
            &keccak(&[&self.body.to_bytes()]).0,
        ]))
    }

    /// Signs with the operator's key.
    ///
    /// # Errors
    /// [`BadSignature`] when the key yields none.
    pub fn sign(self, domain: &Domain, key: &EvmKey) -> Result<SignedRecord, BadSignature> {
        let signature = key.sign(&self.id(domain))?;
        Ok(SignedRecord { record: self, signature })
    }

    /// Whether the subject is the one that the body determines. Without this, one piece of work
    /// could be recorded, and paid, under many subjects.
    pub fn is_well_formed(&self, domain: &Domain) -> bool {
        let expected = match &self.body {
            Body::StorageCommit(_) | Body::StorageProof(_) => {
                storage_subject(self.epoch, self.account)
            }
            Body::Shard(shard) => shard_subject(shard.model, shard.round, shard.slot, &shard.base),
            Body::RoundClose(close) => round_subject(close.model, close.round, &close.base),
            Body::Audit(audit) => audit_subject(audit.of, &audit.work),
            Body::Attribution(output) => {
                let receipt = &output.receipt.receipt;
                let is_its_own = receipt.payee == self.account && receipt.model == output.model;
                if !is_its_own || receipt.price > receipt.cumulative {
                    return false;
                }
                receipt.digest(domain)
            }
        };
        self.subject == expected
    }

    /// The key under which it may occur once per epoch.
    pub fn key(&self) -> (Kind, AccountId, Digest) {
        (self.body.kind(), self.account, self.subject)
    }
}

/// A signed record. Its encoding is what the Coordinator takes in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedRecord {
    /// What was signed.
    pub record: Record,
    /// By the account's operator, over [`Record::id`].
    pub signature: Signature,
}

impl SignedRecord {
    /// Recovers who signed.
    ///
    /// # Errors
    /// [`BadSignature`] when nobody did.
    pub fn verify(self, domain: &Domain) -> Result<VerifiedRecord, BadSignature> {
        self.verify_with(domain, &Ecrecover)
    }

    /// [`Self::verify`] with another way to find the signer.
    ///
    /// # Errors
    /// [`BadSignature`] when nobody signed.
    pub fn verify_with(
        self,
        domain: &Domain,
        signatures: &impl Recover,
    ) -> Result<VerifiedRecord, BadSignature> {
        let id = self.record.id(domain);
        let signer = signatures.recover(&self.signature, &id)?;
        Ok(self.signed_by(domain, id, signer))
    }

    /// What the chain took in, having found that `operator` signed it.
    pub(crate) fn included(self, domain: &Domain, operator: EvmAddress) -> VerifiedRecord {
        let id = self.record.id(domain);
        self.signed_by(domain, id, operator)
    }

    fn signed_by(self, domain: &Domain, id: Digest, signer: EvmAddress) -> VerifiedRecord {
        let is_well_formed = self.record.is_well_formed(domain);
        VerifiedRecord { id, signer, is_well_formed, signed: self }
    }
}

impl Wire for SignedRecord {
    fn encode(&self, out: &mut Vec<u8>) {
        self.record.body.kind().encode(out);
        self.record.epoch.encode(out);
        self.record.account.encode(out);
        self.record.subject.encode(out);
        encode_bytes(&self.record.body.to_bytes(), out);
        self.signature.encode(out);
    }

    fn decode(input: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let kind = Kind::decode(input)?;
        let (epoch, account, subject) =
            (Wire::decode(input)?, Wire::decode(input)?, Wire::decode(input)?);
        let body = Body::from_kind(kind, &input.bytes(MAX_RECORD_BODY_BYTES)?)?;
        let signature = Wire::decode(input)?;
        Ok(Self { record: Record { epoch, account, subject, body }, signature })
    }
}

/// A record whose signature was checked, by the driver or by the chain. Only this enters a machine or `settle()`;
/// whether `signer` is the account's operator is a question to the chain, asked there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedRecord {
    id: Digest,
    signer: EvmAddress,
    is_well_formed: bool,
    signed: SignedRecord,
}

impl VerifiedRecord {
    /// The record's id.
    pub const fn id(&self) -> Digest {
        self.id
    }

    /// The address whose key signed, whoever that is.
    pub const fn signer(&self) -> EvmAddress {
        self.signer
    }

    /// [`Record::is_well_formed`], checked once with the signature.
    pub const fn is_well_formed(&self) -> bool {
        self.is_well_formed
    }

    /// The record without the signature.
    pub const fn record(&self) -> &Record {
        &self.signed.record
    }

    /// The record as it travels.
    pub const fn signed(&self) -> &SignedRecord {
        &self.signed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_type_hash_is_that_of_the_contracts() {
        let written =
            b"Record(uint8 kind,uint64 epoch,uint64 account,bytes32 subject,bytes32 body)";
        assert_eq!(keccak(&[written]).0, TYPE_HASH);
    }
}
