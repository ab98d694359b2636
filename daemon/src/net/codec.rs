//! The request protocol's frames: `u8 kind`, `u32` length (big-endian), body.
//!
//! The length is checked before anything is allocated, and the bytes of all requests that wait to
//! be answered, from all peers together, are taken from one budget; a request that finds it spent
//! is refused. So peers can't make this node hold more than [`BUDGET_KIB`].

use std::io;
use std::sync::Arc;

use futures::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use libp2p::{StreamProtocol, request_response};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The longest request and the longest answer, in bytes.
pub const MAX_REQUEST: usize = 1 << 20;
/// All unanswered requests together, in KiB.
const BUDGET_KIB: usize = 64 << 10;
/// How much is read, and taken from the budget, at a time.
const STEP: usize = 64 << 10;
/// The protocol's name.
pub(crate) const REQUESTS: StreamProtocol = StreamProtocol::new("/openledger/request/1");

const _: () = assert!(MAX_REQUEST.is_multiple_of(1024), "the budget counts whole KiB");
const _: () = assert!(BUDGET_KIB * 1024 >= 16 * MAX_REQUEST, "a few slow peers must not fill it");

/// What a frame is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Bytes for the caller.
    App = 0,
    /// Asks for the peer's [`DataAddress`](super::address::DataAddress).
    DataAddress = 1,
}

/// A request or an answer.
#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) kind: Kind,
    pub(crate) body: Vec<u8>,
    /// The share of the budget that the body holds until it is dropped.
    pub(crate) held: Option<OwnedSemaphorePermit>,
}

impl Frame {
    /// A frame of our own.
    pub(crate) fn new(kind: Kind, body: Vec<u8>) -> Self {
        Self { kind, body, held: None }
    }
}

/// Reads and writes [`Frame`]s.
#[derive(Debug, Clone)]
pub(crate) struct Codec {
    budget: Arc<Semaphore>,
}

impl Default for Codec {
    fn default() -> Self {
        Self { budget: Arc::new(Semaphore::new(BUDGET_KIB)) }
    }
}

async fn read<T>(io: &mut T, budget: Option<&Arc<Semaphore>>) -> io::Result<Frame>
where
    T: AsyncRead + Unpin + Send,
{
    let mut header = [0; 5];
    io.read_exact(&mut header).await?;
    let [kind, len @ ..] = header;
    let kind = match kind {
        0 => Kind::App,
        1 => Kind::DataAddress,
        _ => return Err(io::ErrorKind::InvalidData.into()),
    };
    let len = usize::try_from(u32::from_be_bytes(len)).unwrap_or(usize::MAX);
    if len > MAX_REQUEST {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut frame = Frame::new(kind, Vec::new());
    while frame.body.len() < len {
        let step = STEP.min(len - frame.body.len());
        if let Some(budget) = budget {
            take_share(&mut frame.held, budget, step)?;
        }
        let start = frame.body.len();
        frame.body.resize(start + step, 0);
        io.read_exact(&mut frame.body[start..]).await?;
    }
    Ok(frame)
}

fn take_share(
    held: &mut Option<OwnedSemaphorePermit>,
    budget: &Arc<Semaphore>,
    bytes: usize,
) -> io::Result<()> {
    let share = u32::try_from(bytes.div_ceil(1024)).expect("a step is at most STEP");
    let share = Arc::clone(budget)
        .try_acquire_many_owned(share)
        .map_err(|_| io::Error::from(io::ErrorKind::QuotaExceeded))?;
    match held {
        Some(held) => held.merge(share),
        None => *held = Some(share),
    }
    Ok(())
}

async fn write<T>(io: &mut T, frame: &Frame) -> io::Result<()>
where
    T: AsyncWrite + Unpin + Send,
{
    let len = u32::try_from(frame.body.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    if frame.body.len() > MAX_REQUEST {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let mut header = [frame.kind as u8; 5];
    header[1..].copy_from_slice(&len.to_be_bytes());
    io.write_all(&header).await?;
    io.write_all(&frame.body).await
}

impl request_response::Codec for Codec {
    type Protocol = StreamProtocol;
    type Request = Frame;
    type Response = Frame;

    async fn read_request<T>(&mut self, _: &Self::Protocol, io: &mut T) -> io::Result<Frame>
    where
        T: AsyncRead + Unpin + Send,
    {
        read(io, Some(&self.budget)).await
    }

    async fn read_response<T>(&mut self, _: &Self::Protocol, io: &mut T) -> io::Result<Frame>
    where
        T: AsyncRead + Unpin + Send,
    {
        // Answers come only to our own requests, whose number the swarm bounds.
        read(io, None).await
    }

    async fn write_request<T>(
        &mut self,
        _: &Self::Protocol,
        io: &mut T,
        frame: Frame,
    ) -> io::Result<()>
    where
        T: AsyncWrite + Unpin + Send,
    {
        write(io, &frame).await
    }

    async fn write_response<T>(
        &mut self,
        _: &Self::Protocol,
        io: &mut T,
        frame: Frame,
    ) -> io::Result<()>
    where
        T: AsyncWrite + Unpin + Send,
    {
        write(io, &frame).await
    }
}

#[cfg(test)]
mod tests {
    use futures::io::Cursor;

    use super::*;

    #[tokio::test]
    async fn frames_round_trip_with_the_written_layout() {
        let mut bytes = Vec::new();
        write(&mut bytes, &Frame::new(Kind::DataAddress, b"abc".to_vec())).await.unwrap();
        assert_eq!(bytes, [1, 0, 0, 0, 3, b'a', b'b', b'c']);
        let frame = read(&mut Cursor::new(bytes), None).await.unwrap();
        assert_eq!((frame.kind, frame.body), (Kind::DataAddress, b"abc".to_vec()));
    }

    #[tokio::test]
    async fn a_length_beyond_the_limit_is_refused_before_a_byte_is_read() {
        let error = read(&mut Cursor::new(vec![0, 0xff, 0xff, 0xff, 0xff]), None).await;
        assert_eq!(error.unwrap_err().kind(), io::ErrorKind::InvalidData);
    }

    #[tokio::test]
    async fn an_unknown_kind_and_a_cut_body_are_refused() {
        let error = read(&mut Cursor::new(vec![9, 0, 0, 0, 0]), None).await;
        assert_eq!(error.unwrap_err().kind(), io::ErrorKind::InvalidData);
        let error = read(&mut Cursor::new(vec![0, 0, 0, 0, 9, 1]), None).await;
        assert_eq!(error.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }

    #[tokio::test]
    async fn the_budget_refuses_and_recovers() {
        let budget = Arc::new(Semaphore::new(100));
        let mut request = vec![0, 0, 1, 0x90, 0]; // 100 KiB
        request.resize(5 + (100 << 10), 7);
        let first = read(&mut Cursor::new(&request), Some(&budget)).await.unwrap();
        let second = read(&mut Cursor::new(&request), Some(&budget)).await;
        assert_eq!(second.unwrap_err().kind(), io::ErrorKind::QuotaExceeded);
        drop(first);
        assert!(read(&mut Cursor::new(&request), Some(&budget)).await.is_ok());
    }
}
