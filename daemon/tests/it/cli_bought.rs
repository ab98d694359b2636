//! Real processes: a gateway that holds no model, the clients that people have, and a base that another process
//! serves. What the answers say is what the chain moves.

use std::path::Path;

use contracts_abi::ChainClient;
use contracts_abi::devchain::DEV_KEYS;
use contracts_abi::rpc::{Mining, ServerConfig};
use daemon::api::types::{BaseInfo, StatusReport};
use daemon::network::NETWORK_FILE;
use protocol::Amount;
use protocol::eip712::EvmKey;
use serde_json::{Value, json};

use super::cli::{json as said_by, openledger, stderr};
use super::cli_base::file_of;
use super::cli_support::start_chain;
use super::clients::conversations;
use super::process::{NodeProcess, init, until};

fn done(dir: &Path, args: &[&str]) -> Value {
    let output = openledger(dir, &[args, &["--json"]].concat());
    assert!(output.status.success(), "{args:?}: {}", stderr(&output));
    said_by(&output)
}

/// A node that offers the tiny base.
async fn server(home: &Path, sponsor: &ChainClient) -> NodeProcess {
    let node = NodeProcess::start(home, &[]).await;
    node.enrol(sponsor, Amount::ONE_OPEN).await;
    let file = file_of(home, 512);
    done(home, &["model", "import", file.to_str().unwrap()]);
    let unknown = openledger(home, &["model", "publish", "nothing", "--json"]);
    assert!(said_by(&unknown)["error"]["message"].to_string().contains("no base model is called"));
    let prices = ["--price-in", "1000", "--price-out", "3000", "--price-use", "7"];
    let offer = done(home, &[&["model", "publish", "tiny"], &prices[..]].concat());
    assert_eq!(offer["model"], 1);
    let again = done(home, &[&["model", "publish", "tiny"], &prices[..]].concat());
    assert_eq!(again["model"], 1, "it is registered once");
    node
}

/// A node without a model that answers OpenAI's clients; where it does.
async fn gateway(home: &Path, server: &NodeProcess) -> (NodeProcess, String) {
    let bootstrap = server.client.get::<StatusReport>("/status").await.unwrap().bootstrap;
    let more = ["--bootstrap", &bootstrap.join(","), "--gateway", "127.0.0.1:0"];
    let node = NodeProcess::start(home, &more).await;
    let log = home.with_extension("log");
    let url = until(|| async {
        let log = std::fs::read_to_string(&log).ok()?;
        let url = log.split_whitespace().find(|word| word.ends_with("/v1"))?;
        Some(url.to_owned())
    });
    (node, url.await)
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
    let key = EvmKey::from_bytes(&DEV_KEYS[1].0).unwrap();
    let sponsor = ChainClient::connect(&chain.url(), network.deployment, &key).await.unwrap();
    let homes = ["server", "gateway"].map(|name| dir.path().join(name));
    homes.iter().for_each(|home| init(home, &file));
    let server = server(&homes[0], &sponsor).await;
    let client_key = done(&homes[1], &["serve", "key", "add", "anna"])["key"].clone();
    let (gateway, url) = gateway(&homes[1], &server).await;
    gateway.enrol(&sponsor, Amount::ONE_OPEN).await;
    let offers = || async {
        let bases: Vec<BaseInfo> = gateway.client.get("/bases").await.unwrap();
        bases.into_iter().find(|base| base.offer.is_some())
    };
    assert_eq!(until(offers).await.name, "Tiny");
    let listed = done(&homes[1], &["model", "ls"]);
    assert_eq!(listed["bases"][0]["id"], 1, "{listed}");

    let door = json!({ "url": url, "key": client_key, "models": ["model-1"] });
    let mut prices = conversations(&door);
    prices.push(asked(&door).await);
    let sum: u128 = prices.iter().sum();
    let paid = until(|| async {
        let deposits = done(&homes[1], &["wallet"])["deposits"].clone();
        let redeemed = |of: &Value| of["redeemed"].as_str()?.parse::<u128>().ok();
        let redeemed: u128 = deposits.as_array()?.iter().map(redeemed).sum::<Option<_>>()?;
        (redeemed == sum).then_some(redeemed)
    });
    assert_eq!(paid.await, sum, "{prices:?}");
    drop((server, gateway));
    chain.shutdown().await;
}
