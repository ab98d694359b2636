//! Questions to a model, and how many there are.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Instant;

use compute::serve::Sampling;
use compute::serve::batch::PackedAdapter;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::gateway::backend::{Refused, Said};

/// Questions that wait for a model; one more is told to come again.
pub(super) const MAX_WAITING: usize = 64;
/// The longest that anybody is told to wait, in seconds.
const MAX_RETRY: u64 = 60;

/// A question that was turned into tokens.
pub(super) struct Job {
    pub(super) prompt: Vec<u32>,
    /// What is added to the base's weights, if anything.
    pub(super) adapter: Option<Arc<PackedAdapter>>,
    pub(super) sampling: Sampling,
    pub(super) logprobs: Option<u32>,
    /// Has room for the whole answer.
    pub(super) say: mpsc::Sender<Result<Said, Refused>>,
    pub(super) enough: CancellationToken,
}

/// How much there is to do.
#[derive(Debug, Default)]
pub(super) struct Load {
    /// Questions that wait or are answered.
    open: AtomicUsize,
    /// How long answers took lately, in milliseconds.
    average: AtomicU64,
}

impl Load {
    /// A question comes.
    pub(super) fn asked(&self) {
        self.open.fetch_add(1, Ordering::Relaxed);
    }

    /// It found no place.
    pub(super) fn refused(&self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
    }

    /// Whether nobody waits.
    pub(super) fn is_idle(&self) -> bool {
        self.open.load(Ordering::Relaxed) == 0
    }

    /// A question was answered, or nobody waits for that any more.
    pub(super) fn answered(&self, since: Instant) {
        let took = u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX);
        let before = self.average.load(Ordering::Relaxed);
        self.average.store(before - before / 4 + took / 4, Ordering::Relaxed);
        self.open.fetch_sub(1, Ordering::Relaxed);
    }

    /// In how many seconds half of those that wait have probably been answered.
    pub(super) fn retry(&self) -> u32 {
        let half = self.average.load(Ordering::Relaxed) * (MAX_WAITING as u64 / 2) / 1000;
        u32::try_from(half.clamp(1, MAX_RETRY)).unwrap_or(1)
    }
}
