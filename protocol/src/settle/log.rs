//! The published log of an epoch, and its verification by anyone.

use alloc::{collections::BTreeMap, sync::Arc, vec::Vec};

use super::{Evidence, Outcome, SettleError, settle};
use crate::{
    chain::{ChainView, Settlement},
    codec::{DecodeError, Reader, Wire, encode_bytes, encode_count, encode_list},
    eip712::{Ecrecover, Recover},
    hash::blake3,
    ids::{AccountId, Amount, Digest, Epoch, Hash},
    limits::{MAX_LOG_RECORDS, MAX_OPENINGS_BYTES},
    record::SignedRecord,
};

/// Format version of the log.
const VERSION: u8 = 1;
/// Most accounts in the balances of a log.
const MAX_BALANCES: usize = 1 << 24;

/// Everything from which an epoch's payouts follow, besides the chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EpochLog {
    /// The epoch that is settled from it.
    pub epoch: Epoch,
    /// Id of the settlement before.
    pub parent: Digest,
    /// What each account had earned before.
    pub balances: Vec<(AccountId, Amount)>,
    /// The records, sorted by id.
    pub records: Vec<SignedRecord>,
    /// The openings that storage proofs name, in order of their addresses.
    pub openings: Vec<Vec<u8>>,
}

impl Wire for EpochLog {
    fn encode(&self, out: &mut Vec<u8>) {
        VERSION.encode(out);
        self.epoch.encode(out);
        self.parent.encode(out);
        encode_list(&self.balances, out);
        encode_list(&self.records, out);
        encode_count(self.openings.len(), out);
        for opening in &self.openings {
            encode_bytes(opening, out);
        }
    }

    fn decode(input: &mut Reader<'_>) -> Result<Self, DecodeError> {
        match u8::decode(input)? {
            VERSION => {}
            version => return Err(DecodeError::Tag(version)),
        }
        let (epoch, parent) = (Wire::decode(input)?, Wire::decode(input)?);
        let balances = input.list(MAX_BALANCES)?;
        let records = input.list(MAX_LOG_RECORDS)?;
        let count = input.count(MAX_LOG_RECORDS)?;
        let mut openings = Vec::new();
        for _ in 0..count {
            openings.push(input.bytes(MAX_OPENINGS_BYTES)?);
        }
        Ok(Self { epoch, parent, balances, records, openings })
    }
}

/// Why a settlement does not follow from its log.
#[expect(missing_docs, reason = "a message names its fields")]
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// The bytes are not those that the settlement names.
    #[error("the log is not the one on chain: its hash is {found}, the chain names {expected}")]
    LogHash {
        expected: Hash,
        /// Of the bytes.
        found: Hash,
    },
    /// The bytes are no log.
    #[error("the log cannot be read: {0}")]
    Malformed(#[from] DecodeError),
    /// The log is of another epoch.
    #[error("the log is of epoch {found}, not {expected}")]
    WrongEpoch {
        expected: Epoch,
        /// In the log.
        found: Epoch,
    },
    /// Nobody signed a record.
    #[error("record {0} of the log is not signed")]
    BadSignature(usize),
    /// The epoch cannot be settled from this log.
    #[error("{0}")]
    Settle(#[from] SettleError),
    /// The records are not those under the root on chain: one was dropped, added or changed.
    #[error(
        "the log's records give the root {found}, the chain has {expected}: a record was dropped, added or changed"
    )]
    RecordsRoot {
        expected: Digest,
        /// From the log.
        found: Digest,
    },
    /// The payouts are not those under the root on chain.
    #[error("the log pays {found} in all, the chain says {expected}: a payout was inflated or cut")]
    Payouts {
        /// Total on chain.
        expected: Amount,
        /// Total from the log.
        found: Amount,
        /// Root on chain and root from the log.
        roots: (Digest, Digest),
    },
    /// Counts or uses differ.
    #[error("the log gives other counts of proofs, faults or uses than the chain")]
    Counts,
}

/// Recomputes a settlement from the chain and the published log, trusting neither proposer nor peer.
///
/// # Errors
/// [`VerifyError`] naming the first thing that does not follow.
pub fn verify(
    chain: &ChainView,
    settlement: &Settlement,
    log: &[u8],
) -> Result<Outcome, VerifyError> {
    verify_with(chain, settlement, log, &Ecrecover)
}

/// [`verify`] with another way to find the signers of records.
///
/// # Errors
/// [`VerifyError`] naming the first thing that does not follow.
pub fn verify_with(
    chain: &ChainView,
    settlement: &Settlement,
    log: &[u8],
    signatures: &impl Recover,
) -> Result<Outcome, VerifyError> {
    let outcome = recompute(chain, settlement.epoch, log, signatures)?;
    let found = &outcome.settlement;
    if found.records_root != settlement.records_root {
        return Err(VerifyError::RecordsRoot {
            expected: settlement.records_root,
            found: found.records_root,
        });
    }
    if found.payout_root != settlement.payout_root || found.total != settlement.total {
        return Err(VerifyError::Payouts {
            expected: settlement.total,
            found: found.total,
            roots: (settlement.payout_root, found.payout_root),
        });
    }
    let hash = blake3(log);
    if hash != settlement.log || found.log != settlement.log {
        return Err(VerifyError::LogHash { expected: settlement.log, found: hash });
    }
    if found == settlement { Ok(outcome) } else { Err(VerifyError::Counts) }
}

/// Settles an epoch from a log's own evidence.
fn recompute(
    chain: &ChainView,
    epoch: Epoch,
    log: &[u8],
    signatures: &impl Recover,
) -> Result<Outcome, VerifyError> {
    let log = EpochLog::from_bytes(log)?;
    if log.epoch != epoch {
        return Err(VerifyError::WrongEpoch { expected: epoch, found: log.epoch });
    }
    let mut evidence = Evidence::default();
    for (index, record) in log.records.into_iter().enumerate() {
        let verified = record
            .verify_with(&chain.domain, signatures)
            .map_err(|_| VerifyError::BadSignature(index))?;
        evidence.records.insert(verified.id(), Arc::new(verified));
    }
    evidence.openings =
        log.openings.into_iter().map(|o| (blake3(&o), o)).collect::<BTreeMap<_, _>>();
    let (outcome, _) = settle(chain, epoch, &log.balances, &evidence)?;
    Ok(outcome)
}
