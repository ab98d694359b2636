//! Questions that change nothing: calls, gas estimates, logs.

use alloy::consensus::Header;
use alloy::primitives::{B256, Bytes, Log};
use alloy::rpc::types::Filter;
use revm::context::BlockEnv;
use revm::context::result::{ExecutionResult, HaltReason, InvalidTransaction};

use super::block::{block_env, next_header};
use super::{Block, DevChain, Message, TX_GAS_CAP};

/// Logs that one query returns at most.
const LOG_LIMIT: usize = 10_000;

/// Why a call had no result.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// The contract reverted with these bytes.
    #[error("execution reverted")]
    Revert(Bytes),
    /// The EVM stopped the call.
    #[error("execution halted: {0}")]
    Halt(HaltReason),
    /// The call breaks a rule before it runs.
    #[error("{0}")]
    Invalid(InvalidTransaction),
}

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
    /// Calls a contract on the newest state and forgets what it changed. The contract sees the
    /// head's number and time, or with `pending` those of the next block.
    pub fn call(&mut self, message: &Message, pending: bool) -> Result<Bytes, CallError> {
        let header = if pending { self.next_header() } else { self.head().header.clone() };
        let gas = message.gas.unwrap_or(self.config.gas_limit).min(self.config.gas_limit);
        match self.simulate(&header, message, gas)? {
            ExecutionResult::Success { output, .. } => Ok(output.into_data()),
            ExecutionResult::Revert { output, .. } => Err(CallError::Revert(output)),
            ExecutionResult::Halt { reason, .. } => Err(CallError::Halt(reason)),
        }
    }

    /// The least gas with which a message succeeds in the next block.
    pub fn estimate_gas(&mut self, message: &Message) -> Result<u64, CallError> {
        let header = self.next_header();
        let cap = message.gas.unwrap_or(TX_GAS_CAP).min(TX_GAS_CAP).min(self.config.gas_limit);
        let used = match self.simulate(&header, message, cap)? {
            ExecutionResult::Success { gas, .. } => gas.tx_gas_used(),
            ExecutionResult::Revert { output, .. } => return Err(CallError::Revert(output)),
            ExecutionResult::Halt { reason, .. } => return Err(CallError::Halt(reason)),
        };
        // `low` always fails, `high` always succeeds: a call may need more gas than it pays for,
        // because of refunds and of the 64th part that stays behind at each inner call.
        let (mut low, mut high) = (used - 1, cap);
        let mut middle = used + used / 32;
        while low + 1 < high {
            let tried = middle.clamp(low + 1, high - 1);
            match self.simulate(&header, message, tried) {
                Ok(result) if result.is_success() => high = tried,
                _ => low = tried,
            }
            middle = low + (high - low) / 2;
        }
        Ok(high)
    }

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

    fn next_header(&self) -> Header {
        next_header(self.head(), &self.config, 0)
    }

    fn simulate(
        &mut self,
        header: &Header,
        message: &Message,
        gas: u64,
    ) -> Result<ExecutionResult, CallError> {
        let env = BlockEnv { basefee: 0, ..block_env(header) };
        let tx = message.env(self.config.chain_id, self.nonce(message.from), gas);
        self.executor.simulate(env, tx).map_err(CallError::Invalid)
    }
}

/// All logs of a block with their places.
pub fn block_logs(block: &Block) -> impl Iterator<Item = LocatedLog<'_>> {
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
