//! `rule` as the arbiter of a chain on which somebody objected.

use contracts_abi::ChainClient;
use contracts_abi::devchain::DEV_KEYS;
use contracts_abi::rpc::{Mining, ServerConfig};
use daemon::network::NETWORK_FILE;
use protocol::chain::{ChainView, ProposalAct, Settlement, Transaction};
use protocol::eip712::EvmKey;
use protocol::settle::settle;
use protocol::{AccountId, Amount, Digest, Epoch, EvmAddress, NodeId};

use super::cli::{json, openledger, stderr};
use super::cli_support::{ARBITER, start_chain};

const ACCOUNT: AccountId = AccountId(2);
/// The development account that deployed the contracts, which gives it no say.
const DEPLOYER: usize = 0;

fn dev_key(index: usize) -> EvmKey {
    EvmKey::from_bytes(&DEV_KEYS[index].0).unwrap()
}

async fn pass(client: &ChainClient, blocks: u64) {
    for _ in 0..blocks {
        client.transfer(EvmAddress([8; 20]), Amount(1)).await.unwrap();
    }
}

/// An account that has a stake, and the first epoch over.
async fn prepare(client: &ChainClient) {
    let owner = client.address();
    let register = Transaction::Register {
        owner,
        operator: owner,
        payout: owner,
        node: NodeId([3; 32]),
        binding: [9; 64],
    };
    client.submit(&register).await.unwrap();
    let amount = Amount(500 * Amount::ONE_OPEN.0);
    client.submit(&Transaction::StakeFor { account: ACCOUNT, amount }).await.unwrap();
    let next = client.deployment().schedule.start(Epoch(1));
    pass(client, next.0 - client.head().await.unwrap().0).await;
}

async fn read(client: &ChainClient, mut view: ChainView) -> ChainView {
    let (first, head) = (client.deployment().genesis_block, client.head().await.unwrap());
    let mut next = first;
    while next <= head {
        for (header, events) in client.poll_blocks(next, head).await.unwrap() {
            view.apply(header, &events);
            next = header.number.next();
        }
    }
    view
}

async fn propose_and_object(client: &ChainClient, settlement: Settlement) {
    client.submit(&Transaction::Propose { proposer: ACCOUNT, settlement }).await.unwrap();
    let act = ProposalAct::Object { account: ACCOUNT, reason: Digest([1; 32]) };
    let object = Transaction::AboutProposal { settlement, act };
    client.submit(&object).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_arbiter_rules_by_what_the_chain_says() {
    let dir = tempfile::tempdir().unwrap();
    let config = ServerConfig { mining: Mining::OnDemand, ..ServerConfig::default() };
    let (chain, network) = start_chain(config).await;
    network.write(&dir.path().join(NETWORK_FILE)).unwrap();
    let deployment = network.deployment.clone();
    let client = ChainClient::connect(&chain.url(), deployment, &dev_key(1)).await.unwrap();
    prepare(&client).await;
    pass(&client, network.deployment.schedule.settle_blocks.0).await;
    let view = read(&client, network.view()).await;
    let outcome = settle(&view, Epoch(0), &[]).unwrap();
    let file = |name: &str, bytes: &[u8]| {
        let path = dir.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let arbiter = file("arbiter", hex::encode(DEV_KEYS[ARBITER].0).as_bytes());
    let other = file("other", hex::encode(DEV_KEYS[DEPLOYER].0).as_bytes());
    let broken = file("broken", b"not a key");
    let rule = |key: &str| openledger(dir.path(), &["rule", "0", "--json", "--key", key]);

    let refusal = |output| json(&output)["error"]["message"].to_string();

    let wrong = Settlement { total: Amount(1), ..outcome.settlement };
    propose_and_object(&client, wrong).await;
    assert!(refusal(rule(&broken)).contains("64 hexadecimal digits"));
    assert!(refusal(rule(&other)).contains("did not take the ruling"));
    let upheld = rule(&arbiter);
    assert_eq!(upheld.status.code(), Some(0), "{}", stderr(&upheld));
    assert_eq!(json(&upheld)["rulings"][0]["upheld"], true);
    assert!(refusal(rule(&arbiter)).contains("no settlement yet"), "it fell");

    // A false one beside the right one, and objections to both.
    propose_and_object(&client, outcome.settlement).await;
    propose_and_object(&client, Settlement { total: Amount(2), ..outcome.settlement }).await;
    let rulings = json(&rule(&arbiter))["rulings"].clone();
    let found: Vec<_> = rulings.as_array().unwrap().iter().map(|r| r["upheld"].clone()).collect();
    assert_eq!(found, [false, true], "{rulings}");
    assert!(refusal(rule(&arbiter)).contains("nothing to rule on"));
    chain.shutdown().await;
}
