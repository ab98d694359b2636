//! How much may still be written: `--max-disk`, and what is being written right now.
//!
//! The quota counts the bytes of blobs, stored and reserved. Outboards (0.4 %), the index and the
//! record log come on top.

use std::collections::BTreeMap;

use protocol::{BlobRef, Hash};

use crate::error::StoreError;

/// A limit in bytes, or none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Quota(pub Option<u64>);

impl Quota {
    /// No limit but the disk.
    pub const UNLIMITED: Self = Self(None);

    /// A limit in bytes.
    pub const fn bytes(limit: u64) -> Self {
        Self(Some(limit))
    }

    /// Whether `needed` more bytes fit beside `used`.
    pub fn check(self, used: u64, needed: u64) -> Result<(), StoreError> {
        match self.0 {
            Some(limit) if used.saturating_add(needed) > limit => {
                Err(StoreError::QuotaExceeded { used, limit, needed })
            }
            _ => Ok(()),
        }
    }
}

/// The books of a store: what is stored, what is being written, and the limit on their sum.
///
/// Invariant: `used()` is the sum of the lengths of all entries, each hash counted once.
#[derive(Debug, Default)]
pub struct Ledger {
    quota: Quota,
    stored: BTreeMap<Hash, u64>,
    incoming: BTreeMap<Hash, Reservation>,
    used: u64,
}

#[derive(Debug)]
struct Reservation {
    len: u64,
    holders: u32,
}

impl Ledger {
    /// Books with a limit. What is already stored counts even when it exceeds the limit; then
    /// nothing more is admitted.
    pub fn new(quota: Quota, stored: BTreeMap<Hash, u64>) -> Self {
        let used = stored.values().sum();
        Self { quota, stored, incoming: BTreeMap::new(), used }
    }

    /// Bytes stored and reserved.
    pub const fn used(&self) -> u64 {
        self.used
    }

    /// The limit on [`Self::used`].
    pub const fn quota(&self) -> Quota {
        self.quota
    }

    /// Length of a stored blob.
    pub(crate) fn len_of(&self, hash: Hash) -> Option<u64> {
        self.stored.get(&hash).copied()
    }

    /// All stored blobs, ascending.
    pub fn stored(&self) -> impl Iterator<Item = BlobRef> + '_ {
        self.stored.iter().map(|(hash, len)| BlobRef::new(*hash, *len))
    }

    /// All blobs that are being written, ascending.
    pub fn incoming(&self) -> impl Iterator<Item = Hash> + '_ {
        self.incoming.keys().copied()
    }

    /// Reserves space for a blob that is about to be written. Every call is answered by exactly
    /// one [`Self::settle`] or [`Self::release`].
    pub fn reserve(&mut self, hash: Hash, len: u64) -> Result<(), StoreError> {
        if let Some(reservation) = self.incoming.get_mut(&hash) {
            if reservation.len != len {
                return Err(StoreError::Length { hash, announced: reservation.len, found: len });
            }
            // The second download of a blob writes the same bytes: it shares the reservation.
            reservation.holders = reservation.holders.saturating_add(1);
            return Ok(());
        }
        let needed = if self.stored.contains_key(&hash) { 0 } else { len };
        self.quota.check(self.used, needed)?;
        self.used = self.used.saturating_add(needed);
        self.incoming.insert(hash, Reservation { len, holders: 1 });
        Ok(())
    }

    /// The reserved blob is stored now.
    pub fn settle(&mut self, hash: Hash) {
        if let Some(len) = self.drop_holder(hash) {
            self.stored.insert(hash, len);
        }
    }

    /// The reserved blob will not come.
    pub fn release(&mut self, hash: Hash) {
        let Some(len) = self.drop_holder(hash) else { return };
        if !self.incoming.contains_key(&hash) && !self.stored.contains_key(&hash) {
            self.used = self.used.saturating_sub(len);
        }
    }

    /// Strikes out a stored blob; refuses while it is being written.
    pub fn remove(&mut self, hash: Hash) -> Result<Option<u64>, StoreError> {
        if self.incoming.contains_key(&hash) {
            return Err(StoreError::InUse { hash });
        }
        let len = self.stored.remove(&hash);
        self.used = self.used.saturating_sub(len.unwrap_or(0));
        Ok(len)
    }

    fn drop_holder(&mut self, hash: Hash) -> Option<u64> {
        let reservation = self.incoming.get_mut(&hash)?;
        let len = reservation.len;
        reservation.holders = reservation.holders.saturating_sub(1);
        if reservation.holders == 0 {
            self.incoming.remove(&hash);
        }
        Some(len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Hash = Hash([1; 32]);
    const B: Hash = Hash([2; 32]);

    #[test]
    fn a_reservation_counts_at_once_and_only_once() {
        let mut ledger = Ledger::new(Quota::bytes(10), BTreeMap::new());
        ledger.reserve(A, 6).unwrap();
        ledger.reserve(A, 6).unwrap();
        assert_eq!(ledger.used(), 6);
        assert!(matches!(
            ledger.reserve(B, 5),
            Err(StoreError::QuotaExceeded { used: 6, limit: 10, needed: 5 })
        ));
        ledger.release(A);
        assert_eq!(ledger.used(), 6, "the other holder still writes");
        ledger.settle(A);
        assert_eq!((ledger.used(), ledger.len_of(A)), (6, Some(6)));
        ledger.reserve(A, 6).unwrap();
        ledger.release(A);
        assert_eq!(ledger.used(), 6, "what is stored stays");
    }

    #[test]
    fn what_is_being_written_cannot_be_removed() {
        let mut ledger = Ledger::default();
        ledger.reserve(A, 1).unwrap();
        assert!(matches!(ledger.remove(A), Err(StoreError::InUse { hash: A })));
        ledger.release(A);
        assert_eq!((ledger.remove(A).unwrap(), ledger.used()), (None, 0));
    }

    #[test]
    fn two_lengths_for_one_address_are_refused() {
        let mut ledger = Ledger::default();
        ledger.reserve(A, 1).unwrap();
        assert!(matches!(
            ledger.reserve(A, 2),
            Err(StoreError::Length { announced: 1, found: 2, .. })
        ));
    }
}
