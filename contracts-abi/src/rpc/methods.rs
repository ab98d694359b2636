//! The table of methods: each arm is one call.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use alloy::primitives::{Bytes, keccak256};
use serde::Serialize;
use serde_json::{Value, json};

use super::error::RpcError;
use super::filters::Filters;
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
    pub(crate) filters: Filters,
    /// The newest block of each snapshot, by its number.
    pub(crate) snapshots: BTreeMap<u64, u64>,
    pub(crate) snapshot_number: u64,
}

impl Backend {
    pub(crate) fn new(chain: DevChain, on_demand: bool) -> Self {
        Self {
            chain,
            clock: Clock::default(),
            on_demand,
            filters: Filters::default(),
            snapshots: BTreeMap::new(),
            snapshot_number: 0,
        }
    }

    /// Makes a block now.
    pub(crate) fn mine(&mut self) -> Result<(), MineError> {
        let timestamp = self.clock.take();
        self.chain.mine(timestamp).map(drop)
    }

    /// Answers one call. What a method does not know is refused, not passed over.
    pub(crate) fn call(&mut self, method: &str, params: &Params) -> Result<Value, RpcError> {
        params.at_most(most_params(method))?;
        match method {
            "web3_clientVersion" => to_json(CLIENT_VERSION),
            "web3_sha3" => to_json(keccak256(params.get::<Bytes>(0)?)),
            "net_version" => to_json(self.chain.config().chain_id.to_string()),
            "net_listening" => to_json(true),
            "net_peerCount" | "eth_hashrate" => to_json("0x0"),
            "eth_syncing" | "eth_mining" => to_json(false),
            "eth_chainId" => to_json(quantity(self.chain.config().chain_id)),
            "eth_blockNumber" => to_json(quantity(self.chain.head().number())),
            "eth_getBlockByNumber" => self.block_by_number(params),
            "eth_getBlockByHash" => self.block_by_hash(params),
            "eth_getBlockReceipts" => self.block_receipts(params),
            "eth_getBlockTransactionCountByNumber" | "eth_getBlockTransactionCountByHash" => {
                self.block_transaction_count(params)
            }
            "eth_getTransactionByBlockNumberAndIndex" | "eth_getTransactionByBlockHashAndIndex" => {
                self.transaction_in_block(params)
            }
            "eth_getUncleCountByBlockNumber" | "eth_getUncleCountByBlockHash" => {
                self.uncle_count(params)
            }
            "eth_getUncleByBlockNumberAndIndex" | "eth_getUncleByBlockHashAndIndex" => {
                to_json(Value::Null)
            }
            "eth_accounts" | "eth_requestAccounts" => self.accounts(),
            "eth_getBalance" => self.balance(params),
            "eth_getCode" => self.code(params),
            "eth_getStorageAt" => self.storage_at(params),
            "eth_getTransactionCount" => self.transaction_count(params),
            "eth_call" => self.eth_call(params),
            "eth_estimateGas" => self.estimate_gas(params),
            "eth_createAccessList" => self.create_access_list(params),
            "eth_gasPrice" => self.gas_price(),
            "eth_maxPriorityFeePerGas" => to_json(quantity(self.chain.suggested_tip())),
            "eth_blobBaseFee" => to_json("0x1"),
            "eth_feeHistory" => self.fee_history(params),
            "eth_getLogs" => self.logs(params),
            other => self.call_on_transactions(other, params),
        }
    }

    fn call_on_transactions(&mut self, method: &str, params: &Params) -> Result<Value, RpcError> {
        match method {
            "eth_sendRawTransaction" => self.send_raw_transaction(params),
            "eth_sendTransaction" => self.send_transaction(params),
            "eth_signTransaction" => self.sign_transaction(params),
            "eth_getTransactionByHash" => self.transaction_by_hash(params),
            "eth_getRawTransactionByHash" => self.raw_transaction(params),
            "eth_getTransactionReceipt" => self.transaction_receipt(params),
            "txpool_status" => self.pool_status(),
            "eth_sign" => self.sign(params.get(0)?, params.get(1)?),
            "personal_sign" => self.sign(params.get(1)?, params.get(0)?),
            "eth_signTypedData" | "eth_signTypedData_v3" | "eth_signTypedData_v4" => {
                self.sign_typed_data(params)
            }
            "eth_newFilter" => self.new_filter(params),
            "eth_newBlockFilter" => self.new_block_filter(),
            "eth_newPendingTransactionFilter" => self.new_pending_filter(params),
            "eth_getFilterChanges" => self.filter_changes(params),
            "eth_getFilterLogs" => self.filter_logs(params),
            "eth_uninstallFilter" => self.uninstall_filter(params),
            "evm_mine" | "anvil_mine" => self.evm_mine(method, params),
            "evm_snapshot" => self.snapshot(),
            "evm_revert" => self.revert_to(params),
            "anvil_rollback" => self.roll_back(params),
            "evm_increaseTime" => self.increase_time(params),
            "evm_setNextBlockTimestamp" => self.set_next_timestamp(params),
            "anvil_setBalance" | "hardhat_setBalance" => self.set_balance(params),
            other => Err(RpcError::Method(other.chars().take(64).collect())),
        }
    }
}

/// Parameters that a method has at most.
fn most_params(method: &str) -> usize {
    match method {
        "eth_call" => 4,
        "eth_estimateGas"
        | "eth_createAccessList"
        | "eth_getStorageAt"
        | "eth_feeHistory"
        | "personal_sign" => 3,
        _ => 2,
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
