//! When a node goes offline by itself.
//!
//! A node whose disk is gone, full or read-only, whose blob store has stopped, or whose chain is no
//! longer the one it has read, would only promise what it cannot keep. It stops, and says why.

use std::panic::AssertUnwindSafe;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use compute::device::panic_text;
use futures::FutureExt as _;
use protocol::BlockNumber;
use storage::record_log::LogError;
use storage::{DiskError, Store, StoreError};
use tokio::sync::Notify;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// Between two looks at the disk.
const LOOK: Duration = Duration::from_secs(10);
/// Looks in a row that may fail for a reason that may pass, like too many open files.
const PATIENCE: u32 = 3;

/// Why a node went offline.
#[derive(Debug, thiserror::Error)]
pub enum Offline {
    /// The data directory.
    #[error("the node went offline: {0}")]
    Disk(#[from] DiskError),
    /// The store of blobs.
    #[error("the node went offline: {0}")]
    Blobs(#[from] StoreError),
    /// A record of its own work could not be kept.
    #[error("the node went offline because it could not save a record: {0}")]
    Record(#[from] LogError),
    /// The chain below this node was replaced, deeper than it can go back.
    #[error(
        "the node went offline: block {block} of the chain is no longer the one that it read, and \
         more than the last reorg_blocks were replaced; if the chain was reset, join the new network; \
         otherwise start the node again, and it reads the chain from the beginning"
    )]
    Chain {
        /// The newest block that was read before.
        block: BlockNumber,
    },
    /// An assertion of this program did not hold.
    #[error(
        "the node went offline because this program is wrong: {message}; nothing that was saved is \
         lost: start the node again, and please report this line"
    )]
    Bug {
        /// What the assertion says.
        message: String,
    },
}

/// The first reason to go offline, and a bell for whoever waits for it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Health {
    reason: Arc<OnceLock<Arc<Offline>>>,
    bell: CancellationToken,
    look: Arc<Notify>,
}

impl Health {
    /// Goes offline; the first reason stands.
    pub(crate) fn fail(&self, reason: Offline) {
        tracing::error!("{reason}");
        // Later ones follow from the first.
        let _ = self.reason.set(Arc::new(reason));
        self.bell.cancel();
    }

    /// Waits for a reason to go offline.
    pub(crate) async fn failed(&self) -> Arc<Offline> {
        self.bell.cancelled().await;
        Arc::clone(self.reason.get().expect("the bell rings after the reason is set"))
    }

    /// Runs a task that the node cannot be without: should it panic, the node goes offline instead of
    /// going on as if it were there.
    pub(crate) fn guard(&self, task: impl Future<Output = ()> + Send + 'static) {
        let health = self.clone();
        tokio::spawn(async move {
            if let Err(panic) = AssertUnwindSafe(task).catch_unwind().await {
                health.fail(Offline::Bug { message: panic_text(&*panic).to_owned() });
            }
        });
    }

    /// Looks closer when an error of the blob store is not about one blob.
    pub(crate) fn blame(&self, error: &StoreError) {
        match error {
            StoreError::Closed => self.fail(StoreError::Closed.into()),
            StoreError::Disk(_) => self.look.notify_one(),
            _ => {}
        }
    }

    /// Looks at the disk from time to time until the node stops.
    pub(crate) fn watch(&self, store: &Arc<Store>, stop: CancellationToken) {
        let (health, store) = (self.clone(), Arc::clone(store));
        tokio::spawn(async move {
            let mut patience = PATIENCE;
            // Either way it is time to look.
            while stop.run_until_cancelled(timeout(LOOK, health.look.notified())).await.is_some() {
                let of = Arc::clone(&store);
                let looked = tokio::task::spawn_blocking(move || of.check()).await;
                match looked {
                    Ok(Err(error)) => {
                        patience = if error.is_actionable() { 0 } else { patience - 1 };
                        if patience == 0 {
                            return health.fail(error.into());
                        }
                        tracing::warn!(%error, "the disk could not be checked");
                    }
                    // The runtime is shutting down, or all is well.
                    _ => patience = PATIENCE,
                }
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_loop_that_panics_takes_the_node_offline_and_says_why() {
        let health = Health::default();
        health.guard(async { panic!("a turn was taken twice") });
        let reason = health.failed().await;
        assert!(reason.to_string().contains("a turn was taken twice"), "{reason}");
    }
}
