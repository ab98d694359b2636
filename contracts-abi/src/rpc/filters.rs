//! Filters: what is new since a client last asked.
//!
//! Invariants: so many filters and heard transactions at most, of which the longest unused go first.

use std::collections::{BTreeMap, VecDeque};

use alloy::primitives::B256;
use alloy::rpc::types::Filter;

use super::error::RpcError;
use super::wire::{Count, Params};

/// Filters at most.
const FILTER_LIMIT: usize = 256;
/// Transactions that filters can still tell of.
const HEARD_LIMIT: usize = 8_192;

/// What a filter tells of.
pub(super) enum Kind {
    Logs(Box<Filter>),
    Blocks,
    Pending,
}

pub(super) struct Installed {
    pub(super) kind: Kind,
    /// The first block that was not told of, or the number of the first transaction.
    pub(super) next: u64,
    /// When it was asked for last.
    used: u64,
}

/// All filters of a chain.
#[derive(Default)]
pub(crate) struct Filters {
    by_id: BTreeMap<u64, Installed>,
    /// Counts questions, and numbers filters.
    clock: u64,
    /// The last transactions that were sent.
    heard: VecDeque<B256>,
    /// Number of the transaction after the last one.
    pub(super) sent: u64,
}

impl Filters {
    /// A transaction was sent.
    pub(crate) fn heard(&mut self, hash: B256) {
        if self.heard.len() == HEARD_LIMIT {
            self.heard.pop_front();
        }
        self.heard.push_back(hash);
        self.sent += 1;
    }

    /// Blocks after this one were taken back: those that come in their place are new.
    pub(crate) fn taken_back(&mut self, head: u64) {
        for installed in self.by_id.values_mut() {
            if !matches!(installed.kind, Kind::Pending) {
                installed.next = installed.next.min(head + 1);
            }
        }
    }

    /// Adds a filter, and gives its number.
    pub(super) fn install(&mut self, kind: Kind, next: u64) -> u64 {
        if self.by_id.len() == FILTER_LIMIT {
            let oldest = self.by_id.iter().min_by_key(|(_, installed)| installed.used);
            if let Some(id) = oldest.map(|(id, _)| *id) {
                self.by_id.remove(&id);
            }
        }
        self.clock += 1;
        self.by_id.insert(self.clock, Installed { kind, next, used: self.clock });
        self.clock
    }

    /// The filter that is asked about.
    pub(super) fn get(&mut self, params: &Params) -> Result<&mut Installed, RpcError> {
        self.clock += 1;
        let id = params.get::<Count>(0)?.get();
        let installed = self.by_id.get_mut(&id).ok_or(RpcError::UnknownFilter)?;
        installed.used = self.clock;
        Ok(installed)
    }

    /// Removes a filter; whether there was one.
    pub(super) fn remove(&mut self, params: &Params) -> Result<bool, RpcError> {
        let id = params.get::<Count>(0)?.get();
        Ok(self.by_id.remove(&id).is_some())
    }

    /// The transactions from a number on that can still be told of.
    pub(super) fn sent_from(&self, number: u64) -> impl Iterator<Item = &B256> {
        let first = self.sent - self.heard.len() as u64;
        let skipped = usize::try_from(number.saturating_sub(first)).unwrap_or(usize::MAX);
        self.heard.iter().skip(skipped)
    }
}
