//! Streams of messages between two nodes over the data plane: QUIC, encrypted from end to end, with
//! back-pressure. Each message is bytes behind their length, which is bounded before they are read.

use std::collections::BTreeMap;
use std::sync::Mutex;
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
const IDLE: Duration = Duration::from_secs(60);
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
    Peer(SendStream),
    Here(mpsc::Sender<Vec<u8>>),
}

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
            To::Peer(stream) => {
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
    (FrameReader(From::Peer { stream: receiver, limit }), FrameWriter(To::Peer(sender)))
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
}

impl ProtocolHandler for ServeStreams {
    async fn accept(&self, connection: Connection) -> Result<(), AcceptError> {
        let Some(_entered) = self.entrance.enter(&connection) else { return Ok(()) };
        let peer = NodeId(*connection.remote_id().as_bytes());
        // Streams end by themselves: their readers and writers are bounded in time.
        loop {
            let Ok(opened) = timeout(IDLE, connection.accept_bi()).await else {
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
            let (reader, writer) = halves(sender, receiver, limit);
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
