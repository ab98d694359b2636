//! What pays for answers: one key, one server at a time, never more in deposits than it may.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use protocol::chain::{ModelPublication, Transaction};
use protocol::eip712::EvmKey;
use protocol::limits::PAID_AHEAD_TOKENS;
use protocol::ranges::Ranges;
use protocol::receipt::{Receipt, SignedReceipt};
use protocol::rules::price;
use protocol::{AccountId, Amount, Digest, EvmAddress};
use tokio::sync::OwnedMutexGuard;
use tokio::time::timeout;

use super::backend::Refused;
use crate::client::{Claim, CountError, Counters};
use crate::node::NodeHandle;
use crate::words::amount_in_open;

/// Answers of the same price that a deposit is made for, so that not every one needs a transaction.
const USES_PER_DEPOSIT: u128 = 10;
/// How long a deposit may take to show.
const DEPOSIT_TIMEOUT: Duration = Duration::from_secs(60);

/// Pays with a key for which nobody else signs at the same time but through the same directory.
#[derive(Debug)]
pub(crate) struct Wallet {
    node: NodeHandle,
    key: EvmKey,
    counters: Counters,
    /// The most that may lie in deposits at a time.
    most: Amount,
    payees: Mutex<BTreeMap<AccountId, Arc<tokio::sync::Mutex<Payee>>>>,
    depositing: tokio::sync::Mutex<()>,
}

/// What a server was promised last, as both sides know it; nothing before the first time.
#[derive(Debug, Default)]
pub(crate) struct Payee {
    promised: Option<Amount>,
}

/// A server's books, while something is signed for it: promises follow one another, so nobody else signs until
/// it has said that it took this one.
pub(crate) type Turn = OwnedMutexGuard<Payee>;

/// A use, as far as it is paid.
#[derive(Debug, Clone)]
pub(crate) struct Bill {
    /// What the chain says of the model's price.
    pub(crate) offer: ModelPublication,
    /// Tokens of the prompt.
    pub(crate) tokens_in: u32,
    /// Most tokens of the answer.
    pub(crate) tokens_out: u32,
    /// What was asked.
    pub(crate) question: Digest,
    /// The last receipt that was taken, with its ranges.
    pub(crate) paid: Option<(Receipt, Ranges)>,
}

impl Bill {
    /// What an answer of so many tokens costs.
    pub(crate) fn price(&self, tokens: u32) -> Result<Amount, Refused> {
        let price = price(&self.offer, self.tokens_in, tokens.min(self.tokens_out));
        price.ok_or_else(|| Refused::Invalid("its price is beyond all numbers".to_owned()))
    }

    /// What has been paid.
    pub(crate) fn spent(&self) -> Amount {
        self.paid.as_ref().map_or(Amount::ZERO, |(receipt, _)| receipt.price)
    }
}

/// A payment that the server has not answered yet.
#[derive(Debug)]
pub(crate) struct Step {
    pub(crate) receipt: SignedReceipt,
    ranges: Ranges,
    turn: Turn,
}

impl Step {
    /// The server took it.
    pub(crate) fn taken(mut self, bill: &mut Bill) {
        self.turn.promised = Some(self.receipt.receipt.cumulative);
        bill.paid = Some((self.receipt.receipt, self.ranges));
    }

    /// The server refused it, and says what it was promised before; whose turn it still is.
    pub(crate) fn refused(mut self, promised: Amount) -> Turn {
        self.turn.promised = Some(promised);
        self.turn
    }
}

fn unpaid(error: &CountError) -> Refused {
    Refused::Failed(error.to_string())
}

impl Wallet {
    /// A wallet whose receipts are counted in `dir`.
    pub(crate) fn open(
        node: NodeHandle,
        key: EvmKey,
        dir: &Path,
        most: Amount,
    ) -> Result<Self, CountError> {
        let counters = Counters::open(dir, node.chain().escrow)?;
        let (payees, depositing) = (Mutex::default(), tokio::sync::Mutex::default());
        Ok(Self { node, key, counters, most, payees, depositing })
    }

    /// The address whose deposits pay.
    pub(crate) fn payer(&self) -> EvmAddress {
        self.key.address()
    }

    /// The digest that a receipt was signed by.
    pub(crate) fn digest(&self, receipt: &Receipt) -> Digest {
        receipt.digest(&self.node.chain().domain)
    }

    /// Waits until the chain may show more: a server may not have seen yet what this node has.
    pub(crate) async fn next_block(&self) {
        // Whatever comes of it, the payment is tried again.
        let _ = timeout(DEPOSIT_TIMEOUT, self.node.changed()).await;
    }

    /// Waits until nobody else signs for a server.
    pub(crate) async fn turn(&self, payee: AccountId) -> Turn {
        let books = {
            let mut payees = self.payees.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(payees.entry(payee).or_default())
        };
        books.lock_owned().await
    }

    /// Pays for an answer up to so many tokens. `promised` is what the server said that it was promised, which
    /// counts where nothing is known of it here.
    pub(crate) fn pay(
        &self,
        turn: Turn,
        bill: &Bill,
        tokens: u32,
        promised: Amount,
    ) -> Result<Step, Refused> {
        let due = bill.price(tokens)?.saturating_sub(bill.spent());
        let payee = bill.offer.server;
        let from = turn.promised.unwrap_or(promised);
        let deposit = self.node.chain().deposit(self.payer(), payee);
        // No server is believed about what it was promised.
        let claim = Claim { payee, promised: from };
        self.counters.check(claim, deposit.redeemed).map_err(|error| unpaid(&error))?;
        let beyond = || Refused::Failed("all promises together are beyond all numbers".to_owned());
        let to = from.checked_add(due).ok_or_else(beyond)?;
        let (receipt, ranges) = match &bill.paid {
            Some((last, ranges)) => {
                self.counters.raise(payee, to).map_err(|error| unpaid(&error))?;
                ranges.raised(last, (from, to)).ok_or_else(beyond)?
            }
            None => {
                let nonce = self.counters.advance(payee, to).map_err(|error| unpaid(&error))?;
                (self.first(bill, (due, to), nonce), Ranges::default())
            }
        };
        let domain = self.node.chain().domain;
        let receipt = receipt.sign(&domain, &self.key);
        let receipt =
            receipt.map_err(|_| Refused::Failed("the wallet's key signs nothing".to_owned()))?;
        Ok(Step { receipt, ranges, turn })
    }

    fn first(&self, bill: &Bill, (price, cumulative): (Amount, Amount), nonce: u64) -> Receipt {
        Receipt {
            escrow: self.node.chain().escrow,
            payer: self.payer(),
            payee: bill.offer.server,
            model: bill.offer.model,
            cumulative,
            price,
            nonce,
            request: bill.question,
        }
    }

    /// Has a deposit stand behind all that an answer may cost, and behind the next few; nothing is deposited where
    /// it would be more than may lie there.
    pub(crate) async fn cover(&self, bill: &Bill, promised: Amount) -> Result<(), Refused> {
        let (payer, payee) = (self.payer(), bill.offer.server);
        let needed = bill.price(bill.tokens_out)?;
        let is_covered = || {
            let deposit = self.node.chain().deposit(payer, payee);
            deposit.available(promised) >= needed && deposit.withdrawal.is_none()
        };
        if is_covered() {
            return Ok(());
        }
        // One at a time: who waited may find that it is there.
        let _only = self.depositing.lock().await;
        if is_covered() {
            return Ok(());
        }
        let amount = Amount(needed.0.max(1).saturating_mul(USES_PER_DEPOSIT));
        let chain = self.node.chain();
        let lies: Amount = chain
            .deposits_of(payer)
            .fold(Amount::ZERO, |sum, (_, deposit)| sum.saturating_add(deposit.balance));
        let room = self.most.saturating_sub(lies);
        let amount = amount.min(room);
        if amount < needed {
            let [needed, most] = [needed, self.most].map(amount_in_open);
            return Err(Refused::NoFunds(format!(
                "the answer may cost {needed}, and no more than {most} may lie in deposits; raise \
                 gateway_deposits, or take back what lies with other servers by `openledger deposit`"
            )));
        }
        let deposited = self.node.submit(Transaction::Deposit { payee, amount }).await;
        deposited.map_err(|error| Refused::NoFunds(format!("no deposit was made: {error:#}")))?;
        let shown = async {
            while !is_covered() {
                self.node.changed().await;
            }
        };
        let late = || Refused::Failed("the chain does not show the deposit; ask again".to_owned());
        timeout(DEPOSIT_TIMEOUT, shown).await.map_err(|_| late())
    }
}

/// Up to which token an answer is paid for next, where so many are there.
pub(crate) const fn next_step(tokens: u32, most: u32) -> u32 {
    let ahead = tokens.saturating_add(PAID_AHEAD_TOKENS);
    if ahead < most { ahead } else { most }
}
