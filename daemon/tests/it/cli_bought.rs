//! Real processes: a gateway that holds no model, the clients that people have, and a base that another process
//! serves. What the answers say is what the chain moves.

use std::path::{Path, PathBuf};

use contracts_abi::ChainClient;
use contracts_abi::devchain::DEV_KEYS;
use contracts_abi::rpc::{Mining, ServerConfig};
use daemon::api::Client;
use daemon::api::types::{BaseInfo, StatusReport};
use daemon::network::{NETWORK_FILE, NetworkFile};
use protocol::Amount;
use protocol::eip712::EvmKey;
use serde_json::{Value, json};

use super::cli::{json as said_by, openledger, stderr};
use super::cli_base::file_of;
use super::cli_support::start_chain;
use super::clients::conversations;
use super::process::{NodeProcess, init, until};

/// Names a model of others that is bought in place of the tiny one.
const REAL: &str = "OPENLEDGER_TEST_BASE";

pub(crate) fn done(dir: &Path, args: &[&str]) -> Value {
    let output = openledger(dir, &[args, &["--json"]].concat());
    assert!(output.status.success(), "{args:?}: {}", stderr(&output));
    said_by(&output)
}

/// Somebody with more than enough of everything.
pub(crate) async fn sponsor(network: &NetworkFile) -> ChainClient {
    let key = EvmKey::from_bytes(&DEV_KEYS[1].0).unwrap();
    ChainClient::connect(&network.rpc_url, network.deployment.clone(), &key).await.unwrap()
}

/// What was paid out of the deposits of a gateway.
pub(crate) fn redeemed(gateway: &Path) -> Option<u128> {
    let deposits = done(gateway, &["wallet"])["deposits"].clone();
    let redeemed = |of: &Value| of["redeemed"].as_str()?.parse::<u128>().ok();
    deposits.as_array()?.iter().map(redeemed).sum()
}

/// A node that offers a base, and what the base is called.
async fn server(home: &Path, sponsor: &ChainClient) -> (NodeProcess, String) {
    let node = NodeProcess::start(home, &[]).await;
    node.enrol(sponsor, Amount::ONE_OPEN).await;
    let real = std::env::var_os(REAL).map(PathBuf::from);
    let file = real.unwrap_or_else(|| file_of(home, 512));
    let imported = done(home, &["model", "import", file.to_str().unwrap()]);
    let name = imported["name"].as_str().unwrap();
    let unknown = openledger(home, &["model", "publish", "nothing", "--json"]);
    assert!(said_by(&unknown)["error"]["message"].to_string().contains("no base model is called"));
    let prices = ["--price-in", "1000", "--price-out", "3000", "--price-use", "7"];
    let offer = done(home, &[&["model", "publish", name], &prices[..]].concat());
    assert_eq!(offer["model"], 1);
    let again = done(home, &[&["model", "publish", name], &prices[..]].concat());
    assert_eq!(again["model"], 1, "it is registered once");
    (node, name.to_owned())
}

/// A node without a model that answers OpenAI's clients.
pub(crate) struct Gateway {
    pub(crate) node: NodeProcess,
    /// Where it does.
    pub(crate) url: String,
    /// What a client shows it.
    pub(crate) key: String,
}

impl Gateway {
    /// Starts one in a new folder, beside a node that runs in another.
    pub(crate) async fn start(home: &Path, network: &Path, other: &Path) -> Self {
        init(home, network);
        let key = done(home, &["serve", "key", "add", "anna"])["key"].as_str().unwrap().to_owned();
        let other = Client::of_dir(other).unwrap().get::<StatusReport>("/status").await.unwrap();
        let more = ["--bootstrap", &other.bootstrap.join(","), "--gateway", "127.0.0.1:0"];
        let node = NodeProcess::start(home, &more).await;
        let log = home.with_extension("log");
        let url = until(|| async {
            let log = std::fs::read_to_string(&log).ok()?;
            let url = log.split_whitespace().find(|word| word.ends_with("/v1"))?;
            Some(url.to_owned())
        });
        Self { node, url: url.await, key }
    }
}

/// One question without any client; its price.
async fn asked(door: &Value) -> u128 {
    let question = json!({
        "model": "model-1", "max_tokens": 40, "messages": [{ "role": "user", "content": "Hello!" }],
    });
    let url = format!("{}/chat/completions", door["url"].as_str().unwrap());
    let request = reqwest::Client::new().post(url).bearer_auth(door["key"].as_str().unwrap());
    let said: Value = request.json(&question).send().await.unwrap().json().await.unwrap();
    assert!(said["usage"]["completion_tokens"].as_u64().unwrap() > 0, "{said}");
    said["openledger"]["price"].as_str().unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_base_is_talked_to_from_another_machine_and_paid_as_the_answers_say() {
    let dir = tempfile::tempdir().unwrap();
    let mining = Mining::Every(std::time::Duration::from_millis(300));
    let (chain, network) = start_chain(ServerConfig { mining, ..ServerConfig::default() }).await;
    let file = dir.path().join(NETWORK_FILE);
    network.write(&file).unwrap();
    let sponsor = sponsor(&network).await;
    let homes = ["server", "gateway"].map(|name| dir.path().join(name));
    init(&homes[0], &file);
    let (server, name) = server(&homes[0], &sponsor).await;
    let gateway = Gateway::start(&homes[1], &file, &homes[0]).await;
    gateway.node.enrol(&sponsor, Amount::ONE_OPEN).await;
    let offers = || async {
        let bases: Vec<BaseInfo> = gateway.node.client.get("/bases").await.unwrap();
        bases.into_iter().find(|base| base.offer.is_some())
    };
    assert_eq!(until(offers).await.name, name);
    let listed = done(&homes[1], &["model", "ls"]);
    assert_eq!(listed["bases"][0]["id"], 1, "{listed}");

    let door = json!({ "url": gateway.url, "key": gateway.key, "models": ["model-1"] });
    let mut prices = conversations(&door);
    prices.push(asked(&door).await);
    let sum: u128 = prices.iter().sum();
    let paid = until(|| async { redeemed(&homes[1]).filter(|redeemed| *redeemed == sum) });
    assert_eq!(paid.await, sum, "{prices:?}");
    drop((server, gateway));
    chain.shutdown().await;
}
