//! The contracts behind an RPC, in terms of the protocol: what a node talks to.
//!
//! Nothing that the RPC says is believed before it is checked for shape, size, order and identity;
//! every failure is typed and says what to do. Sends are serialised, so one key may have several
//! transactions in flight.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use alloy::primitives::{Address, B256, Bytes, U64, U256};
use alloy::rpc::types::Log as RpcLog;
use alloy::sol_types::SolCall;
use futures::{StreamExt, TryStreamExt, stream};
use protocol::chain::{BlockHeader, ChainEvent, Deposit, Transaction};
use protocol::eip712::EvmKey;
use protocol::{
    AccountId, Amount, Balance, BlockNumber, DatanetId, Digest, Epoch, EvmAddress, Timestamp,
};
use serde::Deserialize;
use serde_json::json;

use crate::bindings::Open;
use crate::convert::{Call, RevertReason, address, decode_log, encode};
use crate::deployment::{Deployment, plan};
use crate::genesis::{GenesisConfig, GenesisError};
use crate::http::{ANSWER_LIMIT, HttpRpc, RpcError};
use crate::reads::{self, ProposalState, Read, ReadError, VaultState};
use crate::sender::{FeeLimits, Sender, Sent, TxError, TxReceipt};

/// Blocks that one poll covers at most.
pub const POLL_LIMIT: u64 = 1_000;
/// Headers that are asked for at once.
const PARALLEL: usize = 8;
/// Bytes of the logs of one contract in one block at most. Such an answer cannot be divided further,
/// so it may be larger than others: what a block of a billion gas can put into it.
const BLOCK_LIMIT: usize = 4 * ANSWER_LIMIT;

/// Why the chain could not be read.
#[expect(missing_docs, reason = "a message names its fields")]
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The RPC failed.
    #[error(transparent)]
    Rpc(#[from] RpcError),
    /// The RPC serves another chain.
    #[error("the RPC serves chain {found}, the network is on chain {wanted}; use another RPC URL")]
    WrongChain {
        /// Chain of the RPC.
        found: u64,
        /// Chain of the network.
        wanted: u64,
    },
    /// There is no contract where there should be one.
    #[error("there is no contract at {0}; the chain was reset, or this is another network")]
    NoContract(EvmAddress),
    /// The key is no key.
    #[error("the signing key is not a valid secp256k1 secret")]
    Key,
    /// What the RPC says of blocks contradicts itself.
    #[error("the RPC's answer about block {block} is inconsistent: {what}; use another RPC")]
    Inconsistent {
        block: u64,
        /// What is wrong.
        what: &'static str,
    },
    /// A block that was read is no longer part of the chain.
    #[error("block {0} of the chain was replaced")]
    Replaced(u64),
}

/// Why contracts could not be deployed.
#[expect(missing_docs, reason = "a message names its fields")]
#[derive(Debug, thiserror::Error)]
pub enum DeployError {
    /// The genesis list is wrong.
    #[error(transparent)]
    Genesis(#[from] GenesisError),
    /// The chain could not be read.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// A step failed.
    #[error("step {step} of the deployment failed: {source}")]
    Step { step: usize, source: TxError },
    /// Another transaction of the same key came between.
    #[error("contract {0} is missing: the key was used meanwhile; deploy with a key of its own")]
    Displaced(EvmAddress),
}

/// A client of one network with one key.
#[derive(Debug)]
pub struct ChainClient {
    rpc: HttpRpc,
    deployment: Deployment,
    sender: Sender,
    /// Blocks whose logs are asked for at once: fewer where they say much.
    page: AtomicU64,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Header {
    number: U64,
    hash: B256,
    parent_hash: B256,
    timestamp: U64,
}

impl From<Header> for BlockHeader {
    fn from(header: Header) -> Self {
        Self {
            number: BlockNumber(header.number.to()),
            hash: Digest(header.hash.0),
            timestamp: Timestamp(header.timestamp.to::<u64>().saturating_mul(1_000)),
        }
    }
}

impl ChainClient {
    /// Connects, and checks that the RPC serves this network.
    pub async fn connect(
        url: &str,
        deployment: Deployment,
        key: &EvmKey,
    ) -> Result<Self, ClientError> {
        let rpc = HttpRpc::new(url)?;
        let found = chain_id(&rpc).await?;
        let wanted = deployment.chain_id;
        if found != wanted {
            return Err(ClientError::WrongChain { found, wanted });
        }
        let sender = Sender::new(rpc.clone(), found, key).ok_or(ClientError::Key)?;
        let client = Self { rpc, deployment, sender, page: AtomicU64::new(POLL_LIMIT) };
        client.require_code(client.deployment.coordinator).await?;
        Ok(client)
    }

    /// The same with other limits on what transactions may cost.
    #[must_use]
    pub fn with_limits(mut self, limits: FeeLimits) -> Self {
        self.sender.set_limits(limits);
        self
    }

    // --- getters

    /// Where the contracts of this network are, and what it started with.
    pub const fn deployment(&self) -> &Deployment {
        &self.deployment
    }

    /// The address that sends.
    pub fn address(&self) -> EvmAddress {
        EvmAddress(self.sender.address().into())
    }

    /// The chain's newest block number.
    pub async fn head(&self) -> Result<BlockNumber, ClientError> {
        Ok(BlockNumber(self.rpc.call::<U64>("eth_blockNumber", json!([])).await?.to()))
    }

    // --- events

    /// The blocks from `from` on in order, none beyond `to`, each with what our contracts said in it:
    /// as many as one answer can carry, at least one, at most [`POLL_LIMIT`]. Ask again from the block
    /// after the last one.
    pub async fn poll_blocks(
        &self,
        from: BlockNumber,
        to: BlockNumber,
    ) -> Result<Vec<(BlockHeader, Vec<ChainEvent>)>, ClientError> {
        self.poll(from, to, None).await
    }

    /// The blocks after one that was read, none beyond `to`; like [`Self::poll_blocks`].
    ///
    /// # Errors
    /// [`ClientError::Replaced`] where they do not follow it any more.
    pub async fn poll_after(
        &self,
        last: &BlockHeader,
        to: BlockNumber,
    ) -> Result<Vec<(BlockHeader, Vec<ChainEvent>)>, ClientError> {
        self.poll(last.number.next(), to, Some(last.hash)).await
    }

    async fn poll(
        &self,
        from: BlockNumber,
        to: BlockNumber,
        parent: Option<Digest>,
    ) -> Result<Vec<(BlockHeader, Vec<ChainEvent>)>, ClientError> {
        let page = self.page.load(Ordering::Relaxed);
        let to = to.0.min(from.0.saturating_add(page - 1));
        if from.0 > to {
            return Ok(Vec::new());
        }
        let mut headers = self.headers(from.0, to).await?;
        let first = headers.first().map(|header| Digest(header.parent_hash.0));
        if parent.is_some() && first != parent {
            return Err(ClientError::Replaced(from.0 - 1));
        }
        let mut logs = self.logs(&mut headers).await?;
        let block = |header: Header| {
            let events = logs.remove(&header.number.to::<u64>()).unwrap_or_default();
            (header.into(), events)
        };
        Ok(headers.into_iter().map(block).collect())
    }

    /// The header of one block.
    pub async fn block(&self, number: BlockNumber) -> Result<BlockHeader, ClientError> {
        Ok(self.header(number.0).await?.into())
    }

    async fn headers(&self, from: u64, to: u64) -> Result<Vec<Header>, ClientError> {
        let headers: Vec<Header> = stream::iter(from..=to)
            .map(|number| self.header(number))
            .buffered(PARALLEL)
            .try_collect()
            .await?;
        // Headers come one by one, so a reorganisation between two of them must not go unseen.
        for pair in headers.windows(2) {
            if pair[1].parent_hash != pair[0].hash {
                let block = pair[1].number.to();
                return Err(ClientError::Inconsistent { block, what: "its parent is another" });
            }
        }
        Ok(headers)
    }

    async fn header(&self, number: u64) -> Result<Header, ClientError> {
        let tag = U64::from(number);
        let header: Option<Header> =
            self.rpc.call("eth_getBlockByNumber", json!([tag, false])).await?;
        let what = "it does not exist";
        let header = header.ok_or(ClientError::Inconsistent { block: number, what })?;
        if header.number.to::<u64>() != number {
            let what = "it is another block";
            return Err(ClientError::Inconsistent { block: number, what });
        }
        Ok(header)
    }

    /// Events of these blocks, in order of their logs. What is more than an answer can carry is asked
    /// for in halves, so the last blocks may be taken away; a page that was carried is doubled for the
    /// next time.
    async fn logs(
        &self,
        headers: &mut Vec<Header>,
    ) -> Result<BTreeMap<u64, Vec<ChainEvent>>, ClientError> {
        let at = &self.deployment;
        let contracts = at.speakers();
        loop {
            let asked = headers.len() as u64;
            let error = match self.ask_logs(headers, &contracts, ANSWER_LIMIT).await {
                Ok(logs) => {
                    let next = asked.saturating_mul(2).clamp(1, POLL_LIMIT);
                    self.page.fetch_max(next, Ordering::Relaxed);
                    return self.events(headers, logs);
                }
                Err(error) => error,
            };
            // A line that broke may break under a long answer again.
            self.page.store(asked.div_ceil(2), Ordering::Relaxed);
            if !is_too_much(&error) {
                return Err(error.into());
            }
            if asked == 1 {
                let logs = self.ask_each(headers, &contracts).await?;
                return self.events(headers, logs);
            }
            headers.truncate(headers.len().div_ceil(2));
        }
    }

    /// The logs of one block, contract by contract.
    async fn ask_each(
        &self,
        headers: &[Header],
        contracts: &[EvmAddress],
    ) -> Result<Vec<RpcLog>, ClientError> {
        let mut logs = Vec::new();
        for contract in contracts {
            logs.extend(self.ask_logs(headers, &[*contract], BLOCK_LIMIT).await?);
        }
        logs.sort_by_key(|log| log.log_index);
        Ok(logs)
    }

    async fn ask_logs(
        &self,
        headers: &[Header],
        contracts: &[EvmAddress],
        limit: usize,
    ) -> Result<Vec<RpcLog>, RpcError> {
        let (Some(first), Some(last)) = (headers.first(), headers.last()) else {
            return Ok(Vec::new());
        };
        let filter = json!([{
            "fromBlock": first.number,
            "toBlock": last.number,
            "address": contracts,
        }]);
        self.rpc.call_within("eth_getLogs", filter, limit).await
    }

    /// What logs say, by block; they must be those of these blocks.
    fn events(
        &self,
        headers: &[Header],
        logs: Vec<RpcLog>,
    ) -> Result<BTreeMap<u64, Vec<ChainEvent>>, ClientError> {
        let from = headers.first().map_or(0, |header| header.number.to::<u64>());
        let mut events = BTreeMap::<u64, Vec<ChainEvent>>::new();
        let mut last = None;
        for log in logs {
            let block = log.block_number.unwrap_or_default();
            let bad = |what| ClientError::Inconsistent { block, what };
            let header = block
                .checked_sub(from)
                .and_then(|offset| headers.get(usize::try_from(offset).ok()?))
                .ok_or(bad("a log lies outside of the range"))?;
            // The logs came after the headers: a fork in between would mix two histories.
            if log.removed || log.block_hash != Some(header.hash) {
                return Err(bad("a log is of another fork"));
            }
            let place = Some((block, log.log_index));
            if log.log_index.is_none() || place <= last {
                return Err(bad("its logs are out of order"));
            }
            last = place;
            let event = decode_log(&log.inner, &self.deployment, BlockNumber(block));
            events.entry(block).or_default().extend(event);
        }
        Ok(events)
    }

    /// Forgets which transactions were handed over: after a reorganisation the chain may have lost
    /// some, and what came after them would wait for ever.
    pub async fn forget_sent(&self) {
        self.sender.forget().await;
    }

    // --- commands

    /// Sends a transaction and waits until it is in a block. OPEN that the contracts take from the
    /// sender is approved first.
    pub async fn submit(&self, tx: &Transaction) -> Result<TxReceipt, TxError> {
        let encoded = encode(tx, &self.deployment);
        if let Some(amount) = encoded.spends {
            self.approve(encoded.call.to, amount).await?;
        }
        self.execute(encoded.call).await
    }

    /// Sends OPEN from the address of the key, and waits until that is in a block.
    pub async fn transfer(&self, to: EvmAddress, amount: Amount) -> Result<TxReceipt, TxError> {
        let call = Open::transferCall { to: address(to), value: U256::from(amount.0) };
        let open = address(self.deployment.open);
        self.execute(Call { to: open, data: call.abi_encode().into() }).await
    }

    /// Sends the chain's own coin, which pays for gas; in wei.
    pub async fn send_gas(&self, to: EvmAddress, wei: u128) -> Result<TxReceipt, TxError> {
        let sent = self.sender.send(address(to).into(), Bytes::new(), U256::from(wei)).await?;
        self.receipt(sent).await
    }

    /// Approves a contract of ours once and for all, where it may not take `amount` yet.
    async fn approve(&self, spender: Address, amount: Amount) -> Result<(), TxError> {
        let spender_id = EvmAddress(spender.into());
        let allowance = reads::allowance(&self.deployment, self.address(), spender_id);
        if self.read(&allowance).await? >= U256::from(amount.0) {
            return Ok(());
        }
        let call = Open::approveCall { spender, value: U256::MAX };
        let open = address(self.deployment.open);
        self.execute(Call { to: open, data: call.abi_encode().into() }).await.map(drop)
    }

    async fn execute(&self, call: Call) -> Result<TxReceipt, TxError> {
        let sent = self.sender.send(call.to.into(), call.data, U256::ZERO).await?;
        self.receipt(sent).await
    }

    async fn receipt(&self, sent: Sent) -> Result<TxReceipt, TxError> {
        let mined = self.sender.wait(&sent).await?;
        let block = BlockNumber(mined.block);
        let event = |log| decode_log(log, &self.deployment, block);
        let events = mined.logs.iter().filter_map(event).collect();
        Ok(TxReceipt { block, gas: mined.gas, events })
    }

    // --- reads

    /// OPEN of an address.
    pub async fn balance(&self, of: EvmAddress) -> Result<Amount, ReadError> {
        self.read(&reads::balance(&self.deployment, of)).await
    }

    /// The stake from which on an account takes part in everything, as the vault frees earnings by it.
    pub async fn least_stake(&self) -> Result<Amount, ReadError> {
        self.read(&reads::least_stake(&self.deployment)).await
    }

    /// Stake of an account.
    pub async fn stake(&self, account: AccountId) -> Result<Amount, ReadError> {
        self.read(&reads::stake(&self.deployment, account)).await
    }

    /// Whether what is contributed to a Datanet waits for its owner; not where there is no such one.
    pub async fn is_reviewed(&self, datanet: DatanetId) -> Result<bool, ReadError> {
        self.read(&reads::is_reviewed(&self.deployment, datanet)).await
    }

    /// What an account was paid so far.
    pub async fn claimed(&self, account: AccountId) -> Result<Balance, ReadError> {
        self.read(&reads::claimed(&self.deployment, account)).await
    }

    /// A consumer's deposit for a serving account.
    pub async fn deposit(&self, payer: EvmAddress, payee: AccountId) -> Result<Deposit, ReadError> {
        self.deposit_in(self.deployment.escrow, payer, payee).await
    }

    /// The same in this escrow or one before it.
    pub async fn deposit_in(
        &self,
        escrow: EvmAddress,
        payer: EvmAddress,
        payee: AccountId,
    ) -> Result<Deposit, ReadError> {
        let (deposit, unlock) = self.read(&reads::deposit(escrow, payer, payee)).await?;
        if unlock == BlockNumber(0) {
            return Ok(deposit);
        }
        let delay = self.read(&reads::withdrawal_delay(escrow)).await?;
        Ok(Deposit { withdrawal: Some((unlock, unlock.after(delay))), ..deposit })
    }

    /// Fees redeemed in an epoch.
    pub async fn fees(&self, epoch: Epoch) -> Result<Amount, ReadError> {
        self.read(&reads::fees(&self.deployment, epoch)).await
    }

    /// A live proposal.
    pub async fn proposal(&self, id: Digest) -> Result<Option<ProposalState>, ReadError> {
        self.read(&reads::proposal(&self.deployment, id)).await
    }

    /// The id of an epoch's final settlement.
    pub async fn final_of(&self, epoch: Epoch) -> Result<Option<Digest>, ReadError> {
        self.read(&reads::final_of(&self.deployment, epoch)).await
    }

    /// The RewardVault's books.
    pub async fn vault(&self) -> Result<VaultState, ReadError> {
        let [funded, redeemed, paid] = reads::vault(&self.deployment);
        Ok(VaultState {
            funded: self.read(&funded).await?,
            redeemed: self.read(&redeemed).await?,
            paid: self.read(&paid).await?,
        })
    }

    async fn read<T>(&self, read: &Read<T>) -> Result<T, ReadError> {
        let params = json!([{ "to": read.call.to, "data": read.call.data }, "latest"]);
        match self.rpc.call::<Bytes>("eth_call", params).await {
            Ok(output) => (read.decode)(&output),
            Err(RpcError::Refused { data: Some(data), .. }) => {
                Err(ReadError::Reverted(RevertReason::decode(&data)))
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn require_code(&self, at: EvmAddress) -> Result<(), ClientError> {
        let code: Bytes = self.rpc.call("eth_getCode", json!([at, "latest"])).await?;
        if code.is_empty() { Err(ClientError::NoContract(at)) } else { Ok(()) }
    }
}

/// Whether fewer logs may be given where these were not: an answer beyond our limit, or a refusal,
/// by which servers keep to their own.
const fn is_too_much(error: &RpcError) -> bool {
    matches!(error, RpcError::TooLarge { .. } | RpcError::Refused { .. })
}

async fn chain_id(rpc: &HttpRpc) -> Result<u64, RpcError> {
    Ok(rpc.call::<U64>("eth_chainId", json!([])).await?.to())
}

/// Deploys the contracts of a new network and connects them. The key should be used for nothing
/// else meanwhile: every address follows from its nonce.
pub async fn deploy(
    url: &str,
    key: &EvmKey,
    genesis: &GenesisConfig,
) -> Result<Deployment, DeployError> {
    let rpc = HttpRpc::new(url).map_err(ClientError::from)?;
    let chain_id = chain_id(&rpc).await.map_err(ClientError::from)?;
    let sender = Sender::new(rpc.clone(), chain_id, key).ok_or(ClientError::Key)?;
    let head: U64 = rpc.call("eth_blockNumber", json!([])).await.map_err(ClientError::from)?;
    let nonce = sender.pending_nonce().await.map_err(ClientError::from)?;
    let plan = plan(genesis, chain_id, sender.address(), nonce, BlockNumber(head.to()))?;
    let mut all_sent = Vec::new();
    for (step, part) in plan.steps.into_iter().enumerate() {
        let sent = sender.send_with_gas(part.to, part.data, U256::ZERO, part.gas).await;
        all_sent.push(sent.map_err(|source| DeployError::Step { step, source })?);
    }
    for (step, sent) in all_sent.iter().enumerate() {
        sender.wait(sent).await.map_err(|source| DeployError::Step { step, source })?;
    }
    let page = AtomicU64::new(POLL_LIMIT);
    let client = ChainClient { rpc, deployment: plan.deployment, sender, page };
    let at = &client.deployment;
    for contract in at.speakers().into_iter().chain([at.open, at.verifier, at.timelock]) {
        match client.require_code(contract).await {
            Ok(()) => {}
            Err(ClientError::NoContract(address)) => return Err(DeployError::Displaced(address)),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(client.deployment)
}
