//! The embedded development chain: a whole EVM chain as one synchronous value.
//!
//! No sockets, clocks or threads: time is an argument, blocks are built when asked. The JSON-RPC
//! server ([`crate::rpc`]) and the simulator ([`crate::embedded`]) drive the same [`DevChain`].
//!
//! Invariants: equal configurations and inputs give equal block hashes; blocks are taken back only on
//! a chain in memory that was asked to keep what that takes ([`DevChain::keep_past`]); what was
//! acknowledged on a persistent chain survives a kill; a chain whose log could not be written
//! stops rather than run ahead of its disk.
//!
//! What it does not do: blob and set-code transactions, state of blocks long past, account proofs.

mod block;
mod config;
mod executor;
mod journal;
mod keys;
mod pool;
mod query;
mod refusal;
mod tx;
mod undo;
mod view;

use std::collections::{HashMap, VecDeque};
use std::path::Path;
use std::sync::Arc;

use alloy::consensus::{Header, Transaction, TxEip1559, TxEnvelope, TypedTransaction};
use alloy::eips::eip2718::Encodable2718;
use alloy::primitives::{Address, B256, Bytes, U256, keccak256};
use revm::context::result::InvalidTransaction;

pub use block::{Block, Outcome, Status};
pub use config::{DEFAULT_CHAIN_ID, DevConfig, Fees, GenesisAccount, TX_GAS_CAP};
pub use executor::OverrideError;
pub use journal::JournalError;
pub use keys::{DEV_KEYS, dev_accounts};
pub use pool::PoolError;
pub(crate) use query::block_logs;
pub use query::{LocatedLog, LogQueryError};
pub(crate) use tx::sign_for;
pub use tx::{DecodeError, Message};
pub use undo::RewindError;
pub use view::{Accesses, At, CallError, CallOptions, View};

use block::{BlockBuilder, Refused, block_env, next_base_fee, next_header};
use executor::Executor;
use journal::{Frame, Journal};
use pool::Pool;
use refusal::Words;
use tx::Candidate;
use undo::Past;

/// Why a chain could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The block log can't be read.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The directory holds a chain of another id.
    #[error("the directory holds chain {found}, not {wanted}; name another directory or chain id")]
    OtherChain {
        /// Id of the stored chain.
        found: u64,
        /// Id that was asked for.
        wanted: u64,
    },
    /// The log does not begin with a configuration or repeats it.
    #[error("the block log is not a chain: frame {0} is out of place; remove the directory")]
    OutOfPlace(usize),
    /// Executing a stored block again gave another block.
    #[error("block {0} does not replay: it was written by another version; remove the directory")]
    Diverged(u64),
}

/// Why a transaction was not taken.
#[derive(Debug, thiserror::Error)]
pub enum SubmitError {
    /// The bytes are no transaction of this chain.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// The pool refused it.
    #[error(transparent)]
    Pool(#[from] PoolError),
    /// The sender has used this nonce.
    #[error("nonce too low: next nonce {next}, tx nonce {nonce}")]
    NonceTooLow {
        /// Nonce of the transaction.
        nonce: u64,
        /// Nonce of the sender's next transaction.
        next: u64,
    },
    /// The sender can't pay.
    #[error("insufficient funds for gas * price + value: balance {balance}, needed {needed}")]
    Funds {
        /// What the sender has.
        balance: U256,
        /// What the transaction may cost.
        needed: U256,
    },
    /// It offers less than the base fee.
    #[error("max fee per gas less than block base fee: maxFeePerGas {offered}, baseFee {base}")]
    FeeTooLow {
        /// What it offers.
        offered: u128,
        /// The base fee of the next block.
        base: u64,
    },
    /// The EVM's rules refuse it.
    #[error("{}", Words(.0))]
    Invalid(InvalidTransaction),
    /// The sender is not a development account.
    #[error("unknown account: {0}; only the development accounts can be signed for")]
    UnknownAccount(Address),
    /// The key of a development account could not sign.
    #[error("signing failed: {0}")]
    Signing(#[from] alloy::signers::Error),
    /// The chain's disk failed earlier.
    #[error(transparent)]
    Mine(#[from] MineError),
}

/// Why no block was made.
#[derive(Debug, thiserror::Error)]
pub enum MineError {
    /// The block could not be written. The chain is stopped: restart it when the disk is well.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// An earlier block could not be written.
    #[error("the chain stopped because its block log could not be written; restart it")]
    Stopped,
}

/// Why a message had no outcome.
#[derive(Debug, thiserror::Error)]
pub enum MessageError {
    /// It can't be executed at all: it lacks the value that it sends, or gas.
    #[error("{}", Words(.0))]
    Invalid(InvalidTransaction),
    /// No block was made.
    #[error(transparent)]
    Mine(#[from] MineError),
}

/// A block of messages.
#[derive(Debug, Clone)]
pub struct MinedMessages {
    /// The block that they became.
    pub block: Arc<Block>,
    /// For each message its index among the block's outcomes, or why it could not be executed.
    pub results: Vec<Result<usize, InvalidTransaction>>,
}

/// Where a mined transaction is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Location {
    /// Number of its block.
    pub block: u64,
    /// Its index there.
    pub index: usize,
}

/// An EVM chain as one value: state, blocks, and transactions that wait.
pub struct DevChain {
    config: DevConfig,
    executor: Executor,
    /// The kept blocks; the last one is the head.
    blocks: VecDeque<Arc<Block>>,
    /// Blocks that are kept; `None` for all of them, with their transactions.
    keep: Option<usize>,
    by_hash: HashMap<B256, u64>,
    transactions: HashMap<B256, Location>,
    pool: Pool,
    /// Changes made by hand since the head, which the next block commits to.
    manual: Vec<B256>,
    journal: Option<Journal>,
    /// What can be taken back; nothing unless it was asked for.
    past: Option<Past>,
    stopped: bool,
}

impl DevChain {
    // --- construction

    /// A chain in memory that keeps everything.
    pub fn new(config: DevConfig) -> Self {
        Self::build(config, None)
    }

    /// A chain in memory for simulations: it forgets all but the newest blocks, and blocks carry
    /// neither transactions nor Merkle roots of them.
    pub fn light(config: DevConfig) -> Self {
        Self::build(config, Some(1))
    }

    /// A chain that lives in a directory: created there, or replayed from there. A stored chain
    /// keeps its own configuration; only its chain id must be the one asked for.
    pub fn open(config: DevConfig, dir: &Path) -> Result<Self, OpenError> {
        let (mut journal, frames) = Journal::open(dir)?;
        let mut frames = frames.into_iter().enumerate();
        let mut chain = match frames.next() {
            None => {
                journal.append(&Frame::Genesis(config.clone()))?;
                Self::new(config)
            }
            Some((_, Frame::Genesis(stored))) if stored.chain_id == config.chain_id => {
                Self::new(stored)
            }
            Some((_, Frame::Genesis(stored))) => {
                return Err(OpenError::OtherChain {
                    found: stored.chain_id,
                    wanted: config.chain_id,
                });
            }
            Some((index, _)) => return Err(OpenError::OutOfPlace(index)),
        };
        for (index, frame) in frames {
            chain.replay(index, frame)?;
        }
        chain.journal = Some(journal);
        Ok(chain)
    }

    // --- getters

    /// What it was started with.
    pub const fn config(&self) -> &DevConfig {
        &self.config
    }

    /// The newest block.
    pub fn head(&self) -> &Arc<Block> {
        self.blocks.back().expect("the genesis block is always kept")
    }

    /// A kept block by number.
    pub fn block(&self, number: u64) -> Option<&Arc<Block>> {
        let first = self.blocks.front()?.number();
        self.blocks.get(usize::try_from(number.checked_sub(first)?).ok()?)
    }

    /// A kept block by hash.
    pub fn block_by_hash(&self, hash: B256) -> Option<&Arc<Block>> {
        self.block(*self.by_hash.get(&hash)?)
    }

    /// Where a mined transaction is.
    pub fn locate(&self, transaction: B256) -> Option<Location> {
        self.transactions.get(&transaction).copied()
    }

    /// A transaction that waits in the pool, with its sender.
    pub fn pending(&self, transaction: &B256) -> Option<(&TxEnvelope, Address)> {
        self.pool.get(transaction).map(|tx| (&tx.envelope, tx.from))
    }

    /// The transactions that the next block could take, with their senders.
    pub(crate) fn executable(&self) -> impl Iterator<Item = (&TxEnvelope, Address)> {
        let waiting = self.pool.executable(|sender| self.nonce(sender));
        waiting.map(|tx| (&tx.envelope, tx.from))
    }

    /// The header of the next block, before it holds anything.
    pub(crate) fn next_header(&self) -> Header {
        next_header(self.head(), &self.config, 0)
    }

    /// Number of transactions in the pool.
    pub fn pool_len(&self) -> usize {
        self.pool.len()
    }

    /// An account's balance in wei.
    pub fn balance(&self, address: Address) -> U256 {
        self.executor.account(address).balance
    }

    /// Number of transactions that an account has made.
    pub fn nonce(&self, address: Address) -> u64 {
        self.executor.account(address).nonce
    }

    /// The nonce that an account's next transaction needs, those in the pool counted.
    pub fn pending_nonce(&self, address: Address) -> u64 {
        self.pool.next_nonce(address, self.nonce(address))
    }

    /// A contract's code.
    pub fn code(&self, address: Address) -> Bytes {
        self.executor.code(address)
    }

    /// A storage slot.
    pub fn storage(&self, address: Address, slot: U256) -> U256 {
        self.executor.storage(address, slot)
    }

    /// Base fee of the next block in wei.
    pub fn next_base_fee(&self) -> u64 {
        next_base_fee(&self.head().header, self.config.fees)
    }

    /// Tip that this chain suggests, in wei.
    pub(crate) const fn suggested_tip(&self) -> u128 {
        match self.config.fees {
            Fees::Eip1559 { .. } => 1_000_000_000,
            Fees::Free => 0,
        }
    }

    // --- commands

    /// Takes a signed transaction into the pool.
    pub fn submit_raw(&mut self, raw: &[u8]) -> Result<B256, SubmitError> {
        let tx = Candidate::decode(raw, self.config.chain_id)?;
        self.submit(tx)
    }

    /// Signs a transaction with a development account and takes it into the pool.
    pub fn submit_signed_for(
        &mut self,
        from: Address,
        tx: TypedTransaction,
    ) -> Result<B256, SubmitError> {
        let tx = Candidate { envelope: sign_for(from, tx)?, from };
        self.submit(tx)
    }

    /// Builds the next block from the pool. Its timestamp is later than the parent's in any case.
    pub fn mine(&mut self, timestamp: u64) -> Result<Arc<Block>, MineError> {
        self.check_running()?;
        let mut builder = self.begin(timestamp);
        let mut heads = self.pool.heads(|sender| builder.nonce(sender));
        while let Some((_, sender, nonce)) = heads.pop_first() {
            let Some(tx) = self.pool.at(sender, nonce).cloned() else { continue };
            let hash = tx.hash();
            match builder.execute(tx.env(), Some(tx.envelope)) {
                Ok(()) => {
                    self.pool.remove(sender, nonce);
                    heads.extend(self.pool.head(sender, nonce + 1));
                }
                Err(Refused::BlockFull) => {}
                Err(Refused::Invalid(error)) => {
                    tracing::warn!(%hash, %error, "dropped from the pool");
                    self.pool.remove(sender, nonce);
                }
            }
        }
        self.seal(builder)
    }

    /// Builds the next block from messages of any sender, without signatures, nonces or fees.
    pub fn mine_messages(
        &mut self,
        timestamp: u64,
        messages: &[Message],
    ) -> Result<MinedMessages, MineError> {
        self.check_running()?;
        let mut builder = self.begin(timestamp);
        let results: Vec<_> =
            messages.iter().map(|message| self.execute_message(&mut builder, message)).collect();
        Ok(MinedMessages { block: self.seal(builder)?, results })
    }

    /// Executes one message in a block of its own, one second after the head.
    pub fn transact_impersonated(&mut self, message: &Message) -> Result<Outcome, MessageError> {
        let timestamp = self.head().header.timestamp + 1;
        let mined = self.mine_messages(timestamp, std::slice::from_ref(message))?;
        let result = mined.results.into_iter().next().expect("one result per message");
        let index = result.map_err(MessageError::Invalid)?;
        Ok(mined.block.outcomes[index].clone())
    }

    /// Sets an account's balance.
    pub fn set_balance(&mut self, address: Address, balance: U256) -> Result<(), MineError> {
        self.check_running()?;
        self.write(&Frame::Balance { address, balance })?;
        let change = self.executor.set_balance(address, balance);
        self.manual.push(change);
        Ok(())
    }

    // --- details

    fn build(config: DevConfig, keep: Option<usize>) -> Self {
        let mut executor = Executor::new(config.chain_id);
        let mut changes = Vec::new();
        for account in &config.accounts {
            changes.extend(executor.set_balance(account.address, account.balance));
        }
        let genesis = Arc::new(Block::genesis(&config, keccak256(changes)));
        executor.remember_block(0, genesis.hash);
        Self {
            config,
            executor,
            by_hash: HashMap::from([(genesis.hash, 0)]),
            blocks: VecDeque::from([genesis]),
            keep,
            transactions: HashMap::new(),
            pool: Pool::default(),
            manual: Vec::new(),
            journal: None,
            past: None,
            stopped: false,
        }
    }

    fn replay(&mut self, index: usize, frame: Frame) -> Result<(), OpenError> {
        let number = self.head().number() + 1;
        let diverged = |_: MineError| OpenError::Diverged(number);
        match frame {
            Frame::Genesis(_) => Err(OpenError::OutOfPlace(index)),
            Frame::Balance { address, balance } => {
                self.set_balance(address, balance).map_err(diverged)
            }
            Frame::Block { timestamp, hash, transactions } => {
                let mut builder = self.begin(timestamp);
                let replayed = transactions.into_iter().all(|(from, raw)| {
                    Candidate::trusted(&raw, from)
                        .is_ok_and(|tx| builder.execute(tx.env(), Some(tx.envelope)).is_ok())
                });
                let block = self.seal(builder).map_err(diverged)?;
                if replayed && block.hash == hash {
                    Ok(())
                } else {
                    Err(OpenError::Diverged(number))
                }
            }
        }
    }

    /// Checks a transaction against the state and puts it into the pool.
    fn submit(&mut self, tx: Candidate) -> Result<B256, SubmitError> {
        self.check_running()?;
        if self.transactions.contains_key(&tx.hash()) {
            return Err(PoolError::AlreadyKnown.into());
        }
        let account = self.executor.account(tx.from);
        if tx.nonce() < account.nonce {
            return Err(SubmitError::NonceTooLow { nonce: tx.nonce(), next: account.nonce });
        }
        let (offered, base) = (tx.envelope.max_fee_per_gas(), self.next_base_fee());
        if offered < u128::from(base) {
            return Err(SubmitError::FeeTooLow { offered, base });
        }
        let needed = tx.max_cost();
        if account.balance < needed {
            return Err(SubmitError::Funds { balance: account.balance, needed });
        }
        let header = self.next_header();
        self.executor.validate(block_env(&header), tx.env()).map_err(SubmitError::Invalid)?;
        Ok(self.pool.insert(tx)?)
    }

    fn begin(&mut self, timestamp: u64) -> BlockBuilder {
        let parent = Arc::clone(self.head());
        let header = next_header(&parent, &self.config, timestamp);
        let manual = std::mem::take(&mut self.manual);
        BlockBuilder::begin(&mut self.executor, header, &parent, &manual, self.keep.is_none())
    }

    fn execute_message(
        &self,
        builder: &mut BlockBuilder,
        message: &Message,
    ) -> Result<usize, InvalidTransaction> {
        let nonce = builder.nonce(message.from);
        let gas = message.gas.unwrap_or(TX_GAS_CAP).min(builder.gas_left());
        let (env, envelope) = if self.keep.is_some() {
            (message.env(self.config.chain_id, nonce, gas), None)
        } else {
            let tx = self.impersonate(message, nonce, gas);
            (tx.env(), Some(tx.envelope))
        };
        match builder.execute(env, envelope) {
            Ok(()) => Ok(builder.len() - 1),
            Err(Refused::Invalid(error)) => Err(error),
            Err(Refused::BlockFull) => Err(InvalidTransaction::CallerGasLimitMoreThanBlock),
        }
    }

    /// A message as a transaction that pays just the base fee.
    fn impersonate(&self, message: &Message, nonce: u64, gas_limit: u64) -> Candidate {
        let tx = TxEip1559 {
            chain_id: self.config.chain_id,
            nonce,
            gas_limit,
            max_fee_per_gas: u128::from(self.next_base_fee()),
            max_priority_fee_per_gas: 0,
            to: message.to,
            value: message.value,
            access_list: Default::default(),
            input: message.data.clone(),
        };
        Candidate::impersonated(message.from, tx)
    }

    /// Seals the block, makes it durable, and makes it the head.
    fn seal(&mut self, builder: BlockBuilder) -> Result<Arc<Block>, MineError> {
        let block = Arc::new(builder.seal(&mut self.executor));
        if self.journal.is_some() {
            let frame = block_frame(&block);
            self.write(&frame)?;
        }
        let number = block.number();
        let forgotten = self.executor.remember_block(number, block.hash);
        if let (Some(past), Some(undo)) = (&mut self.past, self.executor.changes()) {
            past.keep(undo, forgotten);
        }
        self.by_hash.insert(block.hash, number);
        for (index, tx) in block.transactions.iter().enumerate() {
            self.transactions.insert(*tx.tx_hash(), Location { block: number, index });
        }
        self.blocks.push_back(Arc::clone(&block));
        while self.keep.is_some_and(|keep| self.blocks.len() > keep) {
            let forgotten = self.blocks.pop_front().map(|block| block.hash);
            forgotten.and_then(|hash| self.by_hash.remove(&hash));
        }
        Ok(block)
    }

    fn write(&mut self, frame: &Frame) -> Result<(), MineError> {
        let Some(journal) = &mut self.journal else { return Ok(()) };
        Ok(journal.append(frame).inspect_err(|_| self.stopped = true)?)
    }

    const fn check_running(&self) -> Result<(), MineError> {
        if self.stopped { Err(MineError::Stopped) } else { Ok(()) }
    }
}

fn block_frame(block: &Block) -> Frame {
    let transactions = block
        .transactions
        .iter()
        .zip(&block.outcomes)
        .map(|(tx, outcome)| (outcome.from, tx.encoded_2718().into()))
        .collect();
    Frame::Block { timestamp: block.header.timestamp, hash: block.hash, transactions }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_stops_the_chain_instead_of_letting_it_run_ahead() {
        let mut chain = DevChain::new(DevConfig::default());
        chain.journal = Some(Journal::on_full_disk());
        assert!(matches!(chain.mine(1), Err(MineError::Journal(JournalError::Io { .. }))));
        assert!(matches!(chain.mine(2), Err(MineError::Stopped)));
        assert_eq!(chain.head().number(), 0);
    }
}
