//! From choices that are being read to a response: whole, or as server-sent events.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::future::try_join_all;
use futures::stream::{self, BoxStream, SelectAll, StreamExt};
use serde_json::Value;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::backend::{Finish, Paid};
use super::choice::{Choice, Piece};
use super::error::HttpError;
use super::journal::Entry;
use super::request::Kind;
use super::shape::{Logprobs, Shape, Usage};

/// How long a stream may be silent before something is sent that clients pass over, so that whatever lies
/// between does not take it for dead, and who hung up is noticed.
const SILENCE: Duration = Duration::from_secs(15);

/// Answers that were begun, each with the characters of its prompt.
pub(crate) type Begun = Vec<(Choice, usize)>;

/// Everything that a response is made with.
pub(crate) struct Reply {
    pub(crate) shape: Shape,
    pub(crate) entry: Entry,
    /// Cancelled when the process waits no longer.
    pub(crate) end: CancellationToken,
    pub(crate) has_usage: bool,
    /// Held until the response has ended.
    pub(crate) _place: tokio::sync::OwnedSemaphorePermit,
}

/// Reads all answers to their ends.
pub(crate) async fn whole(mut reply: Reply, begun: Begun) -> Result<Response, HttpError> {
    let mut usage = Usage::default();
    let shape = &reply.shape;
    let read = begun.into_iter().enumerate().map(|(index, (mut choice, prompt))| async move {
        let (mut text, mut scored) = (String::new(), Vec::new());
        while let Some(piece) = choice.next().await {
            match piece? {
                Piece::Text { text: more, tokens } => {
                    text.push_str(&more);
                    scored.extend(tokens);
                }
                Piece::End { finish, tokens_out, paid } => {
                    let logprobs = Logprobs::new(scored, prompt);
                    let value = shape.choice(index, &text, logprobs, finish);
                    return Ok((value, choice.tokens_in, tokens_out, paid));
                }
            }
        }
        Err(HttpError::failed("the answer ended without an end"))
    });
    let read = tokio::select! {
        read = try_join_all(read) => read,
        () = reply.end.cancelled() => Err(HttpError::shutting_down()),
    };
    let read = read.inspect_err(|error| reply.entry.refused(error))?;
    let (mut choices, mut bills) = (Vec::new(), Vec::new());
    for (index, (value, tokens_in, tokens_out, paid)) in read.into_iter().enumerate() {
        usage.tokens_in += u64::from(tokens_in);
        usage.tokens_out += u64::from(tokens_out);
        choices.push(value);
        bills.extend(paid.map(|paid| (index, paid)));
    }
    reply.entry.answered(usage);
    Ok(Json(reply.shape.whole(choices, usage, &bills)).into_response())
}

/// Sends the answers as they come.
pub(crate) fn streamed(reply: Reply, begun: Begun) -> Response {
    let sent = Sent::new(reply, begun);
    let events = stream::unfold(sent, |mut sent| async move {
        let event = sent.next().await?;
        Some((Ok::<_, Infallible>(event), sent))
    });
    let mut response = Body::from_stream(events).into_response();
    let kind = HeaderValue::from_static("text/event-stream; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    let fresh = HeaderValue::from_static("no-cache");
    response.headers_mut().insert(header::CACHE_CONTROL, fresh);
    response
}

/// A stream that is being sent.
struct Sent {
    reply: Reply,
    pieces: SelectAll<BoxStream<'static, (usize, Result<Piece, HttpError>)>>,
    /// Characters before what comes next, of each answer.
    offsets: Vec<usize>,
    /// Answers that have not ended.
    open: usize,
    usage: Usage,
    bills: Vec<(usize, Paid)>,
    ready: VecDeque<Bytes>,
}

impl Sent {
    fn new(reply: Reply, begun: Begun) -> Self {
        let offsets: Vec<_> = begun.iter().map(|(_, prompt)| *prompt).collect();
        let tokens_in = begun.iter().map(|(choice, _)| u64::from(choice.tokens_in)).sum();
        let pieces = begun.into_iter().enumerate().map(|(index, (choice, _))| {
            stream::unfold(choice, move |mut choice| async move {
                let piece = choice.next().await?;
                Some(((index, piece), choice))
            })
            .boxed()
        });
        let mut sent = Self {
            pieces: stream::select_all(pieces),
            open: offsets.len(),
            usage: Usage { tokens_in, tokens_out: 0 },
            bills: Vec::new(),
            ready: VecDeque::new(),
            offsets,
            reply,
        };
        if sent.reply.shape.kind == Kind::Chat {
            for index in 0..sent.open {
                sent.send(Shape::begin(index));
            }
        }
        sent
    }

    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Some(event);
            }
            let next = tokio::select! {
                next = timeout(SILENCE, self.pieces.next()) => next,
                () = self.reply.end.cancelled() => {
                    self.fail(&HttpError::shutting_down());
                    continue;
                }
            };
            match next {
                // A comment, which clients pass over.
                Err(_) => return Some(Bytes::from_static(b": still here\n\n")),
                Ok(None) => return None,
                Ok(Some((index, Ok(Piece::Text { text, tokens })))) => {
                    let logprobs = Logprobs::new(tokens, self.offsets[index]);
                    self.offsets[index] += text.chars().count();
                    let choice = self.reply.shape.more(index, &text, logprobs);
                    self.send(choice);
                }
                Ok(Some((index, Ok(Piece::End { finish, tokens_out, paid })))) => {
                    self.usage.tokens_out += u64::from(tokens_out);
                    self.bills.extend(paid.map(|paid| (index, paid)));
                    self.end(index, finish);
                }
                Ok(Some((_, Err(error)))) => self.fail(&error),
            }
        }
    }

    fn end(&mut self, index: usize, finish: Finish) {
        self.open -= 1;
        let choice = self.reply.shape.end(index, finish);
        if self.open > 0 {
            return self.send(choice);
        }
        // The bill is in the last chunk that everybody gets.
        let bills = std::mem::take(&mut self.bills);
        if self.reply.has_usage {
            self.send(choice);
            let last = self.reply.shape.chunk(Vec::new(), Some(self.usage), &bills);
            self.event(&last);
        } else {
            let last = self.reply.shape.chunk(vec![choice], None, &bills);
            self.event(&last);
        }
        self.ready.push_back(Bytes::from_static(b"data: [DONE]\n\n"));
        self.reply.entry.answered(self.usage);
    }

    /// Ends the stream with an error, and all answers that are still open.
    fn fail(&mut self, error: &HttpError) {
        self.pieces = SelectAll::new();
        self.reply.entry.refused(error);
        self.event(&error.to_json());
    }

    fn send(&mut self, choice: Value) {
        let chunk = self.reply.shape.chunk(vec![choice], None, &[]);
        self.event(&chunk);
    }

    fn event(&mut self, value: &Value) {
        self.ready.push_back(format!("data: {value}\n\n").into());
    }
}
