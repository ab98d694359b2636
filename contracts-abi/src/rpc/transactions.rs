//! Transactions: sending them and reading them back.

use alloy::consensus::transaction::Recovered;
use alloy::consensus::{Transaction, TxEip1559};
use alloy::primitives::{B256, Bytes, TxKind};
use alloy::rpc::types::{
    Log as RpcLog, Transaction as RpcTransaction, TransactionReceipt, TransactionRequest,
};
use serde_json::Value;

use super::error::RpcError;
use super::logs::rpc_log;
use super::methods::{Backend, to_json};
use super::wire::Params;
use crate::devchain::{Block, Message, block_logs};

impl Backend {
    pub(crate) fn send_raw_transaction(&mut self, params: &Params) -> Result<Value, RpcError> {
        let raw: Bytes = params.get(0)?;
        let hash = self.chain.submit_raw(&raw)?;
        self.sent(hash)
    }

    /// Signs for a development account and fills what the request leaves open.
    pub(crate) fn send_transaction(&mut self, params: &Params) -> Result<Value, RpcError> {
        let request: TransactionRequest = params.get(0)?;
        let from = request.from.ok_or_else(|| RpcError::Params("`from` is missing".to_owned()))?;
        let tip = request.max_priority_fee_per_gas.unwrap_or(self.chain.suggested_tip());
        let price = request.max_fee_per_gas.or(request.gas_price).unwrap_or_else(|| {
            u128::from(self.chain.next_base_fee()).saturating_mul(2).saturating_add(tip)
        });
        let mut tx = TxEip1559 {
            chain_id: request.chain_id.unwrap_or(self.chain.config().chain_id),
            nonce: request.nonce.unwrap_or_else(|| self.chain.pending_nonce(from)),
            gas_limit: 0,
            max_fee_per_gas: price,
            max_priority_fee_per_gas: tip.min(price),
            to: request.to.unwrap_or(TxKind::Create),
            value: request.value.unwrap_or_default(),
            access_list: request.access_list.unwrap_or_default(),
            input: request.input.into_input().unwrap_or_default(),
        };
        tx.gas_limit = match request.gas {
            Some(gas) => gas,
            None => self.chain.estimate_gas(&Message {
                from,
                to: tx.to,
                value: tx.value,
                data: tx.input.clone(),
                gas: None,
            })?,
        };
        let hash = self.chain.submit_signed_for(from, tx)?;
        self.sent(hash)
    }

    pub(crate) fn transaction_by_hash(&self, params: &Params) -> Result<Value, RpcError> {
        let hash: B256 = params.get(0)?;
        let mined = self
            .chain
            .locate(hash)
            .and_then(|at| rpc_transaction(self.chain.block(at.block)?, at.index));
        let waiting = || {
            self.chain.pending(&hash).map(|(tx, from)| RpcTransaction {
                inner: Recovered::new_unchecked(tx.clone(), from),
                block_hash: None,
                block_number: None,
                transaction_index: None,
                effective_gas_price: None,
                block_timestamp: None,
            })
        };
        to_json(mined.or_else(waiting))
    }

    pub(crate) fn transaction_receipt(&self, params: &Params) -> Result<Value, RpcError> {
        let at = self.chain.locate(params.get(0)?);
        to_json(at.and_then(|at| rpc_receipt(self.chain.block(at.block)?, at.index)))
    }

    /// Mines what was sent, where blocks are made on demand.
    fn sent(&mut self, hash: B256) -> Result<Value, RpcError> {
        if self.on_demand {
            self.mine()?;
        }
        to_json(hash)
    }
}

/// A mined transaction as JSON-RPC shows it.
pub(crate) fn rpc_transaction(block: &Block, index: usize) -> Option<RpcTransaction> {
    let tx = block.transactions.get(index)?;
    let outcome = block.outcomes.get(index)?;
    Some(RpcTransaction {
        inner: Recovered::new_unchecked(tx.clone(), outcome.from),
        block_hash: Some(block.hash),
        block_number: Some(block.number()),
        transaction_index: Some(index as u64),
        effective_gas_price: Some(outcome.gas_price),
        block_timestamp: Some(block.header.timestamp),
    })
}

/// The receipt of a mined transaction as JSON-RPC shows it.
pub(crate) fn rpc_receipt(block: &Block, index: usize) -> Option<TransactionReceipt> {
    let outcome = block.outcomes.get(index)?;
    let tx = block.transactions.get(index)?;
    let mut logs: Vec<RpcLog> = block_logs(block)
        .filter(|located| located.transaction == index)
        .map(|located| rpc_log(&located))
        .collect();
    logs.sort_by_key(|log| log.log_index);
    let mut logs = logs.into_iter();
    let inner = block.receipt(index)?.map_logs(|_| logs.next().unwrap_or_default());
    Some(TransactionReceipt {
        inner,
        transaction_hash: *tx.tx_hash(),
        transaction_index: Some(index as u64),
        block_hash: Some(block.hash),
        block_number: Some(block.number()),
        gas_used: outcome.gas_used,
        effective_gas_price: outcome.gas_price,
        blob_gas_used: None,
        blob_gas_price: None,
        from: outcome.from,
        to: tx.to(),
        contract_address: outcome.created,
    })
}
