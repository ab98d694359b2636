//! The task that owns the swarm: commands in, events out, nothing shared.
//!
//! It never waits for its consumer. What the consumer does not take in time is dropped and counted,
//! except the coming and going of peers, which [`Peers`] keeps in bounded memory.

mod command;
mod react;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use iroh::Watcher;
use libp2p::core::transport::ListenerId;
use libp2p::multiaddr::Protocol;
use libp2p::request_response::{OutboundRequestId, ResponseChannel};
use libp2p::swarm::dial_opts::{DialOpts, PeerCondition};
use libp2p::swarm::{ConnectionId, SwarmEvent};
use libp2p::{Multiaddr, PeerId, Swarm, TransportError, gossipsub};
use protocol::NodeId;
use protocol::rules::Standing;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

use super::NetConfig;
use super::behaviour::{Behaviour, BehaviourEvent};
use super::codec::Frame;
use super::data::DataPlane;
use super::error::{NetError, Plane};
use super::events::NetEvent;
use super::identity::{node_id, node_of_secret};
use super::peers::Peers;
use super::standing::Standings;
use super::status::{Dropped, PlaneBytes, Reachability};

pub(crate) use self::command::Command;

/// How often lost bootstrap peers and relays are tried again.
const TICK: Duration = Duration::from_secs(5);
/// How long both listeners may take to come up.
const LISTEN: Duration = Duration::from_secs(10);
/// How long the peers are given to hear the goodbye.
const GOODBYE: Duration = Duration::from_millis(500);
/// What of one peer may wait for the consumer: of a stranger, and of a member. The names of one host
/// together do not fill the queue.
const MAX_QUEUED: (u32, u32) = (96, 512);
/// Our requests that may wait for answers.
const MAX_PENDING: usize = 1024;

/// The control plane's state.
pub(crate) struct Control {
    swarm: Swarm<Behaviour>,
    data: Arc<DataPlane>,
    events: mpsc::Sender<NetEvent>,
    node: NodeId,
    topics: Vec<gossipsub::TopicHash>,
    peers: Peers,
    standings: Standings,
    links: BTreeMap<PeerId, Link>,
    blocked: VecDeque<PeerId>,
    dials: HashMap<ConnectionId, Dial>,
    pending: BTreeMap<OutboundRequestId, Pending>,
    /// How much of each peer waits for the consumer.
    queued: BTreeMap<PeerId, u32>,
    replies: FuturesUnordered<BoxFuture<'static, Answer>>,
    bootstrap: Vec<Bootstrap>,
    relays: Vec<(Multiaddr, Option<ListenerId>)>,
    reachability: Reachability,
    traffic: PlaneBytes,
    dropped: Dropped,
}

/// A connected peer.
struct Link {
    /// The address of its first connection.
    address: Multiaddr,
    /// Whether identify said that it speaks our protocol.
    ours: bool,
}

/// On whose behalf a dial is under way.
enum Dial {
    Caller(Multiaddr, oneshot::Sender<Result<NodeId, NetError>>),
    Bootstrap(usize),
}

/// What an answer is waited for.
enum Pending {
    App(NodeId, oneshot::Sender<Result<Vec<u8>, NetError>>),
    Data(Option<oneshot::Sender<()>>),
}

/// A configured address, and who was found there.
struct Bootstrap {
    address: Multiaddr,
    peer: Option<PeerId>,
}

/// The consumer's answer to a request; `None` refuses.
type Answer = (PeerId, ResponseChannel<Frame>, Option<Vec<u8>>);

impl Control {
    pub(crate) fn new(
        swarm: Swarm<Behaviour>,
        config: &NetConfig,
        data: Arc<DataPlane>,
        standings: Standings,
        events: mpsc::Sender<NetEvent>,
    ) -> Self {
        let topics = config.topics.iter().map(|t| gossipsub::IdentTopic::new(t).hash()).collect();
        Self {
            swarm,
            data,
            events,
            node: node_of_secret(&config.secret),
            topics,
            peers: Peers::default(),
            standings,
            links: BTreeMap::new(),
            blocked: VecDeque::new(),
            dials: HashMap::new(),
            pending: BTreeMap::new(),
            queued: BTreeMap::new(),
            replies: FuturesUnordered::new(),
            bootstrap: Vec::new(),
            relays: Vec::new(),
            reachability: Reachability::Unknown,
            traffic: PlaneBytes::default(),
            dropped: Dropped::default(),
        }
    }

    /// Listens on TCP and QUIC, and returns once both have an address.
    pub(crate) async fn listen(&mut self, ip: IpAddr, port: u16) -> Result<(), NetError> {
        let base = Multiaddr::from(ip);
        let tcp = base.clone().with(Protocol::Tcp(port));
        let quic = base.with(Protocol::Udp(port)).with(Protocol::QuicV1);
        let mut waiting = Vec::new();
        for (plane, address) in [(Plane::ControlTcp, tcp), (Plane::ControlQuic, quic)] {
            let refused = |error| listen_error(plane, ip, port, error);
            waiting.push((plane, self.swarm.listen_on(address).map_err(refused)?));
        }
        while let Some(&(plane, _)) = waiting.first() {
            let late = |_| NetError::Start { plane, source: "no listening address".into() };
            let event = timeout(LISTEN, self.swarm.select_next_some()).await.map_err(late)?;
            if let SwarmEvent::NewListenAddr { listener_id, .. } = &event {
                waiting.retain(|(_, id)| id != listener_id);
            }
            if let SwarmEvent::ListenerClosed { listener_id, .. } = &event
                && let Some((plane, _)) = waiting.iter().find(|(_, id)| id == listener_id)
            {
                let source = "the listener closed".into();
                return Err(NetError::Start { plane: *plane, source });
            }
            self.react(event);
        }
        Ok(())
    }

    /// Sets the addresses to keep connected to, and the relays to be reachable through.
    pub(crate) fn join(&mut self, bootstrap: Vec<Multiaddr>, relays: Vec<Multiaddr>) {
        let known = |address| Bootstrap { peer: last_peer(&address), address };
        self.bootstrap = bootstrap.into_iter().map(known).collect();
        let circuit = |relay: Multiaddr| (relay.with(Protocol::P2pCircuit), None);
        self.relays = relays.into_iter().map(circuit).collect();
    }

    /// Runs until stopped, or until nobody can send a command any more.
    pub(crate) async fn run(
        mut self,
        mut commands: mpsc::Receiver<Command>,
        stop: CancellationToken,
    ) {
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let events = self.events.clone();
        let mut data_changes = Box::pin(self.data.endpoint.watch_addr().stream());
        loop {
            let news = self.peers.has_news();
            tokio::select! {
                () = stop.cancelled() => break,
                command = commands.recv() => match command {
                    Some(command) => self.on_command(command),
                    None => break,
                },
                event = self.swarm.select_next_some() => self.react(event),
                Some((peer, channel, answer)) = self.replies.next() => {
                    self.dequeue(&peer);
                    self.answer(channel, answer);
                }
                Ok(permit) = events.reserve(), if news => {
                    if let Some((peer, up)) = self.peers.tell() {
                        permit.send(match up {
                            true => NetEvent::PeerUp { peer },
                            false => NetEvent::PeerDown { peer },
                        });
                    }
                }
                _ = tick.tick() => self.tick(),
                Some(_) = data_changes.next() => self.announce_data(),
            }
        }
        self.goodbye().await;
    }

    /// Closes the connections, so that peers need not wait for a timeout.
    async fn goodbye(&mut self) {
        let peers: Vec<PeerId> = self.swarm.connected_peers().copied().collect();
        for peer in peers {
            // Gone already is as good.
            let _ = self.swarm.disconnect_peer_id(peer);
        }
        let closed = async {
            while self.swarm.connected_peers().next().is_some() {
                self.swarm.select_next_some().await;
            }
        };
        // A peer that does not hear it will time out.
        let _ = timeout(GOODBYE, closed).await;
    }

    /// Tries again what was lost: bootstrap peers, relays, introductions.
    fn tick(&mut self) {
        for index in 0..self.bootstrap.len() {
            let Bootstrap { address, peer } = &self.bootstrap[index];
            if peer.is_some_and(|peer| self.swarm.is_connected(&peer)) {
                continue;
            }
            let options = dial_options(address, PeerCondition::DisconnectedAndNotDialing);
            self.start_dial(options, Dial::Bootstrap(index));
        }
        for (address, listener) in &mut self.relays {
            if listener.is_none() {
                *listener = self.swarm.listen_on(address.clone()).ok();
            }
        }
        let strangers: Vec<PeerId> =
            self.links.iter().filter(|(_, link)| link.ours).map(|(peer, _)| *peer).collect();
        for peer in strangers {
            if node_id(&peer).is_some_and(|node| !self.peers.is_up(&node)) {
                self.introduce(peer, None);
            }
        }
    }

    fn start_dial(&mut self, options: DialOpts, dial: Dial) {
        // One that is under way to the same address is enough.
        if let Dial::Bootstrap(index) = &dial
            && self.dials.values().any(|d| matches!(d, Dial::Bootstrap(i) if i == index))
        {
            return;
        }
        let id = options.connection_id();
        match (self.swarm.dial(options), dial) {
            (Ok(()), dial) => {
                self.dials.insert(id, dial);
            }
            (Err(error), Dial::Caller(address, reply)) => {
                let source = Box::new(error);
                let _ = reply.send(Err(NetError::Dial { address: address.to_string(), source }));
            }
            (Err(error), Dial::Bootstrap(_)) => tracing::debug!(%error, "bootstrap not dialled"),
        }
    }

    /// Hands over what a peer brought, unless too much of it waits already.
    fn enqueue(&mut self, peer: PeerId, event: NetEvent) -> bool {
        let standing = node_id(&peer).map(|node| self.standings.of(&node));
        let limit = match standing {
            Some(Standing::Member | Standing::Judge) => MAX_QUEUED.1,
            Some(Standing::Stranger) | None => MAX_QUEUED.0,
        };
        if self.queued.get(&peer).is_some_and(|queued| *queued >= limit)
            || self.events.try_send(event).is_err()
        {
            return false;
        }
        *self.queued.entry(peer).or_default() += 1;
        true
    }

    /// The consumer is done with something that a peer brought.
    fn dequeue(&mut self, peer: &PeerId) {
        if let Some(queued) = self.queued.get_mut(peer) {
            *queued -= 1;
            if *queued == 0 {
                self.queued.remove(peer);
            }
        }
    }

    /// Hands a notice to the consumer, or drops and counts it.
    fn notify(&mut self, event: NetEvent) {
        if self.events.try_send(event).is_err() {
            self.dropped.notices += 1;
        }
    }
}

fn dial_options(address: &Multiaddr, condition: PeerCondition) -> DialOpts {
    match last_peer(address) {
        Some(peer) => {
            DialOpts::peer_id(peer).addresses(vec![address.clone()]).condition(condition).build()
        }
        None => DialOpts::unknown_peer_id().address(address.clone()).build(),
    }
}

/// The peer that an address ends in.
fn last_peer(address: &Multiaddr) -> Option<PeerId> {
    match address.iter().last() {
        Some(Protocol::P2p(peer)) => Some(peer),
        _ => None,
    }
}

fn listen_error(
    plane: Plane,
    ip: IpAddr,
    port: u16,
    error: TransportError<std::io::Error>,
) -> NetError {
    match error {
        TransportError::Other(source) if source.kind() == std::io::ErrorKind::AddrInUse => {
            NetError::AddressInUse { port, plane }
        }
        TransportError::Other(source) => {
            NetError::Bind { address: super::data::socket(ip, port), plane, source }
        }
        TransportError::MultiaddrNotSupported(_) => {
            NetError::Start { plane, source: "the transport is missing".into() }
        }
    }
}
