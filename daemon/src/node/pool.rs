//! The records that this node knows: its own and those that the chain took in durable in the log, the
//! others in memory alone and for as long as they may still come in.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex};

use protocol::awaited::Awaited;
use protocol::chain::ChainView;
use protocol::codec::{DecodeError, Wire};
use protocol::limits::{MAX_MESSAGE_BYTES, MAX_RECORDS_PER_ANSWER};
use protocol::message::{Answer, Request};
use protocol::record::{SignedRecord, VerifiedRecord};
use protocol::sync::{Part, Sum};
use protocol::{Digest, Epoch, eip712};
use storage::Store;
use storage::record_log::LogError;

/// Bytes after which a pull-sync answer has no further record.
const PAGE: usize = MAX_MESSAGE_BYTES;

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
    awaited: Awaited,
    /// The ids of both.
    by_epoch: BTreeMap<Epoch, BTreeSet<Digest>>,
}

impl Records {
    fn insert(&mut self, record: Arc<VerifiedRecord>) {
        self.list(&record);
        self.by_id.insert(record.id(), record);
    }

    fn list(&mut self, record: &VerifiedRecord) {
        self.by_epoch.entry(record.record().epoch).or_default().insert(record.id());
    }

    fn get(&self, id: &Digest) -> Option<&Arc<VerifiedRecord>> {
        self.by_id.get(id).or_else(|| self.awaited.get(id))
    }

    /// The ids of an epoch between two, in order.
    fn ids(&self, epoch: Epoch, range: RangeInclusive<Digest>) -> impl Iterator<Item = &Digest> {
        self.by_epoch.get(&epoch).into_iter().flat_map(move |ids| ids.range(range.clone()))
    }
}

impl Pool {
    /// Reads the log; records whose signature does not hold are left out, and so are damaged ones:
    /// the chain has them too, and brings them back.
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

    /// Appends a record durably; `false` when it was known, if only in memory.
    pub(crate) fn insert(&self, record: &Arc<VerifiedRecord>) -> Result<bool, LogError> {
        if self.lock().by_id.contains_key(&record.id()) {
            return Ok(false);
        }
        let epoch = record.record().epoch.0;
        self.store.log().append(epoch, &record.signed().to_bytes())?;
        let mut records = self.lock();
        let was_awaited = records.awaited.remove(record);
        records.insert(Arc::clone(record));
        Ok(!was_awaited)
    }

    /// Keeps a record that the chain may take in, in memory; `false` when it was known or is not
    /// awaited.
    pub(crate) fn hold(&self, chain: &ChainView, record: &Arc<VerifiedRecord>) -> bool {
        let mut records = self.lock();
        let is_new = records.get(&record.id()).is_none() && records.awaited.take(chain, record);
        if is_new {
            records.list(record);
        }
        is_new
    }

    /// Forgets what the chain can take in no more.
    pub(crate) fn forget_late(&self, chain: &ChainView) {
        let mut records = self.lock();
        for late in records.awaited.forget_late(chain) {
            let epoch = late.record().epoch;
            if let Some(ids) = records.by_epoch.get_mut(&epoch) {
                ids.remove(&late.id());
            }
        }
    }

    pub(crate) fn contains(&self, id: &Digest) -> bool {
        self.lock().get(id).is_some()
    }

    pub(crate) fn get(&self, id: &Digest) -> Option<Arc<VerifiedRecord>> {
        self.lock().get(id).cloned()
    }

    /// All that the node knows, whether the chain took it in or not.
    pub(crate) fn all(&self) -> Vec<Arc<VerifiedRecord>> {
        let records = self.lock();
        records.by_id.values().chain(records.awaited.iter()).cloned().collect()
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
        part.parts().map(|part| Sum::of(records.ids(epoch, part.range()).copied())).collect()
    }

    /// A page of the records of a part of an epoch after an id.
    fn page(&self, epoch: Epoch, part: Part, after: Digest) -> Vec<SignedRecord> {
        let records = self.lock();
        let (first, last) = part.range().into_inner();
        if after >= last {
            return Vec::new();
        }
        let later = records.ids(epoch, first.max(after)..=last).filter(|id| **id > after);
        let found = later.filter_map(|id| records.get(id)).take(MAX_RECORDS_PER_ANSWER);
        let mut bytes = 0;
        let has_room = |record: &&Arc<VerifiedRecord>| {
            let before = bytes;
            bytes += record.signed().to_bytes().len();
            before < PAGE
        };
        found.take_while(has_room).map(|record| record.signed().clone()).collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Records> {
        self.records.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use protocol::eip712::EvmKey;
    use protocol::limits::MAX_SHARDS_PER_ROUND;
    use protocol::record::{AuditBody, Body, Finding, Record, RoundCloseBody};
    use protocol::{AccountId, EvmAddress, Hash, ModelId, Round};
    use storage::StoreConfig;

    use super::*;
    use crate::net::MAX_REQUEST;

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

    #[tokio::test]
    async fn a_page_of_large_records_fits_an_answer() {
        let dir = tempfile::tempdir().unwrap();
        let domain = eip712::Domain::new(1, EvmAddress([1; 20]));
        let key = EvmKey::from_bytes(&[7; 32]).unwrap();
        let store = Arc::new(Store::open(dir.path(), StoreConfig::default()).await.unwrap());
        let pool = Pool::open(store, &domain).unwrap();
        let epoch = Epoch(4);
        for account in 0..100 {
            let body = RoundCloseBody {
                model: ModelId(1),
                round: Round(1),
                base: Hash::ZERO,
                shards: vec![Digest::ZERO; MAX_SHARDS_PER_ROUND],
                next: Hash::ZERO,
            };
            let (account, body) = (AccountId(account), Body::RoundClose(body));
            let record = Record { epoch, account, subject: Digest::ZERO, body };
            pool.insert(&Arc::new(record.sign(&domain, &key).unwrap().verify(&domain).unwrap()))
                .unwrap();
        }
        let (part, mut after, mut found) = (Part::ALL, Digest::ZERO, 0);
        loop {
            let answer = pool.answer(&Request::Records { epoch, part, after }).unwrap();
            assert!(answer.to_bytes().len() <= MAX_REQUEST, "{}", answer.to_bytes().len());
            let Answer::Records(page) = answer else { panic!("records were asked for") };
            let Some(last) = page.last() else { break };
            found += page.len();
            after = last.record.id(&domain);
        }
        assert_eq!(found, 100, "every record is on one page");
    }
}
