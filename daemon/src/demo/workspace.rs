//! What the demo must remove again: a folder, a chain, and processes.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use contracts_abi::rpc::DevChainHandle;

use super::cluster::Cluster;
use crate::keys::random_bytes;

/// Everything that must not outlive the demo.
#[derive(Debug)]
pub(super) struct Workspace {
    dir: PathBuf,
    keep: bool,
    pub(super) chain: Option<DevChainHandle>,
    pub(super) cluster: Cluster,
}

impl Workspace {
    /// Makes an empty folder among the system's temporary files.
    pub(super) fn create(keep: bool) -> Result<Self> {
        let name = format!("openledger-demo-{}", hex::encode(&random_bytes()?[..4]));
        let dir = std::env::temp_dir().join(name);
        std::fs::create_dir(&dir).with_context(|| {
            format!("cannot create {}; set TMPDIR to a folder that you can write to", dir.display())
        })?;
        Ok(Self { dir, keep, chain: None, cluster: Cluster::default() })
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Stops the nodes, then the chain that they need to stop in order.
    pub(super) async fn shut_down(&mut self) {
        self.cluster.stop().await;
        if let Some(chain) = self.chain.take() {
            chain.shutdown().await;
        }
    }
}

impl Drop for Workspace {
    fn drop(&mut self) {
        // Processes that are still here are killed with their handles.
        self.cluster.members.clear();
        if !self.keep {
            // Best effort: what is left lies in the system's folder for temporary files.
            let _ = std::fs::remove_dir_all(&self.dir);
        }
    }
}
