//! Connections to HTTP servers of this program: how many at a time, and how long each may be idle.
//!
//! Any program that can connect may do so, with or without a token, and a connection costs a file
//! descriptor that the stores need too. So connections are counted. When no place is left, those are
//! closed that did not finish the head of their first request in time, and those on which nothing has
//! moved for longer than any answer takes; while there is room, a slow machine costs nobody a request.
//! Who does not read what it asked for is closed in any case: an answer that nobody takes is held.

mod tls;

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::serve::Listener;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpListener;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep, sleep};
use tokio_rustls::TlsAcceptor;

use self::tls::Stream;
pub(crate) use self::tls::acceptor;

/// How often one that is late looks whether its place is wanted.
const RECHECK: Duration = Duration::from_millis(500);
/// What ends the head of a request.
const END: &[u8; 4] = b"\r\n\r\n";

/// What connections may take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// At a time; one more waits until one is closed.
    pub(crate) connections: usize,
    /// How long the head of a connection's first request may take, with the TLS handshake before it.
    pub(crate) head: Duration,
    /// How long nothing may move.
    pub(crate) idle: Duration,
    /// How long the other side may take nothing of what is written to it.
    pub(crate) stall: Duration,
}

/// A listener that keeps connections within limits.
pub(crate) struct BoundedListener {
    listener: TcpListener,
    places: Arc<Semaphore>,
    limits: Limits,
    tls: Option<TlsAcceptor>,
}

impl BoundedListener {
    pub(crate) fn new(listener: TcpListener, limits: Limits) -> Self {
        let places = Arc::new(Semaphore::new(limits.connections));
        Self { listener, places, limits, tls: None }
    }

    /// The same, with every connection inside TLS.
    pub(crate) fn with_tls(self, tls: Option<TlsAcceptor>) -> Self {
        Self { tls, ..self }
    }
}

impl Listener for BoundedListener {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        let place = Arc::clone(&self.places).acquire_owned().await;
        let place = place.expect("the semaphore is never closed");
        let (stream, address) = Listener::accept(&mut self.listener).await;
        // A token is a small packet, and is not to wait for the next.
        let _ = stream.set_nodelay(true);
        let connection = Connection {
            stream: Stream::new(stream, self.tls.as_ref()),
            deadline: Box::pin(sleep(self.limits.head)),
            stalled: None,
            limits: self.limits,
            seen: 0,
            place,
        };
        (connection, address)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// A connection that is closed when it misses its deadlines and its place is wanted.
pub(crate) struct Connection {
    stream: Stream,
    deadline: Pin<Box<Sleep>>,
    /// When a write that waits has waited long enough.
    stalled: Option<Pin<Box<Sleep>>>,
    limits: Limits,
    /// How many bytes of [`END`] were seen in a row; all of them once the first head is complete.
    seen: usize,
    place: OwnedSemaphorePermit,
}

impl Connection {
    /// Something moved: that counts once a whole head was read, so that it cannot come drop by drop.
    fn moved(&mut self, read: &[u8]) {
        for byte in read {
            if self.seen == END.len() {
                break;
            }
            self.seen = match (*byte == END[self.seen], *byte) {
                (true, _) => self.seen + 1,
                (false, b'\r') => 1,
                (false, _) => 0,
            };
        }
        if self.seen == END.len() {
            self.deadline.as_mut().reset(Instant::now() + self.limits.idle);
        }
    }

    /// What became of a write, or of what was to be written before it: fails where it has waited too long.
    fn in_time<T>(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            return written;
        }
        let stall = self.limits.stall;
        ready!(self.stalled.get_or_insert_with(|| Box::pin(sleep(stall))).as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        while read.is_pending() {
            ready!(self.deadline.as_mut().poll(cx));
            if self.place.semaphore().available_permits() == 0 {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
            self.deadline.as_mut().reset(Instant::now() + RECHECK);
        }
        self.moved(&buf.filled()[before..]);
        read
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        if written.is_ready() {
            self.stalled = None;
            self.moved(&[]);
        }
        self.in_time(cx, written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        self.in_time(cx, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = Pin::new(&mut self.stream).poll_shutdown(cx);
        self.in_time(cx, shut)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;
    use tokio::time::timeout;

    use super::*;

    const SOON: Duration = Duration::from_millis(250);
    const LATE: Duration = Duration::from_secs(3_600);
    const LIMITS: Limits = Limits { connections: 128, head: LATE, idle: LATE, stall: LATE };

    /// How long to look: a slow machine may take its time to do what it must, and what must not happen
    /// is given twice its deadline.
    fn patience(is_expected: bool) -> Duration {
        if is_expected { LATE } else { SOON * 2 }
    }

    /// A connection and its other end, at a listener with these limits.
    async fn connection(limits: Limits) -> (Connection, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut bounded = BoundedListener::new(listener, limits);
        let client = TcpStream::connect(bounded.local_addr().unwrap()).await.unwrap();
        (bounded.accept().await.0, client)
    }

    #[tokio::test]
    async fn a_head_that_never_ends_gives_its_place_to_others() {
        for (connections, is_left) in [(1, true), (2, false)] {
            let limits = Limits { connections, head: SOON, ..LIMITS };
            let (mut accepted, mut client) = connection(limits).await;
            client.write_all(b"GET / HTTP/1.1\r\nX: y\r\n").await.unwrap();
            let mut bytes = Vec::new();
            let ended = timeout(patience(is_left), accepted.read_to_end(&mut bytes)).await;
            let kind = ended.ok().and_then(Result::err).map(|error| error.kind());
            assert_eq!(kind, is_left.then_some(io::ErrorKind::TimedOut));
            assert_eq!(bytes.len(), 22, "it was read meanwhile");
        }
    }

    #[tokio::test]
    async fn after_the_head_an_answer_may_take_its_time_but_not_for_ever() {
        for (idle, is_left) in [(LATE, false), (SOON, true)] {
            let limits = Limits { connections: 1, head: SOON, idle, ..LIMITS };
            let (mut accepted, mut client) = connection(limits).await;
            client.write_all(b"GET / HTTP/1.1\r\r\n\r\n").await.unwrap();
            let mut head = [0; 19];
            accepted.read_exact(&mut head).await.unwrap();
            let next = timeout(patience(is_left), accepted.read(&mut head)).await;
            assert_eq!(next.is_ok_and(|read| read.is_err()), is_left);
        }
    }

    #[tokio::test]
    async fn who_never_reads_is_closed_though_there_is_room() {
        let (mut accepted, client) = connection(Limits { stall: SOON, ..LIMITS }).await;
        let answer = vec![0; 64 << 20];
        let written = timeout(LATE, accepted.write_all(&answer)).await.unwrap();
        assert_eq!(written.unwrap_err().kind(), io::ErrorKind::TimedOut);
        drop(client);
    }

    #[tokio::test]
    async fn connections_are_counted() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut bounded = BoundedListener::new(listener, LIMITS);
        let address = bounded.local_addr().unwrap();
        let mut inside = Vec::new();
        for _ in 0..LIMITS.connections {
            let client = TcpStream::connect(address).await.unwrap();
            inside.push((bounded.accept().await.0, client));
        }
        let _waits = TcpStream::connect(address).await.unwrap();
        assert!(timeout(SOON, bounded.accept()).await.is_err(), "there is no place left");
        inside.pop();
        bounded.accept().await;
    }
}
