//! Logs by address, topic and block.

use alloy::primitives::{B256, Log};
use alloy::rpc::types::Filter;

use super::{Block, DevChain};

/// Logs that one query returns at most.
const LOG_LIMIT: usize = 10_000;

/// Why logs were not returned.
#[expect(missing_docs, reason = "a message names its fields")]
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LogQueryError {
    /// The range is upside down.
    #[error("invalid block range: from {from} to {to}")]
    Range { from: u64, to: u64 },
    /// More logs match than one answer holds.
    #[error("query returned more than {LOG_LIMIT} results; ask for fewer blocks")]
    TooMany,
}

/// A log with the place where it was written.
#[derive(Debug, Clone, Copy)]
pub struct LocatedLog<'a> {
    /// Address, topics and data, as the contract wrote them.
    pub log: &'a Log,
    /// The block in which it stands.
    pub block: &'a Block,
    /// Index of its transaction in the block.
    pub transaction: usize,
    /// Its index in the block.
    pub index: usize,
}

impl LocatedLog<'_> {
    /// Hash of its transaction; zero on a chain that keeps no bodies.
    pub fn transaction_hash(&self) -> B256 {
        self.block.transactions.get(self.transaction).map_or(B256::ZERO, |tx| *tx.tx_hash())
    }
}

impl DevChain {
    /// The logs of blocks `from..=to` that match a filter's addresses and topics. Blocks that do
    /// not exist have none.
    pub fn logs(
        &self,
        from: u64,
        to: u64,
        filter: &Filter,
    ) -> Result<Vec<LocatedLog<'_>>, LogQueryError> {
        if from > to {
            return Err(LogQueryError::Range { from, to });
        }
        let mut found = Vec::new();
        for number in from..=to.min(self.head().number()) {
            let Some(block) = self.block(number) else { continue };
            if !filter.matches_bloom(block.header.logs_bloom) && self.keep.is_none() {
                continue;
            }
            found.extend(block_logs(block).filter(|located| filter.matches(located.log)));
            if found.len() > LOG_LIMIT {
                return Err(LogQueryError::TooMany);
            }
        }
        Ok(found)
    }
}

/// All logs of a block with their places.
pub(crate) fn block_logs(block: &Block) -> impl Iterator<Item = LocatedLog<'_>> {
    let logs = block.outcomes.iter().enumerate();
    let logs = logs
        .flat_map(|(transaction, outcome)| outcome.logs.iter().map(move |log| (transaction, log)));
    logs.enumerate().map(move |(index, (transaction, log))| LocatedLog {
        log,
        block,
        transaction,
        index,
    })
}
