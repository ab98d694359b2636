//! What the machine is told of computing that failed.

use compute::run::RunError;
use compute::serve::ServeError;
use protocol::node::Failure;

/// What the machine is told when a job of a run fails; the log has the reason.
pub(crate) fn failed(error: RunError) -> Failure {
    let failure = error.failure();
    if failure == Failure::Local {
        tracing::error!(%error, "a job of a run failed");
    } else {
        tracing::warn!(%error, "a job of a run was refused");
    }
    failure
}

/// What the machine is told when a model cannot answer or attribute; the log has the reason.
pub(crate) fn not_served(error: ServeError) -> Failure {
    tracing::warn!(%error, "an answer or an attribution was refused");
    error.failure()
}
