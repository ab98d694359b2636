//! All records once: who made them, and when they went out.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

use protocol::{
    AccountId, Digest, Epoch, Hash,
    record::{Body, VerifiedRecord},
};

use crate::kernel::Time;

/// A record with its author.
#[derive(Debug, Clone)]
pub struct Entry {
    /// The record, signed and verified once for all nodes.
    pub record: Arc<VerifiedRecord>,
    /// The node that made it.
    pub author: u32,
    /// When it was durable and gossiped; `None` before.
    pub sent: Option<Time>,
}

impl Entry {
    /// The openings that a storage proof names.
    pub fn openings(&self) -> Option<Hash> {
        match &self.record.record().body {
            Body::StorageProof(proof) => Some(proof.openings),
            _ => None,
        }
    }
}

/// The records of the newest epochs, by number. Older ones are forgotten.
#[derive(Debug, Default)]
pub(crate) struct RecordTable {
    /// Number of the first slot.
    first: u32,
    slots: VecDeque<Option<Entry>>,
    by_epoch: BTreeMap<Epoch, BTreeMap<AccountId, Vec<u32>>>,
    by_id: BTreeMap<Digest, u32>,
    /// Those that are kept whatever their age.
    pinned: BTreeSet<u32>,
}

impl RecordTable {
    /// Adds a record; its number.
    ///
    /// # Panics
    /// After four billion records.
    pub(crate) fn add(&mut self, record: VerifiedRecord, author: u32) -> u32 {
        let number = self.total();
        let made = record.record();
        let by_account = self.by_epoch.entry(made.epoch).or_default();
        by_account.entry(made.account).or_default().push(number);
        self.by_id.insert(record.id(), number);
        self.slots.push_back(Some(Entry { record: Arc::new(record), author, sent: None }));
        number
    }

    fn place(&self, number: u32) -> Option<usize> {
        number.checked_sub(self.first).map(|place| place as usize)
    }

    /// A record; `None` when it was forgotten.
    pub(crate) fn get(&self, number: u32) -> Option<&Entry> {
        self.slots.get(self.place(number)?)?.as_ref()
    }

    /// Notes that a record went out; whether it had not before.
    pub(crate) fn send(&mut self, number: u32, at: Time) -> bool {
        let place = self.place(number);
        let entry = place.and_then(|place| self.slots.get_mut(place)).and_then(Option::as_mut);
        entry.is_some_and(|entry| {
            let is_first = entry.sent.is_none();
            entry.sent.get_or_insert(at);
            is_first
        })
    }

    /// The number of a record.
    pub(crate) fn find(&self, id: &Digest) -> Option<u32> {
        self.by_id.get(id).copied()
    }

    /// How many there ever were.
    ///
    /// # Panics
    /// After four billion records.
    pub(crate) fn total(&self) -> u32 {
        let kept = u32::try_from(self.slots.len()).expect("fewer than four billion records");
        self.first.checked_add(kept).expect("fewer than four billion records")
    }

    /// The records of an epoch by one account.
    pub(crate) fn by(&self, epoch: Epoch, account: AccountId) -> &[u32] {
        let found = self.by_epoch.get(&epoch).and_then(|accounts| accounts.get(&account));
        found.map_or(&[], Vec::as_slice)
    }

    /// The records of some epochs, in order of epochs and accounts.
    pub(crate) fn of(&self, first: Epoch, last: Epoch) -> impl Iterator<Item = u32> {
        let epochs = self.by_epoch.range(first..=last);
        epochs.flat_map(|(_, accounts)| accounts.values().flatten().copied())
    }

    /// Keeps a record whatever its age.
    pub(crate) fn pin(&mut self, number: u32) {
        self.pinned.insert(number);
    }

    /// Forgets the records of epochs before one that are not pinned; gives them.
    pub(crate) fn forget_before(&mut self, epoch: Epoch) -> Vec<Entry> {
        let kept = self.by_epoch.split_off(&epoch);
        let old = std::mem::replace(&mut self.by_epoch, kept);
        let mut forgotten = Vec::new();
        for number in old.into_values().flat_map(BTreeMap::into_values).flatten() {
            let place = self.place(number).expect("a number that is listed is kept");
            if self.pinned.contains(&number) {
                continue;
            }
            if let Some(entry) = self.slots[place].take() {
                self.by_id.remove(&entry.record.id());
                forgotten.push(entry);
            }
        }
        while let Some(None) = self.slots.front() {
            self.slots.pop_front();
            self.first += 1;
        }
        forgotten
    }
}
