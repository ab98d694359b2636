//! Having this node's own records on the chain: what is not there earns nothing.

use alloc::{collections::BTreeMap, sync::Arc, vec::Vec};

use super::{Node, outbox::Outgoing};
use crate::{
    chain::{ChainView, Transaction},
    codec::Wire as _,
    ids::{BlockNumber, Digest, Epoch},
    limits::{MAX_BATCH_BYTES, MAX_RECORDS_PER_BATCH},
    record::{SignedRecord, VerifiedRecord},
    rules::{included_in, of_use_until},
};

/// Own records that the chain does not show yet.
pub(super) type Unincluded = BTreeMap<Digest, (Arc<VerifiedRecord>, Outgoing)>;

impl Node {
    /// A record of this node came back signed, now or from the log after a restart.
    pub(super) fn have_included(&mut self, chain: &ChainView, record: &Arc<VerifiedRecord>) {
        if is_open(chain, record) {
            let waiting = (Arc::clone(record), Outgoing::new());
            self.unincluded.entry(record.id()).or_insert(waiting);
        }
    }

    /// Sends what is due, all that was signed since the last block together.
    pub(super) fn advance_inclusions(&mut self, chain: &ChainView) {
        let now = chain.now();
        self.unincluded.retain(|_, (record, _)| is_open(chain, record));
        let mut due: BTreeMap<Epoch, Vec<SignedRecord>> = BTreeMap::new();
        for (record, outgoing) in self.unincluded.values_mut() {
            if outgoing.send(now) {
                due.entry(record.record().epoch).or_default().push(record.signed().clone());
            }
        }
        for (epoch, records) in due {
            for records in batches(records) {
                self.submit(Transaction::Include { epoch, records });
            }
        }
        if self.unincluded.is_empty() {
            // A node that rests holds no buffers.
            self.unincluded = BTreeMap::new();
        }
    }

    /// The block in which something is to be sent, for the first time or again.
    pub(super) fn inclusions_wake(&self) -> Option<BlockNumber> {
        self.unincluded.values().map(|(_, outgoing)| outgoing.due()).min()
    }
}

/// Whether a record can still be of use on the chain, and is not there. A transaction of now is in the
/// next block at the earliest.
fn is_open(chain: &ChainView, record: &VerifiedRecord) -> bool {
    chain.now() < of_use_until(chain, record) && included_in(chain, record).is_none()
}

/// Cuts records into transactions that are not too large for a block.
fn batches(records: Vec<SignedRecord>) -> Vec<Vec<SignedRecord>> {
    let mut batches: Vec<Vec<SignedRecord>> = Vec::new();
    let mut bytes = 0usize;
    for record in records {
        let size = record.to_bytes().len();
        bytes = bytes.saturating_add(size);
        match batches.last_mut() {
            Some(last) if last.len() < MAX_RECORDS_PER_BATCH && bytes <= MAX_BATCH_BYTES => {
                last.push(record);
            }
            _ => {
                bytes = size;
                batches.push(alloc::vec![record]);
            }
        }
    }
    batches
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        eip712::Signature,
        ids::{AccountId, Hash},
        ids::{ModelId, Round},
        record::{Body, Record, RoundCloseBody},
    };

    fn record(account: u64, shards: usize) -> SignedRecord {
        let body = RoundCloseBody {
            model: ModelId(1),
            round: Round(1),
            base: Hash::ZERO,
            shards: alloc::vec![Digest::ZERO; shards],
            next: Hash::ZERO,
        };
        let record = Record {
            epoch: Epoch(1),
            account: AccountId(account),
            subject: Digest::ZERO,
            body: Body::RoundClose(body),
        };
        SignedRecord { record, signature: Signature([0; 65]) }
    }

    #[test]
    fn a_batch_has_no_more_records_or_bytes_than_a_block_takes() {
        let many: Vec<_> = (0..130).map(|account| record(account, 1)).collect();
        let sizes: Vec<_> = batches(many.clone()).iter().map(Vec::len).collect();
        assert_eq!(sizes, [64, 64, 2]);
        assert_eq!(batches(many.clone()).concat(), many, "nothing is lost, nothing twice");
        let large: Vec<_> = (0..3).map(|account| record(account, 2000)).collect();
        assert_eq!(batches(large).len(), 2, "two of 64 kB are as much as fits");
    }
}
