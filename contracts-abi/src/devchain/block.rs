//! Blocks: what they hold, and how one is built transaction by transaction and sealed.
//!
//! The header is the real one of the hard fork and its hash is the block's hash, with one
//! difference: `state_root` is not the root of a Merkle-Patricia trie but a running commitment,
//! `keccak(parent's ‖ change₁ ‖ … ‖ changeₙ)`. It fixes the state as well, costs nothing to
//! compute, and lets a replay see at which block it diverged; account proofs do not exist here.

use alloy::consensus::constants::EMPTY_WITHDRAWALS;
use alloy::consensus::proofs::{calculate_receipt_root, calculate_transaction_root};
use alloy::consensus::{Eip658Value, Header, Receipt, ReceiptEnvelope, Transaction, TxEnvelope};
use alloy::eips::eip1559::BaseFeeParams;
use alloy::eips::eip7685::EMPTY_REQUESTS_HASH;
use alloy::primitives::{Address, B256, Bytes, Keccak256, Log, U256, keccak256, logs_bloom};
use revm::context::result::{ExecutionResult, HaltReason, InvalidTransaction, Output};
use revm::context::{BlockEnv, TxEnv};

use super::config::{DevConfig, Fees};
use super::executor::{Executor, Session};

/// How a transaction ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Status {
    /// It returned; the bytes are its output (a creation's deployed code).
    Success(Bytes),
    /// The contract reverted with these bytes.
    Revert(Bytes),
    /// The EVM stopped it and took all its gas.
    Halt(HaltReason),
}

impl Status {
    /// Whether the transaction had an effect.
    pub const fn is_success(&self) -> bool {
        matches!(self, Self::Success(_))
    }
}

/// What one transaction did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Who sent it: its signer, where it was signed.
    pub from: Address,
    /// How it ended.
    pub status: Status,
    /// Gas that it paid for, refunds deducted.
    pub gas_used: u64,
    /// Price that it paid per gas, in wei.
    pub gas_price: u128,
    /// What it logged; empty unless it succeeded.
    pub logs: Vec<Log>,
    /// The contract that it created.
    pub created: Option<Address>,
}

/// A sealed block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// Number, parent, time, gas and roots, of which `hash` is computed.
    pub header: Header,
    /// The header's hash.
    pub hash: B256,
    /// Its transactions; empty on a chain that keeps no bodies.
    pub transactions: Vec<TxEnvelope>,
    /// What each of its transactions did, in order.
    pub outcomes: Vec<Outcome>,
}

impl Block {
    /// The block's number.
    pub const fn number(&self) -> u64 {
        self.header.number
    }

    /// Logs of all its transactions, in order.
    pub fn logs(&self) -> impl Iterator<Item = &Log> {
        self.outcomes.iter().flat_map(|outcome| outcome.logs.iter())
    }

    /// Gas used in the block up to and with its `index`-th transaction.
    fn cumulative_gas(&self, index: usize) -> u64 {
        self.outcomes.iter().take(index + 1).map(|outcome| outcome.gas_used).sum()
    }

    /// The receipt of its `index`-th transaction, as the receipts root commits to it.
    pub fn receipt(&self, index: usize) -> Option<ReceiptEnvelope> {
        let outcome = self.outcomes.get(index)?;
        let tx = self.transactions.get(index)?;
        let receipt = Receipt {
            status: Eip658Value::Eip658(outcome.status.is_success()),
            cumulative_gas_used: self.cumulative_gas(index),
            logs: outcome.logs.clone(),
        };
        Some(ReceiptEnvelope::from_typed(tx.tx_type(), receipt.with_bloom()))
    }

    /// The genesis block of a configuration.
    pub(crate) fn genesis(config: &DevConfig, state: B256) -> Self {
        let header = Header {
            state_root: state,
            gas_limit: config.gas_limit,
            timestamp: config.genesis_timestamp,
            mix_hash: config.salt,
            base_fee_per_gas: Some(match config.fees {
                Fees::Eip1559 { initial } => initial,
                Fees::Free => 0,
            }),
            ..constant_header()
        };
        let hash = header.hash_slow();
        Self { header, hash, transactions: Vec::new(), outcomes: Vec::new() }
    }
}

/// Header fields that are the same in every block.
fn constant_header() -> Header {
    Header {
        withdrawals_root: Some(EMPTY_WITHDRAWALS),
        blob_gas_used: Some(0),
        excess_blob_gas: Some(0),
        parent_beacon_block_root: Some(B256::ZERO),
        requests_hash: Some(EMPTY_REQUESTS_HASH),
        ..Header::default()
    }
}

/// Why a transaction did not enter the block.
#[derive(Debug)]
pub(crate) enum Refused {
    /// It asks for more gas than the block has left; the next block may take it.
    BlockFull,
    /// It can't be executed at all.
    Invalid(InvalidTransaction),
}

/// A block under construction.
pub(crate) struct BlockBuilder {
    session: Session,
    block: Block,
    gas_used: u64,
    bodies: bool,
    changes: Keccak256,
}

/// The base fee of the block after `parent`.
pub(crate) fn next_base_fee(parent: &Header, fees: Fees) -> u64 {
    match fees {
        Fees::Free => 0,
        Fees::Eip1559 { .. } => {
            parent.next_block_base_fee(BaseFeeParams::ethereum()).unwrap_or_default()
        }
    }
}

/// The environment in which contracts see a header's block.
pub(crate) fn block_env(header: &Header) -> BlockEnv {
    BlockEnv {
        number: U256::from(header.number),
        beneficiary: header.beneficiary,
        timestamp: U256::from(header.timestamp),
        gas_limit: header.gas_limit,
        basefee: header.base_fee_per_gas.unwrap_or_default(),
        prevrandao: Some(header.mix_hash),
        ..BlockEnv::default()
    }
}

/// The header of the block after `parent`, before it holds anything.
pub(crate) fn next_header(parent: &Block, config: &DevConfig, timestamp: u64) -> Header {
    Header {
        parent_hash: parent.hash,
        number: parent.number() + 1,
        gas_limit: config.gas_limit,
        timestamp: timestamp.max(parent.header.timestamp + 1),
        mix_hash: keccak256(parent.hash),
        base_fee_per_gas: Some(next_base_fee(&parent.header, config.fees)),
        ..constant_header()
    }
}

impl BlockBuilder {
    /// Opens the block after `parent`. Its timestamp is later than the parent's whatever is asked.
    pub(crate) fn begin(
        executor: &mut Executor,
        header: Header,
        parent: &Block,
        earlier_changes: &[B256],
        bodies: bool,
    ) -> Self {
        let mut changes = Keccak256::new();
        changes.update(parent.header.state_root);
        earlier_changes.iter().for_each(|change| changes.update(change));
        let mut session = executor.open(block_env(&header));
        changes.update(session.store_parent(parent.hash));
        let block = Block { header, hash: B256::ZERO, transactions: vec![], outcomes: vec![] };
        Self { session, block, gas_used: 0, bodies, changes }
    }

    /// Gas that the block has left.
    pub(crate) const fn gas_left(&self) -> u64 {
        self.block.header.gas_limit.saturating_sub(self.gas_used)
    }

    /// Number of transactions so far.
    pub(crate) const fn len(&self) -> usize {
        self.block.outcomes.len()
    }

    /// The nonce of an account's next transaction in this block.
    pub(crate) fn nonce(&self, address: Address) -> u64 {
        self.session.nonce(address)
    }

    /// Executes a transaction as the next one of the block.
    pub(crate) fn execute(
        &mut self,
        env: TxEnv,
        envelope: Option<TxEnvelope>,
    ) -> Result<(), Refused> {
        if env.gas_limit > self.gas_left() {
            return Err(Refused::BlockFull);
        }
        let (from, base_fee) = (env.caller, self.block.header.base_fee_per_gas);
        let gas_price = match &envelope {
            Some(envelope) => envelope.effective_gas_price(base_fee),
            None => env.gas_price,
        };
        let executed = self.session.transact(env).map_err(Refused::Invalid)?;
        self.changes.update(executed.change);
        let outcome = outcome(from, gas_price, executed.result);
        self.gas_used += outcome.gas_used;
        self.block.outcomes.push(outcome);
        self.block.transactions.extend(envelope.filter(|_| self.bodies));
        Ok(())
    }

    /// Seals the block (roots, bloom, gas, hash) and gives the state back.
    pub(crate) fn seal(self, executor: &mut Executor) -> Block {
        let Self { session, mut block, gas_used, bodies, changes } = self;
        executor.close(session);
        block.header.gas_used = gas_used;
        block.header.state_root = changes.finalize();
        if bodies && !block.transactions.is_empty() {
            let receipts: Vec<_> =
                (0..block.transactions.len()).filter_map(|index| block.receipt(index)).collect();
            block.header.transactions_root = calculate_transaction_root(&block.transactions);
            block.header.receipts_root = calculate_receipt_root(&receipts);
            block.header.logs_bloom = logs_bloom(block.logs());
        }
        block.hash = block.header.hash_slow();
        block
    }
}

fn outcome(from: Address, gas_price: u128, result: ExecutionResult) -> Outcome {
    let gas_used = result.tx_gas_used();
    let created = result.created_address();
    let (status, logs) = match result {
        ExecutionResult::Success { logs, output, .. } => {
            let (Output::Call(data) | Output::Create(data, _)) = output;
            (Status::Success(data), logs)
        }
        ExecutionResult::Revert { output, .. } => (Status::Revert(output), Vec::new()),
        ExecutionResult::Halt { reason, .. } => (Status::Halt(reason), Vec::new()),
    };
    Outcome { from, status, gas_used, gas_price, logs, created }
}
