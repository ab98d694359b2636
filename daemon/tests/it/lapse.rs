//! A node settles an epoch although somebody proposed for it and gives nobody the log.

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
    let amount = Amount(10 * Amount::ONE_OPEN.0);
    client.submit(&Transaction::StakeFor { account, amount }).await.unwrap();
    account
}

/// In the first block after an epoch, a settlement of it whose log nobody has.
fn made_up(net: &Net) -> Option<Settlement> {
    let chain = net.node.chain();
    let epoch = chain.next_to_settle();
    let last = chain.last_final();
    let is_first = chain.head()?.number == chain.schedule.start(epoch.next());
    is_first.then(|| Settlement {
        epoch,
        parent: last.map_or(Digest::ZERO, |last| last.id),
        records_root: Digest([1; 32]),
        payout_root: Digest([2; 32]),
        total: last.map_or(Amount(0), |last| last.settlement.total),
        log: Hash([3; 32]),
        log_length: 100,
        uses: Settlement::hash_uses(&[]),
        replicas_proven: 0,
        storage_faults: 0,
        shards_verified: 0,
        shards_rejected: 0,
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proposal_without_a_log_is_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let net = start(dir.path(), Duration::from_millis(200)).await;
    let deployment = NetworkFile::of_dir(dir.path()).unwrap().deployment;
    let key = EvmKey::from_bytes(&DEV_KEYS[1].0).unwrap();
    let client = ChainClient::connect(&net.chain.url(), deployment, &key).await.unwrap();
    let liar = enrol(&client).await;

    // A busy machine may miss the few blocks that a node waits after an epoch: then the next one.
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
