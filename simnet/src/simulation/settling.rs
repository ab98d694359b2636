//! Settling, verifying and claiming, by the protocol's own functions.

use std::sync::Arc;

use protocol::{
    AccountId, Amount, Digest, Epoch,
    chain::{Settlement, Transaction},
    merkle::SumTree,
    node::{Done, Failure},
    record::{Body, Verdict},
    settle::{self, Evidence, Outcome, payout_tree},
};

use super::{Simulation, jobs::Answered, number};

/// Time of a host for the arithmetic of one settlement.
const SETTLE_MICROS: u64 = 500_000;

/// A settlement that somebody computed, with the tree that claims need.
#[derive(Debug)]
pub(crate) struct Settled {
    pub(crate) outcome: Outcome,
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
    /// What a settlement on chain pays, once somebody recomputed it.
    pub(crate) fn settled(&self, epoch: Epoch) -> Option<&Arc<Settled>> {
        let state = self.chain.view().settlement(epoch)?;
        self.settled.get(&state.settlement.id())
    }

    fn keep(&mut self, outcome: Outcome) {
        let id: Digest = outcome.settlement.id();
        let tree = payout_tree(&outcome.leaves);
        self.settled.entry(id).or_insert_with(|| Arc::new(Settled { outcome, tree }));
    }

    pub(super) fn settle(&mut self, index: usize, epoch: Epoch) -> Answered {
        let parent = match epoch.0.checked_sub(1) {
            None => Vec::new(),
            Some(before) => match self.settled(Epoch(before)) {
                Some(settled) => settled.outcome.leaves.clone(),
                None => return (0, Done::Failed(Failure::Unavailable), None),
            },
        };
        let (evidence, fetching) = self.evidence(index, epoch);
        match settle::settle(self.chain.view(), epoch, &parent, &evidence) {
            Ok((outcome, log)) => {
                let done = Done::Settled(outcome.settlement, outcome.uses.clone());
                self.keep(outcome);
                match self.blobs.put(number(index), log) {
                    Ok(_) => (fetching + SETTLE_MICROS, done, None),
                    Err(_) => (fetching, Done::Failed(Failure::Local), None),
                }
            }
            Err(_) => (fetching, Done::Failed(Failure::Local), None),
        }
    }

    /// The records that a node has, the openings it can get, and how long that takes.
    fn evidence(&mut self, index: usize, epoch: Epoch) -> (Evidence, u64) {
        let records = self.records.around(epoch, &self.nodes[index].pool);
        let mut evidence = Evidence { records, ..Evidence::default() };
        let mut slowest = 0;
        let proofs: Vec<_> = evidence.records.values().cloned().collect();
        for record in proofs {
            let Body::StorageProof(body) = &record.record().body else { continue };
            let taken = self.transfer(index, &body.openings, u64::from(body.length));
            if let (Some(taken), Some(bytes)) = (taken, self.blobs.get(body.openings)) {
                slowest = slowest.max(taken);
                evidence.openings.insert(body.openings, bytes.as_ref().to_vec());
            }
        }
        (evidence, slowest)
    }

    pub(super) fn verify(&mut self, index: usize, settlement: &Settlement) -> Answered {
        let taken = self.transfer(index, &settlement.log, settlement.log_length);
        let (Some(taken), Some(log)) = (taken, self.blobs.get(settlement.log)) else {
            return (0, Done::Failed(Failure::Unavailable), None);
        };
        let verdict = match settle::verify(self.chain.view(), settlement, log.as_ref()) {
            Ok(outcome) => {
                self.keep(outcome);
                Verdict::Pass
            }
            Err(_) => Verdict::Fail,
        };
        (taken + SETTLE_MICROS, Done::Judged(verdict), Some(settlement.log))
    }

    pub(super) fn claim(&mut self, index: usize, epoch: Epoch, account: AccountId) -> Answered {
        let Some(settled) = self.settled(epoch).cloned() else {
            return (0, Done::Failed(Failure::Unavailable), None);
        };
        if let Some(claim) = settled.claim(account) {
            let paid: Amount = self.chain.view().claimed(account);
            let is_owed =
                matches!(&claim, Transaction::Claim { cumulative, .. } if *cumulative > paid);
            if is_owed {
                self.submit(index, claim);
            }
        }
        (0, Done::Fetched, None)
    }
}
