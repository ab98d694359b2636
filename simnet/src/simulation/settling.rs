//! Settling, verifying and claiming, by the protocol's own functions.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use protocol::{
    AccountId, Amount, BlockNumber, Digest, Epoch, EvmAddress,
    chain::{DatanetUse, Settlement, Transaction},
    codec::Wire as _,
    eip712::{BadSignature, Domain, Recover, Signature},
    merkle::SumTree,
    node::{Done, Failure},
    record::{Body, SignedRecord, VerifiedRecord},
    settle::{self, EpochLog, Evidence, Outcome, payout_tree},
};

use super::{Answer, Simulation, number, window::Window};
use crate::nodes::Signer;

/// Time of a host for the arithmetic of one settlement.
const SETTLE_MICROS: u64 = 500_000;
/// Settlements whose reasons are kept at once: older ones have been counted.
const KEPT: usize = 8;

/// A settlement that somebody computed, with the tree that claims need.
#[derive(Debug)]
pub(crate) struct Settled {
    pub(crate) outcome: Outcome,
    /// The records that it was computed from, and its log.
    evidence: Digest,
    log: Arc<Vec<u8>>,
    tree: SumTree,
}

impl Settled {
    fn claim(&self, account: AccountId) -> Option<Transaction> {
        let leaves = &self.outcome.leaves;
        let index = leaves.binary_search_by_key(&account, |(id, _)| *id).ok()?;
        let cumulative = leaves[index].1;
        let path = self.tree.prove(index as u64)?;
        let count = leaves.len() as u64;
        Some(Transaction::Claim { account, cumulative, index: index as u64, count, path })
    }
}

impl Simulation {
    /// What a settlement on chain pays, once somebody computed it.
    pub(crate) fn settled(&self, epoch: Epoch) -> Option<&Arc<Settled>> {
        let state = self.chain.view().settlement(epoch)?;
        self.settled.get(&state.id)
    }

    fn keep(&mut self, outcome: Outcome, evidence: Digest, log: Arc<Vec<u8>>) -> Arc<Settled> {
        let id = outcome.settlement.id();
        if let Some(known) = self.settled.get(&id).filter(|known| !known.log.is_empty()) {
            return Arc::clone(known);
        }
        let tree = payout_tree(&outcome.leaves);
        let kept = Arc::new(Settled { outcome, evidence, log, tree });
        self.settled.insert(id, Arc::clone(&kept));
        if self.settled.len() > KEPT {
            let oldest =
                self.settled.values().map(|settled| settled.outcome.settlement.epoch).min();
            self.settled.retain(|_, settled| Some(settled.outcome.settlement.epoch) != oldest);
        }
        kept
    }

    /// Settles an epoch from what a node has, of which `takes` may leave something out.
    pub(super) fn settle(
        &mut self,
        index: usize,
        epoch: Epoch,
        takes: impl Fn(&VerifiedRecord) -> bool,
    ) -> Answer {
        let parent = match epoch.0.checked_sub(1) {
            None => Vec::new(),
            Some(before) => match self.settled(Epoch(before)) {
                Some(settled) => settled.outcome.leaves.clone(),
                None => return Answer::unavailable(0),
            },
        };
        let (evidence, fetching) = self.evidence(index, epoch, takes);
        let from = digest_of(&evidence);
        let known = self.settled.values();
        let known =
            known.into_iter().find(|s| s.outcome.settlement.epoch == epoch && s.evidence == from);
        let settled = match known.cloned() {
            Some(settled) => settled,
            None => match settle::settle(self.chain.view(), epoch, &parent, &evidence) {
                Ok((outcome, log)) => self.keep(outcome, from, Arc::new(log)),
                Err(_) => return Answer::after(fetching, Done::Failed(Failure::Local)),
            },
        };
        let done = Done::Settled(settled.outcome.settlement, settled.outcome.uses.clone());
        match self.blobs.put(number(index), settled.log.to_vec()) {
            Ok(_) => Answer::after(fetching + SETTLE_MICROS, done),
            Err(_) => Answer::after(fetching, Done::Failed(Failure::Local)),
        }
    }

    /// The records that a node has, the openings it can get, and how long that takes.
    fn evidence(
        &mut self,
        index: usize,
        epoch: Epoch,
        takes: impl Fn(&VerifiedRecord) -> bool,
    ) -> (Evidence, u64) {
        let mut records = self.records_around(index, epoch);
        records.retain(|_, record| takes(record));
        let mut evidence = Evidence { records, ..Evidence::default() };
        let mut slowest = 0;
        let proofs: Vec<_> = evidence.records.values().cloned().collect();
        for record in proofs {
            let Body::StorageProof(body) = &record.record().body else { continue };
            if record.record().epoch != epoch {
                continue;
            }
            let taken = self.transfer(index, &body.openings, u64::from(body.length));
            if let (Some(taken), Some(bytes)) = (taken, self.blobs.get(body.openings)) {
                slowest = slowest.max(taken);
                evidence.openings.insert(body.openings, bytes.as_ref().to_vec());
                self.blobs.hold(number(index), body.openings);
            }
        }
        (evidence, slowest)
    }

    pub(super) fn verify(&mut self, index: usize, settlement: &Settlement) -> Answer {
        let taken = self.transfer(index, &settlement.log, settlement.log_length);
        let (Some(taken), Some(log)) = (taken, self.blobs.get(settlement.log)) else {
            return Answer::unavailable(0);
        };
        let done = Done::Verified(self.recompute(settlement, log.as_ref()));
        Answer { taken: taken + SETTLE_MICROS, done, gains: Some(settlement.log) }
    }

    /// The uses of a settlement that its log gives: a pure function of what is the same for all
    /// watchers, computed once.
    fn recompute(&mut self, settlement: &Settlement, log: &[u8]) -> Option<Vec<DatanetUse>> {
        let id = settlement.id();
        if let Some(verified) = self.verified.get(&id) {
            return verified.clone();
        }
        let view = self.chain.view();
        let signers = Recovered::new(&self.signer, &view.domain, log, &self.window);
        let checked = settle::verify_with(view, settlement, log, &signers);
        let verified = checked.ok().map(|outcome| {
            let uses = outcome.uses.clone();
            self.keep(outcome, Digest::ZERO, Arc::new(Vec::new()));
            uses
        });
        self.verified.insert(id, verified.clone());
        verified
    }

    /// Brings an objection before the arbiter.
    pub(super) fn appeal(&mut self, epoch: Epoch, block: BlockNumber) {
        let wait = self.scenario.chain.arbiter_blocks;
        if wait > 0 {
            self.objections.insert(BlockNumber(block.0 + wait), epoch);
        }
    }

    /// The arbiter rules on what has waited long enough: by recomputing, and against a log that is not
    /// to be had.
    pub(super) fn arbitrate(&mut self, block: BlockNumber) {
        let Some(epoch) = self.objections.remove(&block) else { return };
        let Some(state) = self.chain.view().settlement(epoch) else { return };
        let settlement = state.settlement;
        let log = self.blobs.get(settlement.log);
        let is_right = log.is_some_and(|log| self.recompute(&settlement, log.as_ref()).is_some());
        self.chain.rule(epoch, !is_right);
    }

    /// Claims what an account has, once the node has fetched the log that says so.
    pub(super) fn claim(&mut self, index: usize, epoch: Epoch, account: AccountId) -> Answer {
        let Some(settled) = self.settled(epoch).cloned() else {
            return Answer::unavailable(0);
        };
        let Settlement { log, log_length, .. } = settled.outcome.settlement;
        if self.transfer(index, &log, log_length).is_none() {
            return Answer::unavailable(0);
        }
        if let Some(claim) = settled.claim(account) {
            let paid: Amount = self.chain.view().claimed(account);
            let is_owed =
                matches!(&claim, Transaction::Claim { cumulative, .. } if *cumulative > paid);
            if is_owed {
                self.submit_as_adversary(index, claim);
            }
        }
        // A machine does nothing when it has claimed, so it need not be told later.
        Answer::after(0, Done::Claimed)
    }

    /// Forgets what nobody asks for any more: records, openings and logs of epochs long settled.
    pub(super) fn forget(&mut self, epoch: Epoch) {
        let needed = self.chain.view().next_to_settle().min(epoch);
        let first = Epoch(needed.0.saturating_sub(2));
        for entry in self.records.forget_before(first) {
            self.judged.remove(&entry.record.id());
            if let Body::StorageProof(body) = &entry.record.record().body {
                self.blobs.forget(body.openings);
            }
        }
        let logs: BTreeSet<_> = self
            .settled
            .values()
            .filter(|settled| settled.outcome.settlement.epoch < first)
            .map(|settled| settled.outcome.settlement.log)
            .collect();
        logs.into_iter().for_each(|log| self.blobs.forget(log));
        let last = self.chain.view().last_final().map_or(Epoch(0), |s| s.settlement.epoch);
        let first = first.min(last);
        self.settled.retain(|_, settled| settled.outcome.settlement.epoch >= first);
    }
}

/// The signers of a log's records, recovered on all threads before they are asked for one by one.
struct Recovered<'a> {
    signer: &'a Signer,
    known: BTreeMap<Digest, (Signature, EvmAddress)>,
}

impl<'a> Recovered<'a> {
    fn new(signer: &'a Signer, domain: &Domain, log: &[u8], window: &Window) -> Self {
        // One thread has nothing to gain, and a log that is none nobody signed.
        let log = window.is_shared().then(|| EpochLog::from_bytes(log).ok()).flatten();
        let recover = |signed: &SignedRecord| {
            let digest = signed.record.id(domain);
            let by = signer.recover(&signed.signature, &digest).ok()?;
            Some((digest, (signed.signature, by)))
        };
        let records = log.map_or_else(Vec::new, |log| log.records);
        let known = window.map(&records, recover).into_iter().flatten().collect();
        Self { signer, known }
    }
}

impl Recover for Recovered<'_> {
    fn recover(&self, signature: &Signature, digest: &Digest) -> Result<EvmAddress, BadSignature> {
        match self.known.get(digest) {
            Some((known, by)) if known == signature => Ok(*by),
            _ => self.signer.recover(signature, digest),
        }
    }
}

fn digest_of(evidence: &Evidence) -> Digest {
    let mut bytes = Vec::new();
    evidence.records.keys().for_each(|id| bytes.extend(id.0));
    evidence.openings.keys().for_each(|hash| bytes.extend(hash.0));
    protocol::hash::keccak(&[&bytes])
}
