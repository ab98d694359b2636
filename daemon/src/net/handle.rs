//! The handle through which everybody talks to the network.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use iroh::RelayUrl;
use libp2p::Multiaddr;
use protocol::rules::Standing;
use protocol::usage::MAX_USAGE_MESSAGE;
use protocol::{Hash, NodeId};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::codec::MAX_REQUEST;
use super::data::{CONNECTIONS_PER_PEER, DataConfig, DataPlane, socket};
use super::error::{FetchError, NetError, Plane, ProviderError};
use super::events::{GossipId, NetEvent, Verdict};
use super::fetch::{Admit, FetchStats};
use super::identity::{keypair, node_of_secret, peer_id};
use super::standing::Standings;
use super::status::NetStatus;
use super::streams::{self, FrameReader, FrameWriter, Incoming};
use super::swarm::{Command, Control};
use super::ticket::JoinTicket;
use super::{MAX_GOSSIP, NetConfig, behaviour};
use crate::config::NetOptions;

/// Commands that may wait for the swarm; a caller beyond waits itself.
const COMMANDS: usize = 256;
/// Events that may wait for the consumer; what comes beyond is dropped and counted.
const EVENTS: usize = 1024;

/// Streams of others that may wait for who answers them; one more is refused.
const STREAMS: usize = 64;

/// How long a provider's data address is looked for.
const FIND: Duration = Duration::from_secs(10);

/// Starts both planes; see [`Network::start`].
#[derive(Debug)]
pub struct Network;

/// A network that was started: who talks to it, what it tells, and the streams that others open.
pub type Started = (NetworkHandle, mpsc::Receiver<NetEvent>, mpsc::Receiver<Incoming>);

/// Talks to a running network. Clones are cheap; the network stops when the last one is dropped,
/// or, in order, on [`NetworkHandle::shutdown`].
#[derive(Debug, Clone)]
pub struct NetworkHandle {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    node: NodeId,
    commands: mpsc::Sender<Command>,
    data: Arc<DataPlane>,
    /// Where streams of this node to itself come out.
    streams: mpsc::Sender<Incoming>,
    standings: Standings,
    stop: CancellationToken,
    task: Mutex<Option<JoinHandle<()>>>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Network {
    /// Binds both planes, begins to serve `store`, and returns once both listen.
    pub async fn start(
        config: NetConfig,
        store: iroh_blobs::api::Store,
    ) -> Result<Started, NetError> {
        // The swarm makes this a large future; callers need not carry it.
        Box::pin(Self::start_both(config, store)).await
    }

    async fn start_both(
        config: NetConfig,
        store: iroh_blobs::api::Store,
    ) -> Result<Started, NetError> {
        let bootstrap = parse_all(&config.options.bootstrap.0)?;
        let (relay_urls, relay_addresses) = split_relays(&config.options.relays.0)?;
        check_ports(&config.options)?;
        let standings = Standings::default();
        let swarm = behaviour::build(&keypair(config.secret), &config, &standings)?;
        let (opened, streams) = mpsc::channel(STREAMS);
        let data = DataPlane::start(
            DataConfig {
                secret: config.secret,
                listen: socket(config.options.listen_ip, config.options.data_port),
                relays: relay_urls,
                places: config.places(CONNECTIONS_PER_PEER),
                standings: standings.clone(),
                max_upload: config.options.max_upload.map(|size| size.0),
                streams: (opened.clone(), MAX_USAGE_MESSAGE),
            },
            store,
        )
        .await?;
        let data = Arc::new(data);
        let (event_sender, events) = mpsc::channel(EVENTS);
        let (commands, command_receiver) = mpsc::channel(COMMANDS);
        let stop = CancellationToken::new();
        let mut control =
            Control::new(swarm, &config, Arc::clone(&data), standings.clone(), event_sender);
        control.listen(config.options.listen_ip, config.options.control_port).await?;
        control.join(bootstrap, relay_addresses);
        let task = tokio::spawn(control.run(command_receiver, stop.clone()));
        let inner = Inner {
            node: node_of_secret(&config.secret),
            commands,
            data,
            streams: opened,
            standings,
            stop,
            task: Mutex::new(Some(task)),
        };
        Ok((NetworkHandle { inner: Arc::new(inner) }, events, streams))
    }
}

impl NetworkHandle {
    /// The id of this node.
    pub fn node(&self) -> NodeId {
        self.inner.node
    }

    /// Says which peers are more than strangers, instead of what was said before: when connections are
    /// few, they are let in first.
    pub fn set_standings(&self, standings: BTreeMap<NodeId, Standing>) {
        self.inner.standings.set(standings);
    }

    /// Publishes to the peers that listen on the topic.
    pub async fn publish(&self, topic: usize, bytes: Vec<u8>) -> Result<(), NetError> {
        check_len(&bytes, MAX_GOSSIP)?;
        self.ask(|reply| Command::Publish { topic, bytes, reply }).await?
    }

    /// Says what to do with a received gossip message. Without a verdict it is not forwarded.
    pub async fn validate(&self, id: GossipId, verdict: Verdict) -> Result<(), NetError> {
        self.send(Command::Validate { id, verdict }).await
    }

    /// Asks a peer, connecting first if it must, and waits for the answer.
    pub async fn request(&self, peer: NodeId, bytes: Vec<u8>) -> Result<Vec<u8>, NetError> {
        check_len(&bytes, MAX_REQUEST)?;
        let to = peer_id(peer).ok_or(NetError::BadNodeId(peer))?;
        self.ask(|reply| Command::Request { node: peer, to, bytes, reply }).await?
    }

    /// Connects to a multiaddr; the peer that answered is returned.
    pub async fn dial(&self, address: &str) -> Result<NodeId, NetError> {
        let address = parse(address)?;
        self.ask(|reply| Command::Dial { address, reply }).await?
    }

    /// Refuses the peer from now on, until the process ends.
    pub async fn block(&self, peer: NodeId) -> Result<(), NetError> {
        let peer = peer_id(peer).ok_or(NetError::BadNodeId(peer))?;
        self.send(Command::Block { peer }).await
    }

    /// Fetches a blob of at most `len_limit` bytes into the store: from the first provider that
    /// delivers, going on from what is already here. The caller syncs the store before it
    /// acknowledges anything.
    pub async fn fetch(
        &self,
        hash: Hash,
        len_limit: u64,
        providers: Vec<NodeId>,
    ) -> Result<FetchStats, FetchError> {
        self.fetch_admitted(hash, len_limit, providers, &|_| Ok(())).await
    }

    /// [`Self::fetch`] that asks for leave with the blob's verified length before it is downloaded.
    pub async fn fetch_admitted(
        &self,
        hash: Hash,
        len_limit: u64,
        providers: Vec<NodeId>,
        admit: &Admit<'_>,
    ) -> Result<FetchStats, FetchError> {
        let data = &self.inner.data;
        let unknown = providers.iter().filter(|node| !data.knows(**node));
        // A provider that stays unknown is reported as such by the fetch.
        futures::future::join_all(unknown.map(|node| self.find(*node))).await;
        Box::pin(data.fetch(hash, len_limit, &providers, admit)).await
    }

    /// Opens a stream of messages to a node ([`protocol::usage`]).
    pub async fn open_stream(
        &self,
        node: NodeId,
    ) -> Result<(FrameReader, FrameWriter), ProviderError> {
        if node == self.inner.node {
            let (incoming, opened) = streams::within(node);
            let handed = self.inner.streams.send(incoming).await;
            return handed.map(|()| opened).map_err(|_| ProviderError::Stalled);
        }
        if !self.inner.data.knows(node) {
            self.find(node).await;
        }
        self.inner.data.open_stream(node, MAX_USAGE_MESSAGE).await
    }

    /// A ticket by which any iroh-blobs client can fetch the blob from this node.
    pub fn ticket(&self, hash: Hash) -> String {
        self.inner.data.ticket(hash)
    }

    /// A ticket by which another node can join the network through this one.
    pub async fn join_ticket(&self) -> Result<JoinTicket, NetError> {
        let control = self.ask(|reply| Command::Addresses { reply }).await?;
        Ok(JoinTicket::new(self.inner.node, control, self.inner.data.address()))
    }

    /// The network as seen from here.
    pub async fn status(&self) -> Result<NetStatus, NetError> {
        self.ask(|reply| Command::Status { reply }).await
    }

    /// Stops serving blobs, says goodbye to the peers, and stops listening. The store stays open.
    /// The data plane's socket closes soon after the last clone of the handle is dropped.
    pub async fn shutdown(&self) {
        self.inner.data.shutdown().await;
        self.inner.stop.cancel();
        let task = self.inner.task.lock().expect("no holder panics").take();
        if let Some(task) = task
            && let Err(error) = task.await
        {
            tracing::error!(%error, "the control plane had panicked");
        }
    }

    /// Asks a peer for its data address, if it can be found in time.
    async fn find(&self, node: NodeId) {
        if let Some(to) = peer_id(node) {
            let found = self.ask(|reply| Command::FindData { to, reply });
            let _ = timeout(FIND, found).await;
        }
    }

    async fn send(&self, command: Command) -> Result<(), NetError> {
        self.inner.commands.send(command).await.map_err(|_| NetError::Stopped)
    }

    async fn ask<T>(
        &self,
        command: impl FnOnce(oneshot::Sender<T>) -> Command,
    ) -> Result<T, NetError> {
        let (reply, answer) = oneshot::channel();
        self.send(command(reply)).await?;
        answer.await.map_err(|_| NetError::Stopped)
    }
}

fn check_len(bytes: &[u8], limit: usize) -> Result<(), NetError> {
    match bytes.len() {
        len if len > limit => Err(NetError::TooLarge { len, limit }),
        _ => Ok(()),
    }
}

fn parse(text: &str) -> Result<Multiaddr, NetError> {
    text.parse().map_err(|source| NetError::BadMultiaddr { text: text.to_owned(), source })
}

fn parse_all(texts: &[String]) -> Result<Vec<Multiaddr>, NetError> {
    texts.iter().map(|text| parse(text)).collect()
}

/// Tells the relays of the data plane (URLs) from those of the control plane (multiaddrs).
fn split_relays(relays: &[String]) -> Result<(Vec<RelayUrl>, Vec<Multiaddr>), NetError> {
    let (mut urls, mut addresses) = (Vec::new(), Vec::new());
    for text in relays {
        if text.starts_with("http") {
            urls.push(text.parse().map_err(|_| NetError::BadRelay(text.clone()))?);
        } else {
            addresses.push(parse(text)?);
        }
    }
    Ok((urls, addresses))
}

/// Finds a busy port before anything is started.
///
/// libp2p binds TCP with `SO_REUSEPORT` (hole punching needs it), under which two nodes of one
/// user would share a port in silence.
fn check_ports(config: &NetOptions) -> Result<(), NetError> {
    let mut wanted: HashMap<(bool, u16), Plane> = HashMap::new();
    let planes = [
        (Plane::ControlTcp, config.control_port),
        (Plane::ControlQuic, config.control_port),
        (Plane::Data, config.data_port),
    ];
    for (plane, port) in planes.into_iter().filter(|(_, port)| *port != 0) {
        let is_tcp = plane == Plane::ControlTcp;
        if wanted.insert((is_tcp, port), plane).is_some() {
            return Err(NetError::AddressInUse { port, plane });
        }
        probe(config.listen_ip, port, plane)?;
    }
    probe(config.listen_ip, 0, Plane::Data)
}

fn probe(ip: IpAddr, port: u16, plane: Plane) -> Result<(), NetError> {
    let address = SocketAddr::new(ip, port);
    let bound = match plane {
        Plane::ControlTcp => TcpListener::bind(address).map(drop),
        Plane::ControlQuic | Plane::Data => UdpSocket::bind(address).map(drop),
    };
    bound.map_err(|source| match source.kind() {
        std::io::ErrorKind::AddrInUse => NetError::AddressInUse { port, plane },
        _ => NetError::Bind { address, plane, source },
    })
}
