//! Errors of a JSON-RPC call, with the codes that tools match on.

use alloy::primitives::{Bytes, hex};
use alloy::sol_types::{GenericContractError, SolInterface};
use serde_json::{Value, json};

use crate::devchain::{CallError, LogQueryError, MineError, SubmitError};

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RpcError {
    /// The body is not JSON.
    #[error("parse error: {0}")]
    Parse(serde_json::Error),
    /// The JSON is not a request.
    #[error("invalid request: {0}")]
    Request(&'static str),
    /// No such method.
    #[error("the method {0} does not exist/is not available")]
    Method(String),
    /// The parameters don't fit the method.
    #[error("invalid params: {0}")]
    Params(String),
    /// The named block does not exist.
    #[error("unknown block")]
    UnknownBlock,
    /// The state of a past block was asked for.
    #[error(
        "the state of block {0} is not kept: those of the newest 128 blocks are, since the start"
    )]
    PastState(u64),
    /// No filter has this number, or it was not asked for too long.
    #[error("filter not found")]
    UnknownFilter,
    /// A call failed.
    #[error("{}", call_message(.0))]
    Call(#[from] CallError),
    /// A transaction was refused.
    #[error(transparent)]
    Submit(#[from] SubmitError),
    /// No block was made.
    #[error(transparent)]
    Mine(#[from] MineError),
    /// Too many logs, or an empty range.
    #[error(transparent)]
    Logs(#[from] LogQueryError),
}

impl RpcError {
    const fn code(&self) -> i64 {
        match self {
            Self::Parse(_) => -32_700,
            Self::Request(_) => -32_600,
            Self::Method(_) => -32_601,
            Self::Params(_) | Self::Logs(LogQueryError::Range { .. }) => -32_602,
            Self::Logs(LogQueryError::TooMany) => -32_005,
            Self::Call(CallError::Revert(_)) => 3,
            Self::Mine(_) => -32_603,
            Self::UnknownBlock
            | Self::PastState(_)
            | Self::UnknownFilter
            | Self::Call(_)
            | Self::Submit(_) => -32_000,
        }
    }

    /// The error object of the answer.
    pub(crate) fn to_json(&self) -> Value {
        let mut error = json!({ "code": self.code(), "message": self.to_string() });
        if let Self::Call(CallError::Revert(data)) = self {
            error["data"] = Value::String(hex::encode_prefixed(data));
        }
        error
    }
}

/// What a failed call says: a revert with its text, if it has one.
pub(crate) fn call_message(error: &CallError) -> String {
    match error {
        CallError::Revert(data) => match revert_reason(data) {
            Some(reason) => format!("execution reverted: {reason}"),
            None => "execution reverted".to_owned(),
        },
        other => other.to_string(),
    }
}

/// The text of `Error(string)` and `Panic(uint256)`; custom errors are decoded by the caller.
fn revert_reason(data: &Bytes) -> Option<String> {
    match GenericContractError::abi_decode(data).ok()? {
        GenericContractError::Revert(revert) => Some(revert.reason),
        GenericContractError::Panic(panic) => Some(panic.to_string()),
    }
}
