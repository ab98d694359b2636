//! Settlement: the pure function from an epoch's records and the chain to payouts.
//!
//! Anyone who has the log and the chain gets the same roots, to the last unit. Emission that nobody
//! earned stays in the vault; every fee that was redeemed is split without remainder. A rule here
//! never asks who proposes.

mod emission;
mod fees;
mod log;

use alloc::{collections::BTreeMap, sync::Arc, vec::Vec};

pub use log::{EpochLog, VerifyError, verify, verify_with};

use crate::{
    chain::{ChainView, DatanetUse, Settlement},
    codec::Wire as _,
    ids::{AccountId, Amount, BlockNumber, DatanetId, Digest, Epoch, Hash},
    merkle::{SumNode, SumTree, Tree},
    record::{Body, Kind, Verdict, VerifiedRecord},
    rules::{anchored_alone, cutoff, has_authority},
};

/// What an account earned by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// Proven replicas, and the storers' part of fees.
    Storage,
    /// Verified shards.
    Shards,
    /// Audits that hold.
    Audits,
    /// Units that outputs were attributed to.
    Attribution,
    /// A model that was used.
    Model,
    /// Serving a model, and the work of attributing its outputs.
    Serving,
    /// Stake.
    Stake,
    /// The platform's share.
    Treasury,
}

/// One reason why an account is paid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Line {
    /// Who.
    pub account: AccountId,
    /// For what.
    pub source: Source,
    /// How much.
    pub amount: Amount,
    /// The record behind it; zero where there is none.
    pub record: Digest,
}

/// Why work earned nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unpaid {
    /// No commitment was anchored in time.
    #[error("no storage commitment was anchored before the deadline")]
    NotCommitted,
    /// A commitment, but no proof.
    #[error("the sampled cells were not opened")]
    NotOpened,
    /// The proof is wrong: a fault.
    #[error("the storage proof is wrong: a cell that was claimed could not be shown")]
    WrongProof,
    /// No more auditors saw the proof in time than missed it.
    #[error("no more of the drawn auditors saw the proof in time than missed it")]
    NoQuorum,
    /// The replay rejected the shard: a fault.
    #[error("the replay of the shard did not give what was claimed")]
    ShardRejected,
    /// Another did the same work first.
    #[error("another member did the same part of the round first")]
    DoneBefore,
    /// No consumer had paid for the output when the epoch ended.
    #[error("the receipt behind the output was not redeemed before the epoch ended")]
    NotRedeemed,
    /// No more than half of the drawn auditors passed the work in time.
    #[error("no more than half of the drawn auditors passed the work in time")]
    NotAudited,
}

/// Work that earned nothing, with the reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Zero {
    /// Whose work.
    pub account: AccountId,
    /// Of what kind.
    pub source: Source,
    /// The record behind it; zero where there is none.
    pub record: Digest,
    /// Why.
    pub reason: Unpaid,
}

/// The result of an epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// What is proposed on chain.
    pub settlement: Settlement,
    /// Everything each account has earned so far, by account.
    pub leaves: Vec<(AccountId, Amount)>,
    /// Why, for this epoch.
    pub lines: Vec<Line>,
    /// Why not, for this epoch.
    pub zeros: Vec<Zero>,
    /// Use of each Datanet.
    pub uses: Vec<DatanetUse>,
}

impl Outcome {
    /// What a claim for an account needs: (amount, index, count, siblings).
    pub fn claim(&self, account: AccountId) -> Option<(Amount, u64, u64, Vec<SumNode>)> {
        let index = self.leaves.iter().position(|(id, _)| *id == account)?;
        let (_, amount) = self.leaves.get(index)?;
        let index = u64::try_from(index).ok()?;
        let path = payout_tree(&self.leaves).prove(index)?;
        Some((*amount, index, self.leaves.len() as u64, path))
    }
}

/// The payout tree: leaf payload u64 account ‖ u128 cumulative, sum = cumulative.
pub fn payout_tree(leaves: &[(AccountId, Amount)]) -> SumTree {
    let leaves: Vec<_> = leaves.iter().map(|leaf| (leaf.to_bytes(), leaf.1.0)).collect();
    SumTree::new(&leaves)
}

/// The records tree: leaf payload id ‖ keccak(signature), sorted by id.
pub fn records_tree(records: &[Arc<VerifiedRecord>]) -> Tree {
    let leaves: Vec<_> = records.iter().map(|r| r.signed().leaf_payload(&r.id())).collect();
    Tree::new(&leaves)
}

/// An epoch cannot be settled yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SettleError {
    /// The epoch is not over, or its beacon was missed.
    #[error("epoch {0} is not over yet")]
    NotOver(Epoch),
    /// The leaves are not those of the final settlement before.
    #[error("the balances before epoch {0} are not those of the final settlement before it")]
    WrongParent(Epoch),
    /// The sum of all payouts is beyond what an amount can hold.
    #[error("payouts overflow")]
    Overflow,
}

/// Everything an epoch is settled from. Records of neighbouring epochs may be among them; the rules
/// take what they need.
#[derive(Debug, Default, Clone)]
pub struct Evidence {
    /// Verified records by id.
    pub records: BTreeMap<Digest, Arc<VerifiedRecord>>,
    /// Openings of storage proofs, by address.
    pub openings: BTreeMap<Hash, Vec<u8>>,
}

/// Settles an epoch and writes its log.
///
/// # Errors
/// [`SettleError`] when the epoch is not over or `parent` is not the final balance before it.
pub fn settle(
    chain: &ChainView,
    epoch: Epoch,
    parent: &[(AccountId, Amount)],
    evidence: &Evidence,
) -> Result<(Outcome, Vec<u8>), SettleError> {
    let parent_id = check_parent(chain, epoch, parent)?;
    let mut ledger = Ledger::new(chain, epoch, evidence)?;
    ledger.pay_storage();
    ledger.pay_shards();
    let fees = ledger.redeemed(epoch);
    ledger.pay_attribution_work(&fees);
    ledger.pay_audits();
    ledger.pay_fees(fees);
    ledger.finish(parent_id, parent)
}

fn check_parent(
    chain: &ChainView,
    epoch: Epoch,
    parent: &[(AccountId, Amount)],
) -> Result<Digest, SettleError> {
    let before = epoch.0.checked_sub(1).and_then(|e| chain.settlement(Epoch(e)));
    let (id, root) = match before.filter(|state| state.is_final) {
        Some(state) => (state.id, state.settlement.payout_root),
        None if epoch.0 == 0 => (Digest::ZERO, Digest::ZERO),
        None => return Err(SettleError::WrongParent(epoch)),
    };
    if payout_tree(parent).root() == root { Ok(id) } else { Err(SettleError::WrongParent(epoch)) }
}

/// The state of one settlement while its rules run.
struct Ledger<'a> {
    chain: &'a ChainView,
    epoch: Epoch,
    evidence: &'a Evidence,
    /// Records of this epoch by signers with authority, one per (kind, account, subject).
    records: BTreeMap<(Kind, AccountId, Digest), Arc<VerifiedRecord>>,
    /// Verdicts by the judged record: (auditor, verdict, audit).
    audits: BTreeMap<Digest, Vec<(AccountId, Verdict, Arc<VerifiedRecord>)>>,
    /// Audits of work that was never shown, by (auditor, subject of the work).
    missing: BTreeMap<(AccountId, Digest), Arc<VerifiedRecord>>,
    /// Records of other epochs on which a fee of this epoch depends.
    extra: BTreeMap<Digest, Arc<VerifiedRecord>>,
    used_openings: BTreeMap<Hash, Vec<u8>>,
    lines: Vec<Line>,
    zeros: Vec<Zero>,
    uses: BTreeMap<DatanetId, DatanetUse>,
    /// Bytes proven by each holder.
    proven: BTreeMap<AccountId, u64>,
    /// Audits that hold, and how many were due.
    good_audits: Vec<(AccountId, Digest)>,
    audits_due: u64,
    replicas_proven: u32,
    storage_faults: u32,
    shards_verified: u32,
    shards_rejected: u32,
}

impl<'a> Ledger<'a> {
    fn new(
        chain: &'a ChainView,
        epoch: Epoch,
        evidence: &'a Evidence,
    ) -> Result<Self, SettleError> {
        let cutoff = cutoff(chain, epoch);
        if chain.head().is_none_or(|head| head.number < cutoff) {
            return Err(SettleError::NotOver(epoch));
        }
        let mut ledger = Self {
            chain,
            epoch,
            evidence,
            records: BTreeMap::new(),
            audits: BTreeMap::new(),
            missing: BTreeMap::new(),
            extra: BTreeMap::new(),
            used_openings: BTreeMap::new(),
            lines: Vec::new(),
            zeros: Vec::new(),
            uses: BTreeMap::new(),
            proven: BTreeMap::new(),
            good_audits: Vec::new(),
            audits_due: 0,
            replicas_proven: 0,
            storage_faults: 0,
            shards_verified: 0,
            shards_rejected: 0,
        };
        ledger.sort_records();
        Ok(ledger)
    }

    /// Of two records with the same key in an epoch, the one of the lowest id counts, and the other
    /// for nothing at all: it is not in the log, so nobody could recompute what it did.
    fn sort_records(&mut self) {
        let mut counted = BTreeMap::new();
        for record in self.evidence.records.values() {
            let made = record.record();
            if !self.has_authority(record) {
                continue;
            }
            let first: &mut Digest = counted.entry((made.epoch, made.key())).or_insert(record.id());
            if *first != record.id() {
                continue;
            }
            if made.epoch == self.epoch {
                self.records.insert(made.key(), Arc::clone(record));
            }
            if let Body::Audit(body) = &made.body {
                match body.finding.verdict() {
                    Some((judged, verdict)) => {
                        let verdicts = self.audits.entry(judged).or_default();
                        verdicts.push((made.account, verdict, Arc::clone(record)));
                    }
                    None if made.epoch == self.epoch => {
                        let work = (made.account, body.work);
                        self.missing.insert(work, Arc::clone(record));
                    }
                    None => {}
                }
            }
        }
    }

    /// The verdicts on a record, in order of the audits' ids. Only an audit of the same epoch and
    /// of exactly this work counts, so that the log of the epoch has all of them.
    fn verdicts_on(
        &self,
        record: &VerifiedRecord,
    ) -> Vec<(AccountId, Verdict, Arc<VerifiedRecord>)> {
        let made = record.record();
        let all = self.audits.get(&record.id()).map_or(&[][..], Vec::as_slice);
        let mut found: Vec<(AccountId, Verdict, Arc<VerifiedRecord>)> = Vec::new();
        for (by, verdict, audit) in all {
            let is_about = matches!(&audit.record().body, Body::Audit(body) if body.is_about(made));
            let is_first = found.iter().all(|(other, ..)| other != by);
            if is_about && is_first && audit.record().epoch == made.epoch {
                found.push((*by, *verdict, Arc::clone(audit)));
            }
        }
        found
    }

    /// The block in which a record was anchored by itself, if that was before the cutoff.
    fn anchored_alone(&self, record: &VerifiedRecord) -> Option<BlockNumber> {
        let cutoff = cutoff(self.chain, self.epoch);
        anchored_alone(self.chain, record).filter(|block| *block < cutoff)
    }

    /// Whether a record counts, judged by who was its account's operator when its epoch ended.
    fn has_authority(&self, record: &VerifiedRecord) -> bool {
        let until = self.chain.schedule.start(record.record().epoch.next());
        has_authority(self.chain, record, until)
    }

    fn of_kind(&self, kind: Kind) -> Vec<Arc<VerifiedRecord>> {
        self.records.iter().filter(|((k, ..), _)| *k == kind).map(|(_, r)| Arc::clone(r)).collect()
    }

    fn pay(&mut self, account: AccountId, source: Source, amount: u128, record: Digest) {
        if amount > 0 {
            self.lines.push(Line { account, source, amount: Amount(amount), record });
        }
    }

    fn refuse(&mut self, account: AccountId, source: Source, record: Digest, reason: Unpaid) {
        self.zeros.push(Zero { account, source, record, reason });
    }

    fn use_mut(&mut self, datanet: DatanetId) -> &mut DatanetUse {
        self.uses.entry(datanet).or_insert(DatanetUse { datanet, shards: 0, outputs: 0 })
    }

    fn finish(
        self,
        parent: Digest,
        before: &[(AccountId, Amount)],
    ) -> Result<(Outcome, Vec<u8>), SettleError> {
        let mut balances: BTreeMap<AccountId, Amount> = before.iter().copied().collect();
        let mut total = Amount::ZERO;
        for line in &self.lines {
            let balance = balances.entry(line.account).or_default();
            *balance = balance.checked_add(line.amount).ok_or(SettleError::Overflow)?;
        }
        for balance in balances.values() {
            total = total.checked_add(*balance).ok_or(SettleError::Overflow)?;
        }
        let leaves: Vec<_> = balances.into_iter().collect();
        let uses: Vec<_> = self.uses.into_values().collect();
        let mut records = self.extra;
        records.extend(self.records.into_values().map(|record| (record.id(), record)));
        let records: Vec<_> = records.into_values().collect();
        let log = EpochLog {
            epoch: self.epoch,
            parent,
            balances: before.to_vec(),
            records: records.iter().map(|record| record.signed().clone()).collect(),
            openings: self.used_openings.into_values().collect(),
        };
        let bytes = log.to_bytes();
        let settlement = Settlement {
            epoch: self.epoch,
            parent,
            records_root: records_tree(&records).root(),
            payout_root: payout_tree(&leaves).root(),
            total,
            log: crate::hash::blake3(&bytes),
            log_length: bytes.len() as u64,
            uses: Settlement::hash_uses(&uses),
            replicas_proven: self.replicas_proven,
            storage_faults: self.storage_faults,
            shards_verified: self.shards_verified,
            shards_rejected: self.shards_rejected,
        };
        let outcome = Outcome { settlement, leaves, lines: self.lines, zeros: self.zeros, uses };
        Ok((outcome, bytes))
    }
}
