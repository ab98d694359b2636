//! The sans-IO node: every decision that a node takes.
//!
//! **Give it inputs with [`Node::handle`], then drain [`Node::poll_output`] until it is empty.** It
//! reads the chain through a [`ChainView`] that the driver lends it, so it keeps no copy; blocks are
//! its only clock. Disk, GPU, chain and network are outputs with an [`OpId`], answered by a later
//! [`Input::Done`]: a driver may delay, lose or falsify each. Only verified records enter.
//!
//! **A node that starts again is given its stored records before the first [`Input::Block`].** Until
//! that block it only remembers, so it does nothing twice whatever order they come in.
//!
//! Methods come in four kinds: getters, `handle` (inputs), `poll_output` (outputs), and the private
//! `on_*`/`advance_*` of the parts: `replicate`, `prove`, `audit`, `dispute`, `train`, `serve`, `settle`.

mod audit;
mod dispute;
mod enrol;
mod include;
mod io;
mod outbox;
mod prove;
mod rest;
mod serve;
mod settling;
mod train;

use alloc::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
    vec::Vec,
};

pub use enrol::{Enrol, Enrolment};
pub use io::{Done, Event, Failure, Input, Job, OpId, Output, Refusal, ServeRequest, Waiting};
pub use rest::{Audience, audience};
pub use train::Progress;

use crate::{
    blob::BlobRef,
    chain::{ChainView, Transaction},
    ids::{AccountId, BlockNumber, Blocks, Digest, Epoch, NodeId},
    record::{Body, Finding, Kind, Record, VerifiedRecord},
    rules::{has_authority, included_in},
};

/// Blocks after which packs that could not be fetched are asked for again.
const FETCH_RETRY: Blocks = Blocks(4);

/// What a node is willing to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NodeConfig {
    /// Train and audit shards.
    pub computes: bool,
    /// Epochs between two claims of what final settlements owe to the node's own account; 0: none by
    /// itself. Accounts take turns. A claim pays for all epochs before it, and costs a transaction and
    /// the log of a settlement, which all would fetch at once.
    pub claim_epochs: u64,
    /// Bytes of memory that the jobs of training runs may need, all together; `None`: as much as the
    /// network allows.
    pub max_memory: Option<u64>,
}

/// The state machine of one node.
#[derive(Debug)]
pub struct Node {
    account: AccountId,
    config: NodeConfig,
    next_op: u64,
    pending: BTreeMap<OpId, Pending>,
    outputs: VecDeque<Output>,
    epoch: Option<Epoch>,
    /// Assigned packs that could not be had yet, and when they are asked for again.
    wanted: BTreeSet<BlobRef>,
    retry_at: BlockNumber,
    proving: prove::Proving,
    auditing: audit::Auditing,
    disputing: dispute::Disputing,
    runs: BTreeMap<crate::ModelId, train::Run>,
    serving: serve::Serving,
    settling: settling::Settling,
    unincluded: include::Unincluded,
}

/// Which part waits for the answer to a job.
#[derive(Debug, Clone)]
enum Pending {
    Fetch(BlobRef),
    Claim(Epoch),
    Commit(Epoch),
    Open(Epoch),
    AuditStorage(Epoch, AccountId, Digest),
    OpenCell(Epoch, Digest, u32),
    LookAgain(Epoch, AccountId),
    Train(train::Pending),
    Infer(u64),
    AuditAttribution(Arc<VerifiedRecord>),
    Settle(Epoch),
    Verify(Epoch),
    Refute(Digest),
}

impl Node {
    /// A node that works for an account.
    pub const fn new(account: AccountId, config: NodeConfig) -> Self {
        Self {
            account,
            config,
            next_op: 0,
            pending: BTreeMap::new(),
            outputs: VecDeque::new(),
            epoch: None,
            wanted: BTreeSet::new(),
            retry_at: BlockNumber(0),
            proving: prove::Proving::new(),
            auditing: audit::Auditing::new(),
            disputing: dispute::Disputing::new(),
            runs: BTreeMap::new(),
            serving: serve::Serving::new(),
            settling: settling::Settling::new(),
            unincluded: BTreeMap::new(),
        }
    }

    /// The account it works for.
    pub const fn account(&self) -> AccountId {
        self.account
    }

    /// How far each training run is, as this node sees it.
    pub fn progress(&self) -> impl Iterator<Item = Progress> {
        self.runs.values().map(train::Run::progress)
    }

    /// What it waits for, so that an operator can read why it idles.
    pub fn waiting(&self, chain: &ChainView) -> Vec<Waiting> {
        let mut reasons = self.proving.waiting(self.account, chain);
        reasons.extend(self.disputing.waiting(self.account, chain));
        reasons.extend(self.waiting_for_runs(chain));
        if reasons.is_empty() && self.runs.is_empty() {
            reasons.push(Waiting::NoTrainingRun);
        }
        reasons
    }

    /// The next thing to do; `None` when there is nothing until the next input.
    pub fn poll_output(&mut self) -> Option<Output> {
        let next = self.outputs.pop_front();
        if self.outputs.is_empty() {
            // A node that rests holds no buffers: a simulator has a million of them.
            self.outputs = VecDeque::new();
        }
        next
    }

    /// Takes one input.
    pub fn handle(&mut self, chain: &ChainView, input: Input) {
        match input {
            Input::Block => self.on_block(chain),
            Input::Record(record) => self.on_record(chain, &record),
            Input::Done(op, done) => {
                if let Some(pending) = self.pending.remove(&op) {
                    if self.pending.is_empty() {
                        self.pending = BTreeMap::new();
                    }
                    self.on_done(chain, pending, done);
                }
            }
            Input::Serve(request) => self.on_serve(chain, request),
            Input::Raise { request, receipt } => self.on_raise(chain, request, &receipt),
            Input::Ended { model, times } => self.on_ended(chain, model, times),
        }
    }

    fn on_block(&mut self, chain: &ChainView) {
        let epoch = chain.epoch();
        assert!(
            self.epoch.is_none_or(|last| last <= epoch),
            "a machine sees time go on: after a reorganisation its driver makes a new one"
        );
        if self.epoch != Some(epoch) {
            self.epoch = Some(epoch);
            self.replicate(chain, epoch.next());
        }
        self.retry_fetches(chain);
        self.advance_proof(chain, epoch);
        self.advance_audits(chain, epoch);
        self.advance_disputes(chain);
        self.advance_runs(chain);
        self.advance_serving(chain);
        self.advance_settlement(chain);
        self.advance_inclusions(chain);
    }

    fn on_record(&mut self, chain: &ChainView, record: &Arc<VerifiedRecord>) {
        let Some(head) = chain.head() else { return };
        if self.is_others(record) {
            return;
        }
        // Of what the chain took in, it has judged who signed.
        let is_included = included_in(chain, record).is_some();
        if !is_included && !has_authority(chain, record, head.number) {
            return;
        }
        if record.record().account == self.account {
            self.have_included(chain, record);
        }
        match &record.record().body {
            Body::StorageCommit(_) => {
                self.note_own_commit(chain, record);
                self.on_commit(record);
            }
            Body::StorageProof(_) => self.on_proof(chain, record),
            Body::Shard(_) | Body::RoundClose(_) => self.on_training_record(chain, record),
            Body::Audit(body) => match body.finding {
                Finding::Storage { .. } | Finding::StorageMissing => {
                    self.on_storage_audit(record, body);
                    self.note_finding(chain, record.record().epoch, body);
                }
                Finding::Shard { .. } => self.on_training_record(chain, record),
                Finding::Attribution { record: judged, .. } => {
                    if record.record().account == self.account {
                        self.serving.on_own_audit(judged, record.record().epoch);
                    }
                }
            },
            Body::Attribution(_) => self.on_attribution(chain, record),
        }
    }

    /// Whether a record is between others: most of what a node hears.
    fn is_others(&self, record: &VerifiedRecord) -> bool {
        let made = record.record();
        // Most of what a node hears are these, so they are told apart before anything else is asked.
        let is_between = match &made.body {
            Body::StorageCommit(_) => true,
            Body::Audit(body) => body.finding.judged() == Kind::StorageProof,
            _ => false,
        };
        is_between && made.account != self.account
    }

    fn on_done(&mut self, chain: &ChainView, pending: Pending, done: Done) {
        match pending {
            Pending::Fetch(blob) => self.on_fetched(blob, &done),
            Pending::Claim(epoch) => self.on_claimed(epoch, &done),
            Pending::Commit(epoch) => self.on_committed(epoch, done),
            Pending::Open(epoch) => self.on_opened(epoch, done),
            Pending::AuditStorage(epoch, holder, record) => {
                self.on_storage_judged(epoch, holder, record, &done);
            }
            Pending::OpenCell(epoch, commit, cell) => {
                self.on_cell_opened(chain, (epoch, commit, cell), done);
            }
            Pending::LookAgain(epoch, of) => self.on_looked(chain, epoch, of, &done),
            Pending::Train(work) => self.on_trained(chain, work, done),
            Pending::Infer(request) => self.on_inferred(chain, request, done),
            Pending::AuditAttribution(record) => self.on_attribution_judged(&record, &done),
            Pending::Settle(epoch) => self.on_settled(chain, epoch, done),
            Pending::Refute(id) => self.on_refuted(chain, &id, done),
            Pending::Verify(epoch) => self.on_verified(chain, epoch, done),
        }
    }

    /// Asks for every pack that this node must prove from `epoch` on; what it has costs nothing.
    fn replicate(&mut self, chain: &ChainView, epoch: Epoch) {
        self.wanted.clear();
        let placement = chain.placement(epoch);
        for pack in placement.packs_of(self.account) {
            self.fetch(*pack);
        }
    }

    fn fetch(&mut self, blob: BlobRef) {
        self.start(Pending::Fetch(blob), Job::Fetch(blob));
    }

    /// A pack that could not be had is asked for again; what is missing when the next epoch begins
    /// is declared absent by the proof.
    fn on_fetched(&mut self, blob: BlobRef, done: &Done) {
        if *done != Done::Fetched {
            self.wanted.insert(blob);
        }
    }

    fn retry_fetches(&mut self, chain: &ChainView) {
        let now = chain.now();
        if now < self.retry_at || self.wanted.is_empty() {
            return;
        }
        self.retry_at = now.after(FETCH_RETRY);
        for blob in core::mem::take(&mut self.wanted) {
            self.fetch(blob);
        }
        assert!(self.wanted.is_empty(), "what is asked for again waits for its answer");
    }

    fn start(&mut self, pending: Pending, job: Job) {
        let op = OpId(self.next_op);
        assert!(self.next_op < u64::MAX, "numbers of jobs do not run out");
        self.next_op = self.next_op.saturating_add(1);
        let before = self.pending.insert(op, pending);
        assert!(before.is_none(), "the number of a job is its own");
        self.outputs.push_back(Output::Job(op, job));
    }

    fn sign(&mut self, epoch: Epoch, subject: Digest, body: Body) {
        let record = Record { epoch, account: self.account, subject, body };
        self.outputs.push_back(Output::Sign(record));
    }

    fn submit(&mut self, transaction: Transaction) {
        self.outputs.push_back(Output::Submit(transaction));
    }

    fn tell(&mut self, event: Event) {
        self.outputs.push_back(Output::Event(event));
    }
}

/// The nodes of accounts, for asking them first.
fn nodes_of(chain: &ChainView, accounts: &[AccountId]) -> Vec<NodeId> {
    accounts.iter().filter_map(|id| chain.account(*id)).map(|account| account.node).collect()
}
