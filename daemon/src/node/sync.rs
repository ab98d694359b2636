//! Pull sync: asking one peer for the records that gossip did not bring and the chain does not have yet.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use protocol::eip712::Domain;
use protocol::message::{Answer, Request};
use protocol::record::{SignedRecord, VerifiedRecord};
use protocol::sync::{Part, Step};
use protocol::{Digest, Epoch, NodeId};
use tokio::sync::mpsc;

use super::pool::Pool;

/// Questions of one round at most: a peer that always differs does not keep us busy.
const MAX_QUESTIONS: usize = 1024;
/// How long a round may take.
pub(super) const DEADLINE: Duration = Duration::from_secs(30);
/// Between two rounds, and between two with the same peer at least.
pub(super) const PAUSE: Duration = Duration::from_secs(2);
/// … with a peer of whom nothing was to be had, at most.
const LONGEST_PAUSE: Duration = Duration::from_secs(300);
/// Rounds at a time: slow peers may not keep all others waiting.
const AT_ONCE: usize = 4;

/// With whom to sync next. A peer that answers late, wrongly, or always differs without having anything
/// is asked less and less often.
#[derive(Debug, Default)]
pub(super) struct Turns {
    of: BTreeMap<NodeId, Turn>,
}

#[derive(Debug)]
struct Turn {
    is_running: bool,
    /// When it may be asked again, and how long it waited for that.
    due: Instant,
    pause: Duration,
}

impl Turns {
    /// The peer that waited longest, with whom a round begins now.
    pub(super) fn begin(&mut self, peers: &[NodeId], now: Instant) -> Option<NodeId> {
        // What a peer did outlives its connection: it cannot begin anew by leaving.
        self.of.retain(|peer, turn| {
            let is_remembered = turn.pause > PAUSE && turn.due + LONGEST_PAUSE > now;
            turn.is_running || is_remembered || peers.contains(peer)
        });
        for peer in peers {
            self.of.entry(*peer).or_insert(Turn { is_running: false, due: now, pause: PAUSE });
        }
        if self.of.values().filter(|turn| turn.is_running).count() >= AT_ONCE {
            return None;
        }
        let is_due = |peer: &NodeId, turn: &Turn| {
            !turn.is_running && turn.due <= now && peers.contains(peer)
        };
        let due = self.of.iter_mut().filter(|(peer, turn)| is_due(peer, turn));
        let (peer, turn) = due.min_by_key(|(_, turn)| turn.due)?;
        turn.is_running = true;
        Some(*peer)
    }

    /// A round has ended, and was of use or showed that there was nothing to bring, or neither.
    pub(super) fn end(&mut self, peer: NodeId, was_good: bool, now: Instant) {
        if let Some(turn) = self.of.get_mut(&peer) {
            turn.pause = if was_good { PAUSE } else { (turn.pause * 2).min(LONGEST_PAUSE) };
            turn.due = now + turn.pause;
            turn.is_running = false;
        }
    }
}

/// One round with one peer.
pub(super) struct Round<Ask, Keep> {
    pool: Pool,
    domain: Domain,
    /// Sends a question; nothing when there is no answer.
    ask: Ask,
    /// Keeps a record, or says that it is not worth it.
    keep: Keep,
    /// Takes what was kept.
    out: mpsc::Sender<Vec<Arc<VerifiedRecord>>>,
    questions: usize,
    /// Whether the peer has something else than this node, and how many of it were kept.
    differs: bool,
    kept: usize,
}

impl<Ask, Keep> Round<Ask, Keep>
where
    Ask: AsyncFn(Request) -> Option<Answer>,
    Keep: Fn(&Arc<VerifiedRecord>) -> bool,
{
    pub(super) fn new(
        pool: Pool,
        domain: Domain,
        ask: Ask,
        keep: Keep,
        out: mpsc::Sender<Vec<Arc<VerifiedRecord>>>,
    ) -> Self {
        Self { pool, domain, ask, keep, out, questions: 0, differs: false, kept: 0 }
    }

    /// Compares epochs with the peer's; whether it answered as it should, and had what was lacking.
    pub(super) async fn run(mut self, epochs: impl IntoIterator<Item = Epoch>) -> bool {
        for epoch in epochs {
            if self.pull(epoch).await.is_none() {
                return false;
            }
        }
        self.kept > 0 || !self.differs
    }

    /// Compares an epoch with the peer's, and fetches what is lacking; nothing when the peer does
    /// not answer, or not as it should.
    async fn pull(&mut self, epoch: Epoch) -> Option<()> {
        let mut steps = vec![Step::first(self.pool.count(epoch) > 0)];
        // Depth first: what is open stays as small as the tree is deep.
        while let Some(step) = steps.pop() {
            match step {
                Step::Fetch(part) => self.fetch(epoch, part).await?,
                Step::Divide(part) => {
                    let asked = self.question(Request::Sums { epoch, part }).await?;
                    let Answer::Sums(theirs) = asked else { return None };
                    steps.extend(Step::after(part, &self.pool.sums(epoch, part), &theirs)?);
                    self.differs |= !steps.is_empty();
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
            // A page that does not go on would be asked for without end.
            if last <= after {
                return None;
            }
            self.differs = true;
            let is_new = |r: &SignedRecord| !self.pool.contains(&r.record.id(&self.domain));
            // Known ones are left out before their signatures are looked at.
            let fresh = page.into_iter().filter(is_new);
            let fresh = fresh.filter_map(|r| r.verify(&self.domain).ok()).map(Arc::new);
            let fresh: Vec<_> = fresh.filter(&self.keep).collect();
            self.kept += fresh.len();
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
        let keep = |record: &Arc<VerifiedRecord>| ours.insert(record).unwrap();
        let mut round = Round::new(ours.clone(), domain(), ask, keep, out);
        round.pull(EPOCH).await.unwrap();
        let questions = round.questions;
        drop(round);
        let mut came = Vec::new();
        while let Some(page) = records.recv().await {
            came.extend(page.iter().map(|record| record.id()));
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

    /// Who differs and has nothing is heard out, and has to wait longer next time.
    #[tokio::test]
    async fn what_is_not_kept_is_of_no_use() {
        let dir = tempfile::tempdir().unwrap();
        let (one, other) = (dir.path().join("one"), dir.path().join("other"));
        let (ours, theirs) = (pool(&one, 0..9).await, pool(&other, 0..12).await);
        let ask = async |request| theirs.answer(&request);
        for (keeps, is_of_use) in [(false, false), (true, true), (false, true)] {
            let (out, mut records) = mpsc::channel(1024);
            let keep = |record: &Arc<VerifiedRecord>| keeps && ours.insert(record).unwrap();
            let round = Round::new(ours.clone(), domain(), ask, keep, out);
            assert_eq!(round.run([EPOCH]).await, is_of_use, "{keeps}");
            assert_eq!(records.recv().await.is_some(), keeps);
        }
        let (out, _records) = mpsc::channel(1024);
        let silent = async |_| None;
        assert!(!Round::new(ours, domain(), silent, |_| true, out).run([EPOCH]).await);
    }

    #[test]
    fn a_slow_peer_has_one_round_and_keeps_nobody_waiting() {
        let peers: Vec<_> = (0..9).map(|n| NodeId([n; 32])).collect();
        let (mut turns, start) = (Turns::default(), Instant::now());
        let begun: Vec<_> = (0..20).filter_map(|_| turns.begin(&peers, start)).collect();
        let distinct: std::collections::BTreeSet<_> = begun.iter().collect();
        assert_eq!((begun.len(), distinct.len()), (AT_ONCE, AT_ONCE));
        turns.end(begun[0], true, start);
        let next = turns.begin(&peers, start).unwrap();
        assert!(!begun.contains(&next), "whoever was not asked comes first");
    }

    #[test]
    fn a_peer_without_use_waits_longer_each_time_also_when_it_comes_again() {
        let (bad, good) = (NodeId([1; 32]), NodeId([2; 32]));
        let (mut turns, start) = (Turns::default(), Instant::now());
        let (mut asked, mut now) = (BTreeMap::new(), start);
        while now < start + Duration::from_secs(600) {
            let both = [bad, good];
            // It leaves in between, and its score stays.
            let away = turns.begin(&both[1..], now);
            if let Some(peer) = away.or_else(|| turns.begin(&both, now)) {
                *asked.entry(peer).or_insert(0) += 1;
                turns.end(peer, peer == good, now);
            }
            now += Duration::from_secs(1);
        }
        assert!(asked[&bad] <= 10 && asked[&good] >= 250, "{asked:?}");
    }
}
