//! One answer on its way: read as it comes, and paid for a few tokens ahead.

use std::sync::Arc;
use std::time::Duration;

use protocol::ask::Ask;
use protocol::chain::ModelPublication;
use protocol::codec::Wire;
use protocol::purchase::{Breach, Purchase};
use protocol::usage::{Cause, FromConsumer, FromServer};
use protocol::{Amount, Digest};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::backend::{Finish, Paid, Refused, Said};
use super::wallet::{PayError, Step, Wallet};
use crate::client::CountError;
use crate::net::{FrameReader, FrameWriter};

/// How long a message may take to go out.
const SENDING: Duration = Duration::from_secs(10);
/// How long a server may take to say what it would answer.
const QUOTING: Duration = Duration::from_secs(20);
/// How long a server may take for its next words.
const STALL: Duration = Duration::from_secs(30);
/// How long whoever reads may take.
const READING: Duration = Duration::from_secs(60);
/// Payments that one step may take: promises to the same server may have crossed.
const TRIES: u32 = 4;
/// When to ask a server again that has too much to do, in seconds.
const RETRY: u32 = 2;

/// Where an answer goes.
type Say = mpsc::Sender<Result<Said, Refused>>;

/// A stream to a server, in messages.
#[derive(Debug)]
pub(super) struct Server {
    writer: FrameWriter,
    messages: mpsc::Receiver<Vec<u8>>,
}

/// Why there is no answer, or no more of one.
#[derive(Debug)]
pub(super) struct Lost {
    /// What whoever asked is told.
    pub(super) told: Refused,
    cause: Blame,
}

/// Who ended it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Blame {
    /// The server, which did not keep to what it said.
    Breach,
    /// The server, which may do that while it is not paid.
    Server,
    /// Whoever asked, or this node.
    Ours,
}

impl Lost {
    fn breach(why: impl std::fmt::Display) -> Self {
        let told = Refused::Failed(format!("the server did not keep to what it said: {why}"));
        Self { told, cause: Blame::Breach }
    }

    fn by_server(told: Refused) -> Self {
        Self { told, cause: Blame::Server }
    }

    /// Whether the server is asked nothing more for a while, to whom so much was paid.
    pub(super) fn is_servers_fault(&self, paid: Amount) -> bool {
        match self.cause {
            Blame::Breach => true,
            // It took money and gave no answer for it.
            Blame::Server => paid > Amount::ZERO,
            Blame::Ours => false,
        }
    }
}

impl From<Refused> for Lost {
    fn from(told: Refused) -> Self {
        Self { told, cause: Blame::Ours }
    }
}

impl From<Breach> for Lost {
    fn from(breach: Breach) -> Self {
        Self::breach(breach)
    }
}

impl From<PayError> for Lost {
    fn from(error: PayError) -> Self {
        match error {
            PayError::Count(error @ CountError::Overclaimed { .. }) => Self::breach(error),
            error => Refused::Failed(error.to_string()).into(),
        }
    }
}

impl Server {
    pub(super) fn new(reader: FrameReader, writer: FrameWriter) -> Self {
        Self { writer, messages: reader.messages() }
    }

    /// Asks, and holds against the chain what the server says that it would answer; with what it says that it was
    /// promised before.
    pub(super) async fn quote(
        &mut self,
        ask: &Ask,
        offer: &ModelPublication,
    ) -> Result<(Purchase, Amount), Lost> {
        self.send(&FromConsumer::Ask(ask.clone())).await?;
        match self.next(QUOTING).await? {
            FromServer::Refused { cause, reason } => Err(Lost::by_server(refused(cause, reason))),
            quoted => Ok(Purchase::quoted(ask, offer, &quoted)?),
        }
    }

    async fn send(&mut self, message: &FromConsumer) -> Result<(), Lost> {
        let sent = timeout(SENDING, self.writer.send(&message.to_bytes())).await;
        if matches!(sent, Ok(Ok(()))) { Ok(()) } else { Err(vanished()) }
    }

    async fn next(&mut self, patience: Duration) -> Result<FromServer, Lost> {
        let message = timeout(patience, self.messages.recv()).await;
        let message = message.map_err(|_| Lost::breach("it fell silent"))?;
        FromServer::from_bytes(&message.ok_or_else(vanished)?).map_err(Lost::breach)
    }
}

fn vanished() -> Lost {
    let text = "the connection to the server broke; ask again";
    Lost::by_server(Refused::Failed(text.to_owned()))
}

/// What a server's refusal is to whoever asked.
fn refused(cause: Cause, reason: String) -> Refused {
    match cause {
        Cause::Busy => Refused::Busy(RETRY),
        Cause::Payment => Refused::NoFunds(reason),
        Cause::NotServed | Cause::Failed => Refused::Failed(reason),
        Cause::TooLong => Refused::TooLong(reason),
        Cause::Invalid => Refused::Invalid(reason),
    }
}

/// A use that is being bought.
#[derive(Debug)]
pub(super) struct Buying {
    wallet: Arc<Wallet>,
    server: Server,
    purchase: Purchase,
    say: Say,
    /// Whoever asked has read enough.
    enough: CancellationToken,
    is_enough: bool,
    /// The payment that the server has not answered yet.
    under_way: Option<UnderWay>,
    /// What was heard meanwhile: who reads slowly must not keep others from paying.
    held: Vec<Said>,
}

/// A payment up to a token, and how often it was tried.
#[derive(Debug)]
struct UnderWay {
    step: Step,
    tokens: u32,
    tries: u32,
}

impl Buying {
    pub(super) fn new(
        wallet: Arc<Wallet>,
        server: Server,
        purchase: Purchase,
        (say, enough): (Say, CancellationToken),
    ) -> Self {
        let (is_enough, under_way, held) = (false, None, Vec::new());
        Self { wallet, server, purchase, say, enough, is_enough, under_way, held }
    }

    /// What was paid so far.
    pub(super) fn spent(&self) -> Amount {
        self.purchase.spent()
    }

    /// Pays for the beginning, and waits until the server has taken it.
    pub(super) async fn begin(&mut self, promised: Amount) -> Result<(), Lost> {
        self.pay_ahead(promised).await?;
        while self.under_way.is_some() {
            match self.server.next(STALL).await? {
                FromServer::Paid { tokens } => self.taken(tokens)?,
                FromServer::Unpaid { promised, reason } => self.again(promised, reason).await?,
                FromServer::Refused { cause, reason } => {
                    return Err(Lost::by_server(refused(cause, reason)));
                }
                _ => return Err(Breach::OutOfTurn.into()),
            }
        }
        Ok(())
    }

    /// Carries the rest.
    pub(super) async fn run(&mut self) -> Result<(), Lost> {
        loop {
            self.pay_ahead(Amount::ZERO).await?;
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
                    self.purchase.heard(tokens)?;
                    self.held.push(Said::Text { text, tokens: Vec::new() });
                }
                FromServer::Paid { tokens } => self.taken(tokens)?,
                FromServer::Unpaid { promised, reason } => self.again(promised, reason).await?,
                FromServer::Done { tokens, price, record } => {
                    self.purchase.done(tokens, price)?;
                    return self.done(tokens, record).await;
                }
                FromServer::Refused { cause, reason } => {
                    return Err(Lost::by_server(refused(cause, reason)));
                }
                FromServer::Quoted { .. } => return Err(Breach::OutOfTurn.into()),
            }
            self.flush().await?;
        }
    }

    /// Hands out what is there, unless a payment is under way.
    async fn flush(&mut self) -> Result<(), Lost> {
        if self.under_way.is_some() {
            return Ok(());
        }
        for said in std::mem::take(&mut self.held) {
            let sent = timeout(READING, self.say.send(Ok(said))).await;
            if !matches!(sent, Ok(Ok(()))) {
                return Err(Refused::Invalid("nobody reads the answer any more".to_owned()).into());
            }
        }
        Ok(())
    }

    /// Pays for the next tokens where that is due; `promised` counts where nothing is known of it here.
    async fn pay_ahead(&mut self, promised: Amount) -> Result<(), Lost> {
        let is_wanted = self.under_way.is_none() && !self.is_enough && !self.say.is_closed();
        let Some(tokens) = self.purchase.due().filter(|_| is_wanted) else { return Ok(()) };
        let turn = self.wallet.turn(self.purchase.payee()).await;
        let step = self.wallet.pay(turn, &self.purchase, tokens, promised)?;
        self.give(UnderWay { step, tokens, tries: 1 }).await
    }

    async fn give(&mut self, payment: UnderWay) -> Result<(), Lost> {
        self.server.send(&FromConsumer::Pay(payment.step.receipt.clone())).await?;
        self.under_way = Some(payment);
        Ok(())
    }

    /// The server took the last payment.
    fn taken(&mut self, said: u32) -> Result<(), Lost> {
        let UnderWay { step, .. } = self.under_way.take().ok_or(Breach::NoPayment)?;
        Ok(step.taken(&mut self.purchase, said)?)
    }

    /// The server refused the last payment: promises crossed, or it has not seen the deposit yet.
    async fn again(&mut self, promised: Amount, reason: String) -> Result<(), Lost> {
        let UnderWay { step, tokens, tries } = self.under_way.take().ok_or(Breach::NoPayment)?;
        if tries >= TRIES {
            return Err(Refused::NoFunds(reason).into());
        }
        if tries > 1 {
            self.wallet.next_block().await;
        }
        let step = self.wallet.pay(step.refused(promised), &self.purchase, tokens, promised)?;
        self.give(UnderWay { step, tokens, tries: tries + 1 }).await
    }

    async fn done(&mut self, tokens: u32, record: Digest) -> Result<(), Lost> {
        self.under_way = None;
        self.flush().await?;
        let is_whole = tokens == self.purchase.tokens_out();
        let finish = if is_whole { Finish::Length } else { Finish::Stop };
        let paid = self.purchase.receipt().map(|receipt| Paid {
            price: receipt.price,
            server: receipt.payee.0,
            receipt: self.wallet.digest(receipt),
            record: Some(record),
        });
        self.tell(Ok(Said::End { finish, tokens_out: tokens, paid })).await;
        Ok(())
    }

    /// The last word. Whoever asked may be gone.
    pub(super) async fn tell(&self, last: Result<Said, Refused>) {
        let _ = timeout(READING, self.say.send(last)).await;
    }
}
