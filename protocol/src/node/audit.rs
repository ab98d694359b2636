//! Judging the storage proofs of others.

use alloc::{collections::BTreeMap, sync::Arc};

use super::{Done, Event, Failure, Job, Node, Pending};
use crate::{
    chain::{ChainView, Purpose},
    ids::{AccountId, BlockNumber, Digest, Epoch},
    record::{AuditBody, Body, Finding, Verdict, VerifiedRecord, audit_subject, storage_subject},
};

/// Proofs that are kept until it is known who audits them: the chain view may lag behind gossip.
const MAX_EARLY: usize = 4096;

/// Whose storage this node audits in the current epoch, and how far it is.
#[derive(Debug)]
pub(super) struct Auditing {
    epoch: Epoch,
    is_drawn: bool,
    of: BTreeMap<AccountId, State>,
    /// Proofs that came before the auditors were drawn.
    early: BTreeMap<(Epoch, AccountId), Arc<VerifiedRecord>>,
}

#[derive(Debug, Clone)]
enum State {
    Expected,
    Shown { proof: Arc<VerifiedRecord>, is_running: bool },
    Reported,
}

impl Auditing {
    pub(super) const fn new() -> Self {
        Self { epoch: Epoch(0), is_drawn: false, of: BTreeMap::new(), early: BTreeMap::new() }
    }

    fn enter(&mut self, epoch: Epoch) {
        if self.epoch < epoch {
            self.epoch = epoch;
            self.is_drawn = false;
            self.of.clear();
            self.early.retain(|(of, _), _| *of >= epoch);
        }
        assert!(self.epoch >= epoch, "audits of an epoch that is over are not taken up again");
    }
}

/// The block in which an auditor reports the proofs that have not come by then.
fn report_deadline(chain: &ChainView, epoch: Epoch) -> BlockNumber {
    chain.schedule.start(epoch.next()).before(chain.params().holding.audit_blocks)
}

impl Node {
    /// Notes whose storage this node audits, as soon as it is drawn.
    fn draw_audits(&mut self, chain: &ChainView, epoch: Epoch) {
        self.auditing.enter(epoch);
        if !self.auditing.is_drawn && chain.seed(epoch, Purpose::Open).is_some() {
            self.auditing.is_drawn = true;
            let duties = chain.audit_duties(epoch);
            for holder in duties.get(&self.account).into_iter().flatten() {
                assert!(*holder != self.account, "nobody audits its own storage");
                let early = self.auditing.early.remove(&(epoch, *holder));
                let state = early
                    .map_or(State::Expected, |proof| State::Shown { proof, is_running: false });
                self.auditing.of.entry(*holder).or_insert(state);
            }
            // What is left is of holders that others audit.
            self.auditing.early.clear();
        }
    }

    pub(super) fn advance_audits(&mut self, chain: &ChainView, epoch: Epoch) {
        self.draw_audits(chain, epoch);
        let deadline = report_deadline(chain, epoch);
        let is_late = chain.head().is_some_and(|head| head.number >= deadline);
        let open: alloc::vec::Vec<_> =
            self.auditing.of.iter().map(|(holder, state)| (*holder, state.clone())).collect();
        for (holder, state) in open {
            match state {
                // Judged before and not answered: asked again at every block until it is late.
                State::Shown { proof, is_running: false } if !is_late => {
                    self.judge(holder, proof);
                }
                State::Expected | State::Shown { is_running: false, .. } if is_late => {
                    self.report(epoch, holder, Finding::StorageMissing);
                }
                _ => {}
            }
        }
    }

    /// The block from which on an audit may go on by itself.
    pub(super) fn audits_wake(&self, chain: &ChainView) -> Option<BlockNumber> {
        let epoch = chain.epoch();
        if !self.auditing.is_drawn && chain.seed(epoch, Purpose::Open).is_some() {
            return Some(BlockNumber(0));
        }
        let deadline = report_deadline(chain, epoch);
        let wakes = self.auditing.of.values().filter_map(|state| match state {
            State::Expected => Some(deadline),
            State::Shown { is_running: false, .. } => Some(BlockNumber(0)),
            State::Shown { .. } | State::Reported => None,
        });
        wakes.min()
    }

    pub(super) fn on_proof(&mut self, chain: &ChainView, record: &Arc<VerifiedRecord>) {
        let made = record.record();
        if made.account == self.account {
            self.on_own_proof(made.epoch);
            return;
        }
        if self.epoch.is_some() {
            self.draw_audits(chain, chain.epoch());
        } else {
            self.auditing.enter(chain.epoch());
        }
        let is_expected = made.epoch == self.auditing.epoch
            && matches!(self.auditing.of.get(&made.account), Some(State::Expected));
        if is_expected {
            self.judge(made.account, Arc::clone(record));
        } else if !self.auditing.is_drawn
            && (made.epoch == self.auditing.epoch || made.epoch == self.auditing.epoch.next())
            && self.auditing.early.len() < MAX_EARLY
        {
            self.auditing
                .early
                .entry((made.epoch, made.account))
                .or_insert_with(|| Arc::clone(record));
            let kept = self.auditing.early.len();
            assert!(kept <= MAX_EARLY, "proofs that came early are bounded");
        }
    }

    fn judge(&mut self, holder: AccountId, proof: Arc<VerifiedRecord>) {
        let state = self.auditing.of.get(&holder);
        assert!(
            matches!(state, Some(State::Expected | State::Shown { is_running: false, .. })),
            "a proof is judged once at a time, and not after its verdict"
        );
        let job = Job::AuditStorage { proof: Arc::clone(&proof) };
        let pending = Pending::AuditStorage(self.auditing.epoch, holder, proof.id());
        self.auditing.of.insert(holder, State::Shown { proof, is_running: true });
        self.start(pending, job);
    }

    pub(super) fn on_storage_judged(
        &mut self,
        epoch: Epoch,
        holder: AccountId,
        record: Digest,
        done: &Done,
    ) {
        let is_open = matches!(self.auditing.of.get(&holder), Some(State::Shown { .. }));
        if self.auditing.epoch != epoch || !is_open {
            return;
        }
        match done {
            Done::Judged(verdict) => {
                self.report(epoch, holder, Finding::Storage { record, verdict: *verdict });
            }
            Done::Failed(Failure::Invalid) => {
                self.report(epoch, holder, Finding::Storage { record, verdict: Verdict::Fail });
            }
            // Not there yet, or this node's own trouble: asked again at the next block.
            _ => {
                if let Some(State::Shown { is_running, .. }) = self.auditing.of.get_mut(&holder) {
                    *is_running = false;
                }
            }
        }
    }

    /// An audit of this node came back from the log after a restart: it is not made twice.
    pub(super) fn on_storage_audit(&mut self, record: &VerifiedRecord, body: &AuditBody) {
        let made = record.record();
        if made.account == self.account && made.epoch >= self.auditing.epoch {
            self.auditing.enter(made.epoch);
            self.auditing.of.insert(body.of, State::Reported);
        }
    }

    fn report(&mut self, epoch: Epoch, of: AccountId, finding: Finding) {
        let before = self.auditing.of.insert(of, State::Reported);
        assert!(
            matches!(before, Some(State::Expected | State::Shown { .. })),
            "an auditor says one thing about a holder in an epoch, and only if it was drawn"
        );
        if matches!(finding, Finding::Storage { verdict: Verdict::Fail, .. }) {
            self.tell(Event::StorageFault { account: of, epoch });
        }
        let work = storage_subject(epoch, of);
        let body = AuditBody { of, work, finding };
        self.sign(epoch, audit_subject(of, &work), Body::Audit(body));
    }
}
