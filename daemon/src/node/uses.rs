//! Answers of this node to consumers elsewhere: [`protocol::usage`], a stream each.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use compute::formats::BaseError;
use protocol::ask::Ask;
use protocol::codec::Wire;
use protocol::limits::{MAX_GENERATED_TOKENS, MAX_USAGE_TEXT};
use protocol::node::Refusal;
use protocol::receipt::SignedReceipt;
use protocol::usage::{Cause, FromConsumer, FromServer};
use protocol::{EvmAddress, ModelId, NodeId};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::handle::NodeHandle;
use super::models::PromptLength;
use super::requests::{Opened, Piece, Served};
use crate::net::{FrameWriter, Incoming, StreamError};

/// Streams that one peer may have without having paid on them.
const MAX_ASKING: usize = 32;
/// How long the question may take to come.
const ASKING: Duration = Duration::from_secs(10);
/// How long a consumer may think about a quote: it may have to wait for its deposit.
const THINKING: Duration = Duration::from_secs(60);
/// How long a message may take to go out.
const SENDING: Duration = Duration::from_secs(10);
/// How often a consumer may try to pay for the beginning.
const TRIES: u32 = 8;

/// Answers streams until the node stops.
pub(super) async fn answer_all(
    node: NodeHandle,
    mut streams: mpsc::Receiver<Incoming>,
    stop: CancellationToken,
) {
    let asking = Asking::default();
    while let Some(Some(incoming)) = stop.run_until_cancelled(streams.recv()).await {
        let (node, place) = (node.clone(), asking.enter(incoming.peer));
        tokio::spawn(async move {
            let peer = incoming.peer;
            if let Err(ended) = answer(&node, incoming, place).await {
                tracing::debug!(%peer, %ended, "a use ended early");
            }
        });
    }
}

/// Streams of each peer that are not paid for yet: silence is free, so nobody may have too many. Those that are
/// paid for are bounded by the machine.
#[derive(Debug, Clone, Default)]
struct Asking(Arc<Mutex<BTreeMap<NodeId, usize>>>);

/// The place of a stream that is not paid for yet.
struct Place {
    asking: Asking,
    peer: NodeId,
}

impl Asking {
    fn all(&self) -> MutexGuard<'_, BTreeMap<NodeId, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn enter(&self, peer: NodeId) -> Option<Place> {
        let mut all = self.all();
        let count = all.entry(peer).or_default();
        let is_room = *count < MAX_ASKING;
        is_room.then(|| {
            *count += 1;
            Place { asking: self.clone(), peer }
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut all = self.asking.all();
        let left = all.get(&self.peer).map_or(0, |count| count.saturating_sub(1));
        match left {
            0 => all.remove(&self.peer),
            left => all.insert(self.peer, left),
        };
    }
}

/// Why a stream ends before its answer does.
#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error(transparent)]
    Stream(#[from] StreamError),
    #[error("the consumer was silent for too long, or read nothing")]
    Silent,
    #[error("the consumer sent what does not belong there")]
    Confused,
    #[error("the consumer hung up")]
    HungUp,
}

/// Why there is no answer, for the consumer.
struct Told(Cause, String);

impl From<Refusal> for Told {
    fn from(refusal: Refusal) -> Self {
        Self(Cause::from(&refusal), refusal.to_string())
    }
}

impl Told {
    /// A failure of this node, or of what was asked.
    fn of(error: &anyhow::Error) -> Self {
        if let Some(refusal) = error.downcast_ref::<Refusal>() {
            return Self::from(*refusal);
        }
        let cause = match error.downcast_ref::<PromptLength>() {
            Some(PromptLength { tokens: 0, .. }) => Cause::Invalid,
            Some(_) => Cause::TooLong,
            // A conversation that the model's template does not write, or has none for.
            None if error.is::<BaseError>() => Cause::Invalid,
            None => Cause::Failed,
        };
        Self(cause, error.to_string())
    }
}

/// Both ends of a stream, in messages.
struct Consumer {
    writer: FrameWriter,
    messages: mpsc::Receiver<Vec<u8>>,
}

impl Consumer {
    async fn send(&mut self, message: &FromServer) -> Result<(), Ended> {
        let sent = timeout(SENDING, self.writer.send(&message.to_bytes())).await;
        Ok(sent.map_err(|_| Ended::Silent)??)
    }

    async fn refuse(&mut self, Told(cause, reason): Told) -> Result<(), Ended> {
        self.send(&FromServer::Refused { cause, reason: shortened(reason) }).await
    }

    async fn next(&mut self, patience: Duration) -> Result<FromConsumer, Ended> {
        let message = timeout(patience, self.messages.recv()).await.map_err(|_| Ended::Silent)?;
        FromConsumer::from_bytes(&message.ok_or(Ended::HungUp)?).map_err(|_| Ended::Confused)
    }
}

async fn answer(node: &NodeHandle, incoming: Incoming, place: Option<Place>) -> Result<(), Ended> {
    let Incoming { reader, writer, .. } = incoming;
    let mut consumer = Consumer { writer, messages: reader.messages() };
    let Some(place) = place else { return consumer.refuse(Refusal::Busy.into()).await };
    let FromConsumer::Ask(ask) = consumer.next(ASKING).await? else { return Err(Ended::Confused) };
    let quoted = match quote(node, &ask).await {
        Ok(quoted) => quoted,
        Err(told) => return consumer.refuse(told).await,
    };
    consumer.send(&quoted).await?;
    let FromServer::Quoted { tokens_out, .. } = quoted else { return Err(Ended::Confused) };
    let opened = open(node, &mut consumer, &ask, tokens_out).await?;
    drop(place);
    match opened {
        Ok(opened) => relay(node, &mut consumer, ask.payer, opened).await,
        Err(told) => consumer.refuse(told).await,
    }
}

/// What this node would answer, if it is asked to.
async fn quote(node: &NodeHandle, ask: &Ask) -> Result<FromServer, Told> {
    let tokens_out = ask.max_tokens.min(MAX_GENERATED_TOKENS);
    if tokens_out == 0 {
        return Err(Told(Cause::Invalid, "ask for one token at least".to_owned()));
    }
    let chain = node.chain();
    let is_ours = |model: ModelId| {
        let offer = chain.publication(model);
        offer.is_some_and(|offer| Some(offer.server) == node.account())
    };
    if !is_ours(ask.model) {
        return Err(Refusal::NotServed.into());
    }
    let quote = node.quote(ask.model, ask.payer, &ask.prompt, tokens_out).await;
    let quote = quote.map_err(|error| Told::of(&error))?;
    let (payee, promised, tokens_in) = (quote.payee, quote.promised, quote.tokens_in);
    Ok(FromServer::Quoted { payee, promised, tokens_in, tokens_out })
}

/// Takes the first payment. One that is not right is said to be so, with what was promised before: two uses
/// of one consumer may have crossed, or its deposit is not seen yet.
async fn open(
    node: &NodeHandle,
    consumer: &mut Consumer,
    ask: &Ask,
    tokens: u32,
) -> Result<Result<Opened, Told>, Ended> {
    for _ in 0..TRIES {
        let FromConsumer::Pay(receipt) = consumer.next(THINKING).await? else {
            return Err(Ended::Confused);
        };
        let opened = match admit(node, ask, receipt, tokens).await {
            Ok(opened) => opened,
            Err(told) if told.0 == Cause::Payment => {
                unpaid(node, consumer, ask.payer, told.1).await?;
                continue;
            }
            Err(told) => return Ok(Err(told)),
        };
        return Ok(Ok(opened));
    }
    Ok(Err(Told(Cause::Payment, "no payment was right; ask anew".to_owned())))
}

/// Opens a use, once the machine has said that it is paid for.
async fn admit(
    node: &NodeHandle,
    ask: &Ask,
    receipt: SignedReceipt,
    tokens: u32,
) -> Result<Opened, Told> {
    let opened = node.open(receipt, ask.clone(), tokens, true).await;
    let mut opened = opened.map_err(|error| Told::of(&error))?;
    let is_paid = tokio::select! {
        biased;
        paid = opened.paid.wait_for(|tokens| *tokens > 0) => paid.is_ok(),
        outcome = &mut opened.outcome => return Err(match outcome {
            Ok(Err(refusal)) => refusal.into(),
            _ => Refusal::Failed.into(),
        }),
    };
    if is_paid {
        return Ok(opened);
    }
    // Its entry is gone: what it was told is on its way.
    Err(match opened.outcome.await {
        Ok(Err(refusal)) => refusal.into(),
        _ => Refusal::Failed.into(),
    })
}

async fn unpaid(
    node: &NodeHandle,
    consumer: &mut Consumer,
    payer: EvmAddress,
    reason: String,
) -> Result<(), Ended> {
    let promised = match node.promised(payer).await {
        Ok(promised) => promised,
        Err(error) => return consumer.refuse(Told::of(&error)).await,
    };
    consumer.send(&FromServer::Unpaid { promised, reason: shortened(reason) }).await
}

/// Carries the answer out and payments in, until both are at their end.
async fn relay(
    node: &NodeHandle,
    consumer: &mut Consumer,
    payer: EvmAddress,
    opened: Opened,
) -> Result<(), Ended> {
    let Opened { id, paid, mut said, mut outcome } = opened;
    let (tokens, mut is_said) = (*paid.borrow(), false);
    consumer.send(&FromServer::Paid { tokens }).await?;
    loop {
        tokio::select! {
            biased;
            piece = said.recv(), if !is_said => match piece {
                Some(Piece { text, tokens }) => {
                    for text in parts(&text) {
                        consumer.send(&FromServer::Text { text, tokens }).await?;
                    }
                }
                None => is_said = true,
            },
            // What was said comes before how it ended.
            outcome = &mut outcome, if is_said => {
                return match outcome {
                    Ok(Ok(Served { answer, record, fee })) => {
                        let tokens = answer.tokens_out;
                        consumer.send(&FromServer::Done { tokens, price: fee, record }).await
                    }
                    Ok(Err(refusal)) => consumer.refuse(refusal.into()).await,
                    Err(_) => consumer.refuse(Refusal::Failed.into()).await,
                };
            }
            message = consumer.messages.recv() => {
                let message = message.ok_or(Ended::HungUp)?;
                match FromConsumer::from_bytes(&message) {
                    Ok(FromConsumer::Pay(receipt)) => match node.pay(id, receipt).await {
                        Ok(tokens) => consumer.send(&FromServer::Paid { tokens }).await?,
                        Err(refusal) => unpaid(node, consumer, payer, refusal.to_string()).await?,
                    },
                    // No more is generated; what was is attributed and recorded.
                    Ok(FromConsumer::Enough) => said.close(),
                    _ => return Err(Ended::Confused),
                }
            }
        }
    }
}

/// A text in parts that fit into messages.
fn parts(text: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    for character in text.chars() {
        if let Some(last) = parts.last_mut()
            && last.len() + character.len_utf8() <= MAX_USAGE_TEXT
        {
            last.push(character);
        } else {
            parts.push(character.to_string());
        }
    }
    parts
}

/// A reason that fits into a message.
fn shortened(reason: String) -> String {
    parts(&reason).swap_remove(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_asks_and_pays_nothing_keeps_nobody_else_waiting() {
        let (asking, silent, other) = (Asking::default(), NodeId([1; 32]), NodeId([2; 32]));
        let places: Vec<_> = (0..MAX_ASKING).map(|_| asking.enter(silent).unwrap()).collect();
        assert!(asking.enter(silent).is_none());
        assert!(asking.enter(other).is_some());
        drop(places);
        assert!(asking.enter(silent).is_some());
        assert!(asking.all().is_empty(), "nothing is kept of who is gone");
    }

    #[test]
    fn texts_are_cut_between_characters() {
        assert_eq!(parts(""), [""]);
        let long = "é".repeat(MAX_USAGE_TEXT);
        let cut = parts(&long);
        assert_eq!((cut.len(), cut.concat() == long), (2, true));
        assert!(cut.iter().all(|part| part.len() <= MAX_USAGE_TEXT));
        assert_eq!(shortened(long).len(), MAX_USAGE_TEXT);
    }
}
