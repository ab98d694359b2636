//! A chain that replaces blocks, and an RPC that has bad moments: neither stops a node.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::http::StatusCode;
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
    let stake = |net: &Net| net.node.chain().account(account).map(|account| account.stake());
    let before = net.until(|net| stake(net).filter(|stake| *stake > Amount::ZERO)).await;
    let deep = net.node.chain().now().after(protocol::Blocks(4));
    net.until(|net| (net.node.chain().now() > deep).then_some(())).await;
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

/// What an RPC answers instead of the truth; `None` where the call is not one that it spoils.
type Fault = fn(&Value, &Value) -> Option<(StatusCode, String)>;

fn is(call: &Value, method: &str) -> bool {
    call["method"] == method
}

fn ok(text: impl ToString) -> Option<(StatusCode, String)> {
    Some((StatusCode::OK, text.to_string()))
}

/// The honest answer with another value in one place.
fn but(answer: &Value, place: &str, value: Value) -> Option<(StatusCode, String)> {
    let mut wrong = answer.clone();
    *wrong.pointer_mut(place)? = value;
    ok(wrong)
}

fn error(call: &Value, code: i64, message: &str) -> Option<(StatusCode, String)> {
    let error = json!({ "code": code, "message": message });
    ok(json!({ "jsonrpc": "2.0", "id": call["id"], "error": error }))
}

/// Each is met once, in this order, and none of them may stop a node.
const FAULTS: &[Fault] = &[
    |_, _| ok("<html>502 Bad Gateway</html>"),
    |_, _| ok(""),
    |_, answer| ok(&answer.to_string()[..9]),
    |_, answer| but(answer, "/id", json!(999_999)),
    |_, answer| but(answer, "/result", Value::Null),
    |_, answer| but(answer, "/result", json!({ "x": [1, 2, 3] })),
    |_, _| ok("[".repeat(200_000)),
    |_, answer| ok(answer.to_string() + &" ".repeat(33 << 20)),
    |call, _| error(call, -32_005, "limit exceeded"),
    |call, _| error(call, -32_603, "internal error"),
    |_, _| Some((StatusCode::INTERNAL_SERVER_ERROR, "oh".to_owned())),
    |_, _| Some((StatusCode::TOO_MANY_REQUESTS, "slow down".to_owned())),
    |call, answer| {
        is(call, "eth_blockNumber").then(|| but(answer, "/result", json!("0xffffffffffffffff")))?
    },
    |call, answer| is(call, "eth_blockNumber").then(|| but(answer, "/result", json!("0x1")))?,
    |call, answer| {
        is(call, "eth_getBlockByNumber").then(|| but(answer, "/result/number", json!("0x3")))?
    },
    |call, answer| {
        let other = json!(format!("0x{}", "ab".repeat(32)));
        is(call, "eth_getBlockByNumber").then(|| but(answer, "/result/parentHash", other))?
    },
    |call, answer| {
        let other = json!(format!("0x{}", "cd".repeat(32)));
        is(call, "eth_getBlockByNumber").then(|| but(answer, "/result/hash", other))?
    },
    |call, answer| {
        let late = json!("0xffffffffffffffff");
        is(call, "eth_getBlockByNumber").then(|| but(answer, "/result/timestamp", late))?
    },
    |call, _| is(call, "eth_getLogs").then(|| error(call, -32_602, "too many results"))?,
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_fault_of_an_rpc_stops_a_node() {
    let config = ServerConfig { mining: Mining::Every(BLOCK), ..ServerConfig::default() };
    let (chain, mut network) = start_chain(config).await;
    let (met, honest) = (Arc::new(AtomicUsize::new(0)), chain.url());
    let (faults, url) = (Arc::clone(&met), honest.clone());
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let router = Router::new().route(
        "/",
        post(move |body: String| async move {
            let call: Value = serde_json::from_str(&body).unwrap();
            let request = http.post(&url).header("Content-Type", "application/json");
            let answer = request.body(body).send().await.unwrap().text().await.unwrap();
            let answer: Value = serde_json::from_str(&answer).unwrap();
            let number = faults.load(Ordering::Relaxed);
            let spoilt = FAULTS.get(number).and_then(|fault| fault(&call, &answer));
            if spoilt.is_some() {
                faults.fetch_max(number + 1, Ordering::Relaxed);
            }
            spoilt.unwrap_or((StatusCode::OK, answer.to_string()))
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
    let node = NodeHandle::start(options).await.unwrap();
    let passed = async {
        while met.load(Ordering::Relaxed) < FAULTS.len() {
            node.changed().await;
        }
        // Whatever was wrong is read again, so what the node has now is what the chain has.
        let target = node.chain().now().after(protocol::Blocks(5));
        while node.chain().now() < target {
            node.changed().await;
        }
    };
    let stopped = async { panic!("{}", node.failed().await) };
    tokio::select! {
        passed = tokio::time::timeout(Duration::from_secs(150), passed) => {
            passed.expect("each fault is met, and the node goes on");
        }
        () = stopped => {}
    }
    let head = node.chain().head().unwrap();
    let tag = format!("{:#x}", head.number.0);
    let block = call(&honest, "eth_getBlockByNumber", json!([tag, false])).await;
    assert_eq!(block["hash"], head.hash.to_string());
    node.shutdown().await;
    chain.shutdown().await;
}
