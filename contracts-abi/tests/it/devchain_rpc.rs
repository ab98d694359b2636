//! The server: alloy as a client, and hostile input by hand.

use std::time::Duration;

use alloy::eips::BlockNumberOrTag;
use alloy::network::{EthereumWallet, TransactionBuilder};
use alloy::primitives::{Address, B256, Bytes, U256};
use alloy::providers::{Provider, ProviderBuilder};
use alloy::rpc::types::{Filter, TransactionRequest};
use alloy::transports::http::reqwest::{Client, header};
use contracts_abi::devchain::{DevConfig, dev_accounts};
use contracts_abi::rpc::{DevChainHandle, DevChainServer, Mining, ServerConfig, StartError};
use serde_json::{Value, json};

use crate::code::{self, ADDER, ECHO_REVERT, LOGGER};

async fn start() -> DevChainHandle {
    contracts_abi::install_crypto_provider();
    DevChainServer::start(ServerConfig::default()).await.unwrap()
}

fn wallet(index: usize) -> EthereumWallet {
    EthereumWallet::from(dev_accounts()[index].clone())
}

fn provider(server: &DevChainHandle) -> impl Provider + use<> {
    contracts_abi::install_crypto_provider();
    ProviderBuilder::new().wallet(wallet(0)).connect_http(server.url().parse().unwrap())
}

async fn deploy(provider: &impl Provider, runtime: &[u8]) -> Address {
    let tx = TransactionRequest::default().with_deploy_code(code::init_code(runtime));
    let receipt = provider.send_transaction(tx).await.unwrap().get_receipt().await.unwrap();
    receipt.contract_address.unwrap()
}

/// Posts a body as JSON; the status and the answer.
async fn post(server: &DevChainHandle, body: impl Into<Vec<u8>>) -> (u16, Value) {
    let request = Client::new().post(server.url()).header(header::CONTENT_TYPE, "application/json");
    let answer = request.body(body.into()).send().await.unwrap();
    let status = answer.status().as_u16();
    (status, serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap_or(Value::Null))
}

pub(crate) async fn call(server: &DevChainHandle, method: &str, params: Value) -> Value {
    let body = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
    post(server, body.to_string()).await.1
}

#[tokio::test]
async fn alloy_sends_reads_and_filters() {
    let server = start().await;
    let provider = provider(&server);
    assert_eq!(provider.get_chain_id().await.unwrap(), 31_337);
    let logger = deploy(&provider, LOGGER).await;
    assert_eq!(provider.get_code_at(logger).await.unwrap().as_ref(), LOGGER);
    let topic = B256::repeat_byte(3);
    let tx = TransactionRequest::default().with_to(logger).with_input(topic.0);
    let receipt = provider.send_transaction(tx).await.unwrap().get_receipt().await.unwrap();
    assert!(receipt.status() && receipt.gas_used > 21_000);
    assert_eq!(receipt.logs().len(), 1);

    let filter = Filter::new().address(logger).event_signature(topic).from_block(0);
    let logs = provider.get_logs(&filter).await.unwrap();
    assert_eq!(logs, receipt.logs());
    assert_eq!(logs[0].transaction_hash, Some(receipt.transaction_hash));

    let number = receipt.block_number.unwrap();
    let block = provider.get_block_by_number(number.into()).full().await.unwrap().unwrap();
    assert_eq!(block.header.hash, block.header.inner.hash_slow());
    assert_eq!(block.transactions.len(), 1);
    let by_hash = provider.get_block_by_hash(block.header.hash).await.unwrap().unwrap();
    assert_eq!(by_hash.transactions.hashes().next(), Some(receipt.transaction_hash));
    let found = provider.get_transaction_by_hash(receipt.transaction_hash).await.unwrap().unwrap();
    assert_eq!(found.inner.signer(), dev_accounts()[0].address());
    let receipts = provider.get_block_receipts(number.into()).await.unwrap().unwrap();
    assert_eq!(receipts, vec![receipt]);
    server.shutdown().await;
}

#[tokio::test]
async fn fees_have_a_history() {
    let server = start().await;
    let provider = provider(&server);
    for _ in 0..3 {
        deploy(&provider, LOGGER).await;
    }
    let history =
        provider.get_fee_history(2, BlockNumberOrTag::Latest, &[10.0, 90.0]).await.unwrap();
    assert_eq!(history.oldest_block, 2);
    assert_eq!(history.base_fee_per_gas.len(), 3);
    assert_eq!(history.gas_used_ratio.len(), 2);
    assert!(history.gas_used_ratio.iter().all(|ratio| *ratio > 0.0));
    assert!(history.reward.unwrap().iter().flatten().all(|tip| *tip > 0));
    let all = provider.get_fee_history(9_999, BlockNumberOrTag::Latest, &[]).await.unwrap();
    assert_eq!((all.oldest_block, all.base_fee_per_gas.len()), (0, 5));
    assert!(provider.get_gas_price().await.unwrap() > 0);
    let refused = call(&server, "eth_feeHistory", json!(["0x1", "latest", [90, 10]])).await;
    assert_eq!(refused["error"]["code"], -32602);
}

#[tokio::test]
async fn reverts_carry_code_three_and_their_data() {
    let server = start().await;
    let provider = provider(&server);
    let echo = deploy(&provider, ECHO_REVERT).await;
    let data = Bytes::from_static(&[0xde, 0xad, 0xbe, 0xef, 1]);
    for method in ["eth_call", "eth_estimateGas"] {
        let answer = call(&server, method, json!([{ "to": echo, "data": data }])).await;
        assert_eq!(answer["error"]["code"], 3);
        assert_eq!(answer["error"]["data"], "0xdeadbeef01");
    }
    // Error(string) "no" has its text in the message.
    let error = "0x08c379a0\
        0000000000000000000000000000000000000000000000000000000000000020\
        0000000000000000000000000000000000000000000000000000000000000002\
        6e6f000000000000000000000000000000000000000000000000000000000000";
    let answer = call(&server, "eth_call", json!([{ "to": echo, "data": error }, "latest"])).await;
    assert_eq!(answer["error"]["message"], "execution reverted: no");
}

#[tokio::test]
async fn states_of_the_newest_blocks_are_kept() {
    let server = start().await;
    let provider = provider(&server);
    let adder = deploy(&provider, ADDER).await;
    for added in [4, 5] {
        let word = B256::with_last_byte(added).0;
        let tx = TransactionRequest::default().with_to(adder).with_input(word);
        provider.send_transaction(tx).await.unwrap().get_receipt().await.unwrap();
    }
    for (block, sum) in [(1, 0), (2, 4), (3, 9)] {
        let stored = provider.get_storage_at(adder, U256::ZERO).number(block).await.unwrap();
        assert_eq!(stored, U256::from(sum));
    }
    assert_eq!(provider.get_code_at(adder).number(0).await.unwrap(), Bytes::new());
    // What was asked of the past left no trace.
    assert_eq!(provider.get_storage_at(adder, U256::ZERO).await.unwrap(), U256::from(9));
    call(&server, "anvil_mine", json!(["0x80"])).await;
    let past = call(&server, "eth_getStorageAt", json!([adder, "0x0", "0x2"])).await;
    assert_eq!(past["error"]["code"], -32000);
    assert_eq!(provider.get_storage_at(adder, U256::ZERO).number(3).await.unwrap(), U256::from(9));
    let unknown = call(&server, "eth_getBalance", json!([adder, "0x9999"])).await;
    assert_eq!(unknown["error"]["message"], "unknown block");
}

/// `NUMBER`, `TIMESTAMP`, slot 0 and the caller's balance, as words.
const TELL: &str = "0x435f52426020525f54604052333160605260805ff3";

#[tokio::test]
async fn what_stands_in_for_state_or_block_is_seen_or_refused() {
    let server = start().await;
    let tell = Address::repeat_byte(0x99);
    let slot = B256::ZERO;
    let request = json!({ "to": tell, "from": Address::repeat_byte(0x98) });
    let ask = async |state: Value, block: Value| {
        call(&server, "eth_call", json!([request, "latest", state, block])).await
    };
    let stored = json!({ slot.to_string(): B256::with_last_byte(7) });
    let balance = json!({ "balance": "0x8" });
    for kind in ["state", "stateDiff"] {
        let state = json!({ tell.to_string(): { "code": TELL, kind: stored }, request["from"].as_str().unwrap(): balance });
        let answer = ask(state, json!({ "number": "0x5", "time": "0x6" })).await;
        let words = [5, 6, 7, 8].map(B256::with_last_byte);
        assert_eq!(answer["result"], Bytes::from(words.concat()).to_string(), "{answer}");
    }
    let code = call(&server, "eth_getCode", json!([tell])).await;
    assert_eq!(code["result"], "0x", "nothing stays of what stood in");
    let both = json!({ tell.to_string(): { "state": stored, "stateDiff": stored } });
    assert_eq!(ask(both, Value::Null).await["error"]["code"], -32000);
    assert_eq!(ask(Value::Null, json!({ "baseFeePerGas": "0x1" })).await["error"]["code"], -32602);
    let more = json!([request, "latest", null, null, {}]);
    assert_eq!(call(&server, "eth_call", more).await["error"]["code"], -32602);
    let blobs = json!([{ "to": tell, "blobVersionedHashes": [slot] }]);
    assert_eq!(call(&server, "eth_call", blobs).await["error"]["code"], -32602);
}

#[tokio::test]
async fn requests_that_contradict_themselves_are_refused() {
    let server = start().await;
    let from = dev_accounts()[0].address();
    for (field, value, words) in [
        ("maxFeePerGas", json!("0x1"), "both gasPrice and"),
        ("chainId", json!("0x1"), "chainId does not match"),
        ("data", json!("0x02"), "not equal"),
        ("to", Value::Null, "without any data"),
        ("type", json!("0x3"), "not supported"),
    ] {
        let mut request = json!({ "from": from, "to": from, "gasPrice": "0x77359400" });
        if field == "data" {
            request["input"] = json!("0x01");
        }
        request[field] = value;
        let answer = call(&server, "eth_sendTransaction", json!([request])).await;
        let said = answer["error"]["message"].as_str().unwrap_or_default();
        assert!(said.contains(words), "{field}: {answer}");
    }
    assert_eq!(call(&server, "eth_blockNumber", json!([])).await["result"], "0x0");
}

#[tokio::test]
async fn filters_tell_what_is_new_and_have_an_end() {
    let server = start().await;
    let provider = provider(&server);
    let logger = deploy(&provider, LOGGER).await;
    let made = call(&server, "eth_newFilter", json!([{ "address": logger }])).await;
    let filter = json!([made["result"]]);
    let log = TransactionRequest::default().with_to(logger).with_input([3; 32]);
    provider.send_transaction(log).await.unwrap().get_receipt().await.unwrap();
    let count = |answer: &Value| answer["result"].as_array().map(Vec::len);
    assert_eq!(count(&call(&server, "eth_getFilterChanges", filter.clone()).await), Some(1));
    assert_eq!(count(&call(&server, "eth_getFilterChanges", filter.clone()).await), Some(0));
    assert_eq!(count(&call(&server, "eth_getFilterLogs", filter.clone()).await), Some(1));
    // What is taken back and comes again is told again.
    call(&server, "anvil_rollback", json!([])).await;
    let from = dev_accounts()[0].address();
    let log = json!({ "from": from, "to": logger, "data": B256::repeat_byte(4) });
    let sent = call(&server, "eth_sendTransaction", json!([log])).await;
    assert!(sent["result"].is_string(), "{sent}");
    assert_eq!(count(&call(&server, "eth_getFilterChanges", filter.clone()).await), Some(1));
    for _ in 0..300 {
        call(&server, "eth_newBlockFilter", json!([])).await;
    }
    let gone = call(&server, "eth_getFilterChanges", filter).await;
    assert_eq!(gone["error"]["message"], "filter not found");
}

#[tokio::test]
async fn snapshots_go_back_and_are_used_once() {
    let server = start().await;
    let snapshot = call(&server, "evm_snapshot", json!([])).await["result"].clone();
    call(&server, "anvil_mine", json!(["0x5"])).await;
    let head = async || call(&server, "eth_blockNumber", json!([])).await["result"].clone();
    assert_eq!(head().await, "0x5");
    assert_eq!(call(&server, "evm_revert", json!([snapshot])).await["result"], true);
    assert_eq!(head().await, "0x0");
    assert_eq!(call(&server, "evm_revert", json!([snapshot])).await["result"], false);
}

#[tokio::test]
async fn unlocked_accounts_and_development_methods_work() {
    let server = start().await;
    let accounts = call(&server, "eth_accounts", json!([])).await;
    let (from, to) = (accounts["result"][1].clone(), Address::repeat_byte(0x55));
    let sent =
        call(&server, "eth_sendTransaction", json!([{"from": from, "to": to, "value": "0x9"}]))
            .await;
    let receipt = call(&server, "eth_getTransactionReceipt", json!([sent["result"]])).await;
    assert_eq!(receipt["result"]["status"], "0x1");
    assert_eq!(receipt["result"]["from"], from);
    assert_eq!(call(&server, "eth_getBalance", json!([to])).await["result"], "0x9");
    call(&server, "anvil_setBalance", json!([to, "0x100"])).await;
    assert_eq!(call(&server, "eth_getBalance", json!([to, "latest"])).await["result"], "0x100");
    let stranger = json!([{"from": to, "to": to, "gas": "0x5208"}]);
    let refused = call(&server, "eth_sendTransaction", stranger).await;
    assert!(refused["error"]["message"].as_str().unwrap().starts_with("unknown account"));

    let time = |block: &Value| {
        let text = block["result"]["timestamp"].as_str().unwrap().to_owned();
        u64::from_str_radix(&text[2..], 16).unwrap()
    };
    let before = time(&call(&server, "eth_getBlockByNumber", json!(["latest", false])).await);
    call(&server, "evm_increaseTime", json!([1_000])).await;
    call(&server, "evm_mine", json!([])).await;
    let after = time(&call(&server, "eth_getBlockByNumber", json!(["latest", false])).await);
    assert!(after >= before + 1_000);
    call(&server, "evm_setNextBlockTimestamp", json!([after + 5_000])).await;
    call(&server, "anvil_mine", json!(["0x3", "0x10"])).await;
    let last = call(&server, "eth_getBlockByNumber", json!(["latest", true])).await;
    assert_eq!(time(&last), after + 5_000 + 0x20);
    assert_eq!(call(&server, "eth_syncing", json!([])).await["result"], false);
    assert_eq!(call(&server, "net_version", json!([])).await["result"], "31337");
}

#[tokio::test]
async fn hostile_input_is_answered_and_leaves_the_server_well() {
    let server = start().await;
    let code = |answer: &(u16, Value)| answer.1["error"]["code"].as_i64();
    assert_eq!(code(&post(&server, "\u{0}garbage").await), Some(-32700));
    assert_eq!(code(&post(&server, "[]").await), Some(-32600));
    assert_eq!(code(&post(&server, "{}").await), Some(-32600));
    assert_eq!(post(&server, vec![b'['; 5 * 1024 * 1024]).await.0, 413);
    let raw = call(&server, "eth_sendRawTransaction", json!(["0x02c0"])).await;
    assert_eq!(raw["error"]["code"], -32000);
    let raw = call(&server, "eth_sendRawTransaction", json!(["nonsense"])).await;
    assert_eq!(raw["error"]["code"], -32602);
    let unknown = call(&server, "eth_shutdown", json!([])).await;
    assert_eq!(unknown["error"]["code"], -32601);
    let range = json!([{"fromBlock": "0x5", "toBlock": "0x1"}]);
    assert_eq!(call(&server, "eth_getLogs", range).await["error"]["code"], -32602);
    let batch =
        post(&server, r#"[{"id":1,"method":"eth_chainId"},7,{"method":"evm_mine"}]"#).await.1;
    assert_eq!(batch[0]["result"], "0x7a69");
    assert_eq!(batch.as_array().unwrap().len(), 2);
    assert_eq!(call(&server, "eth_blockNumber", json!([])).await["result"], "0x1");
}

#[tokio::test]
async fn web_pages_are_kept_out() {
    let server = start().await;
    let body = r#"{"id":1,"method":"eth_chainId"}"#;
    let plain = Client::new().post(server.url()).header(header::CONTENT_TYPE, "text/plain");
    assert_eq!(plain.body(body).send().await.unwrap().status(), 415);
    let rebound = Client::new()
        .post(server.url())
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::HOST, "evil.example");
    assert_eq!(rebound.body(body).send().await.unwrap().status(), 403);
}

#[tokio::test]
async fn blocks_come_by_timer_when_asked_for() {
    let mining = Mining::Every(Duration::from_millis(20));
    let config = ServerConfig { mining, ..ServerConfig::default() };
    let server = DevChainServer::start(config).await.unwrap();
    let provider = provider(&server);
    let tx = TransactionRequest::default().with_to(Address::ZERO).with_value(U256::from(1));
    let pending = provider.send_transaction(tx).await.unwrap();
    let receipt = pending.get_receipt().await.unwrap();
    assert!(receipt.status());
    while provider.get_block_number().await.unwrap() < receipt.block_number.unwrap() + 2 {
        tokio::task::yield_now().await;
    }
    server.shutdown().await;
}

#[tokio::test]
async fn a_persistent_server_comes_back_where_it_stopped() {
    let dir = tempfile::tempdir().unwrap();
    let config = ServerConfig { dir: Some(dir.path().to_owned()), ..ServerConfig::default() };
    let server = DevChainServer::start(config.clone()).await.unwrap();
    let adder = deploy(&provider(&server), ADDER).await;
    server.shutdown().await;
    let server = DevChainServer::start(config.clone()).await.unwrap();
    assert_eq!(provider(&server).get_code_at(adder).await.unwrap().as_ref(), ADDER);
    assert!(matches!(DevChainServer::start(config).await, Err(StartError::Open(_))));
}

#[tokio::test]
async fn what_cannot_be_served_is_refused_with_a_reason() {
    let server = start().await;
    let busy = ServerConfig { listen: server.address(), ..ServerConfig::default() };
    assert!(matches!(DevChainServer::start(busy).await, Err(StartError::Listen { .. })));
    let open = ServerConfig { listen: ([0, 0, 0, 0], 0).into(), ..ServerConfig::default() };
    assert!(matches!(DevChainServer::start(open).await, Err(StartError::NotLoopback(_))));
    let never = ServerConfig { mining: Mining::Every(Duration::ZERO), ..ServerConfig::default() };
    assert!(matches!(DevChainServer::start(never).await, Err(StartError::ZeroPeriod)));
    let other = DevConfig { chain_id: 99, ..DevConfig::default() };
    let config = ServerConfig { chain: other, ..ServerConfig::default() };
    let other = DevChainServer::start(config).await.unwrap();
    assert_eq!(provider(&other).get_chain_id().await.unwrap(), 99);
}
