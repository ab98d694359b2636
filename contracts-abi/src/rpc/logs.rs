//! Logs by address, topic and block, and what is new of them since a client last asked.

use alloy::eips::BlockNumberOrTag;
use alloy::rpc::types::{Filter, FilterBlockOption, Log as RpcLog};
use serde_json::Value;

use super::error::RpcError;
use super::filters::Kind;
use super::methods::{Backend, quantity, to_json};
use super::wire::Params;
use crate::devchain::LocatedLog;

impl Backend {
    pub(crate) fn logs(&self, params: &Params) -> Result<Value, RpcError> {
        self.logs_matching(&params.get(0)?)
    }

    pub(super) fn logs_matching(&self, filter: &Filter) -> Result<Value, RpcError> {
        let (from, to) = self.range(&filter.block_option)?;
        let found = self.chain.logs(from, to, filter)?;
        to_json(found.iter().map(rpc_log).collect::<Vec<_>>())
    }

    /// The logs of a filter in the blocks from a number on, as far as its own range goes.
    pub(super) fn logs_from(&self, first: u64, filter: &Filter) -> Result<Vec<RpcLog>, RpcError> {
        let (from, to) = match &filter.block_option {
            FilterBlockOption::AtBlockHash(_) => self.range(&filter.block_option)?,
            FilterBlockOption::Range { from_block, to_block } => {
                let number = |tag: &Option<_>| match tag {
                    Some(BlockNumberOrTag::Number(number)) => Some(*number),
                    _ => None,
                };
                let head = self.chain.head().number();
                (number(from_block).unwrap_or(0), number(to_block).unwrap_or(head).min(head))
            }
        };
        let from = from.max(first);
        let found = if from > to { Vec::new() } else { self.chain.logs(from, to, filter)? };
        Ok(found.iter().map(rpc_log).collect())
    }

    fn range(&self, option: &FilterBlockOption) -> Result<(u64, u64), RpcError> {
        match option {
            FilterBlockOption::AtBlockHash(hash) => {
                let block = self.chain.block_by_hash(*hash).ok_or(RpcError::UnknownBlock)?;
                Ok((block.number(), block.number()))
            }
            FilterBlockOption::Range { from_block, to_block } => {
                Ok((self.bound(*from_block), self.bound(*to_block)))
            }
        }
    }

    /// A bound of a range; blocks beyond the head are allowed and empty.
    fn bound(&self, tag: Option<BlockNumberOrTag>) -> u64 {
        match tag {
            Some(BlockNumberOrTag::Number(number)) => number,
            Some(BlockNumberOrTag::Earliest) => 0,
            _ => self.chain.head().number(),
        }
    }
}

impl Backend {
    pub(crate) fn new_filter(&mut self, params: &Params) -> Result<Value, RpcError> {
        let next = self.chain.head().number() + 1;
        to_json(quantity(self.filters.install(Kind::Logs(Box::new(params.get(0)?)), next)))
    }

    pub(crate) fn new_block_filter(&mut self) -> Result<Value, RpcError> {
        let next = self.chain.head().number() + 1;
        to_json(quantity(self.filters.install(Kind::Blocks, next)))
    }

    /// Tells hashes; whole transactions are refused.
    pub(crate) fn new_pending_filter(&mut self, params: &Params) -> Result<Value, RpcError> {
        if params.opt::<bool>(0)? == Some(true) {
            return Err(RpcError::Params("only hashes of transactions are told".to_owned()));
        }
        let next = self.filters.sent;
        to_json(quantity(self.filters.install(Kind::Pending, next)))
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
        to_json(self.filters.remove(params)?)
    }
}

/// A log as JSON-RPC shows it.
pub(crate) fn rpc_log(located: &LocatedLog<'_>) -> RpcLog {
    RpcLog {
        inner: located.log.clone(),
        block_hash: Some(located.block.hash),
        block_number: Some(located.block.number()),
        block_timestamp: Some(located.block.header.timestamp),
        transaction_hash: Some(located.transaction_hash()),
        transaction_index: Some(located.transaction as u64),
        log_index: Some(located.index as u64),
        removed: false,
    }
}
