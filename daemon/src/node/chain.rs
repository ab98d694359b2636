//! Following the chain and sending to it.
//!
//! The follower turns blocks into events in order; the sender works through a bounded queue, so an
//! RPC that is slow or down never blocks the node. What fails for want of a connection is tried
//! again; what reverts is dropped with the reason, since the machine looks at the view and asks anew.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use contracts_abi::{ChainClient, ClientError, Deployment, TxError, TxReceipt};
use protocol::BlockNumber;
use protocol::chain::{BlockHeader, ChainEvent, Transaction};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::health::{Health, Offline};

/// Between two looks at the chain: an eighth of the time between two blocks, within these bounds.
const POLL: RangeInclusive<Duration> = Duration::from_millis(250)..=Duration::from_secs(2);
/// Between two tries when the RPC does not answer.
const RETRY: Duration = Duration::from_secs(2);
/// Transactions that wait.
const QUEUE: usize = 1024;
/// Transactions on their way into a block at once.
const IN_FLIGHT: usize = 16;
/// How far behind an RPC may be without a word: those behind one address differ a little.
const MAX_LAG: u64 = 16;
/// Most blocks of one answer.
const PAGE: u64 = 200;

/// Blocks with their events, in order.
#[derive(Debug)]
pub(crate) struct Batch {
    pub(crate) blocks: Vec<(BlockHeader, Vec<ChainEvent>)>,
    /// Whether the last of them was the chain's newest when it was read.
    pub(crate) is_head: bool,
}

struct Sending {
    transaction: Transaction,
    reply: Option<oneshot::Sender<Result<TxReceipt, TxError>>>,
}

/// Sends transactions signed by the operator.
#[derive(Debug, Clone)]
pub(crate) struct Sender {
    queue: mpsc::Sender<Sending>,
}

impl Sender {
    /// Starts the sending task.
    pub(crate) fn start(client: Arc<ChainClient>, stop: CancellationToken) -> Self {
        let (queue, mut waiting) = mpsc::channel::<Sending>(QUEUE);
        tokio::spawn(async move {
            let places = Arc::new(Semaphore::new(IN_FLIGHT));
            while let Some(Some(item)) = stop.run_until_cancelled(waiting.recv()).await {
                let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
                let (client, stop) = (Arc::clone(&client), stop.clone());
                tokio::spawn(async move {
                    send_one(&client, item, &stop).await;
                    drop(place);
                });
            }
        });
        Self { queue }
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

async fn send_one(client: &ChainClient, item: Sending, stop: &CancellationToken) {
    let result = send(client, &item.transaction, stop).await;
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

/// Reads the chain from the deployment on and hands every block over, in order.
pub(crate) fn follow(
    client: Arc<ChainClient>,
    deployment: &Deployment,
    health: Health,
    stop: CancellationToken,
) -> mpsc::Receiver<Batch> {
    let (out, blocks) = mpsc::channel(4);
    let first = deployment.genesis_block;
    let mut last: Option<BlockHeader> = None;
    let mut pause = *POLL.start();
    tokio::spawn(async move {
        let work = async {
            loop {
                match read_after(&client, last, first).await {
                    Ok(page) if page.blocks.is_empty() => tokio::time::sleep(pause).await,
                    Ok(page) => {
                        let newest = page.blocks.last().map(|(header, _)| *header);
                        pause = last.zip(newest).map_or(pause, |(one, next)| pace(&one, &next));
                        last = newest.or(last);
                        if out.send(page).await.is_err() {
                            return;
                        }
                    }
                    Err(FollowError::Replaced(block)) => {
                        // What was folded into the view cannot be taken out again.
                        return health.fail(Offline::Chain { block });
                    }
                    Err(error) => {
                        tracing::warn!(%error, "the chain cannot be read; trying again");
                        tokio::time::sleep(RETRY).await;
                    }
                }
            }
        };
        stop.run_until_cancelled(work).await;
    });
    blocks
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
    /// The block is another than it was.
    #[error("block {0} of the chain was replaced")]
    Replaced(BlockNumber),
    /// The chain is far shorter than it was.
    #[error(
        "the RPC's newest block is {head}, but this node has already read block {read}: the RPC lags \
         behind, or the chain was reset; check the URL"
    )]
    Behind { head: BlockNumber, read: BlockNumber },
}

/// The blocks after the last one that was read, which must still be there.
async fn read_after(
    client: &ChainClient,
    last: Option<BlockHeader>,
    first: BlockNumber,
) -> Result<Batch, FollowError> {
    let head = client.head().await?;
    // The last block is read once more: its hash tells whether the chain below it was replaced.
    let from = last.map_or(first, |last| last.number);
    if head < from || last.is_some_and(|last| head == last.number) {
        let is_far = from.0 - head.0 > MAX_LAG;
        return match last {
            Some(last) if is_far => Err(FollowError::Behind { head, read: last.number }),
            _ => Ok(Batch { blocks: Vec::new(), is_head: true }),
        };
    }
    let to = BlockNumber(head.0.min(from.0 + PAGE - 1));
    let mut blocks = client.poll_blocks(from, to).await?;
    let is_head = blocks.last().is_some_and(|(header, _)| header.number == head);
    if let Some(last) = last {
        if blocks.first().is_none_or(|(header, _)| header.hash != last.hash) {
            return Err(FollowError::Replaced(last.number));
        }
        blocks.remove(0);
    }
    Ok(Batch { blocks, is_head })
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
