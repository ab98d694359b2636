//! The typed client against the embedded chain, against anvil where there is one, and against
//! servers that lie.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use alloy::primitives::Bytes;
use alloy::sol_types::SolCall;
use axum::Router;
use axum::http::StatusCode;
use axum::routing::post;
use contracts_abi::devchain::DEV_KEYS;
use contracts_abi::rpc::{DevChainHandle, DevChainServer, Mining, ServerConfig};
use contracts_abi::{
    ChainClient, ClientError, Deployment, FeeLimits, RevertReason, RpcError, TxError, deploy,
};
use protocol::chain::{ChainEvent, ProposalAct, Settlement, Transaction};
use protocol::eip712::EvmKey;
use protocol::record::{Body, Record, SignedRecord, StorageProofBody};
use protocol::{
    AccountId, Amount, Balance, BlockNumber, DatanetId, Digest, Epoch, EvmAddress, Hash, NodeId,
};
use serde_json::{Value, json};

use crate::contracts::world::abi::datanets::DatanetRegistry;
use crate::devchain_rpc::call;
use crate::genesis::genesis;

fn key(index: usize) -> EvmKey {
    EvmKey::from_bytes(&DEV_KEYS[index].0).unwrap()
}

fn open(n: u128) -> Amount {
    Amount(n * Amount::ONE_OPEN.0)
}

async fn start(mining: Mining) -> DevChainHandle {
    DevChainServer::start(ServerConfig { mining, ..ServerConfig::default() }).await.unwrap()
}

fn register(owner: EvmAddress) -> Transaction {
    Transaction::Register {
        owner,
        operator: owner,
        payout: owner,
        node: NodeId([3; 32]),
        binding: [9; 64],
    }
}

/// The whole story on one chain: deploy, register, stake, epochs, propose, finalise, events, reads.
async fn story(url: &str) -> Deployment {
    let alice = key(1).address();
    let deployment = deploy(url, &key(0), &genesis(&[alice])).await.unwrap();
    let client = ChainClient::connect(url, deployment.clone(), &key(1)).await.unwrap();
    let receipt = client.submit(&register(alice)).await.unwrap();
    let account = AccountId(2);
    assert!(matches!(
        receipt.events[..],
        [ChainEvent::AccountRegistered { account: AccountId(2), .. }]
    ));
    let stake = Transaction::StakeFor { account, amount: open(150) };
    let receipt = client.submit(&stake).await.unwrap();
    assert_eq!(receipt.events, vec![ChainEvent::StakeChanged { account, stake: open(150) }]);
    assert_eq!(client.stake(account).await.unwrap(), open(150));
    assert_eq!(client.balance(alice).await.unwrap(), open(850));

    let included = several_in_flight(client, &deployment).await;
    let client = ChainClient::connect(url, deployment.clone(), &key(1)).await.unwrap();
    settle(&client, account).await;
    let mut blocks = Vec::new();
    let mut from = deployment.genesis_block;
    let head = client.head().await.unwrap();
    while from <= head {
        let part = client.poll_blocks(from, head).await.unwrap();
        from = part.last().unwrap().0.number.next();
        blocks.extend(part);
    }
    let events: Vec<_> = blocks.iter().flat_map(|(_, events)| events).collect();
    let roots = events.iter().filter(|event| matches!(event, ChainEvent::Included { .. }));
    assert_eq!(roots.count(), included);
    assert!(matches!(events.first(), Some(ChainEvent::AccountRegistered { account, .. })
        if *account == deployment.treasury));
    assert!(matches!(events.last(), Some(ChainEvent::Finalised { .. })));
    assert!(blocks.windows(2).all(|pair| pair[0].0.timestamp <= pair[1].0.timestamp));
    let vault = client.vault().await.unwrap();
    assert_eq!((vault.funded, vault.paid), (open(400_000_000), Amount::ZERO));
    assert_eq!(client.claimed(account).await.unwrap(), Balance::ZERO);
    deployment
}

/// A record of an account, of which `number` makes another.
fn record(at: &Deployment, account: AccountId, number: u8) -> SignedRecord {
    let body = StorageProofBody { commit: Digest([number; 32]), openings: Hash::ZERO, length: 1 };
    let record = Record {
        epoch: Epoch(0),
        account,
        subject: Digest([number; 32]),
        body: Body::StorageProof(body),
    };
    record.sign(&at.domain(), &key(1)).unwrap()
}

/// One key with many transactions at once; the number of them.
async fn several_in_flight(client: ChainClient, at: &Deployment) -> usize {
    while client.head().await.unwrap() < at.schedule.genesis_block {
        client.transfer(EvmAddress([8; 20]), Amount(1)).await.unwrap();
    }
    let client = Arc::new(client);
    let mut included = 0;
    let tasks: Vec<_> = (0..6u8)
        .map(|n| {
            let client = Arc::clone(&client);
            tokio::spawn(async move {
                let records = vec![record(client.deployment(), AccountId(2), n)];
                client.submit(&Transaction::Include { epoch: Epoch(0), records }).await
            })
        })
        .collect();
    for task in tasks {
        match task.await.unwrap() {
            Ok(_) => included += 1,
            // Where blocks come by timer, a slow machine may see the epoch end meanwhile.
            Err(TxError::Revert { reason }) => assert_eq!(reason.name(), Some("WrongEpoch")),
            Err(error) => panic!("{error}"),
        }
    }
    assert!(included > 0);
    included
}

/// The fold over the records that came in, as the newest event says it.
async fn records_head(client: &ChainClient) -> Digest {
    let (mut from, head) = (client.deployment().genesis_block, client.head().await.unwrap());
    let mut newest = Digest::ZERO;
    while from <= head {
        for (header, events) in client.poll_blocks(from, head).await.unwrap() {
            from = header.number.next();
            for event in events {
                if let ChainEvent::Included { head, .. } = event {
                    newest = head;
                }
            }
        }
    }
    newest
}

async fn settle(client: &ChainClient, account: AccountId) {
    let at = client.deployment();
    while client.head().await.unwrap() < at.schedule.cutoff(Epoch(0)) {
        client.transfer(EvmAddress([8; 20]), Amount(1)).await.unwrap();
    }
    let settlement = Settlement {
        epoch: Epoch(0),
        parent: Digest::ZERO,
        records: records_head(client).await,
        payout_root: Digest([2; 32]),
        total: Amount(0),
        balances: Hash([3; 32]),
        balances_length: 5,
        uses: Settlement::hash_uses(&[]),
        replicas_proven: 1,
        storage_faults: 2,
        shards_verified: 3,
        shards_rejected: 4,
    };
    let propose = Transaction::Propose { proposer: account, settlement };
    client.submit(&propose).await.unwrap();
    let again = client.submit(&propose).await.unwrap_err();
    let TxError::Revert { reason: RevertReason::Custom { contract, name, .. } } = again else {
        panic!("{again}");
    };
    assert_eq!((contract, name.as_str()), ("Settlements", "AlreadyProposed"));
    let state = client.proposal(settlement.id()).await.unwrap().unwrap();
    assert_eq!((state.proposer, state.objector), (account, None));
    while client.head().await.unwrap() <= state.open_since.after(at.schedule.challenge_blocks) {
        client.transfer(EvmAddress([8; 20]), Amount(1)).await.unwrap();
    }
    let act = ProposalAct::Finalise { uses: vec![] };
    client.submit(&Transaction::AboutProposal { settlement, act }).await.unwrap();
    assert_eq!(client.final_of(Epoch(0)).await.unwrap(), Some(settlement.id()));
    assert_eq!(client.proposal(settlement.id()).await.unwrap(), None);
}

#[tokio::test]
async fn the_story_on_the_embedded_chain() {
    let server = start(Mining::OnDemand).await;
    let deployment = story(&server.url()).await;
    let text = serde_json::to_string(&deployment).unwrap();
    assert_eq!(serde_json::from_str::<Deployment>(&text).unwrap(), deployment);
}

#[tokio::test]
async fn the_story_with_blocks_by_timer() {
    story(&start(Mining::Every(Duration::from_millis(30))).await.url()).await;
}

/// A running anvil, ended with the test.
struct Anvil(Child);

impl Drop for Anvil {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts the anvil that `OPENLEDGER_ANVIL` or `ANVIL` names or that is on the path; its URL.
fn anvil() -> Option<(Anvil, String)> {
    let named = std::env::var_os("OPENLEDGER_ANVIL").or_else(|| std::env::var_os("ANVIL"));
    let program = named.unwrap_or_else(|| "anvil".into());
    let mut child = Command::new(program)
        .args(["--port", "0", "--host", "127.0.0.1", "--hardfork", "osaka"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .ok()?;
    let mut lines = BufReader::new(child.stdout.take()?).lines();
    let address = lines.find_map(|line| Some(line.ok()?.split_once("Listening on ")?.1.to_owned()));
    std::thread::spawn(move || lines.for_each(drop));
    Some((Anvil(child), format!("http://{}", address?)))
}

#[tokio::test]
async fn the_story_on_anvil() {
    let Some((_anvil, url)) = anvil() else {
        println!("not run: no anvil; name one in OPENLEDGER_ANVIL");
        return;
    };
    story(&url).await;
}

#[tokio::test]
async fn another_chain_a_reset_chain_and_a_dead_rpc_have_their_errors() {
    let server = start(Mining::OnDemand).await;
    let at = deploy(&server.url(), &key(0), &genesis(&[])).await.unwrap();
    let other = Deployment { chain_id: 5, ..at.clone() };
    let connect = |url: String, at: Deployment| async move {
        ChainClient::connect(&url, at, &key(0)).await.map(drop).unwrap_err()
    };
    assert!(matches!(
        connect(server.url(), other).await,
        ClientError::WrongChain { found: 31_337, wanted: 5 }
    ));
    let reset = start(Mining::OnDemand).await;
    assert!(matches!(connect(reset.url(), at.clone()).await, ClientError::NoContract(_)));
    let url = reset.url();
    reset.shutdown().await;
    let dead = connect(url, at.clone()).await;
    assert!(matches!(&dead, ClientError::Rpc(error) if error.is_transient()), "{dead}");
    let wrong = connect("ftp://nowhere".to_owned(), at).await;
    assert!(matches!(wrong, ClientError::Rpc(RpcError::Url(_))));
}

#[tokio::test]
async fn whether_a_datanet_takes_what_comes_is_known_before_a_deposit_is_locked() {
    let server = start(Mining::OnDemand).await;
    let at = deploy(&server.url(), &key(0), &genesis(&[])).await.unwrap();
    let (owner, to) = (key(1).address(), at.datanets);
    let client = ChainClient::connect(&server.url(), at, &key(1)).await.unwrap();
    client.submit(&register(owner)).await.unwrap();
    for policy in 0..3 {
        let (name, domain) = ("verse".to_owned(), String::new());
        let create =
            DatanetRegistry::createDatanetCall { name, domain, licence: 0, policy, owner: 2 };
        let data = Bytes::from(create.abi_encode());
        let request = json!([{ "from": owner, "to": to, "data": data }]);
        let sent = call(&server, "eth_sendTransaction", request).await;
        assert!(sent["error"].is_null(), "{sent}");
        let datanet = DatanetId(u64::from(policy) + 1);
        assert_eq!(client.is_reviewed(datanet).await.unwrap(), policy == 1, "{policy}");
    }
    assert!(!client.is_reviewed(DatanetId(9)).await.unwrap());
}

#[tokio::test]
async fn a_sender_without_gas_is_told_so() {
    let server = start(Mining::OnDemand).await;
    let at = deploy(&server.url(), &key(0), &genesis(&[])).await.unwrap();
    let poor = EvmKey::from_bytes(&[7; 32]).unwrap();
    let client = ChainClient::connect(&server.url(), at.clone(), &poor).await.unwrap();
    let refused = client.submit(&register(poor.address())).await.unwrap_err();
    assert!(matches!(refused, TxError::Funds { address, .. } if address == poor.address()));
    let rich = ChainClient::connect(&server.url(), at, &key(2)).await.unwrap();
    rich.send_gas(poor.address(), 1_000_000_000_000_000_000).await.unwrap();
    client.submit(&register(poor.address())).await.unwrap();
}

/// From a method to its answer.
type Lie = fn(&str) -> Value;

/// A server that answers every call with what `lie` makes of its method.
async fn liar(lie: Lie) -> String {
    let router = Router::new().route(
        "/",
        post(move |body: String| async move {
            let request: Value = serde_json::from_str(&body).unwrap();
            let result = lie(request["method"].as_str().unwrap());
            json!({ "jsonrpc": "2.0", "id": request["id"], "result": result }).to_string()
        }),
    );
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    format!("http://{address}")
}

#[tokio::test]
async fn lying_servers_are_found_out() {
    let server = start(Mining::OnDemand).await;
    let at = deploy(&server.url(), &key(0), &genesis(&[])).await.unwrap();
    let polls: [(Lie, &str); 4] = [
        (|_| json!("x".repeat(40 << 20)), "more than"),
        (|method| honest_start(method, json!(null)), "does not exist"),
        (|method| honest_start(method, json!({ "number": "0x1" })), "nonsense"),
        (
            |method| {
                let hash = Digest([1; 32]);
                honest_start(
                    method,
                    json!({ "number": "0x63", "hash": hash, "parentHash": hash, "timestamp": "0x1" }),
                )
            },
            "another block",
        ),
    ];
    for (lie, expected) in polls {
        let url = liar(lie).await;
        let error = match ChainClient::connect(&url, at.clone(), &key(0)).await {
            Ok(client) => client.poll_blocks(BlockNumber(1), BlockNumber(2)).await.unwrap_err(),
            Err(error) => error,
        };
        assert!(error.to_string().contains(expected), "{error} lacks {expected:?}");
    }
}

/// Answers that let a client connect; `otherwise` for the rest.
fn honest_start(method: &str, otherwise: Value) -> Value {
    match method {
        "eth_chainId" => json!("0x7a69"),
        "eth_getCode" => json!("0x00"),
        _ => otherwise,
    }
}

/// From a call and the honest answer to what is answered instead, as text; nothing where it gets lost.
type Change = fn(&Value, Value) -> String;

/// How an RPC is greedy, and what a sender says to that.
type Greedy = (Change, fn(&TxError) -> bool);

/// A server between a client and an honest one, which may change every answer.
async fn between(honest: String, change: Change) -> String {
    contracts_abi::install_crypto_provider();
    let client = alloy::transports::http::reqwest::Client::new();
    let router = Router::new().route(
        "/",
        post(move |body: String| async move {
            let call: Value = serde_json::from_str(&body).unwrap();
            let request = client.post(&honest).header("Content-Type", "application/json");
            let answer = request.body(body).send().await.unwrap().text().await.unwrap();
            let said = change(&call, serde_json::from_str(&answer).unwrap());
            let status = if said.is_empty() { StatusCode::BAD_GATEWAY } else { StatusCode::OK };
            (status, said)
        }),
    );
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    format!("http://{address}")
}

/// Whether a call asks for logs that could be asked for in smaller parts.
fn is_divisible(call: &Value) -> bool {
    let filter = &call["params"][0];
    let contracts = filter["address"].as_array().map_or(1, Vec::len);
    call["method"] == "eth_getLogs" && (filter["fromBlock"] != filter["toBlock"] || contracts > 1)
}

fn says_much(answer: &Value) -> bool {
    answer["result"].as_array().is_some_and(|logs| !logs.is_empty())
}

#[tokio::test]
async fn logs_that_no_answer_can_carry_are_asked_for_in_parts() {
    let server = start(Mining::OnDemand).await;
    let deployment = deploy(&server.url(), &key(0), &genesis(&[])).await.unwrap();
    let honest = ChainClient::connect(&server.url(), deployment.clone(), &key(1)).await.unwrap();
    for owner in 1..9 {
        honest.submit(&register(EvmAddress([owner; 20]))).await.unwrap();
    }
    let (first, head) = (deployment.genesis_block, honest.head().await.unwrap());
    let expected = honest.poll_blocks(first, head).await.unwrap();
    assert_eq!(expected.last().unwrap().0.number, head, "a short chain is one page");
    // Every answer with a log is beyond the limit of one side or of the other.
    let stuffed: [Change; 2] = [
        |call, answer| {
            let padding = if is_divisible(call) && says_much(&answer) { 33 << 20 } else { 0 };
            answer.to_string() + &" ".repeat(padding)
        },
        |call, answer| {
            let error = json!({ "code": -32_005, "message": "query returned too many results" });
            let refused = json!({ "jsonrpc": "2.0", "id": call["id"], "error": error });
            if is_divisible(call) && says_much(&answer) { refused } else { answer }.to_string()
        },
    ];
    for change in stuffed {
        let url = between(server.url(), change).await;
        let client = ChainClient::connect(&url, deployment.clone(), &key(1)).await.unwrap();
        let (mut found, mut from, mut longest) = (Vec::new(), first, 0);
        while from <= head {
            let page = client.poll_blocks(from, head).await.unwrap();
            from = page.last().expect("each page goes on").0.number.next();
            longest = longest.max(page.len());
            found.extend(page);
        }
        assert_eq!(found, expected);
        assert!(longest > 1, "pages grow again where little is said");
    }
}

#[tokio::test]
async fn what_was_sent_is_not_paid_twice_where_an_answer_is_lost() {
    static LOST: AtomicU32 = AtomicU32::new(0);
    // The first two answers to what sends, and to what asks for it, never arrive.
    let lossy: [Change; 2] = [
        |call, answer| match call["method"].as_str() {
            Some("eth_sendRawTransaction") if LOST.fetch_add(1, Ordering::Relaxed) < 2 => {
                String::new()
            }
            _ => answer.to_string(),
        },
        |call, answer| match call["method"].as_str() {
            Some("eth_getTransactionReceipt") if LOST.fetch_add(1, Ordering::Relaxed) < 2 => {
                String::new()
            }
            _ => answer.to_string(),
        },
    ];
    // Each transaction is in a block at once, or waits for one.
    for mining in [Mining::OnDemand, Mining::Every(Duration::from_millis(1_500))] {
        let server = start(mining).await;
        let owner = key(1).address();
        let deployment = deploy(&server.url(), &key(0), &genesis(&[owner])).await.unwrap();
        let honest =
            ChainClient::connect(&server.url(), deployment.clone(), &key(1)).await.unwrap();
        honest.submit(&register(owner)).await.unwrap();
        let account = AccountId(2);
        let stake = Transaction::StakeFor { account, amount: open(10) };
        honest.submit(&stake).await.unwrap();
        drop(honest);
        for (change, staked) in lossy.into_iter().zip([20, 30]) {
            LOST.store(0, Ordering::Relaxed);
            let url = between(server.url(), change).await;
            let client = ChainClient::connect(&url, deployment.clone(), &key(1)).await.unwrap();
            let receipt = client.submit(&stake).await.unwrap();
            assert!(LOST.load(Ordering::Relaxed) > 2);
            assert_eq!(receipt.events, [ChainEvent::StakeChanged { account, stake: open(staked) }]);
            assert_eq!(client.stake(account).await.unwrap(), open(staked));
        }
    }
}

#[tokio::test]
async fn an_rpc_cannot_make_a_sender_pay_more_than_its_limits() {
    let server = start(Mining::OnDemand).await;
    let deployment = deploy(&server.url(), &key(0), &genesis(&[])).await.unwrap();
    let greedy: [Greedy; 2] = [
        (
            |call, mut answer| {
                if call["method"] == "eth_getBlockByNumber" {
                    answer["result"]["baseFeePerGas"] = json!("0xe8d4a51000");
                }
                answer.to_string()
            },
            |error| matches!(error, TxError::TooExpensive { asked, .. } if *asked > 10_u128.pow(12)),
        ),
        (
            |call, mut answer| {
                if call["method"] == "eth_estimateGas" {
                    answer["result"] = json!("0x10000000");
                }
                answer.to_string()
            },
            |error| matches!(error, TxError::TooMuchGas { asked: 0x1000_0000, .. }),
        ),
    ];
    for (change, is_right) in greedy {
        let url = between(server.url(), change).await;
        let client = ChainClient::connect(&url, deployment.clone(), &key(1)).await.unwrap();
        let error = client.submit(&register(key(1).address())).await.unwrap_err();
        assert!(is_right(&error), "{error}");
        assert!(error.to_string().contains("raise max_"), "{error}");
    }
    let url = between(server.url(), |call, mut answer| {
        if call["method"] == "eth_maxPriorityFeePerGas" {
            answer["result"] = json!("0xde0b6b3a7640000");
        }
        answer.to_string()
    })
    .await;
    let limits = FeeLimits { max_tip: 3, ..FeeLimits::default() };
    let client = ChainClient::connect(&url, deployment.clone(), &key(1)).await.unwrap();
    client.with_limits(limits).submit(&register(key(1).address())).await.unwrap();
    let tips = server_tips(&server.url()).await;
    assert_eq!(tips.last(), Some(&json!("0x3")), "{tips:?}");
}

/// The tips of the transactions in the newest block.
async fn server_tips(url: &str) -> Vec<Value> {
    let body = json!({
        "jsonrpc": "2.0", "id": 1, "method": "eth_getBlockByNumber", "params": ["latest", true],
    });
    let client = alloy::transports::http::reqwest::Client::new();
    let request = client.post(url).header("Content-Type", "application/json");
    let answer = request.body(body.to_string()).send().await.unwrap().text().await.unwrap();
    let answer: Value = serde_json::from_str(&answer).unwrap();
    let transactions = answer["result"]["transactions"].as_array().unwrap().clone();
    transactions.iter().map(|tx| tx["maxPriorityFeePerGas"].clone()).collect()
}
