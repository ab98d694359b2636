//! Connections to the API: how many at a time, and how long each may be idle.
//!
//! Any program of this machine can connect, with or without the token, and a connection costs a file
//! descriptor that the stores need too. So connections are counted. When no place is left, those are
//! closed that did not finish the head of their first request in time, and those on which nothing has
//! moved for longer than any answer takes; while there is room, a slow machine costs nobody a request.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::serve::Listener;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep, sleep};

/// Connections at a time; one more waits until one is closed.
const MAX_CONNECTIONS: usize = 128;
/// How long the head of a connection's first request may take.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// How long nothing may move: longer than the client waits for an answer.
const IDLE_TIMEOUT: Duration = Duration::from_secs(330);
/// How often one that is late looks whether its place is wanted.
const RECHECK: Duration = Duration::from_millis(500);
/// What ends the head of a request.
const END: &[u8; 4] = b"\r\n\r\n";

/// The listener of the API.
#[derive(Debug)]
pub(super) struct BoundedListener {
    listener: TcpListener,
    places: Arc<Semaphore>,
    head: Duration,
    idle: Duration,
}

impl BoundedListener {
    pub(super) fn new(listener: TcpListener) -> Self {
        let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        Self { listener, places, head: HEAD_TIMEOUT, idle: IDLE_TIMEOUT }
    }
}

impl Listener for BoundedListener {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        let place = Arc::clone(&self.places).acquire_owned().await;
        let place = place.expect("the semaphore is never closed");
        let (stream, address) = Listener::accept(&mut self.listener).await;
        let deadline = Box::pin(sleep(self.head));
        (Connection { stream, deadline, idle: self.idle, seen: 0, place }, address)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// A connection that is closed when it misses its deadlines and its place is wanted.
#[derive(Debug)]
pub(super) struct Connection {
    stream: TcpStream,
    deadline: Pin<Box<Sleep>>,
    idle: Duration,
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
            self.deadline.as_mut().reset(Instant::now() + self.idle);
        }
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
        let written = ready!(Pin::new(&mut self.stream).poll_write(cx, bytes));
        self.moved(&[]);
        Poll::Ready(written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::time::timeout;

    use super::*;

    const SOON: Duration = Duration::from_millis(250);
    const LATE: Duration = Duration::from_secs(3_600);

    /// How long to look: a slow machine may take its time to do what it must, and what must not happen
    /// is given twice its deadline.
    fn patience(is_expected: bool) -> Duration {
        if is_expected { LATE } else { SOON * 2 }
    }

    /// A connection and its other end, at a listener with as many places.
    async fn connection(places: usize, head: Duration, idle: Duration) -> (Connection, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let places = Arc::new(Semaphore::new(places));
        let mut bounded = BoundedListener { listener, places, head, idle };
        let client = TcpStream::connect(bounded.local_addr().unwrap()).await.unwrap();
        (bounded.accept().await.0, client)
    }

    #[tokio::test]
    async fn a_head_that_never_ends_gives_its_place_to_others() {
        for (places, is_left) in [(1, true), (2, false)] {
            let (mut accepted, mut client) = connection(places, SOON, LATE).await;
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
            let (mut accepted, mut client) = connection(1, SOON, idle).await;
            client.write_all(b"GET / HTTP/1.1\r\r\n\r\n").await.unwrap();
            let mut head = [0; 19];
            accepted.read_exact(&mut head).await.unwrap();
            let next = timeout(patience(is_left), accepted.read(&mut head)).await;
            assert_eq!(next.is_ok_and(|read| read.is_err()), is_left);
        }
    }

    #[tokio::test]
    async fn connections_are_counted() {
        let mut bounded = BoundedListener::new(TcpListener::bind("127.0.0.1:0").await.unwrap());
        let address = bounded.local_addr().unwrap();
        let mut inside = Vec::new();
        for _ in 0..MAX_CONNECTIONS {
            let client = TcpStream::connect(address).await.unwrap();
            inside.push((bounded.accept().await.0, client));
        }
        let _waits = TcpStream::connect(address).await.unwrap();
        assert!(timeout(SOON, bounded.accept()).await.is_err(), "there is no place left");
        inside.pop();
        bounded.accept().await;
    }
}
