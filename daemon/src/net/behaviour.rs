//! The protocols of the control plane, and their limits.
//!
//! The order of the fields is the order in which a new connection is asked for: the doors come
//! first, so that a refused connection costs nothing else.

use std::collections::{HashMap, HashSet};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use libp2p::allow_block_list::{self, BlockedPeers};
use libp2p::identity::Keypair;
use libp2p::kad::store::MemoryStore;
use libp2p::request_response::{self, ProtocolSupport};
use libp2p::swarm::behaviour::toggle::Toggle;
use libp2p::swarm::{self, NetworkBehaviour};
use libp2p::{StreamProtocol, Swarm, SwarmBuilder, autonat, dcutr, gossipsub};
use libp2p::{identify, kad, mdns, noise, ping, relay, tcp, yamux};

use super::codec::{Codec, REQUESTS};
use super::doors::Doors;
use super::error::{NetError, Plane, TransportFailed};
use super::standing::Standings;
use super::{MAX_GOSSIP, NetConfig, PROTOCOL_VERSION};

/// The distributed hash table's protocol name; another network's table is another name.
pub(crate) const KADEMLIA: StreamProtocol = StreamProtocol::new("/openledger/kad/1");
/// How long a request may take, both ways and the work between: 1 MiB at 1 Mbit/s takes 8 s.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// Requests in flight on one connection, both directions together.
const STREAMS_PER_CONNECTION: usize = 32;
/// A direct and a relayed connection, and one more while both sides dial at once.
const CONNECTIONS_PER_PEER: usize = 3;
/// How long a connection that no protocol needs is kept.
const IDLE: Duration = Duration::from_secs(300);

/// Gossip that knows our topics only.
pub(crate) type Gossip = gossipsub::Behaviour<
    gossipsub::IdentityTransform,
    gossipsub::MaxCountSubscriptionFilter<gossipsub::WhitelistSubscriptionFilter>,
>;

/// All protocols of the control plane.
#[derive(NetworkBehaviour)]
pub(crate) struct Behaviour {
    pub(crate) doors: Doors,
    pub(crate) blocked: allow_block_list::Behaviour<BlockedPeers>,
    pub(crate) relay_client: relay::client::Behaviour,
    pub(crate) relay_server: Toggle<relay::Behaviour>,
    pub(crate) identify: identify::Behaviour,
    pub(crate) ping: ping::Behaviour,
    pub(crate) kademlia: kad::Behaviour<MemoryStore>,
    pub(crate) gossip: Gossip,
    pub(crate) requests: request_response::Behaviour<Codec>,
    pub(crate) autonat: autonat::v2::client::Behaviour,
    pub(crate) autonat_server: Toggle<autonat::v2::server::Behaviour>,
    pub(crate) dcutr: dcutr::Behaviour,
    pub(crate) mdns: Toggle<mdns::tokio::Behaviour>,
}

/// A swarm with every protocol, listening nowhere yet.
pub(crate) fn build(
    key: &Keypair,
    config: &NetConfig,
    standings: &Standings,
) -> Result<Swarm<Behaviour>, NetError> {
    build_with(key, config, standings, true).or_else(|error| {
        // Without a resolver only /dns addresses are lost; a node can do without.
        tracing::warn!(%error, "no name resolution on the control plane");
        build_with(key, config, standings, false)
    })
}

fn build_with(
    key: &Keypair,
    config: &NetConfig,
    standings: &Standings,
    dns: bool,
) -> Result<Swarm<Behaviour>, NetError> {
    let builder = SwarmBuilder::with_existing_identity(key.clone())
        .with_tokio()
        .with_tcp(tcp::Config::new().nodelay(true), noise::Config::new, yamux::Config::default)
        .map_err(start(Plane::ControlTcp))?
        .with_quic();
    let settings = |config: swarm::Config| {
        config.with_idle_connection_timeout(IDLE).with_max_negotiating_inbound_streams(64)
    };
    let make = |key: &Keypair, relay_client| assemble(key, relay_client, config, standings);
    Ok(if dns {
        builder
            .with_dns()
            .map_err(start(Plane::ControlTcp))?
            .with_relay_client(noise::Config::new, yamux::Config::default)
            .map_err(start(Plane::ControlTcp))?
            .with_behaviour(make)
            .map_err(start(Plane::ControlTcp))?
            .with_swarm_config(settings)
            .build()
    } else {
        builder
            .with_relay_client(noise::Config::new, yamux::Config::default)
            .map_err(start(Plane::ControlTcp))?
            .with_behaviour(make)
            .map_err(start(Plane::ControlTcp))?
            .with_swarm_config(settings)
            .build()
    })
}

fn start<E: Into<TransportFailed>>(plane: Plane) -> impl Fn(E) -> NetError {
    move |error| NetError::Start { plane, source: error.into() }
}

fn assemble(
    key: &Keypair,
    relay_client: relay::client::Behaviour,
    config: &NetConfig,
    standings: &Standings,
) -> Result<Behaviour, TransportFailed> {
    let me = key.public().to_peer_id();
    let mdns = match config.options.mdns {
        true => Some(mdns::tokio::Behaviour::new(mdns::Config::default(), me)?),
        false => None,
    };
    Ok(Behaviour {
        doors: Doors::new(config.places(CONNECTIONS_PER_PEER), standings.clone()),
        blocked: allow_block_list::Behaviour::default(),
        relay_client,
        relay_server: Toggle::from(
            config
                .options
                .relay_server
                .then(|| relay::Behaviour::new(me, relay::Config::default())),
        ),
        identify: identify::Behaviour::new(
            identify::Config::new(PROTOCOL_VERSION.to_owned(), key.public())
                .with_agent_version(concat!("openledger/", env!("CARGO_PKG_VERSION")).to_owned())
                .with_push_listen_addr_updates(true),
        ),
        ping: ping::Behaviour::default(),
        kademlia: kademlia(me),
        gossip: gossip(key, &config.topics)?,
        requests: request_response::Behaviour::with_codec(
            Codec::default(),
            [(REQUESTS, ProtocolSupport::Full)],
            request_response::Config::default()
                .with_request_timeout(REQUEST_TIMEOUT)
                .with_max_concurrent_streams(STREAMS_PER_CONNECTION),
        ),
        autonat: autonat::v2::client::Behaviour::default(),
        autonat_server: Toggle::from(
            config.options.relay_server.then(autonat::v2::server::Behaviour::default),
        ),
        dcutr: dcutr::Behaviour::new(me),
        mdns: Toggle::from(mdns),
    })
}

/// A table of peers only: records that others put are never stored here.
fn kademlia(me: libp2p::PeerId) -> kad::Behaviour<MemoryStore> {
    let mut config = kad::Config::new(KADEMLIA);
    config.set_record_filtering(kad::StoreInserts::FilterBoth);
    let mut kademlia = kad::Behaviour::with_config(me, MemoryStore::new(me), config);
    kademlia.set_mode(Some(kad::Mode::Server));
    kademlia
}

/// The hash of a topic and a message: equal content on one topic is one message, whoever sends it.
fn message_id(message: &gossipsub::Message) -> gossipsub::MessageId {
    let mut hasher = blake3::Hasher::new();
    let topic = message.topic.as_str().as_bytes();
    hasher.update(&(topic.len() as u64).to_be_bytes()).update(topic).update(&message.data);
    gossipsub::MessageId::new(hasher.finalize().as_bytes())
}

fn gossip(key: &Keypair, topics: &[String]) -> Result<Gossip, TransportFailed> {
    let config = gossipsub::ConfigBuilder::default()
        .validation_mode(gossipsub::ValidationMode::Strict)
        .validate_messages()
        .message_id_fn(message_id)
        .max_transmit_size(MAX_GOSSIP + 1024)
        .heartbeat_initial_delay(Duration::from_secs(1))
        .connection_handler_queue_len(256)
        .build()?;
    let topics: Vec<_> = topics.iter().map(gossipsub::IdentTopic::new).collect();
    let hashes: HashSet<_> = topics.iter().map(gossipsub::Topic::hash).collect();
    let filter = gossipsub::MaxCountSubscriptionFilter {
        max_subscribed_topics: topics.len(),
        max_subscriptions_per_request: 100,
        filter: gossipsub::WhitelistSubscriptionFilter(hashes),
    };
    let signed = gossipsub::MessageAuthenticity::Signed(key.clone());
    let mut gossip = Gossip::new_with_subscription_filter(signed, config, filter)?;
    gossip.with_peer_score(score(&topics), gossipsub::PeerScoreThresholds::default())?;
    for topic in &topics {
        gossip.subscribe(topic)?;
    }
    Ok(gossip)
}

/// Peers lose by what they do wrong, never by being quiet: how many messages a topic carries in a
/// given time is not known, so the delivery-rate penalties (P3) are off.
fn score(topics: &[gossipsub::IdentTopic]) -> gossipsub::PeerScoreParams {
    let topic = gossipsub::TopicScoreParams {
        time_in_mesh_quantum: Duration::from_secs(1),
        time_in_mesh_weight: 0.01,
        first_message_deliveries_cap: 50.0,
        mesh_message_deliveries_weight: 0.0,
        mesh_failure_penalty_weight: 0.0,
        invalid_message_deliveries_weight: -10.0,
        invalid_message_deliveries_decay: 0.9,
        ..gossipsub::TopicScoreParams::default()
    };
    let topics: HashMap<_, _> = topics.iter().map(|t| (t.hash(), topic.clone())).collect();
    let loopback = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
    gossipsub::PeerScoreParams {
        topics,
        ip_colocation_factor_whitelist: HashSet::from(loopback),
        ..gossipsub::PeerScoreParams::default()
    }
}

/// Whether the error shows a peer that breaks the protocol, not a broken line.
pub(crate) fn is_violation(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::InvalidData
}
