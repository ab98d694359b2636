//! The network of a node: a libp2p control plane and an iroh data plane under one ed25519 key.
//!
//! - **Control plane**: finds peers, gossips, asks and answers. One task owns the swarm; everybody
//!   else talks to it through [`NetworkHandle`].
//! - **Data plane**: streams content-addressed blobs, verified every 16 KiB, resumable.
//!
//! Bytes go in and bytes come out: what they mean is the caller's business. Invariants:
//!
//! - no queue between the network and its consumer is unbounded: gossip that nobody takes is
//!   dropped and counted, requests that nobody takes are refused, and the swarm never waits;
//! - what a peer sends is bounded before it is allocated;
//! - neither plane contacts any outside service unless the configuration names it.

mod address;
mod behaviour;
mod codec;
mod data;
mod error;
mod events;
mod fetch;
mod handle;
mod identity;
mod meter;
mod peers;
mod status;
mod swarm;
mod ticket;

use std::net::IpAddr;

pub use self::codec::MAX_REQUEST;
pub use self::error::{DialFailed, FetchError, NetError, Plane, ProviderError, TransportFailed};
pub use self::events::{GossipId, NetEvent, Reply, Verdict};
pub use self::fetch::{Admit, FetchStats};
pub use self::handle::{Network, NetworkHandle};
pub use self::identity::{node_id, node_of_secret, peer_id};
pub use self::status::{Dropped, NetStatus, PeerStatus, PlaneBytes, Reachability};
pub use self::ticket::{JoinTicket, TicketError};

/// The protocol version that identify announces: peers of another version are not ours.
pub const PROTOCOL_VERSION: &str = "/openledger/1";

/// The largest gossip payload, in bytes: gossip carries announcements and records, never data.
pub const MAX_GOSSIP: usize = 255 * 1024;

/// How a node takes part in the network.
#[derive(Debug, Clone)]
pub struct NetConfig {
    /// The ed25519 secret from which PeerId and EndpointId both derive.
    pub secret: [u8; 32],
    /// The address that both planes listen on.
    pub listen_ip: IpAddr,
    /// The port of the control plane, TCP and QUIC alike; 0 takes any.
    pub control_port: u16,
    /// The port of the data plane (QUIC); 0 takes any.
    pub data_port: u16,
    /// Multiaddrs that are dialled at start and again whenever they are lost.
    pub bootstrap: Vec<String>,
    /// Whether to look for peers on the local network.
    pub mdns: bool,
    /// Whether to relay for others, and to probe the reachability of others.
    pub relay_server: bool,
    /// Relays to be reachable through: a multiaddr is a libp2p relay, an `http(s)` URL an iroh one.
    pub relays: Vec<String>,
    /// The largest number of connections of each plane.
    pub max_connections: u32,
    /// The largest upload of the data plane, in bytes per second.
    pub max_upload: Option<u64>,
    /// The gossip topics; events and [`NetworkHandle::publish`] name them by their index.
    pub topics: Vec<String>,
}
