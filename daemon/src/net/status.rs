//! What the network says about itself.

use std::collections::BTreeMap;

use protocol::NodeId;

/// Whether peers outside can open connections to this node.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Reachability {
    /// No peer has probed it yet.
    #[default]
    Unknown,
    /// A peer dialled back successfully.
    Public,
    /// Peers tried to dial back and failed: only outgoing and relayed connections work.
    Private,
}

/// Bytes that went through one plane.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PlaneBytes {
    /// Bytes that came in.
    pub received: u64,
    /// Bytes that went out.
    pub sent: u64,
}

/// What was refused because this node could not keep up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Dropped {
    /// Gossip messages that nobody took.
    pub gossip: u64,
    /// Requests that nobody took.
    pub requests: u64,
    /// Notices (listening, reachability, subscriptions).
    pub notices: u64,
}

/// A connected peer of our protocol.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerStatus {
    /// Its node id.
    pub node: NodeId,
    /// The multiaddr of its first connection.
    pub address: String,
}

/// The network as seen from this node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetStatus {
    /// The id of this node.
    pub node: NodeId,
    /// The peers that it is connected to.
    pub peers: Vec<PeerStatus>,
    /// All open connections of the control plane, foreign peers included.
    pub connections: u32,
    /// Where the control plane listens, and its confirmed outside addresses.
    pub control_addresses: Vec<String>,
    /// Where the data plane listens.
    pub data_addresses: Vec<String>,
    /// Whether peers outside can reach it.
    pub reachability: Reachability,
    /// Payload of gossip, requests and answers (transport overhead not counted).
    pub control: PlaneBytes,
    /// QUIC bytes of blob connections, overhead included.
    pub data: PlaneBytes,
    /// Blob payload that each peer took from this node.
    pub served: BTreeMap<NodeId, u64>,
    /// Blob payload served in all, peers beyond the table of `served` included.
    pub served_total: u64,
    /// Blob payload fetched in all.
    pub fetched_total: u64,
    /// What was refused.
    pub dropped: Dropped,
}
