//! Epochs that this node does not settle, because its own program is wrong.
//!
//! An invariant of `settle()` that breaks is a bug here and says nothing about anybody else. The node
//! settles that epoch no more until it is started again, keeps what the settlement was computed from
//! for a bug report, and goes on with everything else.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use protocol::Epoch;
use protocol::settle::SettleError;

/// The epochs, with what a person should know about each.
#[derive(Debug, Clone)]
pub(crate) struct Stopped {
    dir: PathBuf,
    epochs: Arc<Mutex<BTreeMap<Epoch, String>>>,
}

impl Stopped {
    /// None so far; reports are kept in a folder.
    pub(crate) fn new(dir: PathBuf) -> Self {
        Self { dir, epochs: Arc::default() }
    }

    pub(crate) fn contains(&self, epoch: Epoch) -> bool {
        self.epochs.lock().unwrap_or_else(PoisonError::into_inner).contains_key(&epoch)
    }

    /// What the status of the node says about them.
    pub(crate) fn lines(&self) -> Vec<String> {
        let epochs = self.epochs.lock().unwrap_or_else(PoisonError::into_inner);
        epochs.values().cloned().collect()
    }

    /// Stops the settlement of an epoch and keeps the log that shows the bug.
    pub(crate) async fn stop(&self, epoch: Epoch, error: SettleError, log: &[u8]) {
        let path = self.dir.join(format!("settlement-of-epoch-{epoch}.log"));
        let kept = async {
            tokio::fs::create_dir_all(&self.dir).await?;
            tokio::fs::write(&path, log).await
        };
        let line = match kept.await {
            Ok(()) => format!("{error}. Please report it with the file {}", path.display()),
            Err(cause) => format!("{error}. Please report it; its log could not be kept: {cause}"),
        };
        tracing::error!(%epoch, %error, file = %path.display(), "the settlement of an epoch stops");
        self.epochs.lock().unwrap_or_else(PoisonError::into_inner).insert(epoch, line);
    }
}

#[cfg(test)]
mod tests {
    use protocol::settle::Invariant;

    use super::*;

    #[tokio::test]
    async fn a_settlement_that_stops_leaves_its_log_and_says_where() {
        let dir = tempfile::tempdir().unwrap();
        let stopped = Stopped::new(dir.path().join("bug-reports"));
        assert!(stopped.lines().is_empty());
        let (epoch, invariant) = (Epoch(7), Invariant::Fees { moved: 10, paid: 9 });
        let error = SettleError::Invariant { epoch, invariant };
        stopped.stop(epoch, error, b"the log").await;
        let path = dir.path().join("bug-reports/settlement-of-epoch-7.log");
        assert_eq!(std::fs::read(&path).unwrap(), b"the log");
        assert!(stopped.contains(epoch) && !stopped.contains(Epoch(8)));
        let [line] = &stopped.lines()[..] else { panic!("one epoch stopped") };
        assert!(line.contains("10 were redeemed and 9 paid out"), "{line}");
        assert!(line.contains(&path.display().to_string()), "{line}");
    }
}
