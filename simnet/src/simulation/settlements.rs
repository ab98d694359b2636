//! Settling, verifying and claiming, by the protocol's own functions.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use protocol::{
    AccountId, Amount, Digest, Epoch, EvmAddress, Hash,
    chain::{ChainView, DatanetUse, Settlement, Transaction},
    codec::Wire as _,
    eip712::{BadSignature, Domain, Recover, Signature},
    merkle::SumTree,
    node::{Done, Failure},
    record::{Body, SignedRecord, VerifiedRecord},
    settle::{self, EpochLog, Evidence, Outcome, SettleError, VerifyError, payout_tree},
};

use super::{Answer, env::Env, executor::Executor, gossip::Gossip, store::Store};
use crate::nodes::Signer;

/// Time of a host for the arithmetic of one settlement.
const SETTLE_MICROS: u64 = 500_000;
/// Settlements whose reasons are kept at once: older ones have been counted.
const KEPT: usize = 8;

/// A settlement that somebody computed, with the tree that claims need.
#[derive(Debug)]
pub(super) struct Settled {
    pub(super) outcome: Outcome,
    /// The records that it was computed from, and its log.
    evidence: Digest,
    log: Arc<Vec<u8>>,
    tree: SumTree,
}

impl Settled {
    const fn epoch(&self) -> Epoch {
        self.outcome.settlement.epoch
    }

    /// What an account has earned by it, with all settlements before.
    pub(super) fn earned(&self, account: AccountId) -> Option<Amount> {
        let leaves = &self.outcome.leaves;
        let found = leaves.binary_search_by_key(&account, |(id, _)| *id).ok()?;
        Some(leaves[found].1)
    }

    fn claim(&self, account: AccountId) -> Option<Transaction> {
        let leaves = &self.outcome.leaves;
        let index = leaves.binary_search_by_key(&account, |(id, _)| *id).ok()?;
        let cumulative = leaves[index].1;
        let path = self.tree.prove(index as u64)?;
        let count = leaves.len() as u64;
        Some(Transaction::Claim { account, cumulative, index: index as u64, count, path })
    }
}

/// The settlements that somebody computed, each once.
#[derive(Default)]
pub(super) struct Settlements {
    computed: BTreeMap<Digest, Arc<Settled>>,
    /// The uses of those that watchers recomputed; `None` for one that does not follow from its log.
    verified: BTreeMap<Digest, Option<Vec<DatanetUse>>>,
}

impl Settlements {
    /// What the settlement of an epoch on chain pays, once somebody computed it.
    pub(super) fn of(&self, view: &ChainView, epoch: Epoch) -> Option<&Arc<Settled>> {
        self.computed.get(&view.settlement(epoch)?.id)
    }

    /// The uses that a settlement names, if somebody computed them.
    pub(super) fn uses_of(&self, settlement: &Settlement) -> Option<Vec<DatanetUse>> {
        let mut all = self.computed.values().map(|settled| &settled.outcome);
        all.find(|of| of.settlement.uses == settlement.uses).map(|of| of.uses.clone())
    }

    fn keep(&mut self, outcome: Outcome, evidence: Digest, log: Arc<Vec<u8>>) -> Arc<Settled> {
        let id = outcome.settlement.id();
        // A watcher's has no log to serve: who settles the same after it keeps one that has.
        if let Some(known) = self.computed.get(&id).filter(|known| !known.log.is_empty()) {
            return Arc::clone(known);
        }
        let tree = payout_tree(&outcome.leaves);
        let kept = Arc::new(Settled { outcome, evidence, log, tree });
        self.computed.insert(id, Arc::clone(&kept));
        if self.computed.len() > KEPT {
            let oldest = self.computed.values().map(|settled| settled.epoch()).min();
            self.computed.retain(|_, settled| Some(settled.epoch()) != oldest);
        }
        kept
    }

    /// Settles an epoch from what a node has, of which `takes` may leave something out.
    pub(super) fn settle(
        &mut self,
        env: &mut Env,
        (gossip, store): (&Gossip, &mut Store),
        (index, epoch): (usize, Epoch),
        takes: impl Fn(&VerifiedRecord) -> bool,
    ) -> Answer {
        let parent = match epoch.0.checked_sub(1) {
            None => Vec::new(),
            Some(before) => match self.of(env.view(), Epoch(before)) {
                Some(settled) => settled.outcome.leaves.clone(),
                None => return Answer::unavailable(0),
            },
        };
        let (evidence, fetching) = evidence(env, (gossip, store), (index, epoch), takes);
        let from = digest_of(&evidence);
        let mut known = self.computed.values();
        // Equal records and openings settle equally, whoever does it.
        let known = known.find(|known| known.epoch() == epoch && known.evidence == from);
        let settled = match known.cloned() {
            Some(settled) => settled,
            None => match settle::settle(env.view(), epoch, &parent, &evidence) {
                Ok((outcome, log)) => self.keep(outcome, from, Arc::new(log)),
                // A bug of the program under test: the run ends as a crash, with its seed.
                Err(error @ SettleError::Invariant { .. }) => panic!("{error}"),
                Err(_) => return Answer::after(fetching, Done::Failed(Failure::Local)),
            },
        };
        let done = Done::Settled(settled.outcome.settlement, settled.outcome.uses.clone());
        match store.put(index, settled.log.to_vec()) {
            Ok(_) => Answer::after(fetching + SETTLE_MICROS, done),
            Err(_) => Answer::after(fetching, Done::Failed(Failure::Local)),
        }
    }

    /// Recomputes a settlement from its log, as a watcher does.
    pub(super) fn verify(
        &mut self,
        env: &mut Env,
        store: &Store,
        (signer, executor): (&Signer, &Executor),
        (index, settlement): (usize, &Settlement),
    ) -> Answer {
        let taken = store.transfer(env, index, &settlement.log, settlement.log_length);
        let (Some(taken), Some(log)) = (taken, store.blobs().get(settlement.log)) else {
            return Answer::unavailable(0);
        };
        let uses = self.recompute(env.view(), (signer, executor), settlement, log.as_ref());
        let answer = Answer::after(taken + SETTLE_MICROS, Done::Verified(uses));
        Answer { gains: Some(settlement.log), ..answer }
    }

    /// The uses of a settlement that its log gives: a pure function of what is the same for all
    /// watchers, computed once.
    fn recompute(
        &mut self,
        view: &ChainView,
        (signer, executor): (&Signer, &Executor),
        settlement: &Settlement,
        log: &[u8],
    ) -> Option<Vec<DatanetUse>> {
        let id = settlement.id();
        if let Some(verified) = self.verified.get(&id) {
            return verified.clone();
        }
        let signers = Recovered::new(signer, &view.domain, log, executor);
        let checked = settle::verify_with(view, settlement, log, &signers);
        if let Err(VerifyError::Settle(error @ SettleError::Invariant { .. })) = checked {
            panic!("{error}");
        }
        let verified = checked.ok().map(|outcome| {
            let uses = outcome.uses.clone();
            self.keep(outcome, Digest::ZERO, Arc::new(Vec::new()));
            uses
        });
        self.verified.insert(id, verified.clone());
        verified
    }

    /// Whether the arbiter upholds the objection to the settlement of an epoch: by recomputing it, and
    /// always against a log that is not to be had. `None` where nothing is proposed.
    pub(super) fn arbitrate(
        &mut self,
        env: &Env,
        store: &Store,
        of: (&Signer, &Executor),
        epoch: Epoch,
    ) -> Option<bool> {
        let settlement = env.view().settlement(epoch)?.settlement;
        let log = store.blobs().get(settlement.log);
        let uses = log.and_then(|log| self.recompute(env.view(), of, &settlement, log.as_ref()));
        Some(uses.is_none())
    }

    /// Claims what an account has, once the node has fetched the log that says so.
    pub(super) fn claim(
        &self,
        env: &mut Env,
        store: &Store,
        index: usize,
        (epoch, account): (Epoch, AccountId),
    ) -> Answer {
        let Some(settled) = self.of(env.view(), epoch).cloned() else {
            return Answer::unavailable(0);
        };
        let Settlement { log, log_length, .. } = settled.outcome.settlement;
        if store.transfer(env, index, &log, log_length).is_none() {
            return Answer::unavailable(0);
        }
        let paid: Amount = env.view().claimed(account);
        let is_owed = |claim: &Transaction| matches!(claim, Transaction::Claim { cumulative, .. } if *cumulative > paid);
        let submits = settled.claim(account).filter(is_owed);
        // A machine does nothing when it has claimed, so it need not be told later.
        Answer { submits, ..Answer::after(0, Done::Claimed) }
    }

    /// Settlements follow from the chain, of which the newest blocks are gone.
    pub(super) fn forget_unsettled(&mut self, view: &ChainView) {
        self.verified.clear();
        let settled = view.next_to_settle();
        self.computed.retain(|_, known| known.epoch() < settled);
    }

    /// Forgets settlements before `first` whose claims nobody makes any more; their logs.
    pub(super) fn forget_before(&mut self, view: &ChainView, first: Epoch) -> BTreeSet<Hash> {
        let old = self.computed.values().filter(|settled| settled.epoch() < first);
        let logs = old.map(|settled| settled.outcome.settlement.log).collect();
        let last = view.last_final().map_or(Epoch(0), |state| state.settlement.epoch);
        self.computed.retain(|_, settled| settled.epoch() >= first.min(last));
        logs
    }
}

/// The records that a node has, the openings it can get, and how long that takes, in microseconds.
fn evidence(
    env: &mut Env,
    (gossip, store): (&Gossip, &mut Store),
    (index, epoch): (usize, Epoch),
    takes: impl Fn(&VerifiedRecord) -> bool,
) -> (Evidence, u64) {
    let mut records = gossip.around(env, index, epoch);
    records.retain(|_, record| takes(record));
    let mut evidence = Evidence { records, ..Evidence::default() };
    let mut slowest = 0;
    let proofs: Vec<_> = evidence.records.values().cloned().collect();
    for record in proofs {
        let Body::StorageProof(body) = &record.record().body else { continue };
        if record.record().epoch != epoch {
            continue;
        }
        let taken = store.transfer(env, index, &body.openings, u64::from(body.length));
        if let (Some(taken), Some(bytes)) = (taken, store.blobs().get(body.openings)) {
            slowest = slowest.max(taken);
            evidence.openings.insert(body.openings, bytes.as_ref().to_vec());
            store.hold(index, body.openings);
        }
    }
    (evidence, slowest)
}

/// The signers of a log's records, recovered on all threads before they are asked for one by one.
struct Recovered<'a> {
    signer: &'a Signer,
    known: BTreeMap<Digest, (Signature, EvmAddress)>,
}

impl<'a> Recovered<'a> {
    fn new(signer: &'a Signer, domain: &Domain, log: &[u8], executor: &Executor) -> Self {
        // One thread has nothing to gain, and a log that is none nobody signed.
        let log = executor.is_shared().then(|| EpochLog::from_bytes(log).ok()).flatten();
        let recover = |signed: &SignedRecord| {
            let digest = signed.record.id(domain);
            let by = signer.recover(&signed.signature, &digest).ok()?;
            Some((digest, (signed.signature, by)))
        };
        let records = log.map_or_else(Vec::new, |log| log.records);
        let known = executor.map(&records, recover).into_iter().flatten().collect();
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
