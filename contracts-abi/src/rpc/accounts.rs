//! Accounts, calls and estimates. Only the newest state is kept, so only it can be asked for.

use alloy::eips::{BlockId, BlockNumberOrTag};
use alloy::primitives::{Address, B256, TxKind, U256};
use alloy::rpc::types::TransactionRequest;
use serde_json::Value;

use super::error::RpcError;
use super::methods::{Backend, quantity, to_json};
use super::wire::Params;
use crate::devchain::{Message, dev_accounts};

impl Backend {
    pub(crate) fn accounts(&self) -> Result<Value, RpcError> {
        to_json(dev_accounts().iter().map(|signer| signer.address()).collect::<Vec<_>>())
    }

    pub(crate) fn balance(&self, params: &Params) -> Result<Value, RpcError> {
        self.require_newest(params.opt(1)?)?;
        to_json(quantity(self.chain.balance(params.get(0)?)))
    }

    pub(crate) fn code(&self, params: &Params) -> Result<Value, RpcError> {
        self.require_newest(params.opt(1)?)?;
        to_json(self.chain.code(params.get(0)?))
    }

    pub(crate) fn storage_at(&self, params: &Params) -> Result<Value, RpcError> {
        self.require_newest(params.opt(2)?)?;
        let slot = params.get::<U256>(1)?;
        to_json(B256::from(self.chain.storage(params.get(0)?, slot)))
    }

    pub(crate) fn transaction_count(&self, params: &Params) -> Result<Value, RpcError> {
        let address: Address = params.get(0)?;
        let block: Option<BlockId> = params.opt(1)?;
        self.require_newest(block)?;
        to_json(quantity(if is_pending(block) {
            self.chain.pending_nonce(address)
        } else {
            self.chain.nonce(address)
        }))
    }

    pub(crate) fn eth_call(&mut self, params: &Params) -> Result<Value, RpcError> {
        let block: Option<BlockId> = params.opt(1)?;
        self.require_newest(block)?;
        refuse_overrides(params, 2)?;
        let message = message(params.get(0)?);
        to_json(self.chain.call(&message, is_pending(block))?)
    }

    pub(crate) fn estimate_gas(&mut self, params: &Params) -> Result<Value, RpcError> {
        self.require_newest(params.opt(1)?)?;
        refuse_overrides(params, 2)?;
        let message = message(params.get(0)?);
        to_json(quantity(self.chain.estimate_gas(&message)?))
    }

    /// Refuses a block id that is not the newest block's.
    fn require_newest(&self, id: Option<BlockId>) -> Result<(), RpcError> {
        let head = self.chain.head();
        let number = match id {
            None => return Ok(()),
            Some(id) => self.resolve(id).ok_or(RpcError::UnknownBlock)?.number(),
        };
        if number == head.number() { Ok(()) } else { Err(RpcError::PastState(number)) }
    }
}

fn is_pending(id: Option<BlockId>) -> bool {
    id == Some(BlockId::Number(BlockNumberOrTag::Pending))
}

fn refuse_overrides(params: &Params, index: usize) -> Result<(), RpcError> {
    match params.opt::<Value>(index)? {
        None => Ok(()),
        Some(Value::Object(overrides)) if overrides.is_empty() => Ok(()),
        Some(_) => Err(RpcError::Params("state overrides are not supported".to_owned())),
    }
}

fn message(request: TransactionRequest) -> Message {
    Message {
        from: request.from.unwrap_or_default(),
        to: request.to.unwrap_or(TxKind::Create),
        value: request.value.unwrap_or_default(),
        data: request.input.into_input().unwrap_or_default(),
        gas: request.gas,
    }
}
