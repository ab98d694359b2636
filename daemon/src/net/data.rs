//! The data plane: an iroh endpoint that serves the blob store, read-only, and fetches into it.
//!
//! No outside service is contacted: the preset is `Minimal`, relays are those of the configuration,
//! and addresses of peers come over the control plane only.

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use iroh::address_lookup::memory::MemoryLookup;
use iroh::endpoint::{Connection, QuicTransportConfig, VarInt, presets};
use iroh::protocol::{AcceptError, ProtocolHandler, Router};
use iroh::{Endpoint, EndpointAddr, EndpointId, RelayMode, RelayUrl};
use iroh_blobs::BlobsProtocol;
use iroh_blobs::api::Store;
use iroh_blobs::protocol::ERR_LIMIT;
use iroh_blobs::provider::events::{ConnectMode, EventMask, EventSender, ThrottleMode};
use iroh_blobs::ticket::BlobTicket;
use protocol::{Hash, NodeId};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::timeout;

use super::address::DataAddress;
use super::entrance::Entrance;
use super::error::{NetError, Plane, ProviderError};
use super::identity::endpoint_id;
use super::meter::{self, Meter};
use super::places::PlaceLimits;
use super::standing::Standings;
use super::streams::{self, FrameReader, FrameWriter, Incoming, Kept, ServeStreams};

/// How long connecting to a node may take.
const CONNECT: Duration = Duration::from_secs(10);
/// Streams that one connection may have open at a time; each costs a receive window.
const STREAMS_PER_CONNECTION: u32 = 32;
/// Connections that one peer may have open at a time.
pub(crate) const CONNECTIONS_PER_PEER: usize = 8;
/// Connections that this node opens to one peer at a time: half of what that peer lets in, since it may
/// not have noticed yet that the last ones are closed.
const FETCHES_PER_PEER: usize = CONNECTIONS_PER_PEER / 2;
/// Peers whose addresses are remembered.
const ADDRESS_BOOK: usize = 4096;
/// Questions of the blob provider that may wait for the meter.
const QUESTIONS: usize = 256;

/// What the data plane needs of the configuration.
pub(crate) struct DataConfig {
    pub(crate) secret: [u8; 32],
    pub(crate) listen: SocketAddr,
    pub(crate) relays: Vec<RelayUrl>,
    pub(crate) places: PlaceLimits,
    pub(crate) standings: Standings,
    pub(crate) max_upload: Option<u64>,
    /// Who answers streams of others, and the longest message on them in bytes.
    pub(crate) streams: (mpsc::Sender<Incoming>, usize),
}

/// The data plane of a node.
#[derive(Debug)]
pub(crate) struct DataPlane {
    pub(super) endpoint: Endpoint,
    pub(super) store: Store,
    pub(super) meter: Arc<Meter>,
    pub(super) standings: Standings,
    kept: Kept,
    turns: Mutex<BTreeMap<NodeId, Arc<Semaphore>>>,
    router: Router,
    book: AddressBook,
}

impl DataPlane {
    /// Binds the endpoint and begins to serve `store`.
    pub(crate) async fn start(config: DataConfig, store: Store) -> Result<Self, NetError> {
        let lookup = MemoryLookup::new();
        let endpoint = bind(&config, lookup.clone()).await?;
        let meter = Arc::new(Meter::default());
        let mask = EventMask {
            connected: ConnectMode::Notify,
            throttle: ThrottleMode::Intercept,
            ..EventMask::DEFAULT
        };
        let (events, questions) = EventSender::channel(QUESTIONS, mask);
        tokio::spawn(meter::run(questions, Arc::clone(&meter), config.max_upload));
        let entrance = Entrance::new(config.places, config.standings.clone(), Arc::clone(&meter));
        let (opened, limit) = config.streams;
        let idle = streams::IDLE;
        let uses = ServeStreams { entrance: entrance.clone(), limit, streams: opened, idle };
        let blobs = ServeBlobs { blobs: BlobsProtocol::new(&store, Some(events)), entrance };
        let router = Router::builder(endpoint.clone())
            .accept(iroh_blobs::ALPN, blobs)
            .accept(streams::ALPN, uses)
            .spawn();
        let (book, standings, turns, kept) =
            (AddressBook::new(lookup), config.standings, Mutex::default(), Kept::default());
        Ok(Self { endpoint, store, meter, standings, kept, turns, router, book })
    }

    /// Where this data plane can be reached.
    pub(crate) fn address(&self) -> DataAddress {
        DataAddress::of(&self.endpoint.addr())
    }

    /// A ticket that every iroh-blobs client understands.
    pub(crate) fn ticket(&self, hash: Hash) -> String {
        let hash = iroh_blobs::Hash::from_bytes(hash.0);
        let address = self.address().with_id(self.endpoint.id());
        BlobTicket::new(address, hash, iroh_blobs::BlobFormat::Raw).to_string()
    }

    /// Remembers where a peer can be reached.
    pub(crate) fn learn(&self, node: NodeId, address: &DataAddress) {
        if let Some(id) = endpoint_id(node) {
            self.book.learn(id, address);
        }
    }

    /// Whether the peer's address is known.
    pub(crate) fn knows(&self, node: NodeId) -> bool {
        endpoint_id(node).is_some_and(|id| self.book.lookup.get_endpoint_info(id).is_some())
    }

    /// Opens a stream to a node whose address is known; messages of it are at most `limit` bytes long.
    pub(super) async fn open_stream(
        &self,
        node: NodeId,
        limit: usize,
    ) -> Result<(FrameReader, FrameWriter), ProviderError> {
        let connection = match self.kept.get(node) {
            Some(connection) => connection,
            None => {
                let connection = self.connect(node, streams::ALPN).await?;
                self.kept.put(node, connection.clone(), self.meter.track(&connection));
                connection
            }
        };
        // As many as there may be can be open.
        match timeout(CONNECT, connection.open_bi()).await {
            Ok(Ok((sender, receiver))) => Ok(streams::halves(sender, receiver, limit)),
            Ok(Err(error)) => {
                self.kept.forget(node);
                Err(ProviderError::Connect(Some(error.into())))
            }
            Err(_) => Err(ProviderError::Stalled),
        }
    }

    /// Connects to a node whose address is known.
    pub(super) async fn connect(
        &self,
        node: NodeId,
        alpn: &[u8],
    ) -> Result<Connection, ProviderError> {
        let id = endpoint_id(node).ok_or(ProviderError::NoAddress)?;
        if !self.knows(node) {
            return Err(ProviderError::NoAddress);
        }
        let connecting = self.endpoint.connect(EndpointAddr::new(id), alpn);
        match timeout(CONNECT, connecting).await {
            Ok(Ok(connection)) => Ok(connection),
            Ok(Err(error)) => Err(ProviderError::Connect(Some(error.into()))),
            Err(_) => Err(ProviderError::Connect(None)),
        }
    }

    /// Waits until one more connection to a peer may be opened.
    pub(super) async fn turn(&self, node: NodeId) -> Option<OwnedSemaphorePermit> {
        let turns = {
            let mut all = self.turns.lock().expect("no holder panics");
            // Those that nobody waits for or holds are made anew when they are needed.
            all.retain(|_, turns| turns.available_permits() < FETCHES_PER_PEER);
            let turns =
                all.entry(node).or_insert_with(|| Arc::new(Semaphore::new(FETCHES_PER_PEER)));
            Arc::clone(turns)
        };
        turns.acquire_owned().await.ok()
    }

    /// Stops serving and closes the endpoint. The store stays open: it is the caller's.
    pub(crate) async fn shutdown(&self) {
        if let Err(error) = self.router.shutdown().await {
            tracing::error!(%error, "the blob server had panicked");
        }
    }
}

async fn bind(config: &DataConfig, lookup: MemoryLookup) -> Result<Endpoint, NetError> {
    let start = |source: super::TransportFailed| NetError::Start { plane: Plane::Data, source };
    let transport = QuicTransportConfig::builder()
        .max_concurrent_bidi_streams(VarInt::from_u32(STREAMS_PER_CONNECTION))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .build();
    let relays = match config.relays.is_empty() {
        true => RelayMode::Disabled,
        false => RelayMode::custom(config.relays.iter().cloned()),
    };
    Endpoint::builder(presets::Minimal)
        .secret_key(iroh::SecretKey::from_bytes(&config.secret))
        .relay_mode(relays)
        .transport_config(transport)
        .clear_ip_transports()
        .bind_addr(config.listen)
        .map_err(|error| start(error.into()))?
        .address_lookup(lookup)
        .bind()
        .await
        .map_err(|error| start(error.into()))
}

/// Addresses of peers, the oldest forgotten first.
#[derive(Debug)]
struct AddressBook {
    lookup: MemoryLookup,
    order: Mutex<VecDeque<EndpointId>>,
}

impl AddressBook {
    fn new(lookup: MemoryLookup) -> Self {
        Self { lookup, order: Mutex::default() }
    }

    fn learn(&self, id: EndpointId, address: &DataAddress) {
        let mut order = self.order.lock().expect("no holder panics");
        if self.lookup.get_endpoint_info(id).is_none() {
            order.push_back(id);
        }
        self.lookup.set_endpoint_info(address.with_id(id));
        if order.len() > ADDRESS_BOOK
            && let Some(oldest) = order.pop_front()
        {
            self.lookup.remove_endpoint_info(oldest);
        }
    }
}

/// The blob protocol with places for connections, which idle ones lose, and without the library's
/// habit of shutting the store down with the router.
#[derive(Debug)]
struct ServeBlobs {
    blobs: BlobsProtocol,
    entrance: Entrance,
}

impl ProtocolHandler for ServeBlobs {
    async fn accept(&self, connection: Connection) -> Result<(), AcceptError> {
        let Some(_entered) = self.entrance.enter(&connection) else { return Ok(()) };
        let mut served = pin!(self.blobs.accept(connection.clone()));
        tokio::select! {
            served = &mut served => return served,
            () = self.entrance.idle(&connection) => connection.close(ERR_LIMIT, b"idle"),
        }
        served.await
    }
}

/// The address of this plane as a socket.
pub(crate) fn socket(ip: IpAddr, port: u16) -> SocketAddr {
    SocketAddr::new(ip, port)
}
