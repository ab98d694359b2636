//! How many bytes move, counted by epoch while they do.

use std::collections::BTreeMap;

use protocol::{Epoch, codec::Wire as _, record::VerifiedRecord};

/// What moved in one epoch.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Moved {
    pub(super) records: u64,
    pub(super) record_bytes: u64,
    pub(super) fetches: u64,
    pub(super) fetched_bytes: u64,
    pub(super) transactions: u64,
}

/// What moved so far.
#[derive(Debug, Default)]
pub(super) struct Traffic {
    by_epoch: BTreeMap<Epoch, Moved>,
}

impl Traffic {
    pub(super) fn count_record(&mut self, epoch: Epoch, record: &VerifiedRecord) {
        let bytes = record.signed().to_bytes().len() as u64;
        let moved = self.by_epoch.entry(epoch).or_default();
        moved.records += 1;
        moved.record_bytes += bytes;
    }

    pub(super) fn count_fetch(&mut self, epoch: Epoch, bytes: u64) {
        let moved = self.by_epoch.entry(epoch).or_default();
        moved.fetches += 1;
        moved.fetched_bytes += bytes;
    }

    pub(super) fn count_transactions(&mut self, epoch: Epoch, transactions: u64) {
        self.by_epoch.entry(epoch).or_default().transactions += transactions;
    }

    /// What moved in each epoch.
    pub(super) fn by_epoch(&self) -> impl Iterator<Item = (Epoch, Moved)> {
        self.by_epoch.iter().map(|(epoch, moved)| (*epoch, *moved))
    }
}
