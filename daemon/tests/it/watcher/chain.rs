//! A chain that makes a block when a test says so: the embedded one, or anvil.

use std::any::Any;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use contracts_abi::rpc::{DevChainServer, Mining, ServerConfig};
use protocol::EvmAddress;
use serde_json::{Value, json};

/// No block comes by itself for so long.
const NEVER: Duration = Duration::from_secs(1 << 20);
/// Longer than anything here takes on a busy machine; a test that reaches it has failed.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(20);

/// Looks again and again until something is there.
pub(super) async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(Instant::now() < deadline, "this did not come: {what}");
        tokio::time::sleep(LOOK).await;
    }
}

pub(super) struct Chain {
    pub(super) url: String,
    http: reqwest::Client,
    /// Ends with this.
    _program: Box<dyn Any + Send>,
}

struct Anvil(Child);

impl Drop for Anvil {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Chain {
    pub(super) async fn embedded() -> Self {
        let config = ServerConfig { mining: Mining::Every(NEVER), ..ServerConfig::default() };
        let server = DevChainServer::start(config).await.unwrap();
        Self::at(server.url(), Box::new(server))
    }

    /// The anvil that `OPENLEDGER_ANVIL` or `ANVIL` names or that is on the path; `None` without one.
    pub(super) fn anvil() -> Option<Self> {
        let named = std::env::var_os("OPENLEDGER_ANVIL").or_else(|| std::env::var_os("ANVIL"));
        let mut child = Command::new(named.unwrap_or_else(|| "anvil".into()))
            .args(["--port", "0", "--host", "127.0.0.1", "--hardfork", "osaka", "--no-mining"])
            // Past states are gigabytes, which an anvil that is killed leaves on the disk.
            .args(["--max-persisted-states", "0"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .ok()?;
        let mut lines = BufReader::new(child.stdout.take()?).lines();
        let address =
            lines.find_map(|line| Some(line.ok()?.split_once("Listening on ")?.1.to_owned()));
        std::thread::spawn(move || lines.for_each(drop));
        Some(Self::at(format!("http://{}", address?), Box::new(Anvil(child))))
    }

    fn at(url: String, program: Box<dyn Any + Send>) -> Self {
        contracts_abi::install_crypto_provider();
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        Self { url, http, _program: program }
    }

    pub(super) async fn call(&self, method: &str, params: Value) -> Value {
        let body = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        let request = self.http.post(&self.url).header("Content-Type", "application/json");
        let answer = request.body(body.to_string()).send().await.unwrap().text().await.unwrap();
        let answer: Value = serde_json::from_str(&answer).unwrap();
        assert!(answer["error"].is_null(), "{method}: {answer}");
        answer["result"].clone()
    }

    pub(super) async fn mine(&self, blocks: u64) {
        self.call("anvil_mine", json!([format!("{blocks:#x}")])).await;
    }

    pub(super) async fn mine_at(&self, timestamp: u64) {
        self.call("evm_mine", json!([{ "timestamp": timestamp }])).await;
    }

    pub(super) async fn give_gas(&self, to: EvmAddress) {
        let much = format!("{:#x}", 1_000_000_000_000_000_000_000_u128);
        self.call("anvil_setBalance", json!([to.to_string(), much])).await;
    }

    /// How many transactions of an address wait for a block.
    pub(super) async fn waiting(&self, from: EvmAddress) -> u64 {
        let count = async |tag| {
            let nonce = self.call("eth_getTransactionCount", json!([from.to_string(), tag])).await;
            u64::from_str_radix(nonce.as_str().unwrap().trim_start_matches("0x"), 16).unwrap()
        };
        count("pending").await - count("latest").await
    }

    /// The call data of what would be in the next block of an address.
    pub(super) async fn next_calls(&self, from: EvmAddress) -> Vec<Vec<u8>> {
        let block = self.call("eth_getBlockByNumber", json!(["pending", true])).await;
        let all = block["transactions"].as_array().cloned().unwrap_or_default();
        let is_from = |transaction: &&Value| {
            transaction["from"]
                .as_str()
                .is_some_and(|text| text.eq_ignore_ascii_case(&from.to_string()))
        };
        let data = |transaction: &Value| {
            hex::decode(transaction["input"].as_str().unwrap().trim_start_matches("0x")).unwrap()
        };
        all.iter().filter(is_from).map(data).collect()
    }

    /// Makes blocks for an address until some work of it is done.
    pub(super) async fn mining<T>(&self, from: EvmAddress, work: impl Future<Output = T>) -> T {
        let mine = async {
            loop {
                if self.waiting(from).await > 0 {
                    self.mine(1).await;
                }
                tokio::time::sleep(LOOK).await;
            }
        };
        tokio::select! {
            done = work => done,
            () = mine => unreachable!("it goes on"),
        }
    }

    /// The same, with all of so many transactions in one block.
    pub(super) async fn mining_once<T>(
        &self,
        from: EvmAddress,
        count: u64,
        work: impl Future<Output = T>,
    ) -> T {
        let mine = async {
            let are_there = async || (self.waiting(from).await >= count).then_some(());
            until("all of a block's transactions", are_there).await;
            self.mine(1).await;
            std::future::pending::<()>().await;
        };
        tokio::select! {
            done = work => done,
            () = mine => unreachable!("it waits"),
        }
    }
}
