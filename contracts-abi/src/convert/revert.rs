//! Why a contract reverted, in words.

use std::fmt;

use alloy::primitives::{Bytes, hex};
use alloy::sol_types::{GenericContractError, SolInterface};

use crate::bindings::{
    Coordinator, DatanetRegistry, Disputes, ModelRegistry, Open, Registry, RewardVault,
    Settlements, Timelock, UsageEscrow,
};

/// Why a contract reverted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RevertReason {
    /// A `require` with a text.
    Message(String),
    /// The compiler's own checks failed (an overflow, an index out of range).
    Panic(String),
    /// An error that one of our contracts declares.
    Custom {
        /// The contract that declares it.
        contract: &'static str,
        /// The error's name.
        name: String,
        /// The error with its arguments.
        detail: String,
    },
    /// The EVM stopped the transaction: too little gas or an invalid instruction.
    Halted(String),
    /// Bytes that no contract of ours declares.
    Unknown(Vec<u8>),
}

impl RevertReason {
    /// Reads revert data.
    pub(crate) fn decode(data: &Bytes) -> Self {
        match GenericContractError::abi_decode(data) {
            Ok(GenericContractError::Revert(revert)) => return Self::Message(revert.reason),
            Ok(GenericContractError::Panic(panic)) => return Self::Panic(panic.to_string()),
            Err(_) => {}
        }
        let custom = |contract, detail: String| {
            let detail = detail.split_once('(').map_or(detail.clone(), |(_, rest)| {
                rest.strip_suffix(')').unwrap_or(rest).to_owned()
            });
            let end = detail.find([' ', '(', '{']).unwrap_or(detail.len());
            Self::Custom { contract, name: detail[..end].to_owned(), detail }
        };
        macro_rules! try_contracts {
            ($($contract:ident :: $errors:ident),+) => {
                $(if let Ok(error) = $contract::$errors::abi_decode(data) {
                    return custom(stringify!($contract), format!("{error:?}"));
                })+
            };
        }
        try_contracts!(
            Coordinator::CoordinatorErrors,
            Settlements::SettlementsErrors,
            Disputes::DisputesErrors,
            Registry::RegistryErrors,
            DatanetRegistry::DatanetRegistryErrors,
            ModelRegistry::ModelRegistryErrors,
            UsageEscrow::UsageEscrowErrors,
            RewardVault::RewardVaultErrors,
            Timelock::TimelockErrors,
            Open::OpenErrors
        );
        Self::Unknown(data.to_vec())
    }

    /// The name of the custom error, if it is one.
    pub fn name(&self) -> Option<&str> {
        match self {
            Self::Custom { name, .. } => Some(name),
            _ => None,
        }
    }
}

impl fmt::Display for RevertReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Message(text) | Self::Panic(text) | Self::Halted(text) => f.write_str(text),
            Self::Custom { contract, detail, .. } => write!(f, "{contract}: {detail}"),
            Self::Unknown(data) if data.is_empty() => f.write_str("no reason given"),
            Self::Unknown(data) => write!(f, "unknown error {}", hex::encode_prefixed(data)),
        }
    }
}
