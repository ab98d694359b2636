//! A node settles an epoch although somebody made a false proposal for it, and no arbiter is there.

use std::time::Duration;

use contracts_abi::ChainClient;
use contracts_abi::devchain::DEV_KEYS;
use daemon::network::NetworkFile;
use protocol::chain::{ChainEvent, Settlement, Transaction};
use protocol::eip712::EvmKey;
use protocol::{AccountId, Amount, Digest, Hash, NodeId};

use super::cli_support::{Net, start};

/// An account with a stake and without a node.
async fn enrol(client: &ChainClient) -> AccountId {
    let owner = client.address();
    let (node, binding) = (NodeId([3; 32]), [9; 64]);
    let register = Transaction::Register { owner, operator: owner, payout: owner, node, binding };
    let events = client.submit(&register).await.unwrap().events;
    let [ChainEvent::AccountRegistered { account, .. }] = events[..] else { panic!("{events:?}") };
    let amount = Amount(1_000 * Amount::ONE_OPEN.0);
    client.submit(&Transaction::StakeFor { account, amount }).await.unwrap();
    account
}

/// As soon as an epoch can be settled, a settlement of it that is false.
fn made_up(net: &Net) -> Option<Settlement> {
    let chain = net.node.chain();
    let epoch = chain.next_to_settle();
    let last = chain.last_final();
    let is_open = chain.head()?.number.next() >= chain.schedule.cutoff(epoch);
    is_open.then(|| Settlement {
        epoch,
        parent: last.map_or(Digest::ZERO, |last| last.id),
        records: chain.records_head(epoch),
        payout_root: Digest([2; 32]),
        total: last.map_or(Amount(0), |last| last.settlement.total),
        balances: Hash([3; 32]),
        balances_length: 100,
        uses: Settlement::hash_uses(&[]),
        replicas_proven: 0,
        storage_faults: 0,
        shards_verified: 0,
        shards_rejected: 0,
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_false_proposal_delays_nothing_though_nobody_rules() {
    let dir = tempfile::tempdir().unwrap();
    let net = start(dir.path(), Duration::from_millis(200)).await;
    let deployment = NetworkFile::of_dir(dir.path()).unwrap().deployment;
    let key = EvmKey::from_bytes(&DEV_KEYS[1].0).unwrap();
    let client = ChainClient::connect(&net.chain.url(), deployment, &key).await.unwrap();
    let liar = enrol(&client).await;

    // A busy machine may come after the node: then the next epoch.
    let epoch = loop {
        let settlement = net.until(made_up).await;
        if client.submit(&Transaction::Propose { proposer: liar, settlement }).await.is_ok() {
            break settlement.epoch;
        }
    };

    let proposer = net
        .until(|net| {
            let chain = net.node.chain();
            chain.settlement(epoch).filter(|state| state.is_final).map(|state| state.proposer)
        })
        .await;
    assert_eq!(Some(proposer), net.node.account());
    net.stop().await;
}
