//! Nodes on loopback, and waiting on what they say.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use daemon::config::NetOptions;
use daemon::net::{Incoming, NetConfig, NetEvent, Network, NetworkHandle, Reply};
use iroh_blobs::store::mem::MemStore;
use protocol::{Hash, NodeId};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::cli_support::loopback;

/// Longer than anything here takes on a busy machine; a test that reaches it has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(40);

/// A network under test, with its events and its store.
pub(crate) struct Node {
    pub(crate) net: NetworkHandle,
    pub(crate) events: mpsc::Receiver<NetEvent>,
    pub(crate) streams: mpsc::Receiver<Incoming>,
    pub(crate) store: MemStore,
}

/// A configuration that stays on loopback.
pub(crate) fn config(seed: u8, bootstrap: Vec<String>) -> NetConfig {
    NetConfig {
        secret: [seed; 32],
        options: NetOptions { relay_server: true, ..loopback(bootstrap) },
        max_connections: 64,
        topics: vec!["announce".into(), "records".into()],
    }
}

impl Node {
    /// Starts a node as configured.
    pub(crate) async fn with(config: NetConfig) -> Self {
        let store = MemStore::new();
        let (net, events, streams) = Network::start(config, (*store).clone()).await.unwrap();
        Self { net, events, streams, store }
    }

    /// Starts a node that knows nobody.
    pub(crate) async fn alone(seed: u8) -> Self {
        Self::with(config(seed, Vec::new())).await
    }

    /// Starts a node that joins through another one's ticket.
    pub(crate) async fn joining(seed: u8, other: &Self) -> Self {
        let ticket = other.net.join_ticket().await.unwrap().to_string();
        let ticket: daemon::net::JoinTicket = ticket.parse().unwrap();
        Self::with(config(seed, ticket.bootstrap())).await
    }

    /// Waits for the first event that `pick` takes; others are dropped.
    pub(crate) async fn wait<T>(&mut self, mut pick: impl FnMut(NetEvent) -> Option<T>) -> T {
        timeout(PATIENCE, async {
            loop {
                let event = self.events.recv().await.expect("the network runs");
                if let Some(found) = pick(event) {
                    return found;
                }
            }
        })
        .await
        .expect("the awaited event")
    }

    /// Waits until `peer` can be asked and fetched from.
    pub(crate) async fn wait_up(&mut self, peer: NodeId) {
        self.wait(|event| {
            matches!(event, NetEvent::PeerUp { peer: up } if up == peer).then_some(())
        })
        .await;
    }

    /// Waits for a request.
    pub(crate) async fn wait_request(&mut self) -> (NodeId, Vec<u8>, Reply) {
        self.wait(|event| match event {
            NetEvent::Request { from, bytes, reply } => Some((from, bytes, reply)),
            _ => None,
        })
        .await
    }

    /// Puts bytes in the store.
    pub(crate) async fn add(&self, bytes: &[u8]) -> Hash {
        let tag = self.store.blobs().add_slice(bytes).await.unwrap();
        Hash(*tag.hash.as_bytes())
    }

    /// The bytes of a blob in the store.
    pub(crate) async fn get(&self, hash: Hash) -> Vec<u8> {
        let hash = iroh_blobs::Hash::from_bytes(hash.0);
        self.store.blobs().get_bytes(hash).await.unwrap().to_vec()
    }

    /// The control plane's multiaddr over the named transport (`tcp` or `udp`).
    pub(crate) async fn multiaddr(&self, transport: &str) -> String {
        let status = self.net.status().await.unwrap();
        let marker = format!("/{transport}/");
        status.control_addresses.into_iter().find(|a| a.contains(&marker)).unwrap()
    }

    /// The socket behind it.
    pub(crate) async fn socket(&self, transport: &str) -> SocketAddr {
        let address = self.multiaddr(transport).await;
        let port = address.split('/').nth(4).unwrap().parse().unwrap();
        SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port)
    }
}

/// Bytes that no compression and no other test has.
pub(crate) fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut bytes = vec![0; len];
    let mut hasher = blake3::Hasher::new();
    hasher.update(&seed.to_be_bytes());
    hasher.finalize_xof().fill(&mut bytes);
    bytes
}
