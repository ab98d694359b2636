//! What the control plane does when the swarm reports something.

use std::time::Instant;

use libp2p::core::ConnectedPoint;
use libp2p::request_response::{self, InboundFailure, Message, OutboundFailure, ResponseChannel};
use libp2p::swarm::dial_opts::{DialOpts, PeerCondition};
use libp2p::swarm::{ConnectionId, DialError, SwarmEvent};
use libp2p::{PeerId, autonat, gossipsub, identify, kad, mdns};
use protocol::NodeId;
use tokio::sync::oneshot;

use super::super::PROTOCOL_VERSION;
use super::super::address::DataAddress;
use super::super::behaviour::{KADEMLIA, is_violation};
use super::super::codec::{Frame, Kind, REQUESTS};
use super::super::error::NetError;
use super::super::events::{GossipId, NetEvent, Reply, Verdict};
use super::super::identity::node_id;
use super::super::reputation::Deed;
use super::super::status::Reachability;
use super::command::is_loopback;
use super::{BehaviourEvent, Control, Dial, Link, Pending};

/// Addresses of one peer that are believed.
const MAX_ADDRESSES: usize = 8;

impl Control {
    /// Handles one event of the swarm.
    pub(super) fn react(&mut self, event: SwarmEvent<BehaviourEvent>) {
        match event {
            SwarmEvent::Behaviour(event) => self.react_behaviour(event),
            SwarmEvent::NewListenAddr { address, .. } => {
                self.notify(NetEvent::Listening { address: address.to_string() });
            }
            SwarmEvent::ListenerClosed { listener_id, .. } => {
                let relay = self.relays.iter_mut().find(|(_, id)| *id == Some(listener_id));
                if let Some((_, id)) = relay {
                    *id = None;
                }
            }
            SwarmEvent::ConnectionEstablished { peer_id, connection_id, endpoint, .. } => {
                self.connected(peer_id, connection_id, &endpoint);
            }
            SwarmEvent::ConnectionClosed { peer_id, num_established: 0, .. } => {
                self.links.remove(&peer_id);
                if let Some(node) = node_id(&peer_id) {
                    self.peers.set(node, false);
                }
            }
            SwarmEvent::OutgoingConnectionError { connection_id, error, .. } => {
                self.dial_failed(connection_id, error);
            }
            _ => {}
        }
    }

    fn react_behaviour(&mut self, event: BehaviourEvent) {
        match event {
            BehaviourEvent::Gossip(gossipsub::Event::Message {
                propagation_source,
                message_id,
                message,
            }) => {
                let id = GossipId { message: message_id, source: propagation_source };
                self.gossip_received(id, message);
            }
            BehaviourEvent::Gossip(gossipsub::Event::Subscribed { peer_id, topic, .. }) => {
                let topic = self.topics.iter().position(|known| *known == topic);
                if let (Some(topic), Some(peer)) = (topic, node_id(&peer_id)) {
                    self.notify(NetEvent::Subscribed { peer, topic });
                }
            }
            BehaviourEvent::Requests(event) => self.react_request(event),
            BehaviourEvent::Identify(identify::Event::Received { peer_id, info, .. }) => {
                self.identified(peer_id, &info);
            }
            BehaviourEvent::Autonat(event) => self.probed(&event),
            BehaviourEvent::Mdns(mdns::Event::Discovered(found)) => self.discovered(found),
            _ => {}
        }
    }

    fn connected(&mut self, peer: PeerId, connection: ConnectionId, endpoint: &ConnectedPoint) {
        match self.dials.remove(&connection) {
            Some(Dial::Caller(_, reply)) => {
                // The transports authenticate ed25519 keys only, so every peer has a NodeId.
                if let Some(node) = node_id(&peer) {
                    let _ = reply.send(Ok(node));
                }
            }
            Some(Dial::Bootstrap(index)) => self.bootstrap[index].peer = Some(peer),
            None => {}
        }
        if self.links.contains_key(&peer) {
            return;
        }
        let address = endpoint.get_remote_address().clone();
        self.links.insert(peer, Link { address, ours: false });
        if endpoint.is_dialer() {
            self.introduce(peer, None);
        }
    }

    fn dial_failed(&mut self, connection: ConnectionId, error: DialError) {
        match self.dials.remove(&connection) {
            Some(Dial::Caller(address, reply)) => {
                let source = Box::new(error);
                let _ = reply.send(Err(NetError::Dial { address: address.to_string(), source }));
            }
            Some(Dial::Bootstrap(index)) => {
                let address = &self.bootstrap[index].address;
                tracing::warn!(%address, %error, "bootstrap peer not reached");
            }
            None => {}
        }
    }

    fn gossip_received(&mut self, id: GossipId, message: gossipsub::Message) {
        self.traffic.received += message.data.len() as u64;
        let topic = self.topics.iter().position(|topic| *topic == message.topic);
        let author = message.source.as_ref().and_then(node_id);
        let (Some(topic), Some(from)) = (topic, author) else {
            self.validate(&id, Verdict::Reject);
            return;
        };
        let event = NetEvent::Gossip { from, topic, bytes: message.data, id: id.clone() };
        if !self.enqueue(id.source, event) {
            self.dropped.gossip += 1;
            self.validate(&id, Verdict::Ignore);
        }
    }

    fn react_request(&mut self, event: request_response::Event<Frame, Frame>) {
        use request_response::Event;
        match event {
            Event::Message { peer, message: Message::Request { request, channel, .. }, .. } => {
                self.asked(peer, request, channel);
            }
            Event::Message {
                peer, message: Message::Response { request_id, response }, ..
            } => match self.pending.remove(&request_id) {
                Some(Pending::App(node, reply)) => self.answered(node, reply, response),
                Some(Pending::Data(waiter)) => self.introduced(peer, &response, waiter),
                None => {}
            },
            Event::OutboundFailure { request_id, error, .. } => {
                if let Some(Pending::App(node, reply)) = self.pending.remove(&request_id) {
                    let _ = reply.send(Err(request_error(node, &error)));
                }
            }
            Event::InboundFailure { peer, error: InboundFailure::Io(error), .. } => {
                if is_violation(&error) {
                    self.violated(peer);
                }
            }
            Event::InboundFailure { .. } | Event::ResponseSent { .. } => {}
        }
    }

    fn asked(&mut self, peer: PeerId, request: Frame, channel: ResponseChannel<Frame>) {
        let Some(from) = node_id(&peer) else { return };
        match request.kind {
            Kind::DataAddress => {
                self.introduced(peer, &request, None);
                let frame = self.own_address();
                // The peer may be gone.
                let _ = self.swarm.behaviour_mut().requests.send_response(channel, frame);
            }
            Kind::App => {
                self.traffic.received += request.body.len() as u64;
                let (to, answer) = oneshot::channel();
                let reply = Reply { to, _held: request.held };
                let event = NetEvent::Request { from, bytes: request.body, reply };
                if !self.enqueue(peer, event) {
                    self.dropped.requests += 1;
                    return;
                }
                self.replies.push(Box::pin(async move { (peer, channel, answer.await.ok()) }));
            }
        }
    }

    fn answered(
        &mut self,
        node: NodeId,
        reply: oneshot::Sender<Result<Vec<u8>, NetError>>,
        response: Frame,
    ) {
        self.traffic.received += response.body.len() as u64;
        if response.kind == Kind::App {
            self.standings.reputation().note(node, Deed::Useful, Instant::now());
        }
        let _ = reply.send(match response.kind {
            Kind::App => Ok(response.body),
            Kind::DataAddress => Err(NetError::Foreign(node)),
        });
    }

    /// A peer said where its data plane is: from now on it can be fetched from.
    fn introduced(&mut self, peer: PeerId, frame: &Frame, waiter: Option<oneshot::Sender<()>>) {
        let (Some(node), Some(link)) = (node_id(&peer), self.links.get(&peer)) else { return };
        let address = match frame.kind {
            Kind::DataAddress => DataAddress::from_bytes(&frame.body),
            Kind::App => None,
        };
        let Some(mut address) = address else {
            self.violated(peer);
            return;
        };
        if !link.address.iter().any(|part| part == libp2p::multiaddr::Protocol::P2pCircuit)
            && let Some(ip) = link.address.ip_addr()
        {
            address = address.seen_at(ip);
        }
        self.data.learn(node, &address);
        self.peers.set(node, true);
        if let Some(waiter) = waiter {
            let _ = waiter.send(());
        }
    }

    fn violated(&mut self, peer: PeerId) {
        let Some(node) = node_id(&peer) else { return };
        let (reputation, now) = (self.standings.reputation(), Instant::now());
        reputation.note(node, Deed::Violation, now);
        // What it did over earlier connections counts as well.
        if reputation.is_refused(&node, now) {
            tracing::warn!(%peer, "refused from now on: it keeps breaking the protocol");
            self.block(peer);
        }
    }

    fn identified(&mut self, peer: PeerId, info: &identify::Info) {
        let Some(link) = self.links.get_mut(&peer) else { return };
        link.ours = info.protocol_version == PROTOCOL_VERSION && info.protocols.contains(&REQUESTS);
        if !link.ours || !info.protocols.contains(&KADEMLIA) {
            return;
        }
        // A loopback address leads to this machine, whoever names it.
        let near = is_loopback(&link.address);
        let addresses = info.listen_addrs.iter().filter(|address| near || !is_loopback(address));
        for address in addresses.take(MAX_ADDRESSES) {
            self.swarm.behaviour_mut().kademlia.add_address(&peer, address.clone());
        }
    }

    fn probed(&mut self, event: &autonat::v2::client::Event) {
        let global = event.tested_addr.ip_addr().is_some_and(is_global);
        let reachability = match &event.result {
            Ok(()) => Reachability::Public,
            Err(_) if self.swarm.external_addresses().next().is_some() => return,
            Err(_) => Reachability::Private,
        };
        if reachability == self.reachability {
            return;
        }
        self.reachability = reachability;
        // Whom nobody can dial should not be in other nodes' tables; inside one LAN all can.
        let mode = match reachability {
            Reachability::Private if global => kad::Mode::Client,
            _ => kad::Mode::Server,
        };
        self.swarm.behaviour_mut().kademlia.set_mode(Some(mode));
        self.notify(NetEvent::Reachability { reachability });
    }

    fn discovered(&mut self, found: Vec<(PeerId, libp2p::Multiaddr)>) {
        for (peer, address) in found.into_iter().take(64) {
            let condition = PeerCondition::DisconnectedAndNotDialing;
            let options = DialOpts::peer_id(peer).addresses(vec![address]).condition(condition);
            // Connected already, or too many connections: both are fine.
            let _ = self.swarm.dial(options.build());
        }
    }
}

fn request_error(node: NodeId, error: &OutboundFailure) -> NetError {
    match error {
        OutboundFailure::DialFailure => NetError::Unreachable(node),
        OutboundFailure::Timeout => NetError::Timeout(node),
        OutboundFailure::UnsupportedProtocols => NetError::Foreign(node),
        OutboundFailure::ConnectionClosed | OutboundFailure::Io(_) => NetError::Refused(node),
    }
}

/// Whether an address is meant for the whole internet.
fn is_global(ip: std::net::IpAddr) -> bool {
    match ip {
        std::net::IpAddr::V4(ip) => {
            !(ip.is_private() || ip.is_loopback() || ip.is_link_local() || ip.is_unspecified())
        }
        std::net::IpAddr::V6(ip) => {
            !(ip.is_unique_local()
                || ip.is_loopback()
                || ip.is_unicast_link_local()
                || ip.is_unspecified())
        }
    }
}
