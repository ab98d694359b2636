//! Who may connect to the control plane: [`Places`] as a behaviour of the swarm.
//!
//! Before a handshake only the address is known, so what one address may have under way is bounded;
//! after it the peer is known and gets a place, or the place of somebody worse. Connections that this
//! node opens itself have a quarter for themselves: nobody can shut it in.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::convert::Infallible;
use std::net::IpAddr;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use libp2p::core::Endpoint;
use libp2p::core::transport::PortUse;
use libp2p::multiaddr::Protocol;
use libp2p::swarm::{
    CloseConnection, ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, THandler,
    THandlerInEvent, THandlerOutEvent, ToSwarm, dummy,
};
use libp2p::{Multiaddr, PeerId};
use protocol::rules::Standing;

use super::identity::node_id;
use super::places::{Guest, NoPlace, PlaceLimits, Places, subnet};
use super::standing::Standings;

/// Handshakes under way at a time.
const PENDING: usize = 64;
/// Of one address.
const PENDING_PER_ADDRESS: usize = 8;

/// Admits connections and closes those that lost their place.
pub(crate) struct Doors {
    places: Places<ConnectionId>,
    standings: Standings,
    limits: PlaceLimits,
    /// Handshakes under way with whoever came, by where that is.
    handshakes: BTreeMap<ConnectionId, Option<IpAddr>>,
    /// Connections that this node opens, with the peer once it is known.
    outbound: BTreeMap<ConnectionId, Option<Opened>>,
    /// Who has the places.
    peers: BTreeMap<ConnectionId, PeerId>,
    leaving: VecDeque<(PeerId, ConnectionId)>,
    waker: Option<Waker>,
}

/// To whom a connection of this node leads.
#[derive(Clone, Copy)]
struct Opened {
    peer: PeerId,
    address: Option<IpAddr>,
}

impl Doors {
    /// Doors for `limits.total` connections, three quarters of them from outside.
    pub(crate) fn new(limits: PlaceLimits, standings: Standings) -> Self {
        let outside = PlaceLimits { total: limits.total - limits.total / 4, ..limits };
        Self {
            places: Places::new(outside),
            standings,
            limits,
            handshakes: BTreeMap::new(),
            outbound: BTreeMap::new(),
            peers: BTreeMap::new(),
            leaving: VecDeque::new(),
            waker: None,
        }
    }

    /// Connections that this node opened.
    fn own(&self) -> usize {
        self.outbound.values().filter(|peer| peer.is_some()).count()
    }

    /// Whether this node may open one more. Whoever tells it of many peers at one place must not fill
    /// its own connections either.
    fn may_open(&self, to: &Opened) -> Result<(), NoPlace> {
        let opened = || self.outbound.values().flatten();
        let of_peer = opened().filter(|other| other.peer == to.peer).count();
        if of_peer >= self.limits.per_peer {
            return Err(NoPlace::Peer);
        }
        if self.places.len() + self.own() >= self.limits.total {
            return Err(NoPlace::All);
        }
        let is_known = of_peer > 0
            || node_id(&to.peer).is_some_and(|node| self.standings.of(&node) != Standing::Stranger);
        let peers = |holds: &dyn Fn(&Opened) -> bool| {
            opened()
                .filter(|other| holds(other))
                .map(|other| other.peer)
                .collect::<BTreeSet<_>>()
                .len()
        };
        if !is_known && peers(&|other| other.address == to.address) >= self.limits.per_address {
            return Err(NoPlace::Address);
        }
        let near = |other: &Opened| subnet(other.address) == subnet(to.address);
        if !is_known && peers(&near) >= self.limits.per_subnet {
            return Err(NoPlace::Subnet);
        }
        Ok(())
    }

    fn forget(&mut self, connection: ConnectionId) {
        self.handshakes.remove(&connection);
        self.outbound.remove(&connection);
        self.peers.remove(&connection);
        self.places.leave(&connection);
    }
}

/// Where a peer is; `None` behind a relay, whose address says nothing about it.
fn ip_of(address: &Multiaddr) -> Option<IpAddr> {
    let is_relayed = address.iter().any(|part| part == Protocol::P2pCircuit);
    address.ip_addr().filter(|_| !is_relayed)
}

/// A connection that was refused.
fn denied(reason: NoPlace) -> ConnectionDenied {
    ConnectionDenied::new(reason)
}

impl NetworkBehaviour for Doors {
    type ConnectionHandler = dummy::ConnectionHandler;
    type ToSwarm = Infallible;

    fn handle_pending_inbound_connection(
        &mut self,
        connection: ConnectionId,
        _: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<(), ConnectionDenied> {
        let address = ip_of(remote);
        let same = self.handshakes.values().filter(|other| **other == address).count();
        if same >= PENDING_PER_ADDRESS.max(self.limits.per_address) {
            return Err(denied(NoPlace::Address));
        }
        if self.handshakes.len() >= PENDING {
            return Err(denied(NoPlace::All));
        }
        self.handshakes.insert(connection, address);
        Ok(())
    }

    fn handle_established_inbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        _: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.handshakes.remove(&connection);
        let node = node_id(&peer).ok_or(denied(NoPlace::Refused))?;
        let (address, since) = (ip_of(remote), Instant::now());
        let guest = Guest { peer: node, address, standing: self.standings.of(&node), since };
        let entered = self.places.enter(connection, guest, self.standings.reputation());
        if let Some(worse) = entered.map_err(denied)?
            && let Some(peer) = self.peers.remove(&worse)
        {
            self.leaving.push_back((peer, worse));
            self.waker.take().into_iter().for_each(Waker::wake);
        }
        self.peers.insert(connection, peer);
        Ok(dummy::ConnectionHandler)
    }

    fn handle_pending_outbound_connection(
        &mut self,
        connection: ConnectionId,
        _: Option<PeerId>,
        _: &[Multiaddr],
        _: Endpoint,
    ) -> Result<Vec<Multiaddr>, ConnectionDenied> {
        if self.outbound.len() - self.own() >= PENDING {
            return Err(denied(NoPlace::All));
        }
        self.outbound.insert(connection, None);
        Ok(Vec::new())
    }

    fn handle_established_outbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        address: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.outbound.remove(&connection);
        let opened = Opened { peer, address: ip_of(address) };
        self.may_open(&opened).map_err(denied)?;
        self.outbound.insert(connection, Some(opened));
        Ok(dummy::ConnectionHandler)
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        match event {
            FromSwarm::ConnectionClosed(closed) => self.forget(closed.connection_id),
            FromSwarm::DialFailure(failed) => self.forget(failed.connection_id),
            FromSwarm::ListenFailure(failed) => self.forget(failed.connection_id),
            _ => {}
        }
    }

    fn on_connection_handler_event(
        &mut self,
        _: PeerId,
        _: ConnectionId,
        event: THandlerOutEvent<Self>,
    ) {
        match event {}
    }

    fn poll(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        if let Some((peer_id, connection)) = self.leaving.pop_front() {
            let connection = CloseConnection::One(connection);
            return Poll::Ready(ToSwarm::CloseConnection { peer_id, connection });
        }
        self.waker = Some(context.waker().clone());
        Poll::Pending
    }
}
