//! Accounts, calls and estimates, on the newest state and on those of the newest blocks.

use alloy::eips::eip2930::AccessListResult;
use alloy::eips::{BlockId, BlockNumberOrTag};
use alloy::primitives::{Address, B256, TxKind, U256};
use alloy::rpc::types::state::StateOverride;
use alloy::rpc::types::{BlockOverrides, TransactionRequest};
use serde_json::Value;

use super::error::{RpcError, call_message};
use super::methods::{Backend, quantity, to_json};
use super::wire::Params;
use crate::devchain::{At, CallOptions, Message, View, dev_accounts};

impl Backend {
    pub(crate) fn accounts(&self) -> Result<Value, RpcError> {
        to_json(dev_accounts().iter().map(|signer| signer.address()).collect::<Vec<_>>())
    }

    pub(crate) fn balance(&mut self, params: &Params) -> Result<Value, RpcError> {
        let address = params.get(0)?;
        to_json(quantity(self.view(params.opt(1)?)?.balance(address)))
    }

    pub(crate) fn code(&mut self, params: &Params) -> Result<Value, RpcError> {
        let address = params.get(0)?;
        to_json(self.view(params.opt(1)?)?.code(address))
    }

    pub(crate) fn storage_at(&mut self, params: &Params) -> Result<Value, RpcError> {
        let (address, slot) = (params.get(0)?, params.get::<U256>(1)?);
        to_json(B256::from(self.view(params.opt(2)?)?.storage(address, slot)))
    }

    pub(crate) fn transaction_count(&mut self, params: &Params) -> Result<Value, RpcError> {
        let address: Address = params.get(0)?;
        let block: Option<BlockId> = params.opt(1)?;
        to_json(quantity(if block == Some(PENDING) {
            self.chain.pending_nonce(address)
        } else {
            self.view(block)?.nonce(address)
        }))
    }

    pub(crate) fn eth_call(&mut self, params: &Params) -> Result<Value, RpcError> {
        let (message, options) = call(params)?;
        to_json(self.view(params.opt(1)?)?.call(&message, &options)?)
    }

    pub(crate) fn estimate_gas(&mut self, params: &Params) -> Result<Value, RpcError> {
        let (message, options) = call(params)?;
        to_json(quantity(self.view(params.opt(1)?)?.estimate_gas(&message, &options)?))
    }

    pub(crate) fn create_access_list(&mut self, params: &Params) -> Result<Value, RpcError> {
        let (message, options) = call(params)?;
        let found = self.view(params.opt(1)?)?.accesses(&message, &options)?;
        to_json(AccessListResult {
            access_list: found.list,
            gas_used: U256::from(found.gas_used),
            error: found.error.as_ref().map(call_message),
        })
    }

    /// The state after a block: the newest, unless another is named.
    fn view(&mut self, id: Option<BlockId>) -> Result<View<'_>, RpcError> {
        let at = match id {
            None => At::Head,
            Some(PENDING) => At::Next,
            Some(id) => At::Block(self.resolve(id).ok_or(RpcError::UnknownBlock)?.number()),
        };
        let number = match at {
            At::Block(number) => number,
            At::Head | At::Next => self.chain.head().number(),
        };
        self.chain.view(at).ok_or(RpcError::PastState(number))
    }
}

const PENDING: BlockId = BlockId::Number(BlockNumberOrTag::Pending);

/// The message of a call, an estimate or a list of accesses, and what stands in for state and block.
fn call(params: &Params) -> Result<(Message, CallOptions), RpcError> {
    let request: TransactionRequest = params.get(0)?;
    check(&request)?;
    let block: BlockOverrides = params.opt(3)?.unwrap_or_default();
    let known = BlockOverrides {
        number: block.number,
        time: block.time,
        gas_limit: block.gas_limit,
        coinbase: block.coinbase,
        random: block.random,
        ..BlockOverrides::default()
    };
    if known != block {
        let rule = "of a block, only number, time, gasLimit, feeRecipient and prevRandao can be \
                    overridden here";
        return Err(RpcError::Params(rule.to_owned()));
    }
    let options = CallOptions {
        access_list: request.access_list.clone().unwrap_or_default(),
        state: params.opt::<StateOverride>(2)?.unwrap_or_default(),
        block,
    };
    let message = Message {
        from: request.from.unwrap_or_default(),
        to: request.to.unwrap_or(TxKind::Create),
        value: request.value.unwrap_or_default(),
        data: request.input.into_input().unwrap_or_default(),
        gas: request.gas,
    };
    Ok((message, options))
}

/// Refuses a request that contradicts itself, or asks for what this chain does not have, instead of
/// answering another one.
pub(crate) fn check(request: &TransactionRequest) -> Result<(), RpcError> {
    let refuse = |why: &str| Err(RpcError::Params(why.to_owned()));
    if request.gas_price.is_some() && request.has_eip1559_fields() {
        return refuse(
            "both gasPrice and (maxFeePerGas or maxPriorityFeePerGas) specified: name one or the other",
        );
    }
    if request.input.unique_input().is_err() {
        return refuse("both \"data\" and \"input\" are set and not equal");
    }
    if request.has_eip4844_fields() || request.authorization_list.is_some() {
        return refuse("transaction type not supported: neither blobs nor authorizations");
    }
    Ok(())
}
