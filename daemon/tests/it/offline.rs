//! A node that cannot keep its promises stops by itself and says why.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use contracts_abi::rpc::{Mining, ServerConfig};
use daemon::api::types::{AddReport, Contribute, CreateDatanet, Created, Document};
use daemon::api::{ApiError, Client};
use daemon::node::Offline;
use protocol::DatanetId;
use storage::DiskError;
use tokio::time::timeout;

use super::cli_support::{start, start_chain, start_with};

const BLOCK: Duration = Duration::from_millis(100);
const PATIENCE: Duration = Duration::from_secs(60);

async fn publish(client: &Client) -> Result<AddReport, ApiError> {
    let (name, domain) = ("tales".to_owned(), "text".to_owned());
    let create = CreateDatanet { name, domain, licence: 0 };
    let Created::<DatanetId> { id } = client.post("/datanets", &create).await?;
    let text = "Once upon a time there was a ledger.\n".repeat(3_000);
    let documents = vec![Document { name: "tale".to_owned(), text }];
    let contribute = Contribute { owner: None, documents };
    client.post(&format!("/datanets/{id}/contributions"), &contribute).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_vanishes_takes_the_node_offline() {
    let dir = tempfile::tempdir().unwrap();
    let net = start(dir.path(), BLOCK).await;
    std::fs::rename(dir.path().join("store"), dir.path().join("unplugged")).unwrap();
    let refused = publish(&net.client).await.unwrap_err();
    assert!(refused.to_string().contains("is missing: mount the disk"), "{refused}");
    let reason = timeout(PATIENCE, net.node.failed()).await.expect("it looks at its disk");
    assert!(matches!(*reason, Offline::Disk(DiskError::Missing { .. })), "{reason}");
    net.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_quota_refuses_and_says_what_to_raise() {
    let dir = tempfile::tempdir().unwrap();
    let net = start_with(dir.path(), BLOCK, Some(50_000)).await;
    let refused = publish(&net.client).await.unwrap_err();
    assert!(refused.to_string().contains("of 50000 are used; raise --max-disk"), "{refused}");
    net.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_chain_that_is_replaced_takes_the_node_offline() {
    let dir = tempfile::tempdir().unwrap();
    let net = start(dir.path(), BLOCK).await;
    let read = net.node.chain().head().unwrap().number;
    let address: SocketAddr = net.chain.url()["http://".len()..].parse().unwrap();
    assert_eq!(address.ip(), IpAddr::V4(Ipv4Addr::LOCALHOST));
    net.chain.shutdown().await;
    // The same contracts at the same addresses under the same id, in other blocks.
    let mut config = ServerConfig { listen: address, ..ServerConfig::default() };
    config.mining = Mining::Every(Duration::from_millis(20));
    config.chain.salt = [7; 32].into();
    let (chain, _) = start_chain(config).await;
    let reason = timeout(PATIENCE, net.node.failed()).await.expect("it looks at the chain");
    assert!(matches!(*reason, Offline::Chain { block } if block >= read), "{reason}");
    net.api.shutdown().await;
    net.node.shutdown().await;
    chain.shutdown().await;
}
