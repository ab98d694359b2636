//! The records that this node knows: durable in the log, by id in memory.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use protocol::codec::{DecodeError, Wire};
use protocol::message::{Answer, Request};
use protocol::record::{SignedRecord, VerifiedRecord};
use protocol::sync::{Part, Sum};
use protocol::{Digest, Epoch, eip712};
use storage::Store;
use storage::record_log::LogError;

/// Records of one pull-sync answer: well below the limit of an answer in bytes.
const PAGE: usize = 32;

/// A record that could not be kept.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PoolError {
    /// The log refused it; the message says what to do.
    #[error(transparent)]
    Log(#[from] LogError),
    /// What the log holds is no record.
    #[error(
        "the record log holds something that is not a record: {0}; keep the directory and report it"
    )]
    Decode(#[from] DecodeError),
}

/// Records by id, backed by the log.
#[derive(Debug, Clone)]
pub(crate) struct Pool {
    store: Arc<Store>,
    records: Arc<Mutex<Records>>,
}

#[derive(Debug, Default)]
struct Records {
    by_id: BTreeMap<Digest, Arc<VerifiedRecord>>,
    by_epoch: BTreeMap<Epoch, BTreeSet<Digest>>,
}

impl Records {
    fn insert(&mut self, record: Arc<VerifiedRecord>) {
        self.by_epoch.entry(record.record().epoch).or_default().insert(record.id());
        self.by_id.insert(record.id(), record);
    }

    /// The ids of a part of an epoch, in order.
    fn ids(&self, epoch: Epoch, part: Part) -> impl Iterator<Item = &Digest> {
        self.by_epoch.get(&epoch).into_iter().flat_map(move |ids| ids.range(part.range()))
    }
}

impl Pool {
    /// Reads the log; records whose signature does not hold are left out, and so are damaged ones:
    /// peers have them too, and pull sync brings them back.
    pub(crate) fn open(store: Arc<Store>, domain: &eip712::Domain) -> Result<Self, PoolError> {
        let mut records = Records::default();
        for frame in store.log().iter()? {
            let bytes = match frame {
                Ok((_, bytes)) => bytes,
                Err(error @ LogError::Corrupt { .. }) => {
                    tracing::error!(%error, "the other records are read");
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            if let Ok(verified) = SignedRecord::from_bytes(&bytes)?.verify(domain) {
                records.insert(Arc::new(verified));
            }
        }
        Ok(Self { store, records: Arc::new(Mutex::new(records)) })
    }

    /// Appends a record durably; `false` when it was known.
    pub(crate) fn insert(&self, record: &Arc<VerifiedRecord>) -> Result<bool, LogError> {
        if self.contains(&record.id()) {
            return Ok(false);
        }
        let epoch = record.record().epoch.0;
        self.store.log().append(epoch, &record.signed().to_bytes())?;
        self.lock().insert(Arc::clone(record));
        Ok(true)
    }

    pub(crate) fn contains(&self, id: &Digest) -> bool {
        self.lock().by_id.contains_key(id)
    }

    pub(crate) fn get(&self, id: &Digest) -> Option<Arc<VerifiedRecord>> {
        self.lock().by_id.get(id).cloned()
    }

    /// All records, in order of ids.
    pub(crate) fn all(&self) -> Vec<Arc<VerifiedRecord>> {
        self.lock().by_id.values().cloned().collect()
    }

    /// How many records of an epoch there are.
    pub(crate) fn count(&self, epoch: Epoch) -> usize {
        self.lock().by_epoch.get(&epoch).map_or(0, BTreeSet::len)
    }

    /// The answer to a question about records; `None` for other questions.
    pub(crate) fn answer(&self, request: &Request) -> Option<Answer> {
        match *request {
            Request::Records { epoch, part, after } => {
                Some(Answer::Records(self.page(epoch, part, after)))
            }
            Request::Sums { epoch, part } => Some(Answer::Sums(self.sums(epoch, part))),
            Request::Has(_) => None,
        }
    }

    /// The sums of the parts of a part of an epoch.
    pub(crate) fn sums(&self, epoch: Epoch, part: Part) -> Vec<Sum> {
        let records = self.lock();
        part.parts().map(|part| Sum::of(records.ids(epoch, part).copied())).collect()
    }

    /// A page of the records of a part of an epoch after an id.
    fn page(&self, epoch: Epoch, part: Part, after: Digest) -> Vec<SignedRecord> {
        let records = self.lock();
        let later = records.ids(epoch, part).filter(|id| **id > after);
        let found = later.take(PAGE).filter_map(|id| records.by_id.get(id));
        found.map(|record| record.signed().clone()).collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Records> {
        self.records.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use protocol::eip712::EvmKey;
    use protocol::record::{AuditBody, Body, Finding, Record};
    use protocol::{AccountId, EvmAddress};
    use storage::StoreConfig;

    use super::*;

    #[tokio::test]
    async fn a_damaged_record_costs_that_record_only() {
        let dir = tempfile::tempdir().unwrap();
        let domain = eip712::Domain::new(1, EvmAddress([1; 20]));
        let key = EvmKey::from_bytes(&[7; 32]).unwrap();
        let open =
            || async { Arc::new(Store::open(dir.path(), StoreConfig::default()).await.unwrap()) };
        let store = open().await;
        let pool = Pool::open(Arc::clone(&store), &domain).unwrap();
        let mut ids = Vec::new();
        for work in 0..3 {
            let work = Digest([work; 32]);
            let body = AuditBody { of: AccountId(2), work, finding: Finding::StorageMissing };
            let (epoch, account, subject) = (Epoch(4), AccountId(1), Digest::ZERO);
            let record = Record { epoch, account, subject, body: Body::Audit(body) };
            let record = Arc::new(record.sign(&domain, &key).unwrap().verify(&domain).unwrap());
            assert!(pool.insert(&record).unwrap());
            ids.push(record.id());
        }
        drop(pool);
        Arc::into_inner(store).unwrap().close().await;

        let log = dir.path().join("log");
        let segment = std::fs::read_dir(&log).unwrap().next().unwrap().unwrap().path();
        let mut bytes = std::fs::read(&segment).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(&segment, &bytes).unwrap();
        let pool = Pool::open(open().await, &domain).unwrap();
        let known: Vec<_> = ids.iter().map(|id| pool.contains(id)).collect();
        assert_eq!(known, [true, false, true]);
    }
}
