//! Pull sync: asking one peer for the records that gossip did not bring.

use protocol::eip712::Domain;
use protocol::message::{Answer, Request};
use protocol::record::{SignedRecord, VerifiedRecord};
use protocol::sync::{Part, Step};
use protocol::{Digest, Epoch};
use tokio::sync::mpsc;

use super::pool::Pool;

/// Questions of one round at most: a peer that always differs does not keep us busy.
const MAX_QUESTIONS: usize = 1024;

/// One round with one peer.
pub(super) struct Round<Ask> {
    pub(super) pool: Pool,
    pub(super) domain: Domain,
    /// Sends a question; nothing when there is no answer.
    pub(super) ask: Ask,
    pub(super) out: mpsc::Sender<Vec<VerifiedRecord>>,
    pub(super) questions: usize,
}

impl<Ask: AsyncFn(Request) -> Option<Answer>> Round<Ask> {
    pub(super) fn new(
        pool: Pool,
        domain: Domain,
        ask: Ask,
        out: mpsc::Sender<Vec<VerifiedRecord>>,
    ) -> Self {
        Self { pool, domain, ask, out, questions: 0 }
    }

    /// Compares an epoch with the peer's, and fetches what is lacking; nothing when the peer does
    /// not answer, or not as it should.
    pub(super) async fn pull(&mut self, epoch: Epoch) -> Option<()> {
        let mut steps = vec![Step::first(self.pool.count(epoch) > 0)];
        // Depth first: what is open stays as small as the tree is deep.
        while let Some(step) = steps.pop() {
            match step {
                Step::Fetch(part) => self.fetch(epoch, part).await?,
                Step::Divide(part) => {
                    let asked = self.question(Request::Sums { epoch, part }).await?;
                    let Answer::Sums(theirs) = asked else { return None };
                    steps.extend(Step::after(part, &self.pool.sums(epoch, part), &theirs)?);
                }
            }
        }
        Some(())
    }

    /// Fetches the records of a part, page by page, and hands over those that are new.
    async fn fetch(&mut self, epoch: Epoch, part: Part) -> Option<()> {
        let mut after = Digest::ZERO;
        loop {
            let request = Request::Records { epoch, part, after };
            let Answer::Records(page) = self.question(request).await? else { return None };
            let Some(last) = page.last().map(|record| record.record.id(&self.domain)) else {
                return Some(());
            };
            let is_new = |r: &SignedRecord| !self.pool.contains(&r.record.id(&self.domain));
            // Known ones are left out before their signatures are looked at.
            let fresh = page.into_iter().filter(is_new);
            let fresh: Vec<_> = fresh.filter_map(|r| r.verify(&self.domain).ok()).collect();
            // A page that does not go on would be asked for without end.
            if last <= after {
                return None;
            }
            if !fresh.is_empty() {
                self.out.send(fresh).await.ok()?;
            }
            after = last;
        }
    }

    async fn question(&mut self, request: Request) -> Option<Answer> {
        self.questions += 1;
        if self.questions > MAX_QUESTIONS {
            return None;
        }
        (self.ask)(request).await
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::sync::Arc;

    use protocol::codec::Wire;
    use protocol::eip712::EvmKey;
    use protocol::record::{AuditBody, Body, Finding, Record};
    use protocol::{AccountId, EvmAddress};
    use storage::{Store, StoreConfig};

    use super::*;

    const EPOCH: Epoch = Epoch(4);

    fn domain() -> Domain {
        Domain::new(1, EvmAddress([1; 20]))
    }

    fn record(number: u16) -> Arc<VerifiedRecord> {
        let mut work = Digest::ZERO;
        work.0[..2].copy_from_slice(&number.to_be_bytes());
        let body = AuditBody { of: AccountId(2), work, finding: Finding::StorageMissing };
        let key = EvmKey::from_bytes(&[7; 32]).unwrap();
        let (account, subject, body) = (AccountId(1), Digest::ZERO, Body::Audit(body));
        let record = Record { epoch: EPOCH, account, subject, body };
        Arc::new(record.sign(&domain(), &key).unwrap().verify(&domain()).unwrap())
    }

    async fn pool(dir: &std::path::Path, numbers: impl Iterator<Item = u16>) -> Pool {
        let store = Arc::new(Store::open(dir, StoreConfig::default()).await.unwrap());
        let pool = Pool::open(store, &domain()).unwrap();
        for number in numbers {
            pool.insert(&record(number)).unwrap();
        }
        pool
    }

    /// One round between pools with these records: what came, questions, and bytes of all answers.
    async fn round(
        ours: impl Iterator<Item = u16>,
        theirs: impl Iterator<Item = u16>,
    ) -> (Vec<Digest>, usize, usize) {
        let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (ours, theirs) = (pool(one.path(), ours).await, pool(other.path(), theirs).await);
        let bytes = Cell::new(0);
        let ask = async |request| {
            let answer = theirs.answer(&request)?;
            bytes.set(bytes.get() + answer.to_bytes().len());
            Some(answer)
        };
        let (out, mut records) = mpsc::channel(1024);
        let mut round = Round::new(ours, domain(), ask, out);
        round.pull(EPOCH).await.unwrap();
        let questions = round.questions;
        drop(round);
        let mut came = Vec::new();
        while let Some(page) = records.recv().await {
            came.extend(page.iter().map(VerifiedRecord::id));
        }
        (came, questions, bytes.get())
    }

    #[tokio::test]
    async fn who_has_the_same_is_asked_once() {
        let (came, questions, bytes) = round(0..200, 0..200).await;
        assert_eq!((came.len(), questions), (0, 1));
        assert!(bytes < 400, "{bytes}");
    }

    #[tokio::test]
    async fn only_what_is_lacking_comes() {
        let (came, questions, bytes) = round(5..300, 0..290).await;
        let missing: std::collections::BTreeSet<_> = (0..5).map(|n| record(n).id()).collect();
        let came: std::collections::BTreeSet<_> = came.into_iter().collect();
        assert_eq!(came, missing);
        assert!(questions < 60, "{questions}");
        let whole = 290 * record(0).signed().to_bytes().len();
        assert!(bytes * 4 < whole, "{bytes} of {whole}");
    }

    #[tokio::test]
    async fn who_has_nothing_gets_everything_once() {
        let (came, _, _) = round(0..0, 0..100).await;
        let distinct: std::collections::BTreeSet<_> = came.iter().collect();
        assert_eq!((came.len(), distinct.len()), (100, 100));
        assert_eq!(round(0..9, 0..0).await.0.len(), 0);
    }
}
