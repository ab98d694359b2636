//! Transactions: sending them and reading them back.

use alloy::consensus::transaction::Recovered;
use alloy::consensus::{Transaction, TxEnvelope, TypedTransaction};
use alloy::eips::eip2718::Encodable2718;
use alloy::primitives::{Address, B256, Bytes, TxKind};
use alloy::rpc::types::{
    Log as RpcLog, Transaction as RpcTransaction, TransactionReceipt, TransactionRequest,
};
use serde_json::{Value, json};

use super::accounts::check;
use super::error::RpcError;
use super::logs::rpc_log;
use super::methods::{Backend, quantity, to_json};
use super::wire::Params;
use crate::devchain::{
    At, Block, CallOptions, DecodeError, Message, SubmitError, block_logs, sign_for,
};

impl Backend {
    pub(crate) fn send_raw_transaction(&mut self, params: &Params) -> Result<Value, RpcError> {
        let raw: Bytes = params.get(0)?;
        let hash = self.chain.submit_raw(&raw)?;
        self.sent(hash)
    }

    /// Signs for a development account and fills what the request leaves open.
    pub(crate) fn send_transaction(&mut self, params: &Params) -> Result<Value, RpcError> {
        let (from, tx) = self.fill(params.get(0)?)?;
        let hash = self.chain.submit_signed_for(from, tx)?;
        self.sent(hash)
    }

    /// The same without sending it.
    pub(crate) fn sign_transaction(&mut self, params: &Params) -> Result<Value, RpcError> {
        let (from, tx) = self.fill(params.get(0)?)?;
        to_json(Bytes::from(sign_for(from, tx)?.encoded_2718()))
    }

    /// A transaction of the type that was asked for, by its number or by what it names: with a gas price
    /// it is a legacy one, with an access list as well one of EIP-2930, otherwise one of EIP-1559.
    fn fill(
        &mut self,
        request: TransactionRequest,
    ) -> Result<(Address, TypedTransaction), RpcError> {
        check(&request)?;
        let refuse = |why: String| Err(RpcError::Params(why));
        let Some(from) = request.from else { return refuse("`from` is missing".to_owned()) };
        let chain_id = self.chain.config().chain_id;
        if let Some(have) = request.chain_id.filter(|have| *have != chain_id) {
            return refuse(format!("chainId does not match node's (have={have}, want={chain_id})"));
        }
        let data = request.input.input().cloned().unwrap_or_default();
        let to = request.to.unwrap_or(TxKind::Create);
        if to.is_create() && data.is_empty() {
            return refuse("contract creation without any data provided".to_owned());
        }
        let kind = match (request.transaction_type, request.gas_price, &request.access_list) {
            (Some(kind), _, _) => kind,
            (None, None, _) => 2,
            (None, Some(_), None) => 0,
            (None, Some(_), Some(_)) => 1,
        };
        let tip = self.chain.suggested_tip();
        let base = u128::from(self.chain.next_base_fee());
        let filled = TransactionRequest {
            chain_id: Some(chain_id),
            nonce: Some(request.nonce.unwrap_or_else(|| self.chain.pending_nonce(from))),
            gas: Some(match request.gas {
                Some(gas) => gas,
                None => self.estimate(from, to, data, &request)?,
            }),
            to: Some(to),
            ..request
        };
        let priced = match kind {
            0 | 1 => TransactionRequest {
                gas_price: Some(filled.gas_price.unwrap_or(base.saturating_add(tip))),
                ..filled
            },
            _ => {
                let tip = filled.max_priority_fee_per_gas.unwrap_or(tip);
                let most = base.saturating_mul(2).saturating_add(tip);
                TransactionRequest {
                    max_fee_per_gas: Some(filled.max_fee_per_gas.unwrap_or(most)),
                    max_priority_fee_per_gas: Some(match filled.max_fee_per_gas {
                        // What was not asked for must not make the rest impossible.
                        Some(most) if filled.max_priority_fee_per_gas.is_none() => tip.min(most),
                        _ => tip,
                    }),
                    ..filled
                }
            }
        };
        let built = match kind {
            0 => priced.build_legacy().map(TypedTransaction::from),
            1 => priced.build_2930().map(TypedTransaction::from),
            2 => priced.build_1559().map(TypedTransaction::from),
            other => return Err(SubmitError::from(DecodeError::UnsupportedType(other)).into()),
        };
        Ok((from, built.map_err(|error| RpcError::Params(error.to_string()))?))
    }

    fn estimate(
        &mut self,
        from: Address,
        to: TxKind,
        data: Bytes,
        request: &TransactionRequest,
    ) -> Result<u64, RpcError> {
        let value = request.value.unwrap_or_default();
        let access_list = request.access_list.clone().unwrap_or_default();
        let message = Message { from, to, value, data, gas: None };
        let options = CallOptions { access_list, ..CallOptions::default() };
        let mut view = self.chain.view(At::Head).ok_or(RpcError::UnknownBlock)?;
        Ok(view.estimate_gas(&message, &options)?)
    }

    pub(crate) fn transaction_by_hash(&self, params: &Params) -> Result<Value, RpcError> {
        let hash: B256 = params.get(0)?;
        let mined = self
            .chain
            .locate(hash)
            .and_then(|at| rpc_transaction(self.chain.block(at.block)?, at.index));
        let waiting = || self.chain.pending(&hash).map(|(tx, from)| rpc_pending(tx, from));
        to_json(mined.or_else(waiting))
    }

    /// The bytes of a transaction, as its sender signed them.
    pub(crate) fn raw_transaction(&self, params: &Params) -> Result<Value, RpcError> {
        let hash: B256 = params.get(0)?;
        let mined = || {
            let at = self.chain.locate(hash)?;
            self.chain.block(at.block)?.transactions.get(at.index)
        };
        let tx = self.chain.pending(&hash).map(|(tx, _)| tx).or_else(mined);
        to_json(tx.map(|tx| Bytes::from(tx.encoded_2718())))
    }

    /// How many transactions wait for the next block, and how many for another transaction.
    pub(crate) fn pool_status(&self) -> Result<Value, RpcError> {
        let pending = self.chain.executable().count();
        let queued = self.chain.pool_len() - pending;
        to_json(json!({ "pending": quantity(pending), "queued": quantity(queued) }))
    }

    pub(crate) fn transaction_receipt(&self, params: &Params) -> Result<Value, RpcError> {
        let at = self.chain.locate(params.get(0)?);
        to_json(at.and_then(|at| rpc_receipt(self.chain.block(at.block)?, at.index)))
    }

    /// Mines what was sent, where blocks are made on demand.
    fn sent(&mut self, hash: B256) -> Result<Value, RpcError> {
        self.filters.heard(hash);
        if self.on_demand {
            self.mine()?;
        }
        to_json(hash)
    }
}

/// A transaction that waits, as JSON-RPC shows it.
pub(crate) fn rpc_pending(tx: &TxEnvelope, from: Address) -> RpcTransaction {
    RpcTransaction {
        inner: Recovered::new_unchecked(tx.clone(), from),
        block_hash: None,
        block_number: None,
        transaction_index: None,
        effective_gas_price: None,
        block_timestamp: None,
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
