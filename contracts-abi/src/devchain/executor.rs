//! The EVM and its state: executes transactions, simulates calls, and commits to what changed.
//!
//! Invariants: nothing here reads a clock or entropy; a simulated call leaves no trace; the
//! commitment of a change is taken over sorted accounts and slots, so it does not depend on the
//! order of any hash map.

use std::convert::Infallible;

use alloy::eips::eip2935::{HISTORY_STORAGE_ADDRESS, HISTORY_STORAGE_CODE};
use alloy::primitives::map::B256HashMap;
use alloy::primitives::{Address, B256, Bytes, U256, keccak256};
use alloy::rpc::types::state::{AccountOverride, StateOverride};
use revm::bytecode::Bytecode;
use revm::context::result::{EVMError, ExecutionResult, InvalidTransaction};
use revm::context::{BlockEnv, TxEnv};
use revm::database::{CacheDB, EmptyDB};
use revm::handler::{Handler, MainnetContext, MainnetHandler};
use revm::state::{AccountInfo, EvmState};
use revm::{
    Context, DatabaseCommit, DatabaseRef, ExecuteEvm, MainBuilder, MainContext, MainnetEvm,
    SystemCallEvm,
};

use super::config::HARD_FORK;
use super::undo::{Past, Undo};

type Db = CacheDB<EmptyDB>;
type Evm = MainnetEvm<MainnetContext<Db>>;
type RunError = EVMError<Infallible, InvalidTransaction>;

/// How many block hashes the `BLOCKHASH` instruction can see.
const BLOCK_HASH_WINDOW: u64 = 256;

/// Why a call can't see what it should see in place of the state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OverrideError {
    /// All slots and some slots.
    #[error("account {0} has both 'state' and 'stateDiff'")]
    Both(Address),
    /// Bytes that are no code.
    #[error("the code that stands in for that of {0} is none")]
    Code(Address),
    /// Precompiled contracts stay where they are.
    #[error("'movePrecompileToAddress' is not supported, asked for {0}")]
    Precompile(Address),
}

/// The state, and the way to an EVM on it. The EVM itself exists only while it is used, because it
/// can't be sent to another thread and the state can.
pub(crate) struct Executor {
    db: Db,
    chain_id: u64,
    /// What changes since the newest block replaced, on a chain whose blocks can be taken back.
    undo: Option<Undo>,
}

/// An EVM that has borrowed the state; give it back with [`Executor::close`].
pub(crate) struct Session {
    evm: Evm,
    undo: Option<Undo>,
}

/// A transaction that was executed and committed.
pub(crate) struct Executed {
    pub(crate) result: ExecutionResult,
    /// Commitment to every account and slot that it changed.
    pub(crate) change: B256,
}

impl Executor {
    /// An empty state with the history contract of EIP-2935 in place.
    pub(crate) fn new(chain_id: u64) -> Self {
        let mut db = Db::default();
        let code = Bytecode::new_raw(HISTORY_STORAGE_CODE.clone());
        let history = AccountInfo { nonce: 1, ..AccountInfo::default() }.with_code(code);
        db.insert_account_info(HISTORY_STORAGE_ADDRESS, history);
        Self { db, chain_id, undo: None }
    }

    /// Lends the state to an EVM that executes in the given block.
    pub(crate) fn open(&mut self, env: BlockEnv) -> Session {
        let evm = Context::mainnet()
            .modify_cfg_chained(|cfg| {
                cfg.set_spec_and_mainnet_gas_params(HARD_FORK);
                cfg.chain_id = self.chain_id;
            })
            .with_block(env)
            .with_db(std::mem::take(&mut self.db))
            .build_mainnet();
        Session { evm, undo: self.undo.take() }
    }

    /// Takes the state back.
    pub(crate) fn close(&mut self, session: Session) {
        self.db = session.evm.ctx.journaled_state.database;
        self.undo = session.undo;
    }

    /// An account's nonce, balance and code hash; the empty account where there is none.
    pub(crate) fn account(&self, address: Address) -> AccountInfo {
        let Ok(info) = self.db.basic_ref(address);
        info.unwrap_or_default()
    }

    /// An account's code; empty where there is none.
    pub(crate) fn code(&self, address: Address) -> Bytes {
        let Ok(code) = self.db.code_by_hash_ref(self.account(address).code_hash);
        code.original_bytes()
    }

    /// One storage slot; zero where nothing was stored.
    pub(crate) fn storage(&self, address: Address, slot: U256) -> U256 {
        let Ok(value) = self.db.storage_ref(address, slot);
        value
    }

    /// Sets an account's balance and returns the commitment to the change.
    pub(crate) fn set_balance(&mut self, address: Address, balance: U256) -> B256 {
        if let Some(undo) = &mut self.undo {
            undo.remember_whole(&self.db, address);
        }
        let mut info = self.account(address);
        info.balance = balance;
        self.db.insert_account_info(address, info);
        let mut bytes = Vec::with_capacity(52);
        bytes.extend_from_slice(address.as_slice());
        bytes.extend_from_slice(&balance.to_be_bytes::<32>());
        keccak256(bytes)
    }

    /// Makes a sealed block's hash visible to `BLOCKHASH`; the one that it pushes out.
    pub(crate) fn remember_block(&mut self, number: u64, hash: B256) -> Option<(u64, B256)> {
        let hashes = &mut self.db.cache.block_hashes;
        hashes.insert(U256::from(number), hash);
        let old = number.checked_sub(BLOCK_HASH_WINDOW + 1)?;
        hashes.remove(&U256::from(old)).map(|hash| (old, hash))
    }

    /// From now on remembers what changes replace, or stops to.
    pub(crate) fn record(&mut self, is_on: bool) {
        self.undo = is_on.then(Undo::default);
    }

    /// What was replaced since the last call.
    pub(crate) fn changes(&mut self) -> Option<Undo> {
        self.undo.as_mut().map(std::mem::take)
    }

    /// The state as it was `back` blocks before the head, which has number `head`; none if that is not kept.
    pub(super) fn before(&self, past: &Past, head: u64, back: usize) -> Option<Self> {
        let newest = past.newest(back)?;
        let mut state = self.copy();
        state.take_back(self.undo.clone(), None);
        for ((undo, forgotten), number) in newest.zip((0..=head).rev()) {
            state.take_back(Some(undo.clone()), Some((number, *forgotten)));
        }
        Some(state)
    }

    /// Takes back what changed since the newest block, then what a block changed.
    pub(crate) fn take_back(
        &mut self,
        undo: Option<Undo>,
        block: Option<(u64, Option<(u64, B256)>)>,
    ) {
        let since = self.changes();
        since.into_iter().chain(undo).for_each(|undo| undo.apply(&mut self.db));
        if let Some((number, forgotten)) = block {
            let hashes = &mut self.db.cache.block_hashes;
            hashes.remove(&U256::from(number));
            if let Some((old, hash)) = forgotten {
                hashes.insert(U256::from(old), hash);
            }
        }
    }

    /// Checks what can be checked of a transaction without executing it.
    pub(crate) fn validate(&mut self, env: BlockEnv, tx: TxEnv) -> Result<(), InvalidTransaction> {
        let mut session = self.open(env);
        let checked = session.validate(tx);
        self.close(session);
        checked
    }

    /// Executes a call on the state with what stands in for it, and forgets both. The nonce and the gas cap
    /// are not checked. Gives what was read and changed along with the result.
    pub(crate) fn simulate(
        &mut self,
        env: BlockEnv,
        tx: TxEnv,
        instead: &StateOverride,
    ) -> Result<Result<(ExecutionResult, EvmState), InvalidTransaction>, OverrideError> {
        let mut undo = Undo::default();
        let placed = instead.iter().try_for_each(|(address, account)| {
            undo.remember_whole(&self.db, *address);
            self.place(*address, account)
        });
        let outcome = placed.map(|()| {
            let mut session = self.open(env);
            session.evm.ctx.modify_cfg(|cfg| {
                cfg.disable_nonce_check = true;
                cfg.tx_gas_limit_cap = Some(u64::MAX);
            });
            let outcome = session.evm.transact(tx);
            self.close(session);
            outcome.map(|outcome| (outcome.result, outcome.state)).map_err(invalid)
        });
        undo.apply(&mut self.db);
        outcome
    }

    /// Puts what a call is to see in an account's place.
    fn place(&mut self, address: Address, instead: &AccountOverride) -> Result<(), OverrideError> {
        if instead.move_precompile_to.is_some() {
            return Err(OverrideError::Precompile(address));
        }
        let mut info = self.account(address);
        info.balance = instead.balance.unwrap_or(info.balance);
        info.nonce = instead.nonce.unwrap_or(info.nonce);
        if let Some(code) = &instead.code {
            let code = Bytecode::new_raw_checked(code.clone());
            info = info.with_code(code.map_err(|_| OverrideError::Code(address))?);
        }
        self.db.insert_account_info(address, info);
        let words = |slots: &B256HashMap<B256>| {
            slots.iter().map(|(slot, value)| ((*slot).into(), (*value).into())).collect::<Vec<_>>()
        };
        match (&instead.state, &instead.state_diff) {
            (Some(_), Some(_)) => return Err(OverrideError::Both(address)),
            (Some(slots), None) => {
                let Ok(()) =
                    self.db.replace_account_storage(address, words(slots).into_iter().collect());
            }
            (None, slots) => {
                for (slot, value) in slots.iter().flat_map(words) {
                    let Ok(()) = self.db.insert_account_storage(address, slot, value);
                }
            }
        }
        Ok(())
    }

    /// A copy of the state that keeps no record of what changes.
    fn copy(&self) -> Self {
        Self { db: self.db.clone(), chain_id: self.chain_id, undo: None }
    }
}

impl Session {
    /// Stores the parent's hash in the history contract, as every block does first.
    pub(crate) fn store_parent(&mut self, parent: B256) -> B256 {
        let data = Bytes::copy_from_slice(parent.as_slice());
        let called = self.evm.system_call(HISTORY_STORAGE_ADDRESS, data);
        let outcome = called.expect("the history contract is deployed at genesis and cannot fail");
        self.commit(outcome.state)
    }

    /// Executes a transaction and commits what it changed.
    pub(crate) fn transact(&mut self, tx: TxEnv) -> Result<Executed, InvalidTransaction> {
        let outcome = self.evm.transact(tx).map_err(invalid)?;
        Ok(Executed { change: self.commit(outcome.state), result: outcome.result })
    }

    /// An account's nonce.
    pub(crate) fn nonce(&self, address: Address) -> u64 {
        let Ok(info) = self.evm.ctx.journaled_state.database.basic_ref(address);
        info.map_or(0, |info| info.nonce)
    }

    fn validate(&mut self, tx: TxEnv) -> Result<(), InvalidTransaction> {
        self.evm.ctx.tx = tx;
        let handler = MainnetHandler::<Evm, RunError, _>::default();
        handler.validate_env(&mut self.evm).map_err(invalid)?;
        handler.validate_initial_tx_gas(&mut self.evm).map_err(invalid)?;
        Ok(())
    }

    fn commit(&mut self, state: EvmState) -> B256 {
        let change = commitment(&state);
        let db = &mut self.evm.ctx.journaled_state.database;
        if let Some(undo) = &mut self.undo {
            state.iter().for_each(|(address, after)| undo.remember(db, *address, after));
        }
        db.commit(state);
        change
    }
}

fn invalid(error: RunError) -> InvalidTransaction {
    match error {
        EVMError::Transaction(error) => error,
        EVMError::Header(error) => InvalidTransaction::Str(error.to_string().into()),
        EVMError::Custom(error) => InvalidTransaction::Str(error.into()),
        EVMError::CustomAny(error) => InvalidTransaction::Str(error.to_string().into()),
    }
}

/// Keccak-256 over the touched accounts, sorted by address, each with its changed slots, sorted.
fn commitment(state: &EvmState) -> B256 {
    let mut accounts: Vec<_> = state.iter().filter(|(_, account)| account.is_touched()).collect();
    accounts.sort_unstable_by_key(|(address, _)| **address);
    let mut bytes = Vec::with_capacity(accounts.len() * 128);
    for (address, account) in accounts {
        bytes.extend_from_slice(address.as_slice());
        bytes.push(u8::from(account.is_selfdestructed()));
        bytes.extend_from_slice(&account.info.balance.to_be_bytes::<32>());
        bytes.extend_from_slice(&account.info.nonce.to_be_bytes());
        bytes.extend_from_slice(account.info.code_hash.as_slice());
        let mut slots: Vec<_> = account.changed_storage_slots().collect();
        slots.sort_unstable_by_key(|(key, _)| **key);
        for (key, slot) in slots {
            bytes.extend_from_slice(&key.to_be_bytes::<32>());
            bytes.extend_from_slice(&slot.present_value().to_be_bytes::<32>());
        }
    }
    keccak256(bytes)
}
