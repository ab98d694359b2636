//! Counts what the data plane moves, paces what it sends, and knows which connections rest.
//!
//! The blob provider asks before each 16 KiB: that one question serves both the accounting per
//! peer (statements of bytes served) and the upload limit.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use iroh::endpoint::Connection;
use iroh_blobs::protocol::ERR_LIMIT;
use iroh_blobs::provider::events::ProviderMessage;
use protocol::NodeId;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::status::PlaneBytes;

/// The most peers that are accounted one by one; beyond, only the total grows.
const MAX_ACCOUNTS: usize = 4096;

/// How long a connection may ask for nothing, or not take what it asked for.
const IDLE: Duration = Duration::from_secs(15);

/// Counters of the data plane.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    served: Mutex<BTreeMap<NodeId, u64>>,
    served_total: AtomicU64,
    fetched_total: AtomicU64,
    connections: Mutex<Connections>,
}

#[derive(Debug, Default)]
struct Connections {
    open: BTreeMap<usize, Open>,
    closed: PlaneBytes,
}

#[derive(Debug)]
struct Open {
    connection: Connection,
    /// When it was given something last.
    active: Instant,
    /// Parts that it waits for, since more is sent than may be.
    waiting: u32,
}

impl Meter {
    /// Blob payload served, per peer and in all.
    pub(crate) fn served(&self) -> (BTreeMap<NodeId, u64>, u64) {
        let served = self.served.lock().expect("no holder panics").clone();
        (served, self.served_total.load(Ordering::Relaxed))
    }

    /// Blob payload fetched.
    pub(crate) fn fetched_total(&self) -> u64 {
        self.fetched_total.load(Ordering::Relaxed)
    }

    /// QUIC bytes of all connections, open and closed.
    pub(crate) fn quic(&self) -> PlaneBytes {
        let connections = self.connections.lock().expect("no holder panics");
        let open = connections.open.values().map(|open| traffic(&open.connection));
        open.fold(connections.closed, add)
    }

    /// Closes a connection that lost its place to a better one.
    pub(crate) fn close(&self, id: usize) {
        let connections = self.connections.lock().expect("no holder panics");
        if let Some(open) = connections.open.get(&id) {
            open.connection.close(ERR_LIMIT, b"busy");
        }
    }

    /// Waits until a connection rests for too long, or is gone.
    pub(crate) async fn idle(&self, id: usize) {
        loop {
            let (now, until) = (Instant::now(), {
                let connections = self.connections.lock().expect("no holder panics");
                let Some(open) = connections.open.get(&id) else { return };
                if open.waiting > 0 { Instant::now() + IDLE } else { open.active + IDLE }
            });
            if until <= now {
                return;
            }
            tokio::time::sleep_until(until).await;
        }
    }

    /// Notes that a connection begins or ends to wait for leave to be sent a part.
    fn waits(&self, id: u64, begins: bool) {
        let mut connections = self.connections.lock().expect("no holder panics");
        let open = usize::try_from(id).ok().and_then(|id| connections.open.get_mut(&id));
        if let Some(open) = open {
            open.active = Instant::now();
            open.waiting = if begins {
                open.waiting.saturating_add(1)
            } else {
                open.waiting.saturating_sub(1)
            };
        }
    }

    /// Counts a connection until the guard is dropped.
    pub(crate) fn track(self: &Arc<Self>, connection: &Connection) -> Tracked {
        let id = connection.stable_id();
        let mut connections = self.connections.lock().expect("no holder panics");
        let open = Open { connection: connection.clone(), active: Instant::now(), waiting: 0 };
        connections.open.insert(id, open);
        Tracked { meter: Arc::clone(self), id }
    }

    pub(crate) fn count_fetched(&self, bytes: u64) {
        self.fetched_total.fetch_add(bytes, Ordering::Relaxed);
    }

    fn count_served(&self, to: Option<NodeId>, bytes: u64) {
        self.served_total.fetch_add(bytes, Ordering::Relaxed);
        let Some(node) = to else { return };
        let mut served = self.served.lock().expect("no holder panics");
        if served.len() < MAX_ACCOUNTS || served.contains_key(&node) {
            let account = served.entry(node).or_default();
            *account = account.saturating_add(bytes);
        }
    }
}

/// Counts one connection while it lives.
#[derive(Debug)]
pub(crate) struct Tracked {
    meter: Arc<Meter>,
    id: usize,
}

impl Drop for Tracked {
    fn drop(&mut self) {
        let mut connections = self.meter.connections.lock().expect("no holder panics");
        if let Some(Open { connection, .. }) = connections.open.remove(&self.id) {
            connections.closed = add(connections.closed, traffic(&connection));
        }
    }
}

fn traffic(connection: &Connection) -> PlaneBytes {
    let stats = connection.stats();
    PlaneBytes { received: stats.udp_rx.bytes, sent: stats.udp_tx.bytes }
}

fn add(a: PlaneBytes, b: PlaneBytes) -> PlaneBytes {
    PlaneBytes {
        received: a.received.saturating_add(b.received),
        sent: a.sent.saturating_add(b.sent),
    }
}

/// Spreads bytes over time at a fixed rate, with a burst of a tenth of a second.
#[derive(Debug)]
struct Pacer {
    rate: u64,
    next: Instant,
}

impl Pacer {
    const BURST: Duration = Duration::from_millis(100);

    fn new(rate: u64, now: Instant) -> Self {
        Self { rate: rate.max(1), next: now }
    }

    /// When `bytes` may be sent.
    fn reserve(&mut self, now: Instant, bytes: u64) -> Instant {
        let earliest = now.checked_sub(Self::BURST).unwrap_or(now);
        let at = self.next.max(earliest);
        let nanos = u128::from(bytes) * 1_000_000_000 / u128::from(self.rate);
        self.next = at + Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX / 2));
        at.max(now)
    }
}

/// Answers the provider's questions until it is gone. `max_upload` is in bytes per second.
pub(crate) async fn run(
    mut questions: mpsc::Receiver<ProviderMessage>,
    meter: Arc<Meter>,
    max_upload: Option<u64>,
) {
    let mut peers: BTreeMap<u64, NodeId> = BTreeMap::new();
    let mut pacer = max_upload.map(|rate| Pacer::new(rate, Instant::now()));
    let mut waiting = FuturesUnordered::new();
    loop {
        let question = tokio::select! {
            question = questions.recv() => question,
            Some(()) = waiting.next() => continue,
        };
        match question {
            Some(ProviderMessage::ClientConnectedNotify(message)) => {
                if let Some(id) = message.inner.endpoint_id {
                    peers.insert(message.inner.connection_id, NodeId(*id.as_bytes()));
                }
            }
            Some(ProviderMessage::ConnectionClosed(message)) => {
                peers.remove(&message.inner.connection_id);
            }
            Some(ProviderMessage::Throttle(message)) => {
                let bytes = message.inner.size;
                let connection = message.inner.connection_id;
                meter.count_served(peers.get(&connection).copied(), bytes);
                meter.waits(connection, true);
                let at = pacer.as_mut().map(|pacer| pacer.reserve(Instant::now(), bytes));
                // One stream asks one question at a time, so the number of streams bounds this.
                let meter = &meter;
                waiting.push(async move {
                    if let Some(at) = at {
                        tokio::time::sleep_until(at).await;
                    }
                    // The stream may be gone.
                    let _ = message.tx.send(Ok(())).await;
                    meter.waits(connection, false);
                });
            }
            // The mask asks for no other event.
            Some(_) => {}
            None => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pacer_keeps_its_rate_after_one_burst() {
        let start = Instant::now();
        let mut pacer = Pacer::new(1000, start);
        let last = (0..20).map(|_| pacer.reserve(start, 100)).last();
        assert_eq!(last, Some(start + Duration::from_millis(1900)));
        // A pause earns a burst of 100 ms, not of the whole pause.
        let later = start + Duration::from_secs(60);
        assert_eq!(pacer.reserve(later, 100), later);
        assert_eq!(pacer.reserve(later, 100), later);
        assert_eq!(pacer.reserve(later, 100), later + Duration::from_millis(100));
    }
}
