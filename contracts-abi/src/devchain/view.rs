//! Questions to a state that change nothing: balances, calls, gas estimates, lists of what a call reads.
//! The newest state is asked where it lies; one of the past is put together from what the blocks since
//! then replaced.

use std::collections::{BTreeMap, BTreeSet};

use alloy::consensus::Header;
use alloy::eips::eip2930::{AccessList, AccessListItem};
use alloy::primitives::{Address, B256, Bytes, U256};
use alloy::rpc::types::BlockOverrides;
use alloy::rpc::types::state::StateOverride;
use revm::context::result::{ExecutionResult, HaltReason, InvalidTransaction};
use revm::context::{BlockEnv, TxEnv};
use revm::state::EvmState;

use super::block::{block_env, next_header};
use super::executor::{Executor, OverrideError};
use super::refusal::{HaltWords, Words};
use super::{Block, DevChain, DevConfig, Message, TX_GAS_CAP};

/// Precompiled contracts have addresses up to this; a call reads them without paying for it.
const LAST_PRECOMPILE: U256 = U256::from_limbs([0x11, 0, 0, 0]);
/// The precompile that checks signatures over secp256r1 (EIP-7951).
const P256_VERIFY: U256 = U256::from_limbs([0x100, 0, 0, 0]);

/// Which state a question is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum At {
    /// The newest one, in the newest block.
    Head,
    /// The newest one, in the next block.
    Next,
    /// That after a block of this number.
    Block(u64),
}

/// Why a call had no result.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// The contract reverted with these bytes.
    #[error("execution reverted")]
    Revert(Bytes),
    /// The EVM stopped the call.
    #[error("{}", HaltWords(.0))]
    Halt(HaltReason),
    /// It needs more gas than it may have.
    #[error("gas required exceeds allowance ({0})")]
    Allowance(u64),
    /// The call breaks a rule before it runs.
    #[error("{}", Words(.0))]
    Invalid(InvalidTransaction),
    /// What should stand in for the state can't.
    #[error(transparent)]
    Override(#[from] OverrideError),
}

/// What a call brings along besides its message, and what it sees instead of what there is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CallOptions {
    /// What it pays for in advance (EIP-2930).
    pub access_list: AccessList,
    /// Accounts that it sees otherwise.
    pub state: StateOverride,
    /// Number, time, gas limit, beneficiary and randomness of the block that it sees.
    pub block: BlockOverrides,
}

/// What a call reads, and what it uses when it has paid for that in advance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accesses {
    /// Accounts and slots, without those that every call may read.
    pub list: AccessList,
    /// Gas with this list.
    pub gas_used: u64,
    /// Why the call failed, if it did; what it read until then is listed nevertheless.
    pub error: Option<CallError>,
}

/// The state after a block, to be asked.
pub struct View<'a> {
    executor: Held<'a>,
    /// The block that a call sees.
    header: Header,
    /// The block after it.
    next: Header,
    config: &'a DevConfig,
}

enum Held<'a> {
    Newest(&'a mut Executor),
    Past(Box<Executor>),
}

impl DevChain {
    /// The state at a place; none where it is not kept.
    pub fn view(&mut self, at: At) -> Option<View<'_>> {
        let head = self.head().number();
        let number = match at {
            At::Block(number) => number,
            At::Head | At::Next => head,
        };
        let block: &Block = self.block(number)?;
        let next = next_header(block, &self.config, 0);
        let header = if at == At::Next { next.clone() } else { block.header.clone() };
        let executor = if number == head {
            Held::Newest(&mut self.executor)
        } else {
            let back = usize::try_from(head - number).ok()?;
            Held::Past(Box::new(self.executor.before(self.past.as_ref()?, head, back)?))
        };
        Some(View { executor, header, next, config: &self.config })
    }

    /// Calls a contract on the newest state and forgets what it changed. The contract sees the
    /// head's number and time, or with `pending` those of the next block.
    pub fn call(&mut self, message: &Message, pending: bool) -> Result<Bytes, CallError> {
        let at = if pending { At::Next } else { At::Head };
        let mut view = self.view(at).expect("the newest state is always kept");
        view.call(message, &CallOptions::default())
    }

    /// The least gas with which a message succeeds in the next block.
    pub fn estimate_gas(&mut self, message: &Message) -> Result<u64, CallError> {
        let mut view = self.view(At::Head).expect("the newest state is always kept");
        view.estimate_gas(message, &CallOptions::default())
    }
}

impl View<'_> {
    fn executor(&mut self) -> &mut Executor {
        match &mut self.executor {
            Held::Newest(executor) => executor,
            Held::Past(executor) => executor,
        }
    }

    /// An account's balance in wei.
    pub fn balance(&mut self, address: Address) -> U256 {
        self.executor().account(address).balance
    }

    /// Number of transactions that an account has made.
    pub fn nonce(&mut self, address: Address) -> u64 {
        self.executor().account(address).nonce
    }

    /// A contract's code.
    pub fn code(&mut self, address: Address) -> Bytes {
        self.executor().code(address)
    }

    /// A storage slot.
    pub fn storage(&mut self, address: Address, slot: U256) -> U256 {
        self.executor().storage(address, slot)
    }

    /// Calls a contract and forgets what it changed.
    pub fn call(&mut self, message: &Message, options: &CallOptions) -> Result<Bytes, CallError> {
        let limit = self.config.gas_limit;
        let gas = message.gas.unwrap_or(limit).min(limit);
        match self.simulate(&self.header.clone(), message, options, gas)?.0 {
            ExecutionResult::Success { output, .. } => Ok(output.into_data()),
            ExecutionResult::Revert { output, .. } => Err(CallError::Revert(output)),
            ExecutionResult::Halt { reason, .. } => Err(CallError::Halt(reason)),
        }
    }

    /// The least gas with which a message succeeds in the block after this state.
    pub fn estimate_gas(
        &mut self,
        message: &Message,
        options: &CallOptions,
    ) -> Result<u64, CallError> {
        let header = self.next.clone();
        let cap = message.gas.unwrap_or(TX_GAS_CAP).min(TX_GAS_CAP).min(self.config.gas_limit);
        let used = match self.simulate(&header, message, options, cap)?.0 {
            ExecutionResult::Success { gas, .. } => gas.tx_gas_used(),
            ExecutionResult::Revert { output, .. } => return Err(CallError::Revert(output)),
            ExecutionResult::Halt { reason: HaltReason::OutOfGas(_), .. } => {
                return Err(CallError::Allowance(cap));
            }
            ExecutionResult::Halt { reason, .. } => return Err(CallError::Halt(reason)),
        };
        // `low` always fails, `high` always succeeds: a call may need more gas than it pays for,
        // because of refunds and of the 64th part that stays behind at each inner call.
        let (mut low, mut high) = (used - 1, cap);
        let mut middle = used + used / 32;
        while low + 1 < high {
            let tried = middle.clamp(low + 1, high - 1);
            match self.simulate(&header, message, options, tried) {
                Ok((result, _)) if result.is_success() => high = tried,
                _ => low = tried,
            }
            middle = low + (high - low) / 2;
        }
        Ok(high)
    }

    /// What a message reads in the block after this state (EIP-2930).
    pub(crate) fn accesses(
        &mut self,
        message: &Message,
        options: &CallOptions,
    ) -> Result<Accesses, CallError> {
        let header = self.next.clone();
        let gas = message.gas.unwrap_or(TX_GAS_CAP).min(TX_GAS_CAP).min(self.config.gas_limit);
        let (_, state) = self.simulate(&header, message, options, gas)?;
        let created = message.from.create(self.nonce(message.from));
        let list = read(&state, message, header.beneficiary, created);
        let options = CallOptions { access_list: list.clone(), ..options.clone() };
        let (result, _) = self.simulate(&header, message, &options, gas)?;
        let gas_used = result.tx_gas_used();
        let error = match result {
            ExecutionResult::Success { .. } => None,
            ExecutionResult::Revert { output, .. } => Some(CallError::Revert(output)),
            ExecutionResult::Halt { reason, .. } => Some(CallError::Halt(reason)),
        };
        Ok(Accesses { list, gas_used, error })
    }

    fn simulate(
        &mut self,
        header: &Header,
        message: &Message,
        options: &CallOptions,
        gas: u64,
    ) -> Result<(ExecutionResult, EvmState), CallError> {
        let seen = &options.block;
        let block = BlockEnv { basefee: 0, ..block_env(header) };
        let block = BlockEnv {
            number: seen.number.unwrap_or(block.number),
            timestamp: seen.time.map_or(block.timestamp, U256::from),
            gas_limit: seen.gas_limit.unwrap_or(block.gas_limit),
            beneficiary: seen.coinbase.unwrap_or(block.beneficiary),
            prevrandao: seen.random.or(block.prevrandao),
            ..block
        };
        let plain = message.env(self.config.chain_id, self.nonce(message.from), gas);
        let tx = TxEnv {
            tx_type: u8::from(!options.access_list.is_empty()),
            access_list: options.access_list.clone(),
            ..plain
        };
        let ran = self.executor().simulate(block, tx, &options.state)?;
        ran.map_err(CallError::Invalid)
    }
}

/// What was read of a state, without what every transaction may read: its sender and target, the block's
/// beneficiary and the precompiled contracts, unless slots of theirs were read.
fn read(state: &EvmState, message: &Message, beneficiary: Address, created: Address) -> AccessList {
    let mut found: BTreeMap<Address, BTreeSet<B256>> = BTreeMap::new();
    for (address, account) in state {
        let slots: BTreeSet<_> = account.storage.keys().map(|key| B256::from(*key)).collect();
        let number = U256::from_be_bytes(address.into_word().0);
        let is_precompile = !number.is_zero() && number <= LAST_PRECOMPILE || number == P256_VERIFY;
        let is_free = *address == message.from
            || message.to.to() == Some(address)
            || message.to.is_create() && *address == created
            || *address == beneficiary
            || is_precompile;
        if !is_free || !slots.is_empty() {
            found.insert(*address, slots);
        }
    }
    let items = found.into_iter().map(|(address, slots)| AccessListItem {
        address,
        storage_keys: slots.into_iter().collect(),
    });
    AccessList(items.collect())
}
