//! One answer on its way: read as it comes, and paid for a few tokens ahead.

use std::sync::Arc;
use std::time::Duration;

use protocol::codec::Wire;
use protocol::limits::PAID_AHEAD_TOKENS;
use protocol::usage::{Cause, FromConsumer, FromServer};
use protocol::{Amount, Digest};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::backend::{Finish, Paid, Refused, Said};
use super::wallet::{Bill, Step, Wallet, next_step};
use crate::net::{FrameReader, FrameWriter};

/// How long a message may take to go out.
const SENDING: Duration = Duration::from_secs(10);
/// How long a server may take for its next words.
const STALL: Duration = Duration::from_secs(30);
/// How long whoever reads may take.
const READING: Duration = Duration::from_secs(60);
/// Payments that one step may take: promises to the same server may have crossed.
const TRIES: u32 = 4;

/// Where an answer goes.
type Say = mpsc::Sender<Result<Said, Refused>>;

/// A stream to a server, in messages.
#[derive(Debug)]
pub(super) struct Server {
    writer: FrameWriter,
    messages: mpsc::Receiver<Vec<u8>>,
}

impl Server {
    pub(super) fn new(reader: FrameReader, writer: FrameWriter) -> Self {
        Self { writer, messages: reader.messages() }
    }

    pub(super) async fn send(&mut self, message: &FromConsumer) -> Result<(), Refused> {
        let sent = timeout(SENDING, self.writer.send(&message.to_bytes())).await;
        if matches!(sent, Ok(Ok(()))) { Ok(()) } else { Err(vanished()) }
    }

    pub(super) async fn next(&mut self, patience: Duration) -> Result<FromServer, Refused> {
        let message = timeout(patience, self.messages.recv()).await;
        let message = message.map_err(|_| Refused::Failed("the server fell silent".to_owned()))?;
        let message = message.ok_or_else(vanished)?;
        FromServer::from_bytes(&message)
            .map_err(|_| Refused::Failed("the server sent what is no answer".to_owned()))
    }
}

fn vanished() -> Refused {
    Refused::Failed("the connection to the server broke".to_owned())
}

/// What a server's refusal is to whoever asked.
pub(super) fn refused(cause: Cause, reason: String) -> Refused {
    match cause {
        Cause::Busy => Refused::Busy(2),
        Cause::Payment => Refused::NoFunds(reason),
        Cause::NotServed | Cause::Failed => Refused::Failed(reason),
        Cause::Invalid | Cause::TooLong => Refused::Invalid(reason),
    }
}

/// A use that is being bought.
#[derive(Debug)]
pub(super) struct Buying {
    wallet: Arc<Wallet>,
    server: Server,
    bill: Bill,
    say: Say,
    /// Whoever asked has read enough.
    enough: CancellationToken,
    is_enough: bool,
    /// Tokens of the answer that are paid for, and that are there.
    covered: u32,
    heard: u32,
    /// The payment that the server has not answered yet, up to which token, and how often it was tried.
    step: Option<(Step, u32, u32)>,
    /// What was heard meanwhile: who reads slowly must not keep others from paying.
    held: Vec<Said>,
}

impl Buying {
    pub(super) fn new(
        wallet: Arc<Wallet>,
        server: Server,
        bill: Bill,
        (say, enough): (Say, CancellationToken),
    ) -> Self {
        let (step, held) = (None, Vec::new());
        Self {
            wallet,
            server,
            bill,
            say,
            enough,
            is_enough: false,
            covered: 0,
            heard: 0,
            step,
            held,
        }
    }

    /// Pays for the beginning, and waits until the server has taken it.
    pub(super) async fn begin(&mut self, promised: Amount) -> Result<(), Refused> {
        self.pay(next_step(0, self.bill.tokens_out), promised).await?;
        while self.step.is_some() {
            match self.server.next(STALL).await? {
                FromServer::Paid { tokens } => self.taken(tokens)?,
                FromServer::Unpaid { promised, reason } => self.again(promised, reason).await?,
                FromServer::Refused { cause, reason } => return Err(refused(cause, reason)),
                _ => return Err(broke("it answers before it is paid")),
            }
        }
        Ok(())
    }

    /// Carries the rest.
    pub(super) async fn run(&mut self) -> Result<(), Refused> {
        loop {
            self.pay_ahead().await?;
            let next = tokio::select! {
                next = self.server.next(STALL) => next?,
                () = self.enough.cancelled(), if !self.is_enough => {
                    self.is_enough = true;
                    self.server.send(&FromConsumer::Enough).await?;
                    continue;
                }
            };
            match next {
                FromServer::Text { text, tokens } => {
                    if tokens < self.heard || tokens > self.covered {
                        return Err(broke("it counts tokens that it was not paid for"));
                    }
                    self.heard = tokens;
                    self.held.push(Said::Text { text, tokens: Vec::new() });
                }
                FromServer::Paid { tokens } => self.taken(tokens)?,
                FromServer::Unpaid { promised, reason } => self.again(promised, reason).await?,
                FromServer::Done { tokens, price, record } => {
                    return self.done(tokens, price, record).await;
                }
                FromServer::Refused { cause, reason } => return Err(refused(cause, reason)),
                FromServer::Quoted { .. } => return Err(broke("it quotes in the middle")),
            }
            self.flush().await?;
        }
    }

    /// Hands out what is there, unless a payment is under way.
    async fn flush(&mut self) -> Result<(), Refused> {
        if self.step.is_some() {
            return Ok(());
        }
        for said in std::mem::take(&mut self.held) {
            let sent = timeout(READING, self.say.send(Ok(said))).await;
            if !matches!(sent, Ok(Ok(()))) {
                return Err(Refused::Invalid("nobody reads the answer any more".to_owned()));
            }
        }
        Ok(())
    }

    /// Pays for the next tokens when half of the last step is read.
    async fn pay_ahead(&mut self) -> Result<(), Refused> {
        let most = self.bill.tokens_out;
        let left = self.covered.saturating_sub(self.heard);
        let is_due = left <= PAID_AHEAD_TOKENS / 2 && self.covered < most && self.step.is_none();
        if is_due && !self.is_enough && !self.say.is_closed() {
            self.pay(next_step(self.covered, most), Amount::ZERO).await?;
        }
        Ok(())
    }

    async fn pay(&mut self, tokens: u32, promised: Amount) -> Result<(), Refused> {
        let turn = self.wallet.turn(self.bill.offer.server).await;
        let step = self.wallet.pay(turn, &self.bill, tokens, promised)?;
        self.server.send(&FromConsumer::Pay(step.receipt.clone())).await?;
        self.step = Some((step, tokens, 1));
        Ok(())
    }

    /// The server took the last payment, and says for how many tokens: for no fewer than were paid.
    fn taken(&mut self, tokens: u32) -> Result<(), Refused> {
        let Some((step, paid, _)) = self.step.take() else {
            return Err(broke("it was paid nothing"));
        };
        if tokens < paid {
            return Err(broke("it takes money for more tokens than it would give"));
        }
        step.taken(&mut self.bill);
        self.covered = paid;
        Ok(())
    }

    /// The server refused the last payment: promises crossed, or it has not seen the deposit yet.
    async fn again(&mut self, promised: Amount, reason: String) -> Result<(), Refused> {
        let Some((step, tokens, tries)) = self.step.take() else {
            return Err(broke("it refuses what it was not given"));
        };
        if tries >= TRIES {
            return Err(Refused::NoFunds(reason));
        }
        let turn = step.refused(promised);
        let step = self.wallet.pay(turn, &self.bill, tokens, promised)?;
        if tries > 1 {
            self.wallet.next_block().await;
        }
        self.server.send(&FromConsumer::Pay(step.receipt.clone())).await?;
        self.step = Some((step, tokens, tries + 1));
        Ok(())
    }

    async fn done(&mut self, tokens: u32, price: Amount, record: Digest) -> Result<(), Refused> {
        let spent = self.bill.spent();
        if tokens != self.heard && tokens > self.covered || price > spent {
            return Err(broke("it bills more than it was paid for"));
        }
        self.step = None;
        self.flush().await?;
        let finish = if tokens < self.bill.tokens_out { Finish::Stop } else { Finish::Length };
        let receipt = self.bill.paid.as_ref().map(|(receipt, _)| self.wallet.digest(receipt));
        let paid = Paid {
            price: spent,
            server: self.bill.offer.server.0,
            receipt: receipt.unwrap_or(Digest::ZERO),
            record: Some(record),
        };
        self.tell(Ok(Said::End { finish, tokens_out: tokens, paid: Some(paid) })).await;
        Ok(())
    }

    /// The last word. Whoever asked may be gone.
    pub(super) async fn tell(&self, last: Result<Said, Refused>) {
        let _ = timeout(READING, self.say.send(last)).await;
    }
}

fn broke(what: &str) -> Refused {
    Refused::Failed(format!("the server did not keep to what it said: {what}"))
}
