//! Following the chain and sending to it.
//!
//! The follower turns blocks into events in order; the sender works through a bounded queue, so an
//! RPC that is slow or down never blocks the node. What fails for want of a connection is tried
//! again; what reverts is dropped with the reason, since the machine looks at the view and asks anew.

use std::collections::VecDeque;
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use contracts_abi::{ChainClient, ClientError, DataDeposit, ReadError, TxError, TxReceipt};
use protocol::chain::{BlockHeader, ChainEvent, Transaction};
use protocol::{Amount, BlockNumber, DatanetId};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::health::{Health, Offline};

/// Between two looks at the chain: an eighth of the time between two blocks, within these bounds.
const POLL: RangeInclusive<Duration> = Duration::from_millis(250)..=Duration::from_secs(2);
/// Between two tries when the RPC does not answer.
const RETRY: Duration = Duration::from_secs(2);
/// Transactions that wait.
const QUEUE: usize = 1024;
/// Transactions on their way into a block at once: an answer to each false settlement that fits into one
/// block, and an objection to it, since a challenge window may be a few blocks long.
const IN_FLIGHT: usize = 512;
/// How far behind an RPC may be without a word: those behind one address differ a little.
const MAX_LAG: u64 = 16;
/// How often in a row another chain must be found before the node believes it: an RPC may be wrong for
/// a moment.
const SURE: u32 = 5;
/// Most blocks of one answer.
const PAGE: u64 = 200;

/// What the follower found.
#[derive(Debug)]
pub(crate) enum Batch {
    /// Blocks with their events, in order.
    Blocks {
        blocks: Vec<(BlockHeader, Vec<ChainEvent>)>,
        /// Whether the last of them was the newest that is read when it was read.
        is_head: bool,
    },
    /// Every block after this one was replaced.
    Replaced { after: BlockNumber },
}

/// How far from the chain's newest block a node stays.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Depth {
    /// Blocks that follow one before it is read.
    pub(crate) confirmations: u64,
    /// Blocks that may be replaced after they were read.
    pub(crate) reorganised: usize,
}

struct Sending {
    transaction: Transaction,
    reply: Option<oneshot::Sender<Result<TxReceipt, TxError>>>,
}

/// Sends transactions signed by the operator.
#[derive(Debug, Clone)]
pub(crate) struct Sender {
    queue: mpsc::Sender<Sending>,
    limit: Limit,
    client: Arc<ChainClient>,
}

/// Why the last transaction was too dear, until one is not.
#[derive(Debug, Clone, Default)]
struct Limit(Arc<Mutex<Option<String>>>);

impl Limit {
    fn note(&self, result: &Result<TxReceipt, TxError>) {
        let reason = match result {
            Ok(_) => None,
            Err(error @ (TxError::TooExpensive { .. } | TxError::TooMuchGas { .. })) => {
                Some(error.to_string())
            }
            Err(_) => return,
        };
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = reason;
    }
}

impl Sender {
    /// Starts the sending task.
    pub(crate) fn start(client: Arc<ChainClient>, stop: CancellationToken) -> Self {
        let (queue, mut waiting) = mpsc::channel::<Sending>(QUEUE);
        let limit = Limit::default();
        let (noted, of_task) = (limit.clone(), Arc::clone(&client));
        tokio::spawn(async move {
            let places = Arc::new(Semaphore::new(IN_FLIGHT));
            while let Some(Some(item)) = stop.run_until_cancelled(waiting.recv()).await {
                let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
                let (client, stop, noted) = (Arc::clone(&of_task), stop.clone(), noted.clone());
                tokio::spawn(async move {
                    send_one(&client, item, &noted, &stop).await;
                    drop(place);
                });
            }
        });
        Self { queue, limit, client }
    }

    /// Whether what is contributed to a Datanet waits for its owner.
    pub(crate) async fn is_reviewed(&self, datanet: DatanetId) -> Result<bool, ReadError> {
        self.client.is_reviewed(datanet).await
    }

    /// What contributions lock, and the OPEN that the operator has for it.
    pub(crate) async fn data_deposit(&self) -> Result<(DataDeposit, Amount), ReadError> {
        let has = self.client.balance(self.client.address()).await?;
        Ok((self.client.deployment().data_deposit, has))
    }

    /// Why transactions wait for a cheaper chain or another limit.
    pub(crate) fn too_dear(&self) -> Option<String> {
        self.limit.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Queues a transaction whose effect shows in the view. A full queue drops it: the machine asks
    /// again.
    pub(crate) fn submit(&self, transaction: Transaction) {
        if self.queue.try_send(Sending { transaction, reply: None }).is_err() {
            tracing::warn!("the transaction queue is full; the chain's RPC is too slow");
        }
    }

    /// Sends a transaction and waits for its receipt; `None` when the node is stopping.
    pub(crate) async fn send(
        &self,
        transaction: Transaction,
    ) -> Option<Result<TxReceipt, TxError>> {
        let (reply, answer) = oneshot::channel();
        self.queue.send(Sending { transaction, reply: Some(reply) }).await.ok()?;
        answer.await.ok()
    }
}

async fn send_one(client: &ChainClient, item: Sending, limit: &Limit, stop: &CancellationToken) {
    let result = send(client, &item.transaction, stop).await;
    limit.note(&result);
    if let Err(error) = &result {
        tracing::info!(transaction = name(&item.transaction), %error, "the chain did not accept a transaction");
    }
    if let Some(reply) = item.reply {
        // Whoever asked may be gone.
        let _ = reply.send(result);
    }
}

async fn send(
    client: &ChainClient,
    transaction: &Transaction,
    stop: &CancellationToken,
) -> Result<TxReceipt, TxError> {
    loop {
        match client.submit(transaction).await {
            Err(TxError::Rpc(error)) if error.is_transient() && !stop.is_cancelled() => {
                tracing::warn!(%error, "the chain's RPC does not answer; trying again");
                tokio::time::sleep(RETRY).await;
            }
            result => return result,
        }
    }
}

fn name(transaction: &Transaction) -> String {
    let text = format!("{transaction:?}");
    text.split([' ', '(', '{']).next().unwrap_or_default().to_owned()
}

/// Reads the chain from the deployment on and hands every block over, in order. Where blocks were
/// replaced it says so, and goes on from the last one that stayed.
pub(crate) fn follow(
    client: Arc<ChainClient>,
    depth: Depth,
    health: Health,
    stop: CancellationToken,
) -> mpsc::Receiver<Batch> {
    let (out, blocks) = mpsc::channel(4);
    let mut follower = Follower { client, depth, read: VecDeque::new(), pause: *POLL.start() };
    health.clone().guard(async move {
        let mut too_deep = 0;
        let work = async {
            loop {
                let batch = match follower.next().await {
                    Ok(Some(batch)) => {
                        too_deep = 0;
                        batch
                    }
                    Ok(None) => {
                        tokio::time::sleep(follower.pause).await;
                        continue;
                    }
                    Err(FollowError::TooDeep(block)) if too_deep >= SURE => {
                        return health.fail(Offline::Chain { block });
                    }
                    Err(error) => {
                        too_deep += u32::from(matches!(error, FollowError::TooDeep(_)));
                        tracing::warn!(%error, "the chain cannot be read; trying again");
                        tokio::time::sleep(RETRY).await;
                        continue;
                    }
                };
                if out.send(batch).await.is_err() {
                    return;
                }
            }
        };
        stop.run_until_cancelled(work).await;
    });
    blocks
}

/// What was read, as far back as it may be replaced.
struct Follower {
    client: Arc<ChainClient>,
    depth: Depth,
    /// The newest blocks that were handed over, in order.
    read: VecDeque<BlockHeader>,
    pause: Duration,
}

impl Follower {
    /// What comes next; `None` while there is nothing new.
    async fn next(&mut self) -> Result<Option<Batch>, FollowError> {
        let head = self.client.head().await?;
        let head = BlockNumber(head.0.saturating_sub(self.depth.confirmations));
        let last = self.read.back().copied();
        let first = self.client.deployment().genesis_block;
        let from = last.map_or(first, |last| last.number.next());
        if head < from {
            return match last {
                Some(last) if last.number.0.saturating_sub(head.0) > MAX_LAG => {
                    Err(FollowError::Behind { head, read: last.number })
                }
                _ => Ok(None),
            };
        }
        let to = BlockNumber(head.0.min(from.0.saturating_add(PAGE - 1)));
        let read = match &last {
            Some(last) => self.client.poll_after(last, to).await,
            None => self.client.poll_blocks(from, to).await,
        };
        let blocks = match read {
            Err(ClientError::Replaced(_)) => return self.go_back().await.map(Some),
            read => read?,
        };
        let Some(newest) = blocks.last().map(|(header, _)| *header) else { return Ok(None) };
        if let Some(last) = last {
            self.pause = pace(&last, &newest);
        }
        self.read.extend(blocks.iter().map(|(header, _)| *header));
        // One more than may be replaced: the last one that stays.
        while self.read.len() > self.depth.reorganised.saturating_add(1) {
            self.read.pop_front();
        }
        Ok(Some(Batch::Blocks { blocks, is_head: newest.number == head }))
    }

    /// Looks for the newest block that was read and is still there.
    async fn go_back(&mut self) -> Result<Batch, FollowError> {
        let newest = self.read.back().map_or(BlockNumber(0), |header| header.number);
        for index in (0..self.read.len()).rev() {
            let known = self.read[index];
            if self.client.block(known.number).await?.hash != known.hash {
                continue;
            }
            if known.number == newest {
                let what = "what follows it does not name it";
                return Err(ClientError::Inconsistent { block: known.number.0, what }.into());
            }
            self.read.truncate(index + 1);
            self.client.forget_sent().await;
            let (after, blocks) = (known.number, newest.since(known.number).0);
            tracing::warn!(%after, blocks, "blocks of the chain were replaced; going back");
            return Ok(Batch::Replaced { after });
        }
        Err(FollowError::TooDeep(newest))
    }
}

/// How long to wait between two looks at a chain that had one of these blocks and later the other.
fn pace(before: &BlockHeader, newest: &BlockHeader) -> Duration {
    let blocks = newest.number.since(before.number).0.max(1);
    let millis = newest.timestamp.0.saturating_sub(before.timestamp.0) / blocks;
    Duration::from_millis(millis / 8).clamp(*POLL.start(), *POLL.end())
}

/// Why the next blocks are not there.
#[derive(Debug, thiserror::Error)]
enum FollowError {
    #[error(transparent)]
    Client(#[from] ClientError),
    /// More blocks were replaced than are kept; the newest one that was read.
    #[error("more blocks of the chain were replaced than this node can go back; it has read {0}")]
    TooDeep(BlockNumber),
    /// The chain is far shorter than it was.
    #[error(
        "the RPC's newest block is {head}, but this node has already read block {read}: the RPC lags \
         behind, or the chain was reset; check the URL"
    )]
    Behind { head: BlockNumber, read: BlockNumber },
}

#[cfg(test)]
mod tests {
    use protocol::{Digest, Timestamp};

    use super::*;

    fn header(number: u64, seconds: u64) -> BlockHeader {
        let (number, timestamp) = (BlockNumber(number), Timestamp(seconds * 1_000));
        BlockHeader { number, hash: Digest::ZERO, timestamp }
    }

    #[test]
    fn a_slow_chain_is_looked_at_less_often() {
        let paces = [(1, 1), (1, 2), (1, 12), (3, 36), (1, 600)].map(|(blocks, seconds)| {
            pace(&header(7, 100), &header(7 + blocks, 100 + seconds)).as_millis()
        });
        assert_eq!(paces, [250, 250, 1_500, 1_500, 2_000]);
        assert_eq!(pace(&header(7, 100), &header(7, 90)).as_millis(), 250);
    }
}
