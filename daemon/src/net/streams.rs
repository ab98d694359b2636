//! Streams of messages between two nodes over the data plane: QUIC, encrypted from end to end, with
//! back-pressure. Each message is bytes behind their length, which is bounded before they are read.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use iroh::endpoint::{Connection, RecvStream, SendStream, VarInt};
use iroh::protocol::{AcceptError, ProtocolHandler};
use protocol::NodeId;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::entrance::Entrance;
use super::error::StreamError;
use super::meter::Tracked;

/// What both ends say that they speak: [`protocol::usage`].
pub(super) const ALPN: &[u8] = b"openledger/use/1";
/// How long a connection without a stream stays open.
pub(super) const IDLE: Duration = Duration::from_secs(60);
/// Connections to others that are kept for the next stream.
const MAX_KEPT: usize = 64;
/// Messages that were read and nobody has taken.
const UNREAD: usize = 4;
/// Closes a stream that nobody has time for, and a connection that rests.
const BUSY: VarInt = VarInt::from_u32(1);
const DONE: VarInt = VarInt::from_u32(0);

/// A stream that another node opened, and which one that is.
#[derive(Debug)]
pub struct Incoming {
    /// Who opened it.
    pub peer: NodeId,
    /// What it says.
    pub reader: FrameReader,
    /// What it is told.
    pub writer: FrameWriter,
}

/// The receiving half of a stream. Dropped, it tells the other side that nobody reads.
#[derive(Debug)]
pub struct FrameReader(From);

#[derive(Debug)]
enum From {
    Peer { stream: RecvStream, limit: usize },
    Here(mpsc::Receiver<Vec<u8>>),
}

/// The sending half of a stream. Dropped, it ends the stream.
#[derive(Debug)]
pub struct FrameWriter(To);

#[derive(Debug)]
enum To {
    /// With the hold that keeps its connection open, where another node opened it.
    Peer {
        stream: SendStream,
        _hold: Option<Arc<Hold>>,
    },
    Here(mpsc::Sender<Vec<u8>>),
}

/// Held by every stream of a connection.
#[derive(Debug)]
struct Hold;

impl FrameReader {
    /// Messages as they come, a few at most that nobody has taken yet. They end where the stream does, and at
    /// one that is longer than may be.
    pub fn messages(self) -> mpsc::Receiver<Vec<u8>> {
        let (mut stream, limit) = match self.0 {
            From::Here(messages) => return messages,
            From::Peer { stream, limit } => (stream, limit),
        };
        let (out, messages) = mpsc::channel(UNREAD);
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    () = out.closed() => return,
                    next = next(&mut stream, limit) => match next {
                        Ok(Some(message)) => if out.send(message).await.is_err() {
                            return;
                        },
                        Ok(None) | Err(_) => return,
                    },
                }
            }
        });
        messages
    }
}

/// The next message; `None` where the stream ended between two of them. Not to be given up half-way, since
/// a message that was begun would be lost.
async fn next(stream: &mut RecvStream, limit: usize) -> Result<Option<Vec<u8>>, StreamError> {
    let mut head = [0u8; 4];
    match stream.read(&mut head[..1]).await.map_err(|_| StreamError::Broken)? {
        None => return Ok(None),
        Some(_) => fill(stream, &mut head[1..]).await?,
    }
    let length = usize::try_from(u32::from_be_bytes(head)).unwrap_or(usize::MAX);
    if length > limit {
        return Err(StreamError::TooLong { length, limit });
    }
    let mut message = vec![0; length];
    fill(stream, &mut message).await?;
    Ok(Some(message))
}

async fn fill(stream: &mut RecvStream, bytes: &mut [u8]) -> Result<(), StreamError> {
    stream.read_exact(bytes).await.map_err(|_| StreamError::Broken)
}

impl FrameWriter {
    /// Sends a message, once there is room for it.
    pub async fn send(&mut self, message: &[u8]) -> Result<(), StreamError> {
        match &mut self.0 {
            To::Peer { stream, .. } => {
                let (length, limit) = (message.len(), u32::MAX as usize);
                let head = u32::try_from(length);
                let head = head.map_err(|_| StreamError::TooLong { length, limit })?.to_be_bytes();
                let bytes = [&head, message].concat();
                stream.write_all(&bytes).await.map_err(|_| StreamError::Broken)
            }
            To::Here(messages) => {
                messages.send(message.to_vec()).await.map_err(|_| StreamError::Broken)
            }
        }
    }
}

/// Both halves of a stream, whose messages are at most `limit` bytes long.
pub(super) fn halves(
    sender: SendStream,
    receiver: RecvStream,
    limit: usize,
) -> (FrameReader, FrameWriter) {
    held(sender, receiver, limit, None)
}

fn held(
    sender: SendStream,
    receiver: RecvStream,
    limit: usize,
    hold: Option<Arc<Hold>>,
) -> (FrameReader, FrameWriter) {
    (
        FrameReader(From::Peer { stream: receiver, limit }),
        FrameWriter(To::Peer { stream: sender, _hold: hold }),
    )
}

/// A stream within this process: what a node says to itself, as to any other.
pub(super) fn within(peer: NodeId) -> (Incoming, (FrameReader, FrameWriter)) {
    let ((out, to_other), (back, from_other)) = (mpsc::channel(UNREAD), mpsc::channel(UNREAD));
    let incoming = Incoming {
        peer,
        reader: FrameReader(From::Here(to_other)),
        writer: FrameWriter(To::Here(back)),
    };
    (incoming, (FrameReader(From::Here(from_other)), FrameWriter(To::Here(out))))
}

/// Lets streams of others in, and hands them to whoever answers.
#[derive(Debug)]
pub(super) struct ServeStreams {
    pub(super) entrance: Entrance,
    pub(super) limit: usize,
    pub(super) streams: mpsc::Sender<Incoming>,
    /// How long a connection stays open on which there is no stream.
    pub(super) idle: Duration,
}

impl ProtocolHandler for ServeStreams {
    async fn accept(&self, connection: Connection) -> Result<(), AcceptError> {
        let Some(_entered) = self.entrance.enter(&connection) else { return Ok(()) };
        let peer = NodeId(*connection.remote_id().as_bytes());
        let hold = Arc::new(Hold);
        loop {
            let Ok(opened) = timeout(self.idle, connection.accept_bi()).await else {
                // Streams end by themselves: their readers and writers are bounded in time.
                if Arc::strong_count(&hold) > 1 {
                    continue;
                }
                connection.close(DONE, b"idle");
                return Ok(());
            };
            let Ok((mut sender, receiver)) = opened else { return Ok(()) };
            let (tell, limit) = (&self.streams, self.limit);
            let Ok(place) = tell.try_reserve() else {
                // Told by its code: nobody has time for it.
                let _ = sender.reset(BUSY);
                continue;
            };
            let (reader, writer) = held(sender, receiver, limit, Some(Arc::clone(&hold)));
            place.send(Incoming { peer, reader, writer });
        }
    }
}

/// Connections on which this node opens streams, kept for the next one.
#[derive(Debug, Default)]
pub(super) struct Kept(Mutex<BTreeMap<NodeId, (Connection, Tracked)>>);

impl Kept {
    pub(super) fn get(&self, node: NodeId) -> Option<Connection> {
        let mut kept = self.0.lock().expect("no holder panics");
        kept.retain(|_, (connection, _)| connection.close_reason().is_none());
        kept.get(&node).map(|(connection, _)| connection.clone())
    }

    pub(super) fn put(&self, node: NodeId, connection: Connection, counted: Tracked) {
        let mut kept = self.0.lock().expect("no holder panics");
        if kept.len() < MAX_KEPT {
            kept.insert(node, (connection, counted));
        }
    }

    pub(super) fn forget(&self, node: NodeId) {
        self.0.lock().expect("no holder panics").remove(&node);
    }
}

#[cfg(test)]
mod tests {
    use iroh::endpoint::presets;
    use iroh::protocol::Router;
    use iroh::{Endpoint, EndpointAddr, RelayMode};

    use super::super::meter::Meter;
    use super::super::places::PlaceLimits;
    use super::super::standing::Standings;
    use super::*;

    const SOON: Duration = Duration::from_millis(250);
    const PATIENCE: Duration = Duration::from_secs(40);

    async fn endpoint() -> Endpoint {
        let builder = Endpoint::builder(presets::Minimal).relay_mode(RelayMode::Disabled);
        let loopback = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
        builder.clear_ip_transports().bind_addr(loopback).unwrap().bind().await.unwrap()
    }

    /// Or whoever is answered for long is cut off in the middle of what it pays for.
    #[tokio::test]
    async fn a_connection_stays_open_while_a_stream_is_and_no_longer() {
        let limits = PlaceLimits { total: 8, per_peer: 8, per_address: 8, per_subnet: 8 };
        let entrance = Entrance::new(limits, Standings::default(), Arc::new(Meter::default()));
        let (streams, mut opened) = mpsc::channel(4);
        let serve = ServeStreams { entrance, limit: 64, streams, idle: SOON };
        let server = Router::builder(endpoint().await).accept(ALPN, serve).spawn();
        let address: EndpointAddr = server.endpoint().addr();
        let (busy, resting) = (endpoint().await, endpoint().await);
        let busy = busy.connect(address.clone(), ALPN).await.unwrap();
        let (sender, receiver) = busy.open_bi().await.unwrap();
        let (reader, mut writer) = halves(sender, receiver, 64);
        writer.send(b"hello").await.unwrap();
        let Incoming { reader: heard, writer: mut back, .. } = opened.recv().await.unwrap();
        // One that came later and has no stream is closed, and so is a third after it: by then the first has been
        // without a new stream for twice as long as any may rest.
        for _ in 0..2 {
            let resting = resting.connect(address.clone(), ALPN).await.unwrap();
            timeout(PATIENCE, resting.closed()).await.expect("it rests, and is closed");
        }
        back.send(b"still here").await.unwrap();
        assert_eq!(reader.messages().recv().await.unwrap(), b"still here");
        drop((heard, back, writer));
        timeout(PATIENCE, busy.closed()).await.expect("it rests now");
    }
}
