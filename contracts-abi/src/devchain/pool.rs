//! Transactions that wait for a block: by sender and nonce, taken in order of arrival.
//!
//! Invariants: bounded in all and per sender; one transaction per sender and nonce; the order in
//! which a block takes them depends on nothing but the order of arrival and the nonces.

use std::collections::{BTreeMap, BTreeSet};

use alloy::consensus::Transaction;
use alloy::primitives::{Address, B256};

use super::config::{POOL_LIMIT, POOL_SENDER_LIMIT};
use super::tx::Candidate;

/// Why the pool did not take a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PoolError {
    /// The same transaction is here already.
    #[error("already known")]
    AlreadyKnown,
    /// Another transaction has this nonce, and this one does not pay 10 % more.
    #[error("replacement transaction underpriced")]
    Underpriced,
    /// The pool is full.
    #[error("txpool is full")]
    Full,
}

struct Waiting {
    arrival: u64,
    tx: Candidate,
}

/// Transactions that wait for a block, by sender and nonce.
#[derive(Default)]
pub(crate) struct Pool {
    senders: BTreeMap<Address, BTreeMap<u64, Waiting>>,
    hashes: BTreeMap<B256, (Address, u64)>,
    arrivals: u64,
}

impl Pool {
    /// A waiting transaction by its hash.
    pub(crate) fn get(&self, hash: &B256) -> Option<&Candidate> {
        let (sender, nonce) = self.hashes.get(hash)?;
        Some(&self.senders.get(sender)?.get(nonce)?.tx)
    }

    /// Number of waiting transactions.
    pub(crate) fn len(&self) -> usize {
        self.hashes.len()
    }

    /// The nonce after the unbroken run of waiting transactions that starts at `nonce`.
    pub(crate) fn next_nonce(&self, sender: Address, nonce: u64) -> u64 {
        let waiting = self.senders.get(&sender);
        (nonce..).find(|n| !waiting.is_some_and(|w| w.contains_key(n))).unwrap_or(nonce)
    }

    /// Takes a transaction, or replaces one of the same nonce that pays less.
    pub(crate) fn insert(&mut self, tx: Candidate) -> Result<B256, PoolError> {
        let (hash, sender, nonce) = (tx.hash(), tx.from, tx.nonce());
        if self.hashes.contains_key(&hash) {
            return Err(PoolError::AlreadyKnown);
        }
        let of_sender = self.senders.get(&sender);
        match of_sender.and_then(|waiting| waiting.get(&nonce)) {
            Some(old) if !pays_more(&tx, &old.tx) => return Err(PoolError::Underpriced),
            Some(old) => {
                self.hashes.remove(&old.tx.hash());
            }
            None => {
                let full = of_sender.is_some_and(|waiting| waiting.len() >= POOL_SENDER_LIMIT);
                if full || self.hashes.len() >= POOL_LIMIT {
                    return Err(PoolError::Full);
                }
            }
        }
        self.arrivals += 1;
        let waiting = Waiting { arrival: self.arrivals, tx };
        self.senders.entry(sender).or_default().insert(nonce, waiting);
        self.hashes.insert(hash, (sender, nonce));
        Ok(hash)
    }

    /// Removes one transaction.
    pub(crate) fn remove(&mut self, sender: Address, nonce: u64) -> Option<Candidate> {
        let waiting = self.senders.get_mut(&sender)?;
        let removed = waiting.remove(&nonce)?;
        if waiting.is_empty() {
            self.senders.remove(&sender);
        }
        self.hashes.remove(&removed.tx.hash());
        Some(removed.tx)
    }

    /// The senders whose next transaction can be executed, by arrival of that transaction.
    pub(crate) fn heads(&self, nonce_of: impl Fn(Address) -> u64) -> BTreeSet<(u64, Address, u64)> {
        self.senders
            .iter()
            .filter_map(|(sender, waiting)| {
                let nonce = nonce_of(*sender);
                waiting.get(&nonce).map(|head| (head.arrival, *sender, nonce))
            })
            .collect()
    }

    /// What each sender has waiting without a gap from its next nonce on.
    pub(crate) fn executable(
        &self,
        nonce_of: impl Fn(Address) -> u64,
    ) -> impl Iterator<Item = &Candidate> {
        self.senders.iter().flat_map(move |(sender, waiting)| {
            (nonce_of(*sender)..).map_while(|nonce| waiting.get(&nonce).map(|w| &w.tx))
        })
    }

    /// The entry in [`Self::heads`] of one sender's transaction.
    pub(crate) fn head(&self, sender: Address, nonce: u64) -> Option<(u64, Address, u64)> {
        let waiting = self.senders.get(&sender)?.get(&nonce)?;
        Some((waiting.arrival, sender, nonce))
    }

    /// A waiting transaction.
    pub(crate) fn at(&self, sender: Address, nonce: u64) -> Option<&Candidate> {
        self.senders.get(&sender)?.get(&nonce).map(|waiting| &waiting.tx)
    }
}

/// Whether `new` raises both prices of `old` by at least a tenth.
fn pays_more(new: &Candidate, old: &Candidate) -> bool {
    let raised = |new: u128, old: u128| new >= old.saturating_add(old.div_ceil(10)) && new > old;
    raised(new.envelope.max_fee_per_gas(), old.envelope.max_fee_per_gas())
        && raised(new.envelope.priority_fee_or_price(), old.envelope.priority_fee_or_price())
}
