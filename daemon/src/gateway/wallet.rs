//! What pays for answers: one key, one server at a time, never more in deposits than it may.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use protocol::chain::Transaction;
use protocol::eip712::EvmKey;
use protocol::purchase::{Breach, Payment, Purchase, to_deposit};
use protocol::ranges::Ranges;
use protocol::receipt::{Receipt, SignedReceipt};
use protocol::{AccountId, Amount, Digest, EvmAddress};
use tokio::sync::OwnedMutexGuard;
use tokio::time::timeout;

use super::backend::Refused;
use crate::client::{Claim, CountError, Counters};
use crate::node::NodeHandle;
use crate::words::amount_in_open;

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

/// Why nothing was signed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PayError {
    #[error(transparent)]
    Count(#[from] CountError),
    #[error("all promises together are beyond all numbers, or beyond what one use may be paid by")]
    NoNumber,
    #[error("the wallet's key signs nothing")]
    Key,
}

/// A payment that the server has not answered yet.
#[derive(Debug)]
pub(crate) struct Step {
    pub(crate) receipt: SignedReceipt,
    ranges: Ranges,
    turn: Turn,
}

impl Step {
    /// The server took it, and says up to which token the answer is paid for now.
    pub(crate) fn taken(mut self, purchase: &mut Purchase, said: u32) -> Result<(), Breach> {
        let cumulative = self.receipt.receipt.cumulative;
        purchase.taken((self.receipt.receipt, self.ranges), said)?;
        self.turn.promised = Some(cumulative);
        Ok(())
    }

    /// The server refused it, and says what it was promised before; whose turn it still is.
    pub(crate) fn refused(mut self, promised: Amount) -> Turn {
        self.turn.promised = Some(promised);
        self.turn
    }
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
        purchase: &Purchase,
        tokens: u32,
        promised: Amount,
    ) -> Result<Step, PayError> {
        let (chain, payee) = (self.node.chain(), purchase.payee());
        let promised = turn.promised.unwrap_or(promised);
        let claim = Claim { payee, promised };
        self.counters.check(claim, chain.deposit(self.payer(), payee).redeemed)?;
        let (escrow, payer) = (chain.escrow, self.payer());
        // Counted before it is signed: what is signed and not counted could be claimed.
        let up_to = |nonce| purchase.pay(tokens, &Payment { escrow, payer, promised, nonce });
        let cumulative = up_to(0).ok_or(PayError::NoNumber)?.0.cumulative;
        let nonce = match purchase.receipt() {
            Some(last) => self.counters.raise(payee, cumulative).map(|_| last.nonce),
            None => self.counters.advance(payee, cumulative),
        };
        let (receipt, ranges) = up_to(nonce?).ok_or(PayError::NoNumber)?;
        let receipt = receipt.sign(&chain.domain, &self.key).map_err(|_| PayError::Key)?;
        Ok(Step { receipt, ranges, turn })
    }

    /// Has a deposit stand behind all that an answer may cost, and behind the next few; nothing is deposited where
    /// it would be more than may lie there.
    pub(crate) async fn cover(
        &self,
        purchase: &Purchase,
        needed: Amount,
        promised: Amount,
    ) -> Result<(), Refused> {
        let (payer, payee) = (self.payer(), purchase.payee());
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
        let chain = self.node.chain();
        let lies = chain
            .deposits_of(payer)
            .fold(Amount::ZERO, |sum, (_, deposit)| sum.saturating_add(deposit.balance));
        let Some(amount) = to_deposit(needed, lies, self.most) else {
            let [needed, most] = [needed, self.most].map(amount_in_open);
            return Err(Refused::NoFunds(format!(
                "the answer may cost {needed}, and no more than {most} may lie in deposits; raise \
                 gateway_deposits, or take back what lies with other servers by `openledger deposit`"
            )));
        };
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
