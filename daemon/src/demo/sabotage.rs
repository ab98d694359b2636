//! A dishonest node, for the demo and for the tests that must catch it.
//!
//! It deletes a pack that it goes on to claim, and trains on other units than those assigned. It is an
//! ordinary node with this around its worker; an ordinary node knows nothing of it.

use std::sync::Arc;

use anyhow::Result;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use protocol::chain::ChainView;
use protocol::holding::{Inventory, Openings, RowKey, sample};
use protocol::node::{Done, Job};
use protocol::record::StorageCommitBody;
use protocol::slice::Slice;
use protocol::training::ShardTask;
use protocol::{AccountId, BlobRef, Digest, ModelId};

use crate::node::{Jobs, NodeHandle, RunOptions, Worker, rows};

/// Starts a dishonest node.
///
/// # Errors
/// As [`NodeHandle::start`].
pub async fn start_dishonest_node(options: RunOptions) -> Result<NodeHandle> {
    NodeHandle::start_with(options, sabotage).await
}

/// Puts the sabotage around a node's worker.
pub(crate) fn sabotage(worker: Worker) -> Arc<dyn Jobs> {
    Arc::new(Sabotage { worker })
}

struct Sabotage {
    worker: Worker,
}

impl Jobs for Sabotage {
    fn perform(&self, chain: Arc<ChainView>, job: Job) -> BoxFuture<'_, Done> {
        match job {
            Job::Commit { account, packs, s1 } => self.commit(account, packs, s1).boxed(),
            Job::Open { account, packs, commit, s1, s2 } => {
                self.open(account, packs, commit, (s1, s2)).boxed()
            }
            Job::Compute {
                model,
                round,
                slot,
                base,
                units,
                seed,
                task: task @ ShardTask::Train,
            } => {
                let units = self.other_units(model, units);
                let job = Job::Compute { model, round, slot, base, units, seed, task };
                self.worker.perform(chain, job)
            }
            job => self.worker.perform(chain, job),
        }
    }
}

impl Sabotage {
    /// Deletes the first pack, and commits to all of them with rows of nothing for what is gone.
    async fn commit(&self, account: AccountId, packs: Vec<BlobRef>, s1: Digest) -> Done {
        let prover = &self.worker.prover;
        if let Some(BlobRef { hash: pack, .. }) = packs.first() {
            let deleted = prover.blobs.store().blobs().delete(*pack).await;
            tracing::warn!(%pack, ?deleted, "sabotage: a claimed pack is deleted");
        }
        let key = RowKey::new(&s1, account);
        let inventory = Inventory::owed(&packs, &[], prover.cell_bytes);
        let cells = inventory.chosen(&key);
        let chunks = prover.chunks(&cells).await;
        Done::Committed(inventory.commit(&s1, &rows(&key, &cells, &chunks), Vec::new()))
    }

    /// Opens what was sampled; a cell that is gone can only be opened with made-up bytes.
    async fn open(
        &self,
        account: AccountId,
        packs: Vec<BlobRef>,
        commit: StorageCommitBody,
        (s1, s2): (Digest, Digest),
    ) -> Done {
        let prover = &self.worker.prover;
        let key = RowKey::new(&s1, account);
        let inventory = Inventory::owed(&packs, &commit.absent, prover.cell_bytes);
        let cells = inventory.chosen(&key);
        let rows = rows(&key, &cells, &prover.chunks(&cells).await);
        let picked = sample(&s2, account, inventory.cells(), prover.opened_cells);
        let mut slices = prover.slices(&cells, &picked).await;
        let openings = Openings::open(&rows, &cells, &picked, |cell| {
            let made_up =
                || Slice { index: cell.chunk, chunk: vec![0; 1024], siblings: Vec::new() };
            Some(slices.remove(&cell.number).unwrap_or_else(made_up))
        });
        prover.keep(&openings).await
    }

    /// As many units as were assigned, from elsewhere in the snapshot: the shard is well formed, and
    /// is not the work that was asked for.
    fn other_units(&self, model: ModelId, mut units: Vec<u32>) -> Vec<u32> {
        let Some(run) = self.worker.run_data(model) else { return units };
        let total = u32::try_from(run.units.len()).unwrap_or(1).max(1);
        units.iter_mut().for_each(|unit| *unit = (*unit + total / 2) % total);
        units
    }
}
