//! What the EVM refuses, in the words that clients look for: those of go-ethereum.

use std::fmt::{Display, Formatter, Result};

use revm::context::result::{HaltReason, InvalidTransaction};

/// Why a transaction can't be executed, as go-ethereum says it.
pub(super) struct Words<'a>(pub(super) &'a InvalidTransaction);

impl Display for Words<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        use InvalidTransaction as I;
        match self.0 {
            I::PriorityFeeGreaterThanMaxFee => {
                f.write_str("max priority fee per gas higher than max fee per gas")
            }
            I::GasPriceLessThanBasefee => f.write_str("max fee per gas less than block base fee"),
            I::CallerGasLimitMoreThanBlock => f.write_str("exceeds block gas limit"),
            I::CallGasCostMoreThanGasLimit { initial_gas, gas_limit } => {
                write!(f, "intrinsic gas too low: gas {gas_limit}, minimum needed {initial_gas}")
            }
            I::GasFloorMoreThanGasLimit { gas_floor, gas_limit } => write!(
                f,
                "intrinsic gas too low: gas {gas_limit}, minimum needed {gas_floor} for its data"
            ),
            I::RejectCallerWithCode => f.write_str("sender not an eoa"),
            I::LackOfFundForMaxFee { fee, balance } => {
                write!(f, "insufficient funds for gas * price + value: have {balance} want {fee}")
            }
            I::OverflowPaymentInTransaction => {
                f.write_str("insufficient funds for gas * price + value: more than there can be")
            }
            I::NonceOverflowInTransaction => f.write_str("nonce has max value"),
            I::NonceTooHigh { tx, state } => {
                write!(f, "nonce too high: next nonce {state}, tx nonce {tx}")
            }
            I::NonceTooLow { tx, state } => {
                write!(f, "nonce too low: next nonce {state}, tx nonce {tx}")
            }
            I::CreateInitCodeSizeLimit => f.write_str("max initcode size exceeded"),
            I::InvalidChainId | I::MissingChainId => f.write_str("invalid chain id for signer"),
            I::TxGasLimitGreaterThanCap { gas_limit, cap } => {
                write!(f, "transaction gas limit too high (cap: {cap}, tx: {gas_limit})")
            }
            other => Display::fmt(other, f),
        }
    }
}

/// Why the EVM stopped, as go-ethereum says it.
pub(super) struct HaltWords<'a>(pub(super) &'a HaltReason);

impl Display for HaltWords<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        use HaltReason as H;
        f.write_str(match self.0 {
            H::OutOfGas(_) => "out of gas",
            H::OpcodeNotFound | H::NotActivated => "invalid opcode",
            H::InvalidFEOpcode => "invalid opcode: INVALID",
            H::OutOfOffset => "return data out of bounds",
            H::CreateCollision => "contract address collision",
            H::CreateContractSizeLimit => "max code size exceeded",
            H::CreateContractStartingWithEF => "invalid code: must not begin with 0xef",
            H::CreateInitCodeSizeLimit => "max initcode size exceeded",
            H::StateChangeDuringStaticCall | H::CallNotAllowedInsideStatic => "write protection",
            H::OutOfFunds => "insufficient balance for transfer",
            H::CallTooDeep => "max call depth exceeded",
            other => return Display::fmt(other, f),
        })
    }
}
