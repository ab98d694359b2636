//! Transactions of one key: nonces, fees, signatures, receipts.
//!
//! The nonce is taken and the transaction handed over under one lock, so that transactions of one
//! key go out in order however many are in flight; waiting for blocks happens outside of it.

use std::time::Duration;

use alloy::consensus::{SignableTransaction, TxEip1559, TxEnvelope};
use alloy::eips::eip2718::Encodable2718;
use alloy::primitives::{Address, B256, Bytes, Log, TxKind, U64, U128, U256};
use alloy::rpc::types::Log as RpcLog;
use alloy::signers::SignerSync;
use alloy::signers::local::PrivateKeySigner;
use protocol::chain::ChainEvent;
use protocol::eip712::EvmKey;
use protocol::{BlockNumber, Digest, EvmAddress};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::convert::RevertReason;
use crate::devchain::TX_GAS_CAP;
use crate::http::{HttpRpc, RpcError};
use crate::reads::ReadError;

/// How long a transaction may take to be mined.
const MINE_TIMEOUT: Duration = Duration::from_secs(120);
/// The first and the longest pause between two looks for a receipt.
const PAUSE: (Duration, Duration) = (Duration::from_millis(10), Duration::from_millis(500));
/// How often a send is tried when the nonce turns out to be used.
const ATTEMPTS: usize = 4;

/// Why a transaction had no effect.
#[expect(missing_docs, reason = "a message names its fields")]
#[derive(Debug, thiserror::Error)]
pub enum TxError {
    /// The contract refused it.
    #[error("the contract refused: {reason}")]
    Revert { reason: RevertReason },
    /// The sender can't pay for gas.
    #[error("{address} cannot pay for gas ({message}); send it some of the chain's coin")]
    Funds {
        address: EvmAddress,
        /// What the RPC said.
        message: String,
    },
    /// It was sent, or may have been, and is in no block yet; it may still be.
    #[error(
        "transaction {hash} is in no block after {MINE_TIMEOUT:?}; is the chain making blocks?"
    )]
    Timeout { hash: Digest },
    /// The chain asks for more per unit of gas than may be paid.
    #[error(
        "the chain asks {asked} wei for a unit of gas, and at most {limit} may be paid; raise \
         max_fee_gwei, or wait until the chain is cheaper"
    )]
    TooExpensive { asked: u128, limit: u128 },
    /// It needs more gas than it may have.
    #[error("the transaction needs {asked} gas, and at most {limit} may be used; raise max_gas")]
    TooMuchGas { asked: u64, limit: u64 },
    /// The RPC failed.
    #[error(transparent)]
    Rpc(#[from] RpcError),
    /// A question that the transaction depends on had no answer.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// No signature exists for it.
    #[error("signing failed: {0}")]
    Sign(#[from] alloy::signers::Error),
}

/// What a transaction may cost, whatever the RPC proposes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FeeLimits {
    /// Most wei for a unit of gas, the tip included.
    pub max_fee: u128,
    /// Most wei of tip for a unit of gas; an RPC that proposes more is given this.
    pub max_tip: u128,
    /// Most gas of a transaction.
    pub max_gas: u64,
}

impl FeeLimits {
    /// Wei in a gwei.
    pub const GWEI: u128 = 1_000_000_000;
}

impl FeeLimits {
    /// The most per gas that is paid and the tip, where the RPC names a base fee and proposes a tip.
    /// The base fee may double before the transaction is in a block, within the limit.
    fn apply(&self, base: u128, tip: u128) -> Result<(u128, u128), TxError> {
        let (tip, limit) = (tip.min(self.max_tip).min(self.max_fee), self.max_fee);
        let asked = base.saturating_add(tip);
        if asked > limit {
            return Err(TxError::TooExpensive { asked, limit });
        }
        Ok((base.saturating_mul(2).saturating_add(tip).min(limit), tip))
    }
}

impl Default for FeeLimits {
    /// 200 gwei, 10 gwei of them as tip, and the gas that Ethereum allows a transaction.
    fn default() -> Self {
        Self { max_fee: 200 * Self::GWEI, max_tip: 10 * Self::GWEI, max_gas: TX_GAS_CAP }
    }
}

/// A transaction in a block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TxReceipt {
    /// The block that holds it.
    pub block: BlockNumber,
    /// Gas that it used.
    pub gas: u64,
    /// What the contracts said in it.
    pub events: Vec<ChainEvent>,
}

/// The sender of one key's transactions.
#[derive(Debug)]
pub(crate) struct Sender {
    rpc: HttpRpc,
    chain_id: u64,
    signer: PrivateKeySigner,
    limits: FeeLimits,
    /// The next nonce, once one was used.
    nonce: Mutex<Option<u64>>,
}

/// A transaction on its way.
#[derive(Debug, Clone)]
pub(crate) struct Sent {
    hash: B256,
    request: Value,
}

/// A transaction in a block, as the RPC tells.
pub(crate) struct Mined {
    pub(crate) block: u64,
    pub(crate) gas: u64,
    pub(crate) logs: Vec<Log>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Receipt {
    transaction_hash: B256,
    block_number: U64,
    gas_used: U64,
    status: U64,
    logs: Vec<RpcLog>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct FeeHeader {
    #[serde(default)]
    base_fee_per_gas: U128,
}

impl Sender {
    /// `None` when the key is no key.
    pub(crate) fn new(rpc: HttpRpc, chain_id: u64, key: &EvmKey) -> Option<Self> {
        let signer = PrivateKeySigner::from_bytes(&key.to_bytes().into()).ok()?;
        let (limits, nonce) = (FeeLimits::default(), Mutex::new(None));
        Some(Self { rpc, chain_id, signer, limits, nonce })
    }

    pub(crate) const fn set_limits(&mut self, limits: FeeLimits) {
        self.limits = limits;
    }

    /// From now on the RPC alone says which nonce is the next.
    pub(crate) async fn forget(&self) {
        *self.nonce.lock().await = None;
    }

    pub(crate) const fn address(&self) -> Address {
        self.signer.address()
    }

    /// The nonce after all transactions that the RPC knows of.
    pub(crate) async fn pending_nonce(&self) -> Result<u64, RpcError> {
        let params = json!([self.address(), "pending"]);
        Ok(self.rpc.call::<U64>("eth_getTransactionCount", params).await?.to())
    }

    /// Estimates, prices, signs and hands over a transaction.
    pub(crate) async fn send(&self, to: TxKind, data: Bytes, value: U256) -> Result<Sent, TxError> {
        let request = self.request(to, &data, value);
        let estimated: U64 = self
            .rpc
            .call("eth_estimateGas", json!([request]))
            .await
            .map_err(|e| self.refused(e))?;
        let gas = estimated.to::<u64>();
        let limit = self.limits.max_gas;
        if gas > limit {
            return Err(TxError::TooMuchGas { asked: gas, limit });
        }
        let gas_limit = gas.saturating_add(gas / 4).min(limit);
        self.send_with_gas(to, data, value, gas_limit).await
    }

    /// The same with a gas limit that is known.
    pub(crate) async fn send_with_gas(
        &self,
        to: TxKind,
        data: Bytes,
        value: U256,
        gas_limit: u64,
    ) -> Result<Sent, TxError> {
        let request = self.request(to, &data, value);
        let (max_fee, tip) = self.fees().await?;
        let mut next = self.nonce.lock().await;
        for attempt in 0.. {
            let pending = self.pending_nonce().await?;
            let nonce = next.map_or(pending, |next| next.max(pending));
            let tx = TxEip1559 {
                chain_id: self.chain_id,
                nonce,
                gas_limit,
                max_fee_per_gas: max_fee,
                max_priority_fee_per_gas: tip,
                to,
                value,
                access_list: Default::default(),
                input: data.clone(),
            };
            match self.hand_over(tx).await {
                Ok(hash) => {
                    *next = Some(nonce + 1);
                    return Ok(Sent { hash, request });
                }
                Err(TxError::Rpc(error)) if attempt + 1 < ATTEMPTS && nonce_is_used(&error) => {
                    *next = Some(nonce + 1);
                }
                Err(error) => {
                    *next = None;
                    return Err(error);
                }
            }
        }
        unreachable!("the last attempt returns")
    }

    fn request(&self, to: TxKind, data: &Bytes, value: U256) -> Value {
        let mut request = json!({ "from": self.address(), "data": data, "value": value });
        if let TxKind::Call(to) = to {
            request["to"] = json!(to);
        }
        request
    }

    /// Waits until a transaction is in a block.
    pub(crate) async fn wait(&self, sent: &Sent) -> Result<Mined, TxError> {
        let deadline = Instant::now() + MINE_TIMEOUT;
        let mut pause = PAUSE.0;
        loop {
            match self.receipt(sent.hash).await {
                Ok(Some(receipt)) => return self.mined(sent, receipt).await,
                // It is on its way: whoever took this for a failure would send it, and pay, twice.
                Err(error) if !error.is_transient() => return Err(error.into()),
                Ok(None) | Err(_) => {}
            }
            if Instant::now() > deadline {
                *self.nonce.lock().await = None;
                return Err(TxError::Timeout { hash: Digest(sent.hash.0) });
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 3 / 2).min(PAUSE.1);
        }
    }

    async fn receipt(&self, hash: B256) -> Result<Option<Receipt>, RpcError> {
        self.rpc.call("eth_getTransactionReceipt", json!([hash])).await
    }

    async fn mined(&self, sent: &Sent, receipt: Receipt) -> Result<Mined, TxError> {
        let method = "eth_getTransactionReceipt";
        if receipt.transaction_hash != sent.hash {
            let reason = "the receipt is of another transaction".to_owned();
            return Err(RpcError::Malformed { method, reason }.into());
        }
        if receipt.status.is_zero() {
            return Err(TxError::Revert { reason: self.why_failed(sent).await });
        }
        Ok(Mined {
            block: receipt.block_number.to(),
            gas: receipt.gas_used.to(),
            logs: receipt.logs.into_iter().map(|log| log.inner).collect(),
        })
    }

    /// Asks for the reason by calling again, on the state as it is now.
    async fn why_failed(&self, sent: &Sent) -> RevertReason {
        let again = self.rpc.call::<Bytes>("eth_call", json!([sent.request, "latest"])).await;
        match again {
            Err(RpcError::Refused { data: Some(data), .. }) => RevertReason::decode(&data),
            _ => RevertReason::Halted("the transaction failed in its block".to_owned()),
        }
    }

    /// Signs a transaction and hands it over; the same one again where no answer came, since the chain may
    /// have it, and takes it once.
    async fn hand_over(&self, tx: TxEip1559) -> Result<B256, TxError> {
        let signature = self.signer.sign_hash_sync(&tx.signature_hash())?;
        let envelope = TxEnvelope::Eip1559(tx.into_signed(signature));
        let hash = *envelope.tx_hash();
        let raw = Bytes::from(envelope.encoded_2718());
        let deadline = Instant::now() + MINE_TIMEOUT;
        let mut is_again = false;
        loop {
            let error = match self.rpc.call::<B256>("eth_sendRawTransaction", json!([raw])).await {
                Ok(_) => return Ok(hash),
                Err(RpcError::Refused { message, .. }) if is_known(&message) => return Ok(hash),
                Err(error) => error,
            };
            let unknown = TxError::Timeout { hash: Digest(hash.0) };
            if is_again && nonce_is_used(&error) {
                // By this one, which is in a block, or by another.
                let receipt = self.receipt(hash).await.map_err(|_| unknown)?;
                return receipt.map(|_| hash).ok_or_else(|| self.refused(error));
            }
            if !error.is_transient() {
                return Err(self.refused(error));
            }
            if Instant::now() > deadline {
                return Err(unknown);
            }
            is_again = true;
            tokio::time::sleep(PAUSE.1).await;
        }
    }

    /// The most per gas that is paid, and the tip.
    async fn fees(&self) -> Result<(u128, u128), TxError> {
        let latest: FeeHeader =
            self.rpc.call("eth_getBlockByNumber", json!(["latest", false])).await?;
        let tip: U128 = self.rpc.call("eth_maxPriorityFeePerGas", json!([])).await?;
        self.limits.apply(latest.base_fee_per_gas.to(), tip.to())
    }

    fn refused(&self, error: RpcError) -> TxError {
        match error {
            RpcError::Refused { data: Some(data), .. } => {
                TxError::Revert { reason: RevertReason::decode(&data) }
            }
            RpcError::Refused { code: 3, message, .. } => {
                TxError::Revert { reason: RevertReason::Message(message) }
            }
            RpcError::Refused { message, .. } if message.to_lowercase().contains("funds") => {
                TxError::Funds { address: EvmAddress(self.address().into()), message }
            }
            other => other.into(),
        }
    }
}

/// The same transaction was handed over before.
fn is_known(message: &str) -> bool {
    let message = message.to_lowercase();
    message.contains("already known") || message.contains("already imported")
}

/// Another transaction has the nonce.
fn nonce_is_used(error: &RpcError) -> bool {
    let RpcError::Refused { message, .. } = error else { return false };
    let message = message.to_lowercase();
    message.contains("nonce too low") || message.contains("underpriced")
}
