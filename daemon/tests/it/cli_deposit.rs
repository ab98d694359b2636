//! `deposit`: OPEN that is put down for a server, and taken back in its time.

use contracts_abi::ChainClient;
use contracts_abi::devchain::DEV_KEYS;
use contracts_abi::rpc::{Mining, ServerConfig};
use daemon::network::NETWORK_FILE;
use protocol::chain::Transaction;
use protocol::eip712::EvmKey;
use protocol::{Amount, EvmAddress, NodeId};
use serde_json::Value;

use super::cli::{json, openledger, stderr};
use super::cli_support::start_chain;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deposit_is_made_asked_for_and_taken_in_its_window() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().join("consumer");
    let config = ServerConfig { mining: Mining::OnDemand, ..ServerConfig::default() };
    let (chain, network) = start_chain(config).await;
    let made = json(&openledger(&dir, &["init", "--light", "--json"]));
    let payer: EvmAddress = serde_json::from_value(made["operator"].clone()).unwrap();
    network.write(&dir.join(NETWORK_FILE)).unwrap();
    let key = EvmKey::from_bytes(&DEV_KEYS[1].0).unwrap();
    let rich = ChainClient::connect(&chain.url(), network.deployment, &key).await.unwrap();
    rich.send_gas(payer, 10u128.pow(18)).await.unwrap();
    rich.transfer(payer, Amount(100)).await.unwrap();
    // The account that serves; 1 is the treasury's.
    let owner = rich.address();
    let (node, binding) = (NodeId([3; 32]), [9; 64]);
    let register = Transaction::Register { owner, operator: owner, payout: owner, node, binding };
    rich.submit(&register).await.unwrap();

    let deposit = |args: &[&str]| openledger(&dir, &[&["deposit"], args, &["--json"]].concat());
    let done = |args: &[&str]| {
        let output = deposit(args);
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        json(&output)
    };
    let refusal = |args: &[&str]| json(&deposit(args))["error"]["message"].to_string();

    assert!(refusal(&["request", "2"]).contains("nothing is left"));
    assert!(refusal(&["add", "2", "0"]).contains("changes nothing"));
    assert_eq!(done(&["add", "2", "60"])["withdrawal"], Value::Null);
    assert!(refusal(&["withdraw", "2"]).contains("deposit request"));
    let asked = done(&["request", "2"]);
    let (from, until) = (&asked["withdrawal"]["from"], &asked["withdrawal"]["until"]);
    let (from, until) = (from.as_u64().unwrap(), until.as_u64().unwrap());
    assert!(refusal(&["withdraw", "2"]).contains(&format!("from block {from} on")));
    assert_eq!(done(&["add", "2", "1"])["withdrawal"], Value::Null, "more of it ends the request");
    let pass = async |to: u64| {
        while rich.head().await.unwrap().0 < to {
            rich.transfer(EvmAddress([8; 20]), Amount(1)).await.unwrap();
        }
    };
    done(&["request", "2"]);
    pass(2 * until - from + 10).await;
    assert!(refusal(&["withdraw", "2"]).contains("expired"));
    let asked = done(&["request", "2"]);
    pass(asked["withdrawal"]["from"].as_u64().unwrap()).await;
    let taken = done(&["withdraw", "2"]);
    assert_eq!((&taken["balance"], &taken["withdrawal"]), (&"0".into(), &Value::Null));
    assert_eq!(rich.balance(payer).await.unwrap(), Amount(100));
    chain.shutdown().await;
}
