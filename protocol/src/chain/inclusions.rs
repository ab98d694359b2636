//! Which records the chain took in.

use alloc::{collections::BTreeMap, sync::Arc, vec::Vec};
use core::ops::RangeInclusive;

use crate::{
    draw::Part,
    eip712::Domain,
    ids::{AccountId, BlockNumber, Digest, Epoch, EvmAddress},
    limits::MAX_RECORDS_PER_ACCOUNT,
    record::{Body, Kind, Record, SignedRecord, VerifiedRecord},
};

type Key = (Kind, AccountId, Digest);

/// The records of the epochs that are not settled, and of a few before.
#[derive(Debug, Clone, Default)]
pub(super) struct Inclusions {
    since: Epoch,
    epochs: BTreeMap<Epoch, Included>,
    /// Those of the newest block.
    newest: Vec<Arc<VerifiedRecord>>,
}

#[derive(Debug, Clone)]
struct Included {
    head: Digest,
    /// Of each key the first that came in: which of two counts is then no choice of anybody who knows
    /// both, and the other is nothing at all.
    by_key: BTreeMap<Key, (Arc<VerifiedRecord>, BlockNumber)>,
    by_id: BTreeMap<Digest, (Key, BlockNumber)>,
    by_account: BTreeMap<AccountId, u32>,
    /// The block that took in an account's first shard of a part of a round, from whatever checkpoint.
    by_part: BTreeMap<(AccountId, Part), BlockNumber>,
}

impl Included {
    const NOTHING: Self = Self {
        head: Digest::ZERO,
        by_key: BTreeMap::new(),
        by_id: BTreeMap::new(),
        by_account: BTreeMap::new(),
        by_part: BTreeMap::new(),
    };
}

impl Inclusions {
    pub(super) const fn new() -> Self {
        Self { since: Epoch(0), epochs: BTreeMap::new(), newest: Vec::new() }
    }

    /// Notes what came in, and what the fold over it is.
    pub(super) fn advance(&mut self, epoch: Epoch, head: Digest) {
        self.epochs.entry(epoch).or_insert(Included::NOTHING).head = head;
    }

    /// Takes in a record that its account's operator signed, and gives it back. One whose subject is not its
    /// body's, of a key that is there, or beyond what one account may have in an epoch, counts for nothing.
    pub(super) fn take(
        &mut self,
        domain: &Domain,
        record: SignedRecord,
        operator: EvmAddress,
        block: BlockNumber,
    ) -> Option<Arc<VerifiedRecord>> {
        let of_epoch = self.epochs.entry(record.record.epoch).or_insert(Included::NOTHING);
        let count = of_epoch.by_account.entry(record.record.account).or_default();
        let key = record.record.key();
        if *count >= MAX_RECORDS_PER_ACCOUNT || of_epoch.by_key.contains_key(&key) {
            return None;
        }
        let record = record.included(domain, operator);
        if !record.is_well_formed() {
            return None;
        }
        *count = count.saturating_add(1);
        let record = Arc::new(record);
        of_epoch.by_id.insert(record.id(), (key, block));
        if let Some(part) = part_of(record.record()) {
            of_epoch.by_part.entry((record.record().account, part)).or_insert(block);
        }
        self.newest.push(Arc::clone(&record));
        of_epoch.by_key.insert(key, (Arc::clone(&record), block));
        Some(record)
    }

    /// Forgets epochs whose records nothing follows from any more.
    pub(super) fn forget_before(&mut self, epoch: Epoch) {
        self.since = self.since.max(epoch);
        self.epochs = self.epochs.split_off(&self.since);
    }

    /// The first epoch whose records are kept.
    pub(super) const fn since(&self) -> Epoch {
        self.since
    }

    pub(super) fn block_of(&self, epoch: Epoch, id: &Digest) -> Option<BlockNumber> {
        self.epochs.get(&epoch)?.by_id.get(id).map(|(_, block)| *block)
    }

    pub(super) fn record(&self, epoch: Epoch, id: &Digest) -> Option<&Arc<VerifiedRecord>> {
        let of_epoch = self.epochs.get(&epoch)?;
        let (key, _) = of_epoch.by_id.get(id)?;
        of_epoch.by_key.get(key).map(|(record, _)| record)
    }

    pub(super) fn by_key(&self, epoch: Epoch, key: &Key) -> Option<&Arc<VerifiedRecord>> {
        self.epochs.get(&epoch)?.by_key.get(key).map(|(record, _)| record)
    }

    /// Another block begins.
    pub(super) fn begin_block(&mut self) {
        self.newest.clear();
    }

    pub(super) fn newest(&self) -> &[Arc<VerifiedRecord>] {
        &self.newest
    }

    pub(super) fn block_of_part(
        &self,
        epoch: Epoch,
        worker: AccountId,
        part: Part,
    ) -> Option<BlockNumber> {
        self.epochs.get(&epoch)?.by_part.get(&(worker, part)).copied()
    }

    pub(super) fn head(&self, epoch: Epoch) -> Digest {
        self.epochs.get(&epoch).map_or(Digest::ZERO, |of_epoch| of_epoch.head)
    }

    pub(super) fn of(
        &self,
        epochs: RangeInclusive<Epoch>,
    ) -> impl Iterator<Item = (&Arc<VerifiedRecord>, BlockNumber)> {
        let of_epochs = self.epochs.range(epochs).map(|(_, of_epoch)| of_epoch);
        of_epochs.flat_map(|of_epoch| of_epoch.by_key.values()).map(|(record, at)| (record, *at))
    }
}

/// Which part of which round a record is of.
pub(super) fn part_of(record: &Record) -> Option<Part> {
    let Body::Shard(body) = &record.body else { return None };
    Some(Part { model: body.model, round: body.round, slot: body.slot })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        eip712::Signature,
        record::{AuditBody, Finding, audit_subject},
    };

    const EPOCH: Epoch = Epoch(4);
    const ACCOUNT: AccountId = AccountId(7);

    fn audit(account: AccountId, work: u32, of: u64) -> SignedRecord {
        let mut digest = Digest::ZERO;
        digest.0[..4].copy_from_slice(&work.to_be_bytes());
        let body = AuditBody { of: AccountId(of), work: digest, finding: Finding::StorageMissing };
        let record = Record {
            epoch: EPOCH,
            account,
            subject: audit_subject(body.of, &digest),
            body: Body::Audit(body),
        };
        SignedRecord { record, signature: Signature([1; 65]) }
    }

    fn taken(records: impl IntoIterator<Item = SignedRecord>) -> Inclusions {
        let domain = Domain::new(1, EvmAddress([2; 20]));
        let mut inclusions = Inclusions::new();
        for record in records {
            inclusions.take(&domain, record, EvmAddress([3; 20]), BlockNumber(9));
        }
        inclusions
    }

    #[test]
    fn what_one_account_can_fill_has_an_end_and_takes_no_place_of_anothers() {
        let junk = (0..MAX_RECORDS_PER_ACCOUNT + 100).map(|work| audit(ACCOUNT, work, 1));
        let inclusions = taken(junk.chain([audit(AccountId(8), 0, 1)]));
        let kept = |account| {
            let of = inclusions.of(EPOCH..=EPOCH);
            of.filter(|(record, _)| record.record().account == account).count()
        };
        assert_eq!(kept(ACCOUNT), MAX_RECORDS_PER_ACCOUNT as usize);
        assert_eq!(kept(AccountId(8)), 1);
    }

    #[test]
    fn of_a_key_the_first_counts_and_a_wrong_subject_never() {
        let mut misplaced = audit(ACCOUNT, 1, 1);
        misplaced.record.subject = Digest([9; 32]);
        let inclusions = taken([audit(ACCOUNT, 0, 1), audit(ACCOUNT, 0, 1), misplaced]);
        assert_eq!(inclusions.of(EPOCH..=EPOCH).count(), 1);
        assert_eq!(inclusions.newest().len(), 1, "nobody is told of the others");
    }
}
