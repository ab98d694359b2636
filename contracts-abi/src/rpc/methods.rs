//! The table of methods: each arm is one call.

use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;
use serde_json::{Value, json};

use super::error::RpcError;
use super::wire::Params;
use crate::devchain::{DevChain, MineError};

/// The name and version that `web3_clientVersion` tells.
const CLIENT_VERSION: &str = concat!("openledger-devchain/", env!("CARGO_PKG_VERSION"));

/// Where block timestamps come from: the wall clock, shifted by hand.
#[derive(Debug, Default)]
pub(crate) struct Clock {
    /// Seconds added to the wall clock.
    pub(crate) offset: u64,
    /// The exact timestamp of the next block, once.
    pub(crate) next: Option<u64>,
}

impl Clock {
    /// The timestamp of a block that is made now.
    fn take(&mut self) -> u64 {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs());
        self.next.take().unwrap_or_else(|| now.saturating_add(self.offset))
    }
}

/// What the methods work on.
pub(crate) struct Backend {
    pub(crate) chain: DevChain,
    pub(crate) clock: Clock,
    /// Whether each transaction is mined as it comes.
    pub(crate) on_demand: bool,
}

impl Backend {
    /// Makes a block now.
    pub(crate) fn mine(&mut self) -> Result<(), MineError> {
        let timestamp = self.clock.take();
        self.chain.mine(timestamp).map(drop)
    }

    /// Answers one call.
    pub(crate) fn call(&mut self, method: &str, params: &Params) -> Result<Value, RpcError> {
        match method {
            "web3_clientVersion" => to_json(CLIENT_VERSION),
            "net_version" => to_json(self.chain.config().chain_id.to_string()),
            "net_listening" => to_json(true),
            "eth_syncing" => to_json(false),
            "eth_chainId" => to_json(quantity(self.chain.config().chain_id)),
            "eth_blockNumber" => to_json(quantity(self.chain.head().number())),
            "eth_getBlockByNumber" => self.block_by_number(params),
            "eth_getBlockByHash" => self.block_by_hash(params),
            "eth_getBlockReceipts" => self.block_receipts(params),
            "eth_getBlockTransactionCountByNumber" => self.block_transaction_count(params),
            "eth_accounts" => self.accounts(),
            "eth_getBalance" => self.balance(params),
            "eth_getCode" => self.code(params),
            "eth_getStorageAt" => self.storage_at(params),
            "eth_getTransactionCount" => self.transaction_count(params),
            "eth_call" => self.eth_call(params),
            "eth_estimateGas" => self.estimate_gas(params),
            "eth_gasPrice" => self.gas_price(),
            "eth_maxPriorityFeePerGas" => to_json(quantity(self.chain.suggested_tip())),
            "eth_feeHistory" => self.fee_history(params),
            "eth_sendRawTransaction" => self.send_raw_transaction(params),
            "eth_sendTransaction" => self.send_transaction(params),
            "eth_getTransactionByHash" => self.transaction_by_hash(params),
            "eth_getTransactionReceipt" => self.transaction_receipt(params),
            "eth_getLogs" => self.logs(params),
            "evm_mine" | "anvil_mine" => self.evm_mine(method, params),
            "anvil_rollback" => self.roll_back(params),
            "evm_increaseTime" => self.increase_time(params),
            "evm_setNextBlockTimestamp" => self.set_next_timestamp(params),
            "anvil_setBalance" | "hardhat_setBalance" => self.set_balance(params),
            other => Err(RpcError::Method(other.chars().take(64).collect())),
        }
    }
}

/// A number as JSON-RPC writes it.
pub(crate) fn quantity(value: impl std::fmt::LowerHex) -> String {
    format!("{value:#x}")
}

/// A result as JSON.
pub(crate) fn to_json<T: Serialize>(value: T) -> Result<Value, RpcError> {
    Ok(json!(value))
}
