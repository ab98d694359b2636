//! What the network tells its consumer, and what the consumer answers.

use libp2p::{PeerId, gossipsub};
use protocol::NodeId;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::status::Reachability;

/// Something happened on the network.
#[derive(Debug)]
pub enum NetEvent {
    /// A peer of our protocol is connected, and its data address is known: it can be asked and
    /// fetched from. Told once until [`NetEvent::PeerDown`].
    PeerUp {
        /// The peer's node id.
        peer: NodeId,
    },
    /// The last connection to the peer is gone.
    PeerDown {
        /// The peer's node id.
        peer: NodeId,
    },
    /// A peer listens on a topic: what is published there reaches somebody.
    Subscribed {
        /// The peer's node id.
        peer: NodeId,
        /// The index of the topic.
        topic: usize,
    },
    /// A message was published, by `from` itself: its signature was checked. It is forwarded only
    /// after [`NetworkHandle::validate`](super::NetworkHandle::validate) accepts it.
    Gossip {
        /// The node that published it.
        from: NodeId,
        /// The index of the topic.
        topic: usize,
        /// The message itself.
        bytes: Vec<u8>,
        /// Its name, for the verdict.
        id: GossipId,
    },
    /// A peer asks.
    Request {
        /// The node that asks.
        from: NodeId,
        /// The request itself.
        bytes: Vec<u8>,
        /// Takes the answer; dropping it refuses the request.
        reply: Reply,
    },
    /// The control plane listens on a new address.
    Listening {
        /// The multiaddr, without the peer id.
        address: String,
    },
    /// What is known of this node's reachability changed.
    Reachability {
        /// The new state.
        reachability: Reachability,
    },
}

/// Names one received gossip message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GossipId {
    pub(crate) message: gossipsub::MessageId,
    /// Who handed it to us, and so answers for it.
    pub(crate) source: PeerId,
}

/// What the consumer thinks of a gossip message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Forward it: it is valid.
    Accept,
    /// Drop it, and count it against the peer that sent it: it can never be valid.
    Reject,
    /// Drop it: it may be valid, but not here or not now.
    Ignore,
}

impl From<Verdict> for gossipsub::MessageAcceptance {
    fn from(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Accept => Self::Accept,
            Verdict::Reject => Self::Reject,
            Verdict::Ignore => Self::Ignore,
        }
    }
}

/// Takes the answer to one request.
#[derive(Debug)]
pub struct Reply {
    pub(crate) to: oneshot::Sender<Vec<u8>>,
    /// The request's share of the memory budget: freed with the reply.
    pub(crate) _held: Option<OwnedSemaphorePermit>,
}

impl Reply {
    /// Answers. An answer longer than [`MAX_REQUEST`](super::MAX_REQUEST) is not sent: the peer
    /// sees a refusal.
    pub fn send(self, bytes: Vec<u8>) {
        // The peer may be gone; then nobody misses the answer.
        let _ = self.to.send(bytes);
    }
}
