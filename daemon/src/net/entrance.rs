//! The door of the data plane: who of those that connect is let in.

use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use iroh::TransportAddr;
use iroh::endpoint::Connection;
use iroh_blobs::protocol::ERR_LIMIT;
use protocol::NodeId;

use super::meter::{Meter, Tracked};
use super::places::{Guest, PlaceLimits, Places};
use super::standing::Standings;

/// Gives [`Places`] to connections of others, whatever they are for.
#[derive(Debug, Clone)]
pub(super) struct Entrance {
    places: Arc<Mutex<Places<usize>>>,
    standings: Standings,
    meter: Arc<Meter>,
}

/// Has a place, and is counted, until it is dropped.
pub(super) struct Entered {
    places: Arc<Mutex<Places<usize>>>,
    key: usize,
    _tracked: Tracked,
}

impl Drop for Entered {
    fn drop(&mut self) {
        self.places.lock().expect("no holder panics").leave(&self.key);
    }
}

impl Entrance {
    /// An entrance to so many places.
    pub(super) fn new(limits: PlaceLimits, standings: Standings, meter: Arc<Meter>) -> Self {
        Self { places: Arc::new(Mutex::new(Places::new(limits))), standings, meter }
    }

    /// Waits until a connection rests for too long, or is gone.
    pub(super) async fn idle(&self, connection: &Connection) {
        self.meter.idle(connection.stable_id()).await;
    }

    /// Gives a connection a place, or closes it.
    pub(super) fn enter(&self, connection: &Connection) -> Option<Entered> {
        let peer = NodeId(*connection.remote_id().as_bytes());
        let (key, standing) = (connection.stable_id(), self.standings.of(&peer));
        let (address, since) = (address_of(connection), Instant::now());
        let guest = Guest { peer, address, standing, since };
        let reputation = self.standings.reputation();
        let entered = self.places.lock().expect("no holder panics").enter(key, guest, reputation);
        match entered {
            Ok(Some(worse)) => self.meter.close(worse),
            Ok(None) => {}
            Err(reason) => {
                connection.close(ERR_LIMIT, reason.to_string().as_bytes());
                return None;
            }
        }
        let (places, tracked) = (Arc::clone(&self.places), self.meter.track(connection));
        Some(Entered { places, key, _tracked: tracked })
    }
}

/// Where the other end of a connection is; `None` behind a relay.
fn address_of(connection: &Connection) -> Option<IpAddr> {
    connection.paths().iter().find_map(|path| match path.remote_addr() {
        TransportAddr::Ip(socket) => Some(socket.ip()),
        _ => None,
    })
}
