//! Records as call data: one encoding after the other, as the Coordinator takes them in.

use alloc::vec::Vec;

use super::SignedRecord;
use crate::{
    codec::{DecodeError, Reader, Wire},
    limits::MAX_RECORD_BODY_BYTES,
};

/// Kind, epoch, account and subject.
const HEADER_BYTES: usize = 49;
const SIGNATURE_BYTES: usize = 65;

/// The call data of some records.
pub fn encode(records: &[SignedRecord]) -> Vec<u8> {
    let mut out = Vec::new();
    for record in records {
        record.encode(&mut out);
    }
    out
}

/// The records of a batch that the chain took in, by their places in it. The chain knows no bodies: one
/// that is none of this protocol's is passed over, as it can earn nothing.
///
/// # Errors
/// [`DecodeError`] where the bytes are no sequence of records, which no contract of ours emits.
pub fn included(
    batch: &[u8],
    is_accepted: impl Fn(usize) -> bool,
) -> Result<Vec<SignedRecord>, DecodeError> {
    let mut found = Vec::new();
    let (mut rest, mut place) = (batch, 0usize);
    while !rest.is_empty() {
        let mut input = Reader::new(rest);
        input.take(HEADER_BYTES)?;
        let body = input.count(usize::MAX)?;
        input.take(body)?;
        input.take(SIGNATURE_BYTES)?;
        let (record, later) = rest.split_at(rest.len().saturating_sub(input.left()));
        if body <= MAX_RECORD_BODY_BYTES && is_accepted(place) {
            found.extend(SignedRecord::from_bytes(record));
        }
        (rest, place) = (later, place.saturating_add(1));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        eip712::Signature,
        ids::{AccountId, Digest, Epoch, Hash},
        record::{Body, Record, StorageProofBody},
    };

    fn record(account: u64) -> SignedRecord {
        let body = StorageProofBody { commit: Digest([1; 32]), openings: Hash([2; 32]), length: 3 };
        let record = Record {
            epoch: Epoch(7),
            account: AccountId(account),
            subject: Digest([4; 32]),
            body: Body::StorageProof(body),
        };
        SignedRecord { record, signature: Signature([5; 65]) }
    }

    #[test]
    fn the_accepted_records_come_back_in_order() {
        let sent: Vec<_> = (0..5).map(record).collect();
        let batch = encode(&sent);
        assert_eq!(included(&batch, |_| true), Ok(sent.clone()));
        let even = included(&batch, |place| place % 2 == 0).unwrap();
        assert_eq!(even, [sent[0].clone(), sent[2].clone(), sent[4].clone()]);
    }

    #[test]
    fn a_body_that_is_none_costs_that_record_only() {
        let mut batch = encode(&[record(1)]);
        let at = batch.len();
        batch.extend(encode(&[record(2), record(3)]));
        batch[at] = 99;
        assert_eq!(included(&batch, |_| true), Ok(alloc::vec![record(1), record(3)]));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes: Vec<u8>, mask: u64) {
            let read = included(&bytes, |place| mask >> (place % 64) & 1 == 1);
            if let Ok(records) = read {
                prop_assert!(records.len() <= bytes.len() / (HEADER_BYTES + SIGNATURE_BYTES));
            }
        }
    }
}
