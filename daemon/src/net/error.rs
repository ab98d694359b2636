//! What can go wrong on the network, in the words of the person who must act on it.

use std::error::Error;
use std::io;

use protocol::NodeId;

/// One of the two planes, for messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plane {
    /// libp2p over TCP.
    ControlTcp,
    /// libp2p over QUIC.
    ControlQuic,
    /// iroh over QUIC.
    Data,
}

impl std::fmt::Display for Plane {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::ControlTcp => "control plane, TCP",
            Self::ControlQuic => "control plane, UDP",
            Self::Data => "data plane, UDP",
        })
    }
}

/// A failure inside a transport library, kept with its causes.
pub type TransportFailed = Box<dyn Error + Send + Sync + 'static>;

/// Why a dial failed, kept with its causes.
pub type DialFailed = libp2p::swarm::DialError;

/// Why the network could not be started, or an operation on it failed.
#[derive(Debug, thiserror::Error)]
pub enum NetError {
    /// Another program listens where this node wants to.
    #[error(
        "port {port} ({plane}) is already in use: stop the program that holds it, or choose \
         another port in the configuration (0 takes any free one)"
    )]
    AddressInUse {
        /// The port that is taken.
        port: u16,
        /// Who wanted it.
        plane: Plane,
    },
    /// The operating system refused the listening address.
    #[error("cannot listen on {address} ({plane}): choose an address of this machine")]
    Bind {
        /// The address that was refused.
        address: std::net::SocketAddr,
        /// Who wanted it.
        plane: Plane,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
    /// A transport could not be set up.
    #[error("the {plane}, could not be started")]
    Start {
        /// The plane that did not start.
        plane: Plane,
        /// What it said.
        #[source]
        source: TransportFailed,
    },
    /// A configured address does not parse.
    #[error(
        "{text:?} is not a multiaddr: write it like /ip4/192.0.2.1/udp/4001/quic-v1/p2p/12D3..."
    )]
    BadMultiaddr {
        /// What was configured.
        text: String,
        /// Where it goes wrong.
        #[source]
        source: libp2p::multiaddr::Error,
    },
    /// A configured relay URL does not parse.
    #[error("{0:?} is not a relay: write an https URL of an iroh relay, or a multiaddr")]
    BadRelay(String),
    /// The node id is no ed25519 key.
    #[error("{0} is not an ed25519 public key")]
    BadNodeId(NodeId),
    /// No topic has this index.
    #[error("there is no gossip topic {0}")]
    UnknownTopic(usize),
    /// The message is longer than the protocol allows.
    #[error("the message has {len} bytes, the limit is {limit}")]
    TooLarge {
        /// The message's length in bytes.
        len: usize,
        /// The longest that is sent, in bytes.
        limit: usize,
    },
    /// The same bytes were published on this topic a moment ago.
    #[error("this message was already published")]
    Duplicate,
    /// Nobody listens on the topic yet.
    #[error("no peer listens on this topic yet: wait for a peer, or check the bootstrap addresses")]
    NoPeers,
    /// The queues towards the network are full.
    #[error("the network is busy: try again later")]
    Busy,
    /// The message could not be published.
    #[error("the message could not be published")]
    Publish(#[source] libp2p::gossipsub::PublishError),
    /// No connection to the peer could be made.
    #[error("{0} cannot be reached")]
    Unreachable(NodeId),
    /// The peer did not answer in time.
    #[error("{0} did not answer in time")]
    Timeout(NodeId),
    /// The peer closed the stream without an answer: it is busy, or does not answer this.
    #[error("{0} refused the request")]
    Refused(NodeId),
    /// The peer does not speak our protocol.
    #[error("{0} does not speak the openledger protocol")]
    Foreign(NodeId),
    /// The dial failed.
    #[error("cannot connect to {address}")]
    Dial {
        /// The multiaddr that was dialled.
        address: String,
        /// What the transport says.
        #[source]
        source: Box<DialFailed>,
    },
    /// The network was shut down.
    #[error("the node is stopping")]
    Stopped,
}

/// Why one provider did not deliver.
#[derive(Debug, thiserror::Error)]
pub enum ProviderError {
    /// Its data address is not known, and could not be asked for.
    #[error("the address of its data plane is not known")]
    NoAddress,
    /// No connection could be made in time.
    #[error("no connection could be made")]
    Connect(#[source] Option<TransportFailed>),
    /// It does not have the blob, or stopped sending.
    #[error("it does not have the blob, or stopped sending")]
    Missing(#[source] TransportFailed),
    /// It sent bytes that do not hash to what was asked for.
    #[error("it sent wrong bytes")]
    Corrupt(#[source] TransportFailed),
    /// It was too slow.
    #[error("it was too slow")]
    Stalled,
}

/// Why a stream of messages ended early.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StreamError {
    /// The other side, or the connection, is gone.
    #[error("the connection broke, or the other side ended it")]
    Broken,
    /// A message is longer than may be.
    #[error("a message of {length} bytes; at most {limit} are read")]
    TooLong {
        /// What it claims to be, in bytes.
        length: usize,
        /// The longest that is read, in bytes.
        limit: usize,
    },
}

/// Why a blob could not be fetched.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The blob is longer than the caller allows; nothing was downloaded.
    #[error("the blob has {len} bytes, more than the {limit} allowed")]
    TooLarge {
        /// Its verified length.
        len: u64,
        /// The longest that the caller takes, in bytes.
        limit: u64,
    },
    /// There is no room for the blob; nothing was downloaded.
    #[error("there is no room for the blob")]
    NoRoom(#[source] storage::StoreError),
    /// No provider delivered; what arrived is kept, and a later fetch goes on from there.
    #[error("none of the {} peers that were asked delivered the blob", tried.len())]
    Exhausted {
        /// What each of them did.
        tried: Vec<(NodeId, ProviderError)>,
    },
    /// The local store failed.
    #[error("the local blob store failed: check the disk of the data directory")]
    Store(#[source] TransportFailed),
}
