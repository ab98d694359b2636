//! What the handle asks of the control plane.

use std::time::Instant;

use libp2p::gossipsub::PublishError;
use libp2p::request_response::ResponseChannel;
use libp2p::swarm::dial_opts::PeerCondition;
use libp2p::{Multiaddr, PeerId};
use protocol::NodeId;
use tokio::sync::oneshot;

use super::super::codec::{Frame, Kind, MAX_REQUEST};
use super::super::error::NetError;
use super::super::events::{GossipId, Verdict};
use super::super::identity::node_id;
use super::super::reputation::Deed;
use super::super::status::{NetStatus, PeerStatus};
use super::{Control, Dial, MAX_PENDING, Pending, dial_options, last_peer};

/// Blocked peers that are remembered.
const MAX_BLOCKED: usize = 1024;

/// A command of a handle. A dropped `reply` means that the network has stopped.
pub(crate) enum Command {
    Publish {
        topic: usize,
        bytes: Vec<u8>,
        reply: oneshot::Sender<Result<(), NetError>>,
    },
    Validate {
        id: GossipId,
        verdict: Verdict,
    },
    Request {
        node: NodeId,
        to: PeerId,
        bytes: Vec<u8>,
        reply: oneshot::Sender<Result<Vec<u8>, NetError>>,
    },
    Dial {
        address: Multiaddr,
        reply: oneshot::Sender<Result<NodeId, NetError>>,
    },
    Block {
        peer: PeerId,
    },
    FindData {
        to: PeerId,
        reply: oneshot::Sender<()>,
    },
    Addresses {
        reply: oneshot::Sender<Vec<Multiaddr>>,
    },
    Status {
        reply: oneshot::Sender<NetStatus>,
    },
}

impl Control {
    /// Does what a command says. A caller that no longer waits for the reply is no concern.
    pub(super) fn on_command(&mut self, command: Command) {
        match command {
            Command::Publish { topic, bytes, reply } => {
                let _ = reply.send(self.publish(topic, bytes));
            }
            Command::Validate { id, verdict } => {
                self.dequeue(&id.source);
                self.validate(&id, verdict);
            }
            Command::Request { node, to, bytes, reply } => self.request(node, to, bytes, reply),
            Command::Dial { address, reply } => self.dial(address, reply),
            Command::Block { peer } => self.block(peer),
            Command::FindData { to, reply } => self.introduce(to, Some(reply)),
            Command::Addresses { reply } => {
                let _ = reply.send(self.addresses());
            }
            Command::Status { reply } => {
                let _ = reply.send(self.status());
            }
        }
    }

    fn publish(&mut self, topic: usize, bytes: Vec<u8>) -> Result<(), NetError> {
        let topic = self.topics.get(topic).ok_or(NetError::UnknownTopic(topic))?.clone();
        let len = bytes.len() as u64;
        match self.swarm.behaviour_mut().gossip.publish(topic, bytes) {
            Ok(_) => {
                self.traffic.sent += len;
                Ok(())
            }
            Err(PublishError::Duplicate) => Err(NetError::Duplicate),
            Err(PublishError::NoPeersSubscribedToTopic) => Err(NetError::NoPeers),
            Err(PublishError::AllQueuesFull(_)) => Err(NetError::Busy),
            Err(error) => Err(NetError::Publish(error)),
        }
    }

    pub(super) fn validate(&mut self, id: &GossipId, verdict: Verdict) {
        let deed = match verdict {
            Verdict::Accept => Some(Deed::Useful),
            Verdict::Reject => Some(Deed::Invalid),
            Verdict::Ignore => None,
        };
        if let Some((deed, node)) = deed.zip(node_id(&id.source)) {
            self.standings.reputation().note(node, deed, Instant::now());
        }
        let gossip = &mut self.swarm.behaviour_mut().gossip;
        gossip.report_message_validation_result(&id.message, &id.source, verdict.into());
    }

    fn request(
        &mut self,
        node: NodeId,
        to: PeerId,
        bytes: Vec<u8>,
        reply: oneshot::Sender<Result<Vec<u8>, NetError>>,
    ) {
        if self.pending.len() >= MAX_PENDING {
            let _ = reply.send(Err(NetError::Busy));
            return;
        }
        self.traffic.sent += bytes.len() as u64;
        let frame = Frame::new(Kind::App, bytes);
        let id = self.swarm.behaviour_mut().requests.send_request(&to, frame);
        self.pending.insert(id, Pending::App(node, reply));
    }

    /// Tells the peer where our data plane is, and asks where its own is.
    pub(super) fn introduce(&mut self, to: PeerId, waiter: Option<oneshot::Sender<()>>) {
        if self.pending.len() >= MAX_PENDING {
            return;
        }
        let frame = self.own_address();
        let id = self.swarm.behaviour_mut().requests.send_request(&to, frame);
        self.pending.insert(id, Pending::Data(waiter));
    }

    /// The frame that says where our data plane is.
    pub(super) fn own_address(&self) -> Frame {
        let mut body = Vec::new();
        self.data.address().encode(&mut body);
        Frame::new(Kind::DataAddress, body)
    }

    /// Tells all peers that our data address has changed.
    pub(super) fn announce_data(&mut self) {
        let peers: Vec<PeerId> =
            self.peers.iter().filter_map(|n| super::super::peer_id(*n)).collect();
        for peer in peers {
            self.introduce(peer, None);
        }
    }

    fn dial(&mut self, address: Multiaddr, reply: oneshot::Sender<Result<NodeId, NetError>>) {
        let known = last_peer(&address).filter(|peer| self.swarm.is_connected(peer));
        if let Some(node) = known.and_then(|peer| node_id(&peer)) {
            let _ = reply.send(Ok(node));
            return;
        }
        let options = dial_options(&address, PeerCondition::Always);
        self.start_dial(options, Dial::Caller(address, reply));
    }

    /// Refuses a peer from now on; when too many are refused, the oldest is forgiven.
    pub(super) fn block(&mut self, peer: PeerId) {
        if self.swarm.behaviour_mut().blocked.block_peer(peer) {
            self.blocked.push_back(peer);
        }
        if self.blocked.len() > MAX_BLOCKED
            && let Some(oldest) = self.blocked.pop_front()
        {
            self.swarm.behaviour_mut().blocked.unblock_peer(oldest);
        }
    }

    /// Sends the consumer's answer, if it has one and the peer still waits.
    pub(super) fn answer(&mut self, channel: ResponseChannel<Frame>, answer: Option<Vec<u8>>) {
        match answer {
            Some(bytes) if bytes.len() <= MAX_REQUEST => {
                self.traffic.sent += bytes.len() as u64;
                let frame = Frame::new(Kind::App, bytes);
                // The request timed out, or its connection is gone: nobody misses the answer.
                let _ = self.swarm.behaviour_mut().requests.send_response(channel, frame);
            }
            Some(bytes) => tracing::error!(len = bytes.len(), "an answer beyond the limit"),
            None => {}
        }
    }

    /// Confirmed outside addresses first, then where we listen; loopback only if there is no other.
    fn addresses(&self) -> Vec<Multiaddr> {
        let outside = self.swarm.external_addresses();
        let mut all: Vec<Multiaddr> = outside.chain(self.swarm.listeners()).cloned().collect();
        let mut seen = std::collections::BTreeSet::new();
        all.retain(|address| seen.insert(address.to_vec()));
        if all.iter().any(|address| !is_loopback(address)) {
            all.retain(|address| !is_loopback(address));
        }
        for address in &mut all {
            if last_peer(address).is_some() {
                address.pop();
            }
        }
        all
    }

    fn status(&self) -> NetStatus {
        let peer = |(peer, link): (&PeerId, &super::Link)| {
            let node = node_id(peer).filter(|node| self.peers.is_up(node))?;
            Some(PeerStatus { node, address: link.address.to_string() })
        };
        let meter = &self.data.meter;
        let (served, served_total) = meter.served();
        NetStatus {
            node: self.node,
            peers: self.links.iter().filter_map(peer).collect(),
            connections: self.swarm.network_info().connection_counters().num_established(),
            control_addresses: self.addresses().iter().map(Multiaddr::to_string).collect(),
            data_addresses: self.data.address().sockets.iter().map(ToString::to_string).collect(),
            reachability: self.reachability,
            control: self.traffic,
            data: meter.quic(),
            served,
            served_total,
            fetched_total: meter.fetched_total(),
            dropped: self.dropped,
        }
    }
}

pub(super) fn is_loopback(address: &Multiaddr) -> bool {
    address.ip_addr().is_some_and(|ip| ip.is_loopback())
}
