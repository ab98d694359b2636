//! The network of a node: a libp2p control plane and an iroh data plane under one ed25519 key.
//!
//! - **Control plane**: finds peers, gossips, asks and answers. One task owns the swarm; everybody
//!   else talks to it through [`NetworkHandle`].
//! - **Data plane**: streams content-addressed blobs, verified every 16 KiB, resumable; and messages
//!   between two nodes.
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
mod doors;
mod entrance;
mod error;
mod events;
mod fetch;
mod handle;
mod identity;
mod meter;
mod peers;
mod places;
mod reputation;
mod standing;
mod status;
mod streams;
mod swarm;
mod ticket;

pub use self::codec::MAX_REQUEST;
pub use self::error::{
    DialFailed, FetchError, NetError, Plane, ProviderError, StreamError, TransportFailed,
};
pub use self::events::{GossipId, NetEvent, Reply, Verdict};
pub use self::fetch::{Admit, FetchStats};
pub use self::handle::{Network, NetworkHandle, Started};
pub use self::identity::{node_id, node_of_secret, peer_id};
pub use self::status::{Dropped, NetStatus, PeerStatus, PlaneBytes, Reachability};
pub use self::streams::{FrameReader, FrameWriter, Incoming};
pub use self::ticket::{JoinTicket, TicketError};

use self::places::PlaceLimits;
use crate::config::NetOptions;

/// The protocol version that identify announces: peers of another version are not ours.
pub const PROTOCOL_VERSION: &str = "/openledger/1";

/// The largest gossip payload, in bytes: gossip carries announcements and records, never data.
pub const MAX_GOSSIP: usize = 255 * 1024;

/// How a node takes part in the network.
#[derive(Debug, Clone)]
pub struct NetConfig {
    /// The ed25519 secret from which PeerId and EndpointId both derive.
    pub secret: [u8; 32],
    /// What the owner of the node may set.
    pub options: NetOptions,
    /// The largest number of connections of each plane.
    pub max_connections: u32,
    /// The gossip topics; events and [`NetworkHandle::publish`] name them by their index.
    pub topics: Vec<String>,
}

impl NetConfig {
    /// The places of a plane, of which one peer may have so many.
    fn places(&self, per_peer: usize) -> PlaceLimits {
        let count = |number: u32| usize::try_from(number).unwrap_or(usize::MAX);
        PlaceLimits {
            total: count(self.max_connections.max(4)),
            per_peer,
            per_address: count(self.options.max_per_address),
            per_subnet: count(self.options.max_per_subnet),
        }
    }
}
