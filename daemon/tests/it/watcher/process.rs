//! The watcher: `openledger node run` as anybody runs it.

use std::fs::File;
use std::path::Path;
use std::process::{Child, Stdio};

use daemon::api::Client;
use daemon::network::NETWORK_FILE;
use protocol::{AccountId, BlockNumber, EvmAddress, NodeId};
use rustix::process::{Pid, Signal, kill_process};

use super::chain::until;
use crate::cli::{command, json};

pub(super) struct Watcher {
    pub(super) operator: EvmAddress,
    pub(super) node: NodeId,
    /// Zero until the test has read of it.
    pub(super) account: AccountId,
    dir: tempfile::TempDir,
    child: Child,
}

impl Drop for Watcher {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("the watcher said:\n{}", self.log());
        }
    }
}

impl Watcher {
    /// Makes the keys and starts the process, with the addresses of somebody to join through. All that it
    /// could be told besides, but for what keeps a test on its machine, is left at the defaults.
    pub(super) fn start(network: &Path, bootstrap: &[String]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let init = command(dir.path(), &["init", "--light", "--json", "--network"])
            .arg(network)
            .output()
            .unwrap();
        let said = json(&init);
        let of = |key: &str| said[key].clone();
        let log = File::create(dir.path().join("node.log")).unwrap();
        let child = command(dir.path(), &["node", "run", "--stop-with-stdin"])
            .args(["--listen-ip", "127.0.0.1", "--control-port", "0", "--data-port", "0"])
            .args(["--api-port", "0", "--mdns", "false", "--device", "cpu"])
            .args(["--bootstrap", &bootstrap.join(",")])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        Self {
            operator: serde_json::from_value(of("operator")).unwrap(),
            node: serde_json::from_value(of("node")).unwrap(),
            account: AccountId(0),
            dir,
            child,
        }
    }

    pub(super) fn network_file(dir: &Path) -> std::path::PathBuf {
        dir.join(NETWORK_FILE)
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("node.log")).unwrap_or_default()
    }

    /// Waits until it has read a block; what it is connected to then.
    pub(super) async fn has_read(&mut self, block: BlockNumber) -> u64 {
        until("the watcher has read the chain", async || {
            assert!(self.child.try_wait().unwrap().is_none(), "it ended: {}", self.log());
            let client = Client::of_dir(self.dir.path()).ok()?;
            let status: serde_json::Value = client.get("/status").await.ok()?;
            let is_there = status["block"].as_u64()? >= block.0;
            is_there.then(|| status["peers"].as_u64().unwrap_or_default())
        })
        .await
    }

    /// While it sleeps the test can take blocks back of which it never heard.
    pub(super) fn sleeps(&self, is_asleep: bool) {
        let signal = if is_asleep { Signal::STOP } else { Signal::CONT };
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }
}
