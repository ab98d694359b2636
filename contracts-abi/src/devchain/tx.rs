//! Transactions on their way into the chain: decoding, sender recovery, and the EVM's view.
//!
//! Invariant: a [`Candidate`] that came as bytes carries the address that signed it for this chain.

use alloy::consensus::{
    SignableTransaction, Signed, Transaction, TxEip1559, TxEnvelope, TxType, TypedTransaction,
};
use alloy::eips::eip2718::Decodable2718;
use alloy::primitives::{Address, B256, Bytes, Signature, TxKind, U256};
use alloy::signers::SignerSync;
use revm::context::TxEnv;

use super::config::TX_BYTES_LIMIT;
use super::{SubmitError, dev_accounts};

/// Why the bytes of a transaction were refused.
#[expect(missing_docs, reason = "a message names its fields")]
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The bytes are not one whole encoded transaction.
    #[error("the bytes are not an encoded transaction: {0}")]
    Malformed(String),
    /// The transaction is longer than the limit.
    #[error("oversized data: transaction size {size}, limit {limit}")]
    TooLong { size: usize, limit: usize },
    /// Blob and set-code transactions are not part of this chain.
    #[error("transaction type not supported: {0}")]
    UnsupportedType(u8),
    /// Signed for another chain.
    #[error("invalid chain id for signer: have {have} want {want}")]
    WrongChain {
        /// Chain that the transaction names.
        have: u64,
        want: u64,
    },
    /// The signature does not recover to an address or is malleable.
    #[error("invalid sender")]
    InvalidSignature,
}

/// A transaction with its sender, ready to be executed.
#[derive(Clone, Debug)]
pub(crate) struct Candidate {
    pub(crate) envelope: TxEnvelope,
    pub(crate) from: Address,
}

impl Candidate {
    /// Decodes a signed transaction and recovers its sender.
    pub(crate) fn decode(raw: &[u8], chain_id: u64) -> Result<Self, DecodeError> {
        if raw.len() > TX_BYTES_LIMIT {
            return Err(DecodeError::TooLong { size: raw.len(), limit: TX_BYTES_LIMIT });
        }
        let envelope = TxEnvelope::decode_2718_exact(raw)
            .map_err(|error| DecodeError::Malformed(error.to_string()))?;
        match envelope.tx_type() {
            TxType::Legacy | TxType::Eip2930 | TxType::Eip1559 => {}
            other => return Err(DecodeError::UnsupportedType(other as u8)),
        }
        match envelope.chain_id() {
            Some(have) if have != chain_id => {
                return Err(DecodeError::WrongChain { have, want: chain_id });
            }
            _ => {}
        }
        let signature = envelope.signature();
        if signature.normalize_s().is_some() {
            return Err(DecodeError::InvalidSignature);
        }
        let from = signature
            .recover_address_from_prehash(&envelope.signature_hash())
            .map_err(|_| DecodeError::InvalidSignature)?;
        Ok(Self { envelope, from })
    }

    /// Decodes a transaction whose sender is already known (the block log).
    pub(crate) fn trusted(raw: &[u8], from: Address) -> Result<Self, DecodeError> {
        let envelope = TxEnvelope::decode_2718_exact(raw)
            .map_err(|error| DecodeError::Malformed(error.to_string()))?;
        Ok(Self { envelope, from })
    }

    /// An unsigned transaction of any sender. Its place of a signature holds the sender, so that
    /// hashes of different senders differ; no real signature has `s = 0`.
    pub(crate) fn impersonated(from: Address, tx: TxEip1559) -> Self {
        let signature = Signature::new(from.into_word().into(), U256::ZERO, false);
        Self { envelope: TxEnvelope::Eip1559(Signed::new_unhashed(tx, signature)), from }
    }

    pub(crate) fn hash(&self) -> B256 {
        *self.envelope.tx_hash()
    }

    pub(crate) fn nonce(&self) -> u64 {
        self.envelope.nonce()
    }

    /// What the sender must own: gas at the highest price it would pay, and the value.
    pub(crate) fn max_cost(&self) -> U256 {
        let gas = U256::from(self.envelope.gas_limit());
        let fee = gas.saturating_mul(U256::from(self.envelope.max_fee_per_gas()));
        fee.saturating_add(self.envelope.value())
    }

    /// The transaction as the EVM reads it.
    pub(crate) fn env(&self) -> TxEnv {
        let tx = &self.envelope;
        TxEnv {
            tx_type: tx.tx_type() as u8,
            caller: self.from,
            gas_limit: tx.gas_limit(),
            gas_price: tx.max_fee_per_gas(),
            kind: tx.kind(),
            value: tx.value(),
            data: tx.input().clone(),
            nonce: tx.nonce(),
            chain_id: tx.chain_id(),
            access_list: tx.access_list().cloned().unwrap_or_default(),
            gas_priority_fee: tx.max_priority_fee_per_gas(),
            blob_hashes: Vec::new(),
            max_fee_per_blob_gas: 0,
            authorization_list: Vec::new(),
        }
    }
}

/// Signs a transaction with the key of a development account.
///
/// # Errors
/// [`SubmitError::UnknownAccount`] for anybody else, [`DecodeError::UnsupportedType`] for transactions
/// that are not part of this chain.
pub(crate) fn sign_for(from: Address, tx: TypedTransaction) -> Result<TxEnvelope, SubmitError> {
    let signer = dev_accounts().iter().find(|account| account.address() == from);
    let signer = signer.ok_or(SubmitError::UnknownAccount(from))?;
    match tx.tx_type() {
        TxType::Legacy | TxType::Eip2930 | TxType::Eip1559 => {}
        other => return Err(DecodeError::UnsupportedType(other as u8).into()),
    }
    let signature = signer.sign_hash_sync(&tx.signature_hash())?;
    Ok(tx.into_envelope(signature))
}

/// A message to a contract without signature, nonce or fee.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Who sends it.
    pub from: Address,
    /// The contract, or the creation of one.
    pub to: TxKind,
    /// Ether that goes along.
    pub value: U256,
    /// Call data or init code.
    pub data: Bytes,
    /// Gas limit; the chain's cap where `None`.
    pub gas: Option<u64>,
}

impl Message {
    /// A call without ether and with the default gas limit.
    pub fn call(from: Address, to: Address, data: Bytes) -> Self {
        Self { from, to: TxKind::Call(to), value: U256::ZERO, data, gas: None }
    }

    /// The creation of a contract.
    pub fn create(from: Address, init_code: Bytes) -> Self {
        Self { from, to: TxKind::Create, value: U256::ZERO, data: init_code, gas: None }
    }

    /// The EVM's view, at gas price zero.
    pub(crate) fn env(&self, chain_id: u64, nonce: u64, gas_limit: u64) -> TxEnv {
        TxEnv {
            tx_type: 0,
            caller: self.from,
            gas_limit,
            gas_price: 0,
            kind: self.to,
            value: self.value,
            data: self.data.clone(),
            nonce,
            chain_id: Some(chain_id),
            access_list: Default::default(),
            gas_priority_fee: None,
            blob_hashes: Vec::new(),
            max_fee_per_blob_gas: 0,
            authorization_list: Vec::new(),
        }
    }
}
