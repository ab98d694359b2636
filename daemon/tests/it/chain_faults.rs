//! A chain that replaces blocks, and an RPC that has bad moments: neither stops a node.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use axum::Router;
use axum::routing::post;
use contracts_abi::ChainClient;
use contracts_abi::devchain::DEV_KEYS;
use contracts_abi::rpc::{Mining, ServerConfig};
use daemon::config::{Device, WorkOptions};
use daemon::keys::NodeKeys;
use daemon::network::NetworkFile;
use daemon::node::{NodeHandle, RunOptions};
use futures::FutureExt as _;
use protocol::chain::Transaction;
use protocol::eip712::EvmKey;
use protocol::{Amount, BlockNumber};
use serde_json::{Value, json};

use super::cli_support::{Net, instant, loopback, start, start_chain};

const BLOCK: Duration = Duration::from_millis(100);

async fn call(url: &str, method: &str, params: Value) -> Value {
    let body = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let request = http.post(url).header("Content-Type", "application/json");
    let answer = request.body(body.to_string()).send().await.unwrap().text().await.unwrap();
    let answer: Value = serde_json::from_str(&answer).unwrap();
    assert!(answer["error"].is_null(), "{answer}");
    answer["result"].clone()
}

/// Takes back the newest blocks, and has others in their place; the newest that was.
async fn replace(net: &Net, blocks: u64) -> BlockNumber {
    let url = net.chain.url();
    let head = call(&url, "eth_blockNumber", json!([])).await;
    let head = u64::from_str_radix(&head.as_str().unwrap()[2..], 16).unwrap();
    call(&url, "anvil_rollback", json!([blocks])).await;
    let anybody = format!("0x{}", "77".repeat(20));
    call(&url, "anvil_setBalance", json!([anybody, "0x1"])).await;
    BlockNumber(head)
}

/// Whether the node's newest block is the chain's own of that number.
async fn is_on_chain(net: &Net) -> bool {
    let head = net.node.chain().head().unwrap();
    let tag = format!("{:#x}", head.number.0);
    let block = call(&net.chain.url(), "eth_getBlockByNumber", json!([tag, false])).await;
    block["hash"] == head.hash.to_string()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replaced_blocks_are_taken_back_and_the_node_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let net = start(dir.path(), BLOCK).await;
    let account = net.node.account().unwrap();
    let stake = |net: &Net| {
        net.node.chain().account(account).map(|account| account.stake_at(BlockNumber(u64::MAX)))
    };
    let before = net.until(|net| stake(net).filter(|stake| *stake > Amount::ZERO)).await;
    let deployment = NetworkFile::of_dir(dir.path()).unwrap().deployment;
    let key = EvmKey::from_bytes(&DEV_KEYS[1].0).unwrap();
    let sponsor = ChainClient::connect(&net.chain.url(), deployment, &key).await.unwrap();

    // One block, as a proof-of-stake chain replaces one now and then.
    let newest = replace(&net, 1).await;
    net.until(|net| (net.node.chain().head()?.number > newest.next()).then_some(())).await;
    assert!(is_on_chain(&net).await);

    // Several, and with them a transaction that the node has seen.
    let more = Amount(5 * Amount::ONE_OPEN.0);
    let paid = sponsor.submit(&Transaction::StakeFor { account, amount: more }).await.unwrap();
    net.until(|net| (stake(net)? > before).then_some(())).await;
    let head = sponsor.head().await.unwrap();
    let newest = replace(&net, head.since(paid.block).0 + 2).await;
    net.until(|net| (stake(net)? == before).then_some(())).await;
    let epoch = net.node.chain().epoch();
    net.until(|net| (net.node.chain().head()?.number > newest.next()).then_some(())).await;
    assert!(is_on_chain(&net).await);

    let is_settled = |net: &Net| {
        let chain = net.node.chain();
        (chain.next_to_settle() > epoch).then(|| chain.settlement(epoch).map(|s| s.proposer))
    };
    assert_eq!(net.until(is_settled).await, Some(account), "it settles as before");
    assert!(net.node.failed().now_or_never().is_none());
    net.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_rpc_that_talks_nonsense_for_a_while_is_asked_again() {
    let config = ServerConfig { mining: Mining::Every(BLOCK), ..ServerConfig::default() };
    let (chain, mut network) = start_chain(config).await;
    let (calls, honest) = (Arc::new(AtomicU32::new(0)), chain.url());
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let router = Router::new().route(
        "/",
        post(move |body: String| async move {
            let id = serde_json::from_str::<Value>(&body).unwrap()["id"].clone();
            let busy = json!({ "code": -32_005, "message": "limit exceeded" });
            match calls.fetch_add(1, Ordering::Relaxed) {
                0 => "<html>502 Bad Gateway</html>".to_owned(),
                1 => json!({ "jsonrpc": "2.0", "id": id, "error": busy }).to_string(),
                2 => json!({ "jsonrpc": "2.0", "id": id, "result": null }).to_string(),
                _ => {
                    let request = http.post(&honest).header("Content-Type", "application/json");
                    request.body(body).send().await.unwrap().text().await.unwrap()
                }
            }
        }),
    );
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    network.rpc_url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    let dir = tempfile::tempdir().unwrap();
    let options = RunOptions {
        data_dir: dir.path().to_owned(),
        network,
        keys: NodeKeys::generate().unwrap(),
        net: loopback(Vec::new()),
        chain: instant(),
        work: WorkOptions {
            device: Device(compute::device::DeviceChoice::Cpu),
            ..WorkOptions::default()
        },
    };
    let started = tokio::time::timeout(Duration::from_secs(60), NodeHandle::start(options)).await;
    let node = started.expect("it asks again").unwrap();
    node.shutdown().await;
    chain.shutdown().await;
}
