//! Signatures by the keys of the development accounts, which this chain holds as a wallet would.

use alloy::dyn_abi::TypedData;
use alloy::primitives::{Address, Bytes, Signature};
use alloy::signers::SignerSync;
use alloy::signers::local::PrivateKeySigner;
use serde_json::Value;

use super::error::RpcError;
use super::methods::{Backend, to_json};
use super::wire::Params;
use crate::devchain::{SubmitError, dev_accounts};

impl Backend {
    /// Signs a message (EIP-191).
    pub(crate) fn sign(&self, of: Address, message: Bytes) -> Result<Value, RpcError> {
        signature(account(of)?.sign_message_sync(&message))
    }

    /// Signs structured data (EIP-712), which comes as JSON or as its text.
    pub(crate) fn sign_typed_data(&self, params: &Params) -> Result<Value, RpcError> {
        let signer = account(params.get(0)?)?;
        let data: TypedData = params.get(1)?;
        signature(signer.sign_dynamic_typed_data_sync(&data))
    }
}

fn account(of: Address) -> Result<&'static PrivateKeySigner, RpcError> {
    let found = dev_accounts().iter().find(|account| account.address() == of);
    Ok(found.ok_or(SubmitError::UnknownAccount(of))?)
}

fn signature(made: Result<Signature, alloy::signers::Error>) -> Result<Value, RpcError> {
    let made = made.map_err(|error| RpcError::Params(error.to_string()))?;
    to_json(Bytes::from(made.as_bytes()))
}
