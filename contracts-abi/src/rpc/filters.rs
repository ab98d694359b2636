//! Filters: what is new since a client last asked.
//!
//! Invariants: so many filters and heard transactions at most, of which the longest unused go first.

use std::collections::{BTreeMap, VecDeque};

use alloy::primitives::B256;
use alloy::rpc::types::Filter;
use serde_json::Value;

use super::error::RpcError;
use super::fees::Count;
use super::methods::{Backend, quantity, to_json};
use super::wire::Params;

/// Filters at most.
const FILTER_LIMIT: usize = 256;
/// Transactions that filters can still tell of.
const HEARD_LIMIT: usize = 8_192;

/// What a filter tells of.
enum Kind {
    Logs(Box<Filter>),
    Blocks,
    Pending,
}

struct Installed {
    kind: Kind,
    /// The first block that was not told of, or the number of the first transaction.
    next: u64,
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
    sent: u64,
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

    fn install(&mut self, kind: Kind, next: u64) -> Result<Value, RpcError> {
        if self.by_id.len() == FILTER_LIMIT {
            let oldest = self.by_id.iter().min_by_key(|(_, installed)| installed.used);
            if let Some(id) = oldest.map(|(id, _)| *id) {
                self.by_id.remove(&id);
            }
        }
        self.clock += 1;
        self.by_id.insert(self.clock, Installed { kind, next, used: self.clock });
        to_json(quantity(self.clock))
    }

    fn get(&mut self, params: &Params) -> Result<&mut Installed, RpcError> {
        self.clock += 1;
        let id = params.get::<Count>(0)?.get();
        let installed = self.by_id.get_mut(&id).ok_or(RpcError::UnknownFilter)?;
        installed.used = self.clock;
        Ok(installed)
    }

    fn sent_from(&self, number: u64) -> impl Iterator<Item = &B256> {
        let first = self.sent - self.heard.len() as u64;
        let skipped = usize::try_from(number.saturating_sub(first)).unwrap_or(usize::MAX);
        self.heard.iter().skip(skipped)
    }
}

impl Backend {
    pub(crate) fn new_filter(&mut self, params: &Params) -> Result<Value, RpcError> {
        let next = self.chain.head().number() + 1;
        self.filters.install(Kind::Logs(Box::new(params.get(0)?)), next)
    }

    pub(crate) fn new_block_filter(&mut self) -> Result<Value, RpcError> {
        let next = self.chain.head().number() + 1;
        self.filters.install(Kind::Blocks, next)
    }

    /// Tells hashes; whole transactions are refused.
    pub(crate) fn new_pending_filter(&mut self, params: &Params) -> Result<Value, RpcError> {
        if params.opt::<bool>(0)? == Some(true) {
            return Err(RpcError::Params("only hashes of transactions are told".to_owned()));
        }
        let next = self.filters.sent;
        self.filters.install(Kind::Pending, next)
    }

    pub(crate) fn filter_changes(&mut self, params: &Params) -> Result<Value, RpcError> {
        let (head, sent) = (self.chain.head().number(), self.filters.sent);
        let installed = self.filters.get(params)?;
        let from = installed.next;
        match &installed.kind {
            Kind::Pending => {
                let from = std::mem::replace(&mut installed.next, sent);
                to_json(self.filters.sent_from(from).collect::<Vec<_>>())
            }
            Kind::Blocks => {
                installed.next = head + 1;
                let blocks = (from..=head).filter_map(|number| self.chain.block(number));
                to_json(blocks.map(|block| block.hash).collect::<Vec<_>>())
            }
            Kind::Logs(filter) => {
                let filter = filter.clone();
                let found = self.logs_from(from, &filter)?;
                // Only what was told is passed over: a refusal for too many logs comes again.
                self.filters.get(params)?.next = head + 1;
                to_json(found)
            }
        }
    }

    /// Everything that a filter of logs matches in its range.
    pub(crate) fn filter_logs(&mut self, params: &Params) -> Result<Value, RpcError> {
        match &self.filters.get(params)?.kind {
            Kind::Logs(filter) => {
                let filter = filter.clone();
                self.logs_matching(&filter)
            }
            Kind::Blocks | Kind::Pending => Err(RpcError::UnknownFilter),
        }
    }

    pub(crate) fn uninstall_filter(&mut self, params: &Params) -> Result<Value, RpcError> {
        let id = params.get::<Count>(0)?.get();
        to_json(self.filters.by_id.remove(&id).is_some())
    }
}
