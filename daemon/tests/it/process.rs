//! A node in a process of its own, on loopback, on any ports.

use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use contracts_abi::ChainClient;
use daemon::api::Client;
use daemon::api::types::StatusReport;
use protocol::{AccountId, Amount, EvmAddress};
use tokio::time::timeout;

use super::cli::{openledger, stderr};

/// How long anything may take that a test waits for.
const PATIENCE: Duration = Duration::from_secs(90);

pub(crate) struct NodeProcess {
    process: Child,
    pub(crate) client: Client,
}

impl Drop for NodeProcess {
    fn drop(&mut self) {
        // It is gone already where the test failed for that reason.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Makes keys and configuration in an empty folder.
pub(crate) fn init(home: &Path, network: &Path) {
    let init = openledger(home, &["init", "--light", "--network", network.to_str().unwrap()]);
    assert!(init.status.success(), "{}", stderr(&init));
}

impl NodeProcess {
    /// Starts the node of a folder that was made; its log is in the file `log` beside it.
    pub(crate) async fn start(home: &Path, more: &[&str]) -> Self {
        let log = File::create(home.with_extension("log")).unwrap();
        let mut run = Command::new(env!("CARGO_BIN_EXE_openledger"));
        run.args([
            "node",
            "run",
            "--stop-with-stdin",
            "--listen-ip",
            "127.0.0.1",
            "--mdns",
            "false",
        ])
        .args(["--control-port", "0", "--data-port", "0", "--api-port", "0"])
        .args(["--device", "cpu", "--confirmations", "0", "--dir"])
        .arg(home)
        .args(more)
        .env("OPENLEDGER_PASSPHRASE_FILE", home.join("keys/passphrase"));
        let run = run.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(log);
        let process = run.spawn().unwrap();
        let answers = || async {
            let client = Client::of_dir(home).ok()?;
            client.get::<StatusReport>("/status").await.ok().map(|_| client)
        };
        let client = until(answers).await;
        Self { process, client }
    }

    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }

    pub(crate) async fn status(&self) -> StatusReport {
        self.client.get("/status").await.unwrap()
    }

    /// Gives its operator, who says that it has none, gas and an amount, and waits for the node's account.
    pub(crate) async fn enrol(&self, sponsor: &ChainClient, amount: Amount) -> AccountId {
        let waiting = self.status().await.waiting[0].clone();
        let operator = waiting.split_whitespace().find(|word| word.starts_with("0x")).unwrap();
        let operator: EvmAddress = operator.parse().unwrap();
        sponsor.send_gas(operator, 10_u128.pow(18)).await.unwrap();
        sponsor.transfer(operator, amount).await.unwrap();
        until(|| async {
            let account = self.status().await.account;
            (account != AccountId(0)).then_some(account)
        })
        .await
    }
}

/// Asks again until there is an answer.
pub(crate) async fn until<T, F: Future<Output = Option<T>>>(ask: impl Fn() -> F) -> T {
    let mut turns = tokio::time::interval(Duration::from_millis(100));
    let asked = async {
        loop {
            turns.tick().await;
            if let Some(found) = ask().await {
                return found;
            }
        }
    };
    timeout(PATIENCE, asked).await.expect("it comes in time")
}
