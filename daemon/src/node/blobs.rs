//! Having a blob: from the own store, else from whoever has it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use protocol::node::Failure;
use protocol::{Hash, NodeId};
use storage::Store;

use crate::net::{FetchError, NetworkHandle};

/// Most blobs whose holders are remembered.
const MAX_KNOWN: usize = 1 << 16;
/// Most holders that are remembered per blob.
const MAX_HOLDERS: usize = 16;

/// The store together with the network that fills it.
#[derive(Debug, Clone)]
pub(crate) struct Blobs {
    store: Arc<Store>,
    net: NetworkHandle,
    shared: Arc<Mutex<Shared>>,
}

#[derive(Debug, Default)]
struct Shared {
    holders: BTreeMap<Hash, Vec<NodeId>>,
    peers: Vec<NodeId>,
    /// One fetch per blob at a time.
    gates: BTreeMap<Hash, Arc<tokio::sync::Mutex<()>>>,
}

impl Blobs {
    pub(crate) fn new(store: Arc<Store>, net: NetworkHandle) -> Self {
        Self { store, net, shared: Arc::default() }
    }

    pub(crate) fn store(&self) -> &Store {
        &self.store
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers that a peer says it has blobs. A hint: what it sends is verified.
    pub(crate) fn learn(&self, holder: NodeId, blobs: &[(Hash, u64)]) {
        let mut shared = self.lock();
        for (hash, _) in blobs {
            if shared.holders.len() >= MAX_KNOWN && !shared.holders.contains_key(hash) {
                break;
            }
            let holders = shared.holders.entry(*hash).or_default();
            if holders.len() < MAX_HOLDERS && !holders.contains(&holder) {
                holders.push(holder);
            }
        }
    }

    pub(crate) fn peer_up(&self, peer: NodeId) {
        let mut shared = self.lock();
        if !shared.peers.contains(&peer) {
            shared.peers.push(peer);
        }
    }

    pub(crate) fn peer_down(&self, peer: NodeId) {
        self.lock().peers.retain(|known| *known != peer);
    }

    pub(crate) fn peers(&self) -> Vec<NodeId> {
        self.lock().peers.clone()
    }

    pub(crate) fn has(&self, hash: Hash) -> bool {
        self.store.blobs().has(hash)
    }

    pub(crate) async fn put(&self, bytes: Vec<u8>) -> Result<Hash, Failure> {
        self.store.blobs().put(Bytes::from(bytes)).await.map_err(|error| {
            tracing::error!(%error, "a blob could not be stored");
            Failure::Local
        })
    }

    pub(crate) async fn read(&self, hash: Hash) -> Result<Bytes, Failure> {
        self.store.blobs().get(hash).await.map_err(|error| {
            tracing::warn!(%error, "a blob could not be read");
            Failure::Local
        })
    }

    /// The bytes of a blob, fetched first if they must be.
    pub(crate) async fn obtain(
        &self,
        hash: Hash,
        limit: u64,
        first: &[NodeId],
    ) -> Result<Bytes, Failure> {
        self.ensure(hash, limit, first).await?;
        self.read(hash).await
    }

    /// Has a blob of at most `limit` bytes in the store.
    pub(crate) async fn ensure(
        &self,
        hash: Hash,
        limit: u64,
        first: &[NodeId],
    ) -> Result<(), Failure> {
        if self.has(hash) {
            return Ok(());
        }
        let gate = Arc::clone(self.lock().gates.entry(hash).or_default());
        let _turn = gate.lock().await;
        let outcome = if self.has(hash) { Ok(()) } else { self.fetch(hash, limit, first).await };
        self.lock().gates.remove(&hash);
        outcome
    }

    async fn fetch(&self, hash: Hash, limit: u64, first: &[NodeId]) -> Result<(), Failure> {
        let providers = self.providers(hash, first);
        if providers.is_empty() {
            return Err(Failure::Unavailable);
        }
        let incoming = self.store.blobs().begin(hash, limit).map_err(|error| {
            tracing::warn!(%error, "no room for a blob");
            Failure::Local
        })?;
        let fetched = self.net.fetch(hash, limit, providers).await;
        fetched.map_err(|error| {
            tracing::debug!(%hash, %error, "a blob could not be fetched");
            if matches!(error, FetchError::Store(_)) {
                Failure::Local
            } else {
                Failure::Unavailable
            }
        })?;
        drop(incoming);
        // The reserve was for the longest allowed; the blob itself is booked at its own length.
        let length = self.length_of(hash).await?;
        let incoming = self.store.blobs().begin(hash, length).map_err(|_| Failure::Local)?;
        incoming.finish().await.map_err(|error| {
            tracing::warn!(%error, "a fetched blob could not be kept");
            Failure::Local
        })
    }

    async fn length_of(&self, hash: Hash) -> Result<u64, Failure> {
        let blob = iroh_blobs::Hash::from_bytes(hash.0);
        match self.store.blobs().store().blobs().status(blob).await {
            Ok(iroh_blobs::api::blobs::BlobStatus::Complete { size }) => Ok(size),
            _ => Err(Failure::Unavailable),
        }
    }

    /// Who to ask: those named, those who said so, then every peer.
    fn providers(&self, hash: Hash, first: &[NodeId]) -> Vec<NodeId> {
        let shared = self.lock();
        let mut order = Vec::new();
        let known = shared.holders.get(&hash).into_iter().flatten();
        for node in first.iter().chain(known).chain(&shared.peers) {
            if *node != self.net.node() && *node != NodeId::ZERO && !order.contains(node) {
                order.push(*node);
            }
        }
        order
    }
}
