//! The node's own Proof of Holding: commit, open.

use alloc::{sync::Arc, vec::Vec};

use super::{Done, Job, Node, Pending, Waiting};
use crate::{
    chain::{ChainView, Purpose},
    ids::{AccountId, BlockNumber, Epoch},
    record::{Body, StorageCommitBody, StorageProofBody, VerifiedRecord, storage_subject},
    rules::included_in,
};

/// Where the proof of one epoch stands.
#[derive(Debug)]
pub(super) struct Proving {
    epoch: Epoch,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    Idle,
    Committing,
    Committed(Arc<VerifiedRecord>),
    Opening(Arc<VerifiedRecord>),
    Proven,
}

impl Proving {
    pub(super) const fn new() -> Self {
        Self { epoch: Epoch(0), stage: Stage::Idle }
    }

    fn enter(&mut self, epoch: Epoch) {
        if self.epoch < epoch {
            *self = Self { epoch, stage: Stage::Idle };
        }
        assert!(self.epoch >= epoch, "a proof of an epoch that is over is not taken up again");
    }

    pub(super) fn waiting(&self, account: AccountId, chain: &ChainView) -> Vec<Waiting> {
        let epoch = chain.epoch();
        if chain.placement(epoch).packs_of(account).is_empty() {
            return alloc::vec![Waiting::NoAssignment(epoch)];
        }
        let reason = match &self.stage {
            Stage::Idle | Stage::Committing => None,
            Stage::Committed(record) if included_in(chain, record).is_none() => {
                Some(Waiting::Inclusion(epoch))
            }
            Stage::Committed(_) => Some(Waiting::Sample(chain.schedule.commit_deadline(epoch))),
            Stage::Opening(_) => None,
            Stage::Proven => Some(Waiting::NextEpoch(chain.schedule.start(epoch.next()))),
        };
        reason.into_iter().collect()
    }
}

impl Node {
    pub(super) fn advance_proof(&mut self, chain: &ChainView, epoch: Epoch) {
        self.proving.enter(epoch);
        let Some(head) = chain.head() else { return };
        match &self.proving.stage {
            Stage::Idle => self.start_commit(chain, epoch, head.number),
            Stage::Committed(record) => {
                let record = Arc::clone(record);
                match included_in(chain, &record) {
                    Some(at) if at <= chain.schedule.commit_deadline(epoch) => {
                        self.start_open(chain, epoch, record);
                    }
                    // Too late to count: an epoch without pay. A proof shown now would be judged
                    // wrong, and to be late is no fault.
                    Some(_) => self.proving.stage = Stage::Proven,
                    None => {}
                }
            }
            Stage::Committing | Stage::Opening(_) | Stage::Proven => {}
        }
    }

    /// The block from which on the proof may go on by itself.
    pub(super) fn proof_wakes(&self, chain: &ChainView) -> Option<BlockNumber> {
        let epoch = chain.epoch();
        // Who commits after the deadline commits for nothing.
        let is_over = |deadline: BlockNumber| chain.head().is_some_and(|h| h.number >= deadline);
        match &self.proving.stage {
            Stage::Idle => {
                let has_packs = !chain.placement(epoch).packs_of(self.account).is_empty();
                (has_packs && !is_over(chain.schedule.commit_deadline(epoch)))
                    .then_some(BlockNumber(0))
            }
            Stage::Committed(record) => {
                let is_waiting = included_in(chain, record).is_some()
                    && chain.seed(epoch, Purpose::Open).is_none();
                (!is_waiting).then_some(BlockNumber(0))
            }
            Stage::Committing | Stage::Opening(_) | Stage::Proven => None,
        }
    }

    fn start_commit(&mut self, chain: &ChainView, epoch: Epoch, now: BlockNumber) {
        let Some(s1) = chain.seed(epoch, Purpose::Commit) else { return };
        let packs = chain.placement(epoch).packs_of(self.account).to_vec();
        if packs.is_empty() || now >= chain.schedule.commit_deadline(epoch) {
            return;
        }
        // Whoever may not hear of a dispute would lose stake by it.
        if chain.unknown_contract().is_some() {
            self.proving.stage = Stage::Proven;
            return;
        }
        let is_first = matches!(self.proving.stage, Stage::Idle);
        assert!(is_first, "a node commits once in an epoch: a second commitment would be a fault");
        self.proving.stage = Stage::Committing;
        let job = Job::Commit { account: self.account, packs, s1 };
        self.start(Pending::Commit(epoch), job);
    }

    fn start_open(&mut self, chain: &ChainView, epoch: Epoch, record: Arc<VerifiedRecord>) {
        let seeds = (chain.seed(epoch, Purpose::Commit), chain.seed(epoch, Purpose::Open));
        let (Some(s1), Some(s2)) = seeds else { return };
        let Body::StorageCommit(commit) = &record.record().body else { return };
        let packs = chain.placement(epoch).packs_of(self.account).to_vec();
        let job = Job::Open { account: self.account, packs, commit: commit.clone(), s1, s2 };
        let is_committed = matches!(self.proving.stage, Stage::Committed(_));
        assert!(is_committed, "cells are opened after the commitment, and once");
        self.proving.stage = Stage::Opening(record);
        self.start(Pending::Open(epoch), job);
    }

    pub(super) fn on_committed(&mut self, epoch: Epoch, done: Done) {
        if self.proving.epoch != epoch {
            return;
        }
        // Packs that went missing since are declared absent in the commitment: unpaid, and no fault.
        match done {
            Done::Committed(commit) if is_worth_proving(&commit) => {
                let subject = storage_subject(epoch, self.account);
                self.sign(epoch, subject, Body::StorageCommit(commit));
            }
            // Nothing to prove, or the disk failed: an epoch without pay, and no fault.
            _ => self.proving.stage = Stage::Proven,
        }
    }

    /// A commitment of this node came back signed, now or from the log after a restart.
    pub(super) fn on_commit(&mut self, record: &Arc<VerifiedRecord>) {
        let made = record.record();
        if made.account != self.account || made.epoch < self.proving.epoch {
            return;
        }
        self.proving.enter(made.epoch);
        assert!(self.proving.epoch == made.epoch, "the commitment is of the epoch that is proven");
        if matches!(self.proving.stage, Stage::Idle | Stage::Committing) {
            self.proving.stage = Stage::Committed(Arc::clone(record));
        }
    }

    pub(super) fn on_opened(&mut self, epoch: Epoch, done: Done) {
        let Stage::Opening(commit) = &self.proving.stage else { return };
        if self.proving.epoch != epoch {
            return;
        }
        if let Done::Opened(openings) = done
            && let Ok(length) = u32::try_from(openings.length)
        {
            let body = StorageProofBody { commit: commit.id(), openings: openings.hash, length };
            let subject = storage_subject(epoch, self.account);
            self.sign(epoch, subject, Body::StorageProof(body));
        }
        self.proving.stage = Stage::Proven;
    }

    /// A proof of this node came back from the log after a restart.
    pub(super) fn on_own_proof(&mut self, epoch: Epoch) {
        self.proving.enter(epoch);
        if self.proving.epoch == epoch {
            self.proving.stage = Stage::Proven;
        }
    }
}

const fn is_worth_proving(commit: &StorageCommitBody) -> bool {
    commit.cells > 0
}
