//! Who does the slow work that the machine asks for.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use compute::device::panic_text;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use protocol::chain::ChainView;
use protocol::node::{Done, Failure, Job};

/// Does jobs. A node's own are done by [`Worker`](super::Worker); another can be put around it.
pub(crate) trait Jobs: Send + Sync {
    /// Does one job, with the chain as it was when the job was asked for.
    fn perform(&self, chain: Arc<ChainView>, job: Job) -> BoxFuture<'_, Done>;
}

/// Waits for a job. One that panics failed here, and the machine is told: it would wait for ever for a
/// job that never answers.
pub(crate) async fn attempt(job: BoxFuture<'_, Done>) -> Done {
    AssertUnwindSafe(job).catch_unwind().await.unwrap_or_else(|panic| {
        tracing::error!(reason = panic_text(&*panic), "a job panicked: please report it");
        Done::Failed(Failure::Local)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_job_that_panics_is_answered_as_failed() {
        let job = async { panic!("a chunk that there is not") }.boxed();
        assert_eq!(attempt(job).await, Done::Failed(Failure::Local));
    }
}
