//! Asking a running node for things.

use std::sync::Arc;

use anyhow::{Context, Result, anyhow};
use contracts_abi::TxError;
use protocol::chain::{ChainEvent, ChainView, Transaction};
use protocol::node::Failure;
use protocol::{AccountId, BlockNumber, Digest, EvmAddress, Hash, ModelId, NodeId};
use storage::Store;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::health::{Health, Offline};
use super::run::Command;
use super::status::{DeviceStatus, NodeStatus, Snapshot, StoreStatus};
use super::worker::Worker;
use crate::net::{FrameReader, FrameWriter, NetworkHandle, ProviderError};

/// Talks to a running node. Clones are cheap.
#[derive(Debug, Clone)]
pub struct NodeHandle {
    pub(super) inner: Arc<Inner>,
}

#[derive(Debug)]
pub(super) struct Inner {
    pub(super) store: Arc<Store>,
    pub(super) net: NetworkHandle,
    pub(super) worker: Worker,
    pub(super) commands: mpsc::Sender<Command>,
    pub(super) status: watch::Receiver<Arc<Snapshot>>,
    pub(super) operator: EvmAddress,
    pub(super) health: Health,
    /// Base models on this machine.
    pub(super) stop: CancellationToken,
}

/// A transaction in a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TxOutcome {
    /// The block that holds it.
    pub block: BlockNumber,
    /// Gas that it used.
    pub gas: u64,
    /// Id of the account, Datanet, contribution or model that it created.
    pub created: Option<u64>,
}

impl NodeHandle {
    /// Waits for a reason to stop that the node found by itself.
    pub async fn failed(&self) -> Arc<Offline> {
        self.inner.health.failed().await
    }

    /// How the node is.
    pub async fn status(&self) -> Result<NodeStatus> {
        let snapshot = self.snapshot();
        let (net, join) = (self.inner.net.status().await?, self.inner.net.join_ticket().await?);
        let chain = &snapshot.chain;
        let (blobs, worker) = (self.inner.store.blobs(), &self.inner.worker);
        let packs =
            blobs.inventory().iter().filter(|blob| chain.pack(&blob.hash).is_some()).count();
        let store = StoreStatus { packs, bytes: blobs.used(), limit: blobs.quota().0 };
        let device = DeviceStatus {
            name: worker.thread.device().to_owned(),
            refused: worker.thread.refused().map(str::to_owned),
            shards_done: worker.shards_done(),
        };
        let account = snapshot.account;
        let earned = self.earned(chain, account).await;
        Ok(NodeStatus {
            account,
            net,
            bootstrap: join.bootstrap(),
            device,
            store,
            epoch: chain.epoch(),
            block: chain.head().map_or(BlockNumber(0), |head| head.number),
            next_epoch_block: chain.schedule.start(chain.epoch().next()),
            earned,
            claimed: account.map(|account| chain.claimed(account)).unwrap_or_default(),
            due: account.map(|account| chain.claimable(account, earned)).unwrap_or_default(),
            waiting: self.waiting(&snapshot),
            runs: snapshot.runs(),
            rounds_closed: snapshot.seen.closed.clone(),
            storage_faults: snapshot.seen.storage_faults,
            shards_rejected: snapshot.seen.shards_rejected,
        })
    }

    /// Why the node idles.
    fn waiting(&self, snapshot: &Snapshot) -> Vec<String> {
        let too_dear = self.inner.worker.sender.too_dear();
        let Some(account) = snapshot.account else {
            let operator = self.inner.operator;
            let no_account = format!(
                "this node has no account yet: send some of the chain's coin to its operator \
                 {operator} for gas, and it registers by itself within a few blocks"
            );
            return std::iter::once(no_account).chain(too_dear).collect();
        };
        let chain = &snapshot.chain;
        let placement = chain.placement(chain.epoch().next());
        let mut lines = self.inner.worker.settler.stopped();
        lines.extend(not_operator(chain, account, self.inner.operator));
        lines.extend(outdated(chain));
        lines.extend(too_dear);
        lines.extend(self.inner.worker.blobs.no_room(placement.packs_of(account)));
        lines.extend(snapshot.waiting.iter().map(ToString::to_string));
        lines
    }

    pub(super) fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.inner.status.borrow())
    }

    /// The chain as this node sees it.
    pub fn chain(&self) -> Arc<ChainView> {
        Arc::clone(&self.snapshot().chain)
    }

    /// Waits until something changes in what this node shows: at the latest with the next block.
    pub async fn changed(&self) {
        let mut status = self.inner.status.clone();
        status.mark_unchanged();
        // The loop ends only when the node stops; then nothing changes any more.
        let _ = status.changed().await;
    }

    /// This node's account, once it is registered.
    pub fn account(&self) -> Option<AccountId> {
        self.snapshot().account
    }

    /// Checkpoint and sketch root of a run that is finished; `None` before.
    pub fn model_ready(&self, model: ModelId) -> Option<(Hash, Digest)> {
        self.snapshot().seen.ready.get(&model).copied()
    }

    /// Stores bytes of this node's own.
    pub(super) async fn put(&self, bytes: Vec<u8>) -> Result<Hash> {
        let put = self.inner.store.blobs().put(bytes.into()).await;
        Ok(put.inspect_err(|error| self.inner.health.blame(error))?)
    }

    pub(super) async fn command(&self, command: Command) -> Result<()> {
        self.inner.commands.send(command).await.map_err(|_| anyhow!("the node is stopping"))
    }

    /// Sends a transaction with the operator's key and waits for its block.
    pub async fn submit(&self, transaction: Transaction) -> Result<TxOutcome> {
        let sent = self.inner.worker.sender.send(transaction).await;
        let receipt =
            sent.context("the node is stopping")?.map_err(|error: TxError| anyhow!(error))?;
        let created = receipt.events.iter().find_map(created);
        Ok(TxOutcome { block: receipt.block, gas: receipt.gas, created })
    }

    /// The bytes of a blob that this node has or can fetch.
    pub async fn blob(&self, hash: Hash, limit: u64) -> Result<bytes::Bytes> {
        let blob = self.inner.worker.blobs.obtain(hash, limit, &[]).await;
        blob.map_err(|failure| anyhow!("blob {hash} is not available now: {}", why(failure)))
    }

    /// Keeps a local copy of a pack for this node's own reasons.
    pub async fn pin(&self, hash: Hash) -> Result<u64> {
        let limit = self.chain().params().holding.max_pack;
        let length = self.blob(hash, limit).await?.len() as u64;
        self.inner.store.index().pin(hash, storage::index::PinReason::Own)?;
        Ok(length)
    }

    /// Opens a stream of messages to a node ([`protocol::usage`]).
    pub(crate) async fn open_stream(
        &self,
        node: NodeId,
    ) -> Result<(FrameReader, FrameWriter), ProviderError> {
        self.inner.net.open_stream(node).await
    }

    /// A ticket by which any iroh-blobs client can fetch a blob from this node.
    pub fn ticket(&self, hash: Hash) -> String {
        self.inner.net.ticket(hash)
    }

    /// What another machine needs to join through this node.
    pub async fn join_ticket(&self) -> Result<crate::net::JoinTicket> {
        Ok(self.inner.net.join_ticket().await?)
    }

    /// Stops cleanly: network first, then the store.
    pub async fn shutdown(&self) {
        self.inner.stop.cancel();
        self.inner.net.shutdown().await;
        self.inner.store.blobs().shutdown().await;
    }
}

fn created(event: &ChainEvent) -> Option<u64> {
    match event {
        ChainEvent::AccountRegistered { account, .. } => Some(account.0),
        ChainEvent::DatanetCreated { datanet, .. } => Some(datanet.0),
        ChainEvent::ContributionAdmitted(contribution) => Some(contribution.id),
        ChainEvent::ModelCreated(model) => Some(model.id.0),
        ChainEvent::BaseRegistered(base) => Some(base.id.0),
        _ => None,
    }
}

/// What has to be known where the node's key signs for its account no longer: it was replaced, or it lost all
/// that its owner allowed it.
fn not_operator(chain: &ChainView, account: AccountId, key: EvmAddress) -> Option<String> {
    let now = chain.head()?.number;
    let operator = chain.account(account)?.operator_at(now)?;
    let line = || {
        format!(
            "the key of this node, {key}, is not the operator of account {account} any more, so nothing \
             that it signs counts: the account's owner names it again with rotateOperator of the Registry"
        )
    };
    (operator != key).then(line)
}

/// What has to be known where the network has a contract that its file here does not name.
fn outdated(chain: &ChainView) -> Option<String> {
    let contract = chain.unknown_contract()?;
    Some(format!(
        "the network has a new contract, {contract}, that network.json of this node does not name: it neither \
         settles nor serves nor commits to storage until it is started with the network's new file"
    ))
}

/// A failure in words for whoever waits.
pub(super) const fn why(failure: Failure) -> &'static str {
    match failure {
        Failure::Unavailable => "no connected peer has it; try again when one that does is online",
        Failure::Invalid => "what was found is damaged or wrong; the node's log says what",
        Failure::Local => "this node cannot store or compute it now; its log says why",
    }
}

#[cfg(test)]
mod tests {
    use protocol::chain::BlockHeader;
    use protocol::eip712::Domain;
    use protocol::params::{Params, Schedule};
    use protocol::{Amount, Blocks, NodeId, Timestamp};

    use super::*;

    #[test]
    fn a_node_says_when_its_key_was_dismissed_and_when_its_file_is_old() {
        let (key, none) = (EvmAddress([1; 20]), EvmAddress([0; 20]));
        let schedule = Schedule {
            genesis_block: BlockNumber(10),
            epoch_blocks: Blocks(24),
            commit_blocks: Blocks(8),
            settle_blocks: Blocks(8),
            challenge_blocks: Blocks(4),
        };
        let (account, node) = (AccountId(1), NodeId([7; 32]));
        let domain = Domain::new(1, none);
        let mut chain =
            ChainView::new(domain, none, none, schedule, Amount::ZERO, account, Params::minimal());
        let header = |number| {
            let (number, timestamp) = (BlockNumber(number), Timestamp(number));
            BlockHeader { number, hash: Digest([9; 32]), timestamp }
        };
        let (owner, operator, payout, binding) = (none, key, key, [0; 64]);
        let registered =
            ChainEvent::AccountRegistered { account, owner, operator, payout, node, binding };
        chain.apply(header(1), &[registered]);
        assert_eq!(not_operator(&chain, account, key), None);
        let dismissed = ChainEvent::OperatorRotated { account, operator: none };
        chain.apply(header(2), &[dismissed]);
        let line = not_operator(&chain, account, key).unwrap();
        assert!(line.contains("not the operator of account 1"), "{line}");
        assert_eq!(outdated(&chain), None);
        let contract = EvmAddress([5; 20]);
        chain.apply(header(3), &[ChainEvent::UnknownContract { contract }]);
        assert!(outdated(&chain).unwrap().contains("the network's new file"));
    }
}
