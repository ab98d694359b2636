//! `wallet`: what lies in escrow and what keys may spend can be seen, and the deposits come back by command.

use std::path::Path;

use contracts_abi::ChainClient;
use contracts_abi::devchain::DEV_KEYS;
use contracts_abi::rpc::{Mining, ServerConfig};
use daemon::network::NETWORK_FILE;
use protocol::chain::Transaction;
use protocol::eip712::EvmKey;
use protocol::{Amount, EvmAddress, NodeId};
use serde_json::{Value, json};

use super::cli::{json as said_by, openledger, stderr};
use super::cli_support::start_chain;

fn done(dir: &Path, args: &[&str]) -> Value {
    let output = openledger(dir, &[args, &["--json"]].concat());
    assert_eq!(output.status.code(), Some(0), "{args:?}: {}", said_by(&output));
    said_by(&output)
}

fn refusal(dir: &Path, args: &[&str]) -> String {
    let output = openledger(dir, &[args, &["--json"]].concat());
    assert_eq!(output.status.code(), Some(1), "{args:?}: {}", stderr(&output));
    said_by(&output)["error"]["message"].to_string()
}

#[test]
fn without_a_network_it_says_what_is_missing() {
    let dir = tempfile::tempdir().unwrap();
    assert!(refusal(dir.path(), &["wallet"]).contains("network.json"));
    let amount = openledger(dir.path(), &["wallet", "withdraw", "0.5"]);
    assert_eq!(amount.status.code(), Some(2), "an account is a number, and no part is taken");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_lies_in_escrow_is_seen_and_taken_back() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().join("consumer");
    let config = ServerConfig { mining: Mining::OnDemand, ..ServerConfig::default() };
    let (chain, network) = start_chain(config).await;
    let made = done(&dir, &["init", "--light"]);
    let payer: EvmAddress = serde_json::from_value(made["operator"].clone()).unwrap();
    network.write(&dir.join(NETWORK_FILE)).unwrap();
    let key = EvmKey::from_bytes(&DEV_KEYS[1].0).unwrap();
    let escrow = network.deployment.escrow;
    let rich = ChainClient::connect(&chain.url(), network.deployment, &key).await.unwrap();
    rich.send_gas(payer, 10u128.pow(18)).await.unwrap();
    rich.transfer(payer, Amount(100)).await.unwrap();
    // Accounts 2 and 3 serve; 1 is the treasury's.
    for id in [3, 4] {
        let (owner, node) = (rich.address(), NodeId([id; 32]));
        let register =
            Transaction::Register { owner, operator: owner, payout: owner, node, binding: [9; 64] };
        rich.submit(&register).await.unwrap();
    }

    let empty = done(&dir, &["wallet"]);
    assert_eq!((&empty["balance"], &empty["deposits"]), (&json!("100"), &json!([])));
    assert!(refusal(&dir, &["wallet", "withdraw"]).contains("nothing of"));
    assert!(refusal(&dir, &["wallet", "finish"]).contains("nothing of"));

    done(&dir, &["deposit", "add", "2", "60"]);
    done(&dir, &["deposit", "add", "3", "30"]);
    done(&dir, &["serve", "key", "add", "anna", "--per-day", "5"]);
    // As a use leaves it that was promised 25, to be redeemed yet, and one without a deposit.
    let promised = json!({ escrow.to_string(): {
        "2": { "nonce": 1, "cumulative": "25" }, "9": { "nonce": 1, "cumulative": "4" },
    } });
    std::fs::write(dir.join("receipts.json"), promised.to_string()).unwrap();
    let shown = done(&dir, &["wallet"]);
    assert_eq!((&shown["in_escrow"], &shown["outstanding"]), (&json!("90"), &json!("25")));
    let of_2 = &shown["deposits"][0];
    assert_eq!((&of_2["payee"], &of_2["available"]), (&json!(2), &json!("35")), "{shown}");
    assert_eq!(shown["deposits"][2]["promised"], "4", "{shown}");
    assert_eq!(shown["keys"][0]["name"], "anna");
    assert_eq!(shown["keys"][0]["left"], (5 * Amount::ONE_OPEN.0).to_string());

    assert!(refusal(&dir, &["wallet", "withdraw", "2", "7"]).contains("for account 7"));
    assert_eq!(done(&dir, &["wallet"])["deposits"][0]["withdrawal"], Value::Null, "none was sent");
    assert!(refusal(&dir, &["wallet", "finish"]).contains("nobody has asked"));
    let asked = done(&dir, &["wallet", "withdraw"]);
    assert_eq!(asked["done"].as_array().unwrap().len(), 2, "{asked}");
    assert!(refusal(&dir, &["wallet", "withdraw"]).contains("asked for"), "once is enough");
    assert!(refusal(&dir, &["wallet", "finish", "2"]).contains("may be taken from block"));
    let from = asked["done"][1]["withdrawal"]["from"].as_u64().unwrap();
    while rich.head().await.unwrap().0 < from {
        rich.transfer(EvmAddress([8; 20]), Amount(1)).await.unwrap();
    }
    assert_eq!(done(&dir, &["wallet"])["deposits"][1]["withdrawal"]["state"], "open");
    done(&dir, &["wallet", "finish", "3"]);
    let rest = done(&dir, &["wallet"]);
    assert_eq!((&rest["balance"], &rest["in_escrow"]), (&json!("40"), &json!("60")));
    done(&dir, &["wallet", "finish"]);
    assert_eq!(rich.balance(payer).await.unwrap(), Amount(100));
    chain.shutdown().await;
}
