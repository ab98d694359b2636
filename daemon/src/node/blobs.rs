//! Having a blob: from the own store, else from whoever has it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use protocol::holding::takes_pack;
use protocol::node::Failure;
use protocol::{BlobRef, Hash, NodeId};
use storage::Store;

use super::health::Health;
use super::holders::Holders;
use crate::config::ByteSize;
use crate::net::{FetchError, NetworkHandle};

/// How long it is remembered that there was no room for a blob.
const LATELY: Duration = Duration::from_secs(60);
/// For how many blobs that is remembered.
const MAX_REFUSED: usize = 1024;

/// The store together with the network that fills it.
#[derive(Debug, Clone)]
pub(crate) struct Blobs {
    store: Arc<Store>,
    net: NetworkHandle,
    health: Health,
    shared: Arc<Mutex<Shared>>,
}

#[derive(Debug, Default)]
struct Shared {
    holders: Holders,
    peers: Vec<NodeId>,
    /// One fetch per blob at a time.
    gates: BTreeMap<Hash, Arc<tokio::sync::Mutex<()>>>,
    /// When there was no room for a blob.
    refused: BTreeMap<Hash, Instant>,
}

impl Blobs {
    pub(crate) fn new(store: Arc<Store>, net: NetworkHandle, health: Health) -> Self {
        Self { store, net, health, shared: Arc::default() }
    }

    pub(crate) fn store(&self) -> &Store {
        &self.store
    }

    pub(crate) fn shared_store(&self) -> Arc<Store> {
        Arc::clone(&self.store)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers that a member says it has blobs, unless it says too much. A hint: what it sends is
    /// verified.
    pub(crate) fn learn(&self, holder: NodeId, blobs: &[BlobRef]) -> bool {
        self.lock().holders.learn(holder, blobs, Instant::now())
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

    /// Whether a blob is here, and as long as it was said to be: of one that is not, no chunk can be
    /// proven.
    pub(crate) fn has_whole(&self, blob: &BlobRef) -> bool {
        self.store.blobs().len(blob.hash) == Some(blob.length)
    }

    pub(crate) async fn put(&self, bytes: Vec<u8>) -> Result<Hash, Failure> {
        self.store.blobs().put(Bytes::from(bytes)).await.map_err(|error| {
            tracing::error!(%error, "a blob could not be stored");
            self.health.blame(&error);
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

    /// Has a pack that was assigned to this node, if it fits.
    pub(crate) async fn take(&self, pack: BlobRef) -> Result<(), Failure> {
        let BlobRef { hash: pack, length } = pack;
        if !self.has(pack) && !self.fits(length) {
            tracing::debug!(%pack, length, "a pack is not stored: --max-disk leaves no room");
            return Err(Failure::Local);
        }
        self.ensure(pack, length, &[]).await?;
        if self.has_whole(&BlobRef::new(pack, length)) { Ok(()) } else { Err(Failure::Invalid) }
    }

    /// Whether one more pack leaves room for the work on those that are here.
    fn fits(&self, length: u64) -> bool {
        let blobs = self.store.blobs();
        blobs.quota().0.is_none_or(|room| takes_pack(room, blobs.used(), length))
    }

    /// What is not here for want of room: some of the packs that were assigned, and blobs that the
    /// node's work asked for lately.
    pub(crate) fn no_room(&self, assigned: &[BlobRef]) -> Vec<String> {
        let Some(limit) = self.store.blobs().quota().0 else { return Vec::new() };
        let used = ByteSize(self.store.blobs().used());
        let why = format!("{used} of {} are used; raise --max-disk", ByteSize(limit));
        let is_refused = |pack: &&BlobRef| !self.has(pack.hash) && !self.fits(pack.length);
        let refused = assigned.iter().filter(is_refused);
        let (packs, bytes) = refused.fold((0, 0), |(n, sum), pack| (n + 1, sum + pack.length));
        let mut lines = Vec::new();
        if packs > 0 {
            let (all, bytes) = (assigned.len(), ByteSize(bytes));
            lines.push(format!("{packs} of {all} assigned packs ({bytes}) are not stored: {why}"));
        }
        let mut shared = self.lock();
        let now = Instant::now();
        shared.refused.retain(|hash, at| now.duration_since(*at) < LATELY && !self.has(*hash));
        let blobs = shared.refused.len();
        if blobs > 0 {
            lines.push(format!(
                "{blobs} blobs that the node needs for its work are not fetched: {why}"
            ));
        }
        lines
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
        // Jobs that want the same blob wait for one download instead of paying for several.
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
        // Room is reserved when the verified length is known, before anything is downloaded.
        let reserved = Mutex::new(None);
        let admit = |length| {
            let incoming = self.store.blobs().begin(hash, length)?;
            *reserved.lock().unwrap_or_else(PoisonError::into_inner) = Some(incoming);
            Ok(())
        };
        let fetched = self.net.fetch_admitted(hash, limit, providers, &admit).await;
        fetched.map_err(|error| match error {
            FetchError::NoRoom(error) => {
                tracing::debug!(%hash, %error, "no room for a blob");
                self.refuse(hash);
                Failure::Local
            }
            FetchError::Store(_) => {
                tracing::warn!(%hash, %error, "a blob could not be kept");
                Failure::Local
            }
            error => {
                tracing::debug!(%hash, %error, "a blob could not be fetched");
                Failure::Unavailable
            }
        })?;
        let incoming = match reserved.into_inner().unwrap_or_else(PoisonError::into_inner) {
            Some(incoming) => incoming,
            // All of it had arrived before this node was killed.
            None => {
                let length = self.length_of(hash).await?;
                self.store.blobs().begin(hash, length).map_err(|_| Failure::Local)?
            }
        };
        incoming.finish().await.map_err(|error| {
            tracing::warn!(%error, "a fetched blob could not be kept");
            self.health.blame(&error);
            Failure::Local
        })
    }

    /// Remembers that there was no room for a blob, and says so once in a while.
    fn refuse(&self, hash: Hash) {
        let mut shared = self.lock();
        let now = Instant::now();
        shared.refused.retain(|_, at| now.duration_since(*at) < LATELY);
        if shared.refused.is_empty() {
            tracing::warn!(
                "--max-disk leaves no room for the node's work; `openledger status` says how much is missing"
            );
        }
        if shared.refused.len() < MAX_REFUSED {
            shared.refused.insert(hash, now);
        }
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
        let known = shared.holders.of(&hash);
        for node in first.iter().chain(&known).chain(&shared.peers) {
            if *node != self.net.node() && *node != NodeId::ZERO && !order.contains(node) {
                order.push(*node);
            }
        }
        order
    }
}
