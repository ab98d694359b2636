//! Who does the slow work that the machine asks for.

use std::sync::Arc;

use futures::future::BoxFuture;
use protocol::chain::ChainView;
use protocol::node::{Done, Job};

/// Does jobs. A node's own are done by [`Worker`](super::Worker); another can be put around it.
pub(crate) trait Jobs: Send + Sync {
    /// Does one job, with the chain as it was when the job was asked for.
    fn perform(&self, chain: Arc<ChainView>, job: Job) -> BoxFuture<'_, Done>;
}
