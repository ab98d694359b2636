//! The five nodes: processes of their own, which end with this one however it ends.
//!
//! Each child holds a pipe from this process as its standard input and stops when that closes; on an
//! orderly way out they are also waited for, and killed if they hang.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use protocol::EvmAddress;
use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};

use crate::api::types::StatusReport;
use crate::api::{API_FILE, ApiError, Client};
use crate::config::write_template;
use crate::keys::{Cost, NodeKeys, Passphrase};
use crate::network::{NETWORK_FILE, NetworkFile};

/// Nodes of the demo.
pub(super) const NODES: usize = 5;
/// How long a node may take to start.
const START: Duration = Duration::from_secs(90);
/// How long a node may take to stop.
const STOP: Duration = Duration::from_secs(8);
/// Between two looks at a node that starts.
const POLL: Duration = Duration::from_millis(200);
/// Lines of a log that are shown when a node died.
const TAIL: usize = 15;

/// A node, as a process of its own.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) name: String,
    pub(super) dir: PathBuf,
    pub(super) operator: EvmAddress,
    pub(super) is_cheat: bool,
    pub(super) pid: u32,
    child: Child,
}

impl Member {
    /// Makes a data directory with keys, without a process.
    pub(super) fn prepare(dir: &Path, network: &NetworkFile) -> Result<NodeKeys> {
        storage::durable::create_dir(dir)?;
        let (phrase, _) = Passphrase::generate(dir)?;
        let keys = NodeKeys::generate()?;
        keys.create(dir, &phrase, Cost::Light)?;
        write_template(dir, &[])?;
        network.write(&dir.join(NETWORK_FILE))?;
        Ok(keys)
    }

    /// Starts the process of a prepared directory.
    pub(super) fn spawn(
        name: String,
        dir: PathBuf,
        operator: EvmAddress,
        bootstrap: &[String],
        is_cheat: bool,
    ) -> Result<Self> {
        let program = std::env::current_exe().context("this program cannot be found again")?;
        let log = File::create(dir.join("node.log")).context("the log cannot be written")?;
        let mut command = Command::new(program);
        // What is set for a person's own node does not concern these.
        for (variable, _) in std::env::vars_os() {
            let text = variable.to_string_lossy();
            if text.starts_with("OPENLEDGER_") && text != "OPENLEDGER_LOG" {
                command.env_remove(&variable);
            }
        }
        command
            .args(["node", if is_cheat { "sabotage" } else { "run" }])
            .args(["--stop-with-stdin", "--listen-ip", "127.0.0.1"])
            .args(["--control-port", "0", "--data-port", "0", "--api-port", "0"])
            .args(["--mdns", "false", "--device", "cpu", "--claim-epochs", "1"])
            .args(["--max-per-address", "64", "--max-per-subnet", "64"])
            .args(["--confirmations", "0", "--dir"])
            .arg(&dir)
            .env("RAYON_NUM_THREADS", "1")
            .env("TOKIO_WORKER_THREADS", "2")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(log)
            .kill_on_drop(true);
        if !bootstrap.is_empty() {
            command.args(["--bootstrap", &bootstrap.join(",")]);
        }
        let child = command.spawn().context("a node process cannot be started")?;
        let pid = child.id().unwrap_or_default();
        Ok(Self { name, dir, operator, is_cheat, pid, child })
    }

    /// Kills the process without warning, starts another over the same directory, and waits for it.
    pub(super) async fn restart(&mut self, bootstrap: &[String]) -> Result<()> {
        self.child.kill().await.context("the node cannot be killed")?;
        let (name, dir) = (self.name.clone(), self.dir.clone());
        *self = Self::spawn(name, dir, self.operator, bootstrap, self.is_cheat)?;
        self.ready().await.map(|_| ())
    }

    /// The node's API.
    pub(super) fn client(&self) -> Result<Client, ApiError> {
        Client::of_dir(&self.dir)
    }

    /// Waits until the node answers.
    pub(super) async fn ready(&mut self) -> Result<StatusReport> {
        let answered = async {
            loop {
                self.check_alive()?;
                if self.dir.join(API_FILE).exists()
                    && let Ok(report) = self.status().await
                {
                    return Ok(report);
                }
                sleep(POLL).await;
            }
        };
        match timeout(START, answered).await {
            Ok(report) => report,
            Err(_) => bail!("{} did not start in {START:?}; see {}", self.name, self.log()),
        }
    }

    pub(super) async fn status(&self) -> Result<StatusReport> {
        Ok(self.client()?.get("/status").await?)
    }

    /// Fails when the process has ended.
    pub(super) fn check_alive(&mut self) -> Result<()> {
        if let Some(status) = self.child.try_wait()? {
            let text = std::fs::read_to_string(self.dir.join("node.log")).unwrap_or_default();
            let lines: Vec<_> = text.lines().collect();
            let tail = lines[lines.len().saturating_sub(TAIL)..].join("\n");
            bail!("{} ended with {status}:\n{tail}", self.name);
        }
        Ok(())
    }

    fn log(&self) -> String {
        self.dir.join("node.log").display().to_string()
    }

    /// Lets the node stop in order, and ends it if it does not.
    async fn stop(&mut self) {
        drop(self.child.stdin.take());
        if timeout(STOP, self.child.wait()).await.is_err() {
            tracing::warn!(node = %self.name, "had to be killed");
            // It may have ended meanwhile.
            let _ = self.child.kill().await;
        }
    }
}

/// The nodes, in the order in which they were started.
#[derive(Debug, Default)]
pub(super) struct Cluster {
    pub(super) members: Vec<Member>,
}

impl Cluster {
    pub(super) async fn statuses(&mut self) -> Result<Vec<StatusReport>> {
        for member in &mut self.members {
            member.check_alive()?;
        }
        futures::future::try_join_all(self.members.iter().map(Member::status)).await
    }

    pub(super) async fn stop(&mut self) {
        futures::future::join_all(self.members.iter_mut().map(Member::stop)).await;
        self.members.clear();
    }
}
