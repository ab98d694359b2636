//! The data plane between our own nodes.

use std::net::SocketAddr;

use daemon::config::ByteSize;
use daemon::net::{FetchError, ProviderError};
use futures::StreamExt;
use protocol::Hash;
use storage::StoreError;
use tokio::time::timeout;

use crate::net_support::{Node, PATIENCE, config, noise};

const MIB: u64 = 1 << 20;

#[tokio::test]
async fn a_pack_comes_from_the_provider_that_has_it() {
    let without = Node::alone(1).await;
    let with = Node::alone(2).await;
    let mut fetcher = Node::joining(3, &with).await;
    let (id_without, id_with) = (without.net.node(), with.net.node());
    fetcher.wait_up(id_with).await;
    assert_eq!(fetcher.net.dial(&without.multiaddr("udp").await).await.unwrap(), id_without);

    let pack = noise(1 << 20, 1);
    let hash = with.add(&pack).await;
    let stats = fetcher.net.fetch(hash, MIB, vec![id_without, id_with]).await.unwrap();
    assert_eq!((stats.bytes, stats.from), (MIB, Some(id_with)));
    assert!(fetcher.get(hash).await == pack);

    let again = fetcher.net.fetch(hash, MIB, vec![id_without]).await.unwrap();
    assert_eq!((again.bytes, again.from), (0, None), "what is here is not fetched again");
    let served = with.net.status().await.unwrap();
    assert!(served.served[&fetcher.net.node()] >= MIB);
    assert!(served.data.sent >= MIB);
    let fetched = fetcher.net.status().await.unwrap();
    assert_eq!(fetched.fetched_total, MIB);
    assert!(fetched.data.received >= MIB);
}

#[tokio::test]
async fn fetching_says_what_is_wrong() {
    let provider = Node::alone(1).await;
    let mut fetcher = Node::joining(2, &provider).await;
    let id = provider.net.node();
    fetcher.wait_up(id).await;
    let hash = provider.add(&noise(100_000, 2)).await;

    let long = fetcher.net.fetch(hash, 99_999, vec![id]).await;
    assert!(matches!(long, Err(FetchError::TooLarge { len: 100_000, limit: 99_999 })), "{long:?}");
    let full = |needed| Err(StoreError::QuotaExceeded { used: 0, limit: 0, needed });
    let full = fetcher.net.fetch_admitted(hash, 1 << 40, vec![id], &full).await;
    let Err(FetchError::NoRoom(StoreError::QuotaExceeded { needed: 100_000, .. })) = full else {
        panic!("it is asked with the blob's own length, not the limit: {full:?}");
    };
    assert_eq!(fetcher.net.status().await.unwrap().fetched_total, 0, "nothing was downloaded");

    let nobody = daemon::net::node_of_secret(&[99; 32]);
    let Err(FetchError::Exhausted { tried }) =
        fetcher.net.fetch(Hash([7; 32]), MIB, vec![nobody, id]).await
    else {
        panic!("nobody has it");
    };
    assert!(matches!(tried[0], (node, ProviderError::NoAddress) if node == nobody), "{tried:?}");
    assert!(matches!(tried[1], (node, ProviderError::Missing(_)) if node == id), "{tried:?}");
    assert!(fetcher.net.fetch(hash, 100_000, vec![id]).await.is_ok());
}

#[tokio::test]
async fn a_download_goes_on_where_a_killed_provider_left_it() {
    let mut slow = config(1, Vec::new());
    slow.options.max_upload = Some(ByteSize(400_000));
    let slow = Node::with(slow).await;
    let fast = Node::alone(2).await;
    let mut fetcher = Node::joining(3, &slow).await;
    let (id_slow, id_fast) = (slow.net.node(), fast.net.node());
    fetcher.wait_up(id_slow).await;
    fetcher.net.dial(&fast.multiaddr("tcp").await).await.unwrap();

    let pack = noise(1 << 20, 3);
    let hash = slow.add(&pack).await;
    fast.add(&pack).await;
    let net = fetcher.net.clone();
    let fetch = tokio::spawn(async move { net.fetch(hash, MIB, vec![id_slow, id_fast]).await });
    let blob = iroh_blobs::Hash::from_bytes(hash.0);
    let mut progress = fetcher.store.observe(blob).stream().await.unwrap();
    let begun = async { while progress.next().await.unwrap().total_bytes() < 200_000 {} };
    timeout(PATIENCE, begun).await.expect("the download begins");
    slow.net.shutdown().await;

    let stats = timeout(PATIENCE, fetch).await.unwrap().unwrap().unwrap();
    assert_eq!(stats.from, Some(id_fast));
    assert!(fetcher.get(hash).await == pack);
    let served = fast.net.status().await.unwrap().served_total;
    assert!(served < MIB - 100_000, "the second provider sent {served} bytes, not all again");
}

#[tokio::test]
async fn the_upload_limit_holds() {
    let mut slow = config(1, Vec::new());
    slow.options.max_upload = Some(ByteSize(500_000));
    let slow = Node::with(slow).await;
    let mut fetcher = Node::joining(2, &slow).await;
    fetcher.wait_up(slow.net.node()).await;
    let hash = slow.add(&noise(500_000, 4)).await;
    let begun = std::time::Instant::now();
    fetcher.net.fetch(hash, MIB, vec![slow.net.node()]).await.unwrap();
    assert!(begun.elapsed().as_millis() >= 800, "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_stock_client_fetches_by_ticket() {
    use iroh::address_lookup::memory::MemoryLookup;
    use iroh::endpoint::presets;
    use iroh_blobs::ticket::BlobTicket;

    let node = Node::alone(1).await;
    let pack = noise(300_000, 5);
    let hash = node.add(&pack).await;
    let ticket: BlobTicket = node.net.ticket(hash).parse().unwrap();

    let lookup = MemoryLookup::new();
    lookup.add_endpoint_info(ticket.addr().clone());
    let endpoint = iroh::Endpoint::builder(presets::Minimal)
        .relay_mode(iroh::RelayMode::Disabled)
        .clear_ip_transports()
        .bind_addr("127.0.0.1:0".parse::<SocketAddr>().unwrap())
        .unwrap()
        .address_lookup(lookup)
        .bind()
        .await
        .unwrap();
    let store = iroh_blobs::store::mem::MemStore::new();
    let download = store.downloader(&endpoint).download(ticket.hash(), [ticket.addr().id]);
    timeout(PATIENCE, download).await.unwrap().unwrap();
    assert!(store.blobs().get_bytes(ticket.hash()).await.unwrap()[..] == pack[..]);

    // The other way round the node takes nothing.
    let connection = endpoint.connect(ticket.addr().clone(), iroh_blobs::ALPN).await.unwrap();
    let foreign = store.blobs().add_slice(b"unasked").await.unwrap();
    let request = iroh_blobs::protocol::PushRequest::new(
        foreign.hash,
        iroh_blobs::protocol::ChunkRangesSeq::root(),
    );
    let pushed = store.remote().execute_push(connection.clone(), request).await;
    drop(pushed);
    assert!(!node.store.blobs().has(foreign.hash).await.unwrap());
    endpoint.close().await;
}
