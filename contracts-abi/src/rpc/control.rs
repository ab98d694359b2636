//! What only a development chain can do: blocks by hand, time by hand, balances by hand.

use alloy::primitives::{Address, U256};
use serde_json::{Value, json};

use super::error::RpcError;
use super::methods::{Backend, quantity, to_json};
use super::wire::{Count, Params};

/// Blocks that one call makes at most.
const MINE_LIMIT: u64 = 100_000;
/// Snapshots that are remembered at most; the oldest makes room.
const SNAPSHOT_LIMIT: usize = 256;

impl Backend {
    /// `evm_mine` makes one block, at a timestamp if given; `anvil_mine` makes a number of them,
    /// an interval apart if given.
    pub(crate) fn evm_mine(&mut self, method: &str, params: &Params) -> Result<Value, RpcError> {
        if method == "evm_mine" {
            if let Some(timestamp) = params.opt::<Value>(0)?.as_ref().and_then(mine_timestamp) {
                self.clock.next = Some(self.checked_timestamp(timestamp)?);
            }
            self.mine()?;
            return to_json("0x0");
        }
        let blocks = params.opt::<Count>(0)?.map_or(1, Count::get);
        if blocks > MINE_LIMIT {
            return Err(RpcError::Params(format!("at most {MINE_LIMIT} blocks at once")));
        }
        let interval = params.opt::<Count>(1)?.map(Count::get);
        for made in 0..blocks {
            if let Some(interval) = interval.filter(|_| made > 0) {
                let head = self.chain.head().header.timestamp;
                self.clock.next = Some(head.saturating_add(interval));
            }
            self.mine()?;
        }
        to_json(Value::Null)
    }

    /// Takes back the newest blocks of a chain in memory, one unless a number is given.
    pub(crate) fn roll_back(&mut self, params: &Params) -> Result<Value, RpcError> {
        let blocks = params.opt::<Count>(0)?.map_or(1, Count::get);
        let blocks = usize::try_from(blocks).unwrap_or(usize::MAX);
        self.take_back(blocks)?;
        to_json(Value::Null)
    }

    fn take_back(&mut self, blocks: usize) -> Result<(), RpcError> {
        self.chain.rewind(blocks).map_err(|error| RpcError::Params(error.to_string()))?;
        self.filters.taken_back(self.chain.head().number());
        Ok(())
    }

    /// Remembers the newest block under a number, to which [`Self::revert_to`] goes back.
    pub(crate) fn snapshot(&mut self) -> Result<Value, RpcError> {
        if self.snapshots.len() == SNAPSHOT_LIMIT {
            self.snapshots.pop_first();
        }
        self.snapshot_number += 1;
        self.snapshots.insert(self.snapshot_number, self.chain.head().number());
        to_json(quantity(self.snapshot_number))
    }

    /// Takes back what was mined since a snapshot, which is then used up, like all later ones.
    pub(crate) fn revert_to(&mut self, params: &Params) -> Result<Value, RpcError> {
        let snapshot = params.get::<Count>(0)?.get();
        let Some(block) = self.snapshots.get(&snapshot) else { return to_json(false) };
        let blocks = self.chain.head().number().saturating_sub(*block);
        let blocks = usize::try_from(blocks).unwrap_or(usize::MAX);
        self.take_back(blocks)?;
        self.snapshots.split_off(&snapshot);
        to_json(true)
    }

    pub(crate) fn increase_time(&mut self, params: &Params) -> Result<Value, RpcError> {
        let seconds = params.get::<Count>(0)?.get();
        let offset = self.clock.offset.checked_add(seconds).filter(|sum| *sum < 1 << 40);
        let too_far = || RpcError::Params("the time is too far away".to_owned());
        self.clock.offset = offset.ok_or_else(too_far)?;
        to_json(quantity(self.clock.offset))
    }

    pub(crate) fn set_next_timestamp(&mut self, params: &Params) -> Result<Value, RpcError> {
        let timestamp = params.get::<Count>(0)?.get();
        self.clock.next = Some(self.checked_timestamp(timestamp)?);
        to_json(Value::Null)
    }

    pub(crate) fn set_balance(&mut self, params: &Params) -> Result<Value, RpcError> {
        let (address, balance): (Address, U256) = (params.get(0)?, params.get(1)?);
        self.chain.set_balance(address, balance)?;
        to_json(json!(true))
    }

    fn checked_timestamp(&self, timestamp: u64) -> Result<u64, RpcError> {
        let head = self.chain.head().header.timestamp;
        if timestamp > head && timestamp < 1 << 40 {
            Ok(timestamp)
        } else {
            Err(RpcError::Params(format!("the timestamp must be later than {head}")))
        }
    }
}

/// The timestamp of `evm_mine`: bare, or as `{"timestamp": …}`.
fn mine_timestamp(value: &Value) -> Option<u64> {
    let value = value.get("timestamp").unwrap_or(value);
    serde_json::from_value::<Count>(value.clone()).ok().map(Count::get)
}
