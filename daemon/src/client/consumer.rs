//! A consumer: a deposit on chain, and one signed receipt per use.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use contracts_abi::ChainClient;
use protocol::chain::Transaction;
use protocol::codec::Wire;
use protocol::eip712::EvmKey;
use protocol::hash::keccak;
use protocol::receipt::{Receipt, SignedReceipt};
use protocol::{AccountId, Amount, EvmAddress, ModelId};
use serde::{Deserialize, Serialize};
use storage::durable::write_atomic;

use crate::api::Client;
use crate::api::types::{AskQuote, Infer, InferReport, PricedQuote};
use crate::network::NetworkFile;
use crate::words::amount_in_open;

/// How many uses a deposit is made for, so that not every use needs a transaction.
const USES_PER_DEPOSIT: u128 = 10;
/// How long a node may take to see a deposit, and how often it is asked.
const DEPOSIT_TIMEOUT: Duration = Duration::from_secs(60);
const DEPOSIT_POLL: Duration = Duration::from_millis(200);
/// The file that counts the receipts of a payer.
const COUNTERS_FILE: &str = "receipts.json";

/// One question to a model.
#[derive(Debug, Clone)]
pub(crate) struct Question {
    pub(crate) model: ModelId,
    pub(crate) prompt: String,
    pub(crate) max_tokens: u32,
    pub(crate) seed: u64,
    /// The most that the answer may cost; the node's price, whatever it is, where nothing is said.
    pub(crate) max_price: Option<Amount>,
}

/// Pays for uses.
#[derive(Debug)]
pub(crate) struct Consumer {
    key: EvmKey,
    chain: ChainClient,
    counters: Counters,
}

impl Consumer {
    /// A consumer whose receipts are counted in `dir`.
    pub(crate) async fn connect(network: &NetworkFile, key: EvmKey, dir: &Path) -> Result<Self> {
        let deployment = network.deployment.clone();
        let chain = ChainClient::connect(&network.rpc_url, deployment, &key).await?;
        let counters = Counters::open(dir, chain.deployment().escrow)?;
        Ok(Self { key, chain, counters })
    }

    /// Asks a node for the price, deposits what is missing, signs a receipt, and gets the answer.
    ///
    /// # Errors
    /// Where it costs more than the question may; then nothing was deposited and nothing signed.
    pub(crate) async fn ask(&mut self, node: &Client, question: &Question) -> Result<InferReport> {
        let Question { model, prompt, max_tokens, seed, max_price } = question;
        let payer = self.key.address();
        let ask = AskQuote { payer, prompt: prompt.clone(), max_tokens: *max_tokens };
        let path = format!("/models/{model}/quote");
        let priced: PricedQuote = node.post(&path, &ask).await?;
        if let Some(most) = max_price.filter(|most| priced.price > *most) {
            let [price, most] = [priced.price, most].map(amount_in_open);
            bail!(
                "the answer costs {price}, more than the {most} of --max-price; nothing was paid"
            );
        }
        self.cover(&priced).await?;
        let mut available = priced.available;
        let deadline = Instant::now() + DEPOSIT_TIMEOUT;
        // The node reads the chain a moment after it took the deposit. Nothing else of what it says
        // meanwhile counts: what is signed is the quote that was checked.
        while available < priced.price && Instant::now() < deadline {
            tokio::time::sleep(DEPOSIT_POLL).await;
            available = node.post::<_, PricedQuote>(&path, &ask).await?.available;
        }
        let receipt = self.sign(&priced, question)?;
        let infer = Infer {
            receipt: hex::encode(receipt.to_bytes()),
            prompt: prompt.clone(),
            max_tokens: *max_tokens,
            seed: *seed,
        };
        Ok(node.post(&format!("/models/{model}/infer"), &infer).await?)
    }

    /// Deposits when what is left would not cover everything promised, this use included.
    async fn cover(&self, quote: &PricedQuote) -> Result<()> {
        let deposit = self.chain.deposit(self.chain.address(), quote.payee).await?;
        self.counters.check(quote, deposit.redeemed)?;
        if deposit.available(quote.promised) >= quote.price {
            return Ok(());
        }
        let outstanding = quote.promised.saturating_sub(deposit.redeemed);
        let needed = outstanding.saturating_add(quote.price).saturating_sub(deposit.balance);
        let ahead = Amount(quote.price.0.max(1).saturating_mul(USES_PER_DEPOSIT));
        let transaction = Transaction::Deposit { payee: quote.payee, amount: needed.max(ahead) };
        self.chain.submit(&transaction).await.context("the deposit was not taken")?;
        Ok(())
    }

    fn sign(&mut self, quote: &PricedQuote, question: &Question) -> Result<SignedReceipt> {
        let model = question.model;
        let cumulative =
            quote.promised.checked_add(quote.price).context("the promise overflows")?;
        let receipt = Receipt {
            escrow: self.chain.deployment().escrow,
            payer: self.key.address(),
            payee: quote.payee,
            model,
            cumulative,
            price: quote.price,
            nonce: self.counters.advance(quote.payee, cumulative)?,
            request: keccak(&[
                b"openledger/request",
                &model.0.to_be_bytes(),
                &question.max_tokens.to_be_bytes(),
                &question.seed.to_be_bytes(),
                question.prompt.as_bytes(),
            ]),
        };
        let domain = self.chain.deployment().domain();
        receipt.sign(&domain, &self.key).context("the receipt cannot be signed")
    }
}

/// What was signed for one payee.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
struct Counter {
    nonce: u64,
    cumulative: Amount,
}

/// Counts what was signed for each payee, durably: no payee is believed about it. Each escrow has its own
/// count, since what was promised in one is nothing to another.
#[derive(Debug)]
struct Counters {
    path: PathBuf,
    escrow: EvmAddress,
    all: BTreeMap<EvmAddress, BTreeMap<u64, Counter>>,
}

impl Counters {
    fn open(dir: &Path, escrow: EvmAddress) -> Result<Self> {
        let path = dir.join(COUNTERS_FILE);
        let all = match std::fs::read(&path) {
            Ok(text) => serde_json::from_slice(&text)
                .with_context(|| format!("{} is damaged; remove it", path.display()))?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => BTreeMap::new(),
            Err(error) => return Err(error).context("the receipts cannot be counted"),
        };
        Ok(Self { path, escrow, all })
    }

    /// Refuses a payee that claims to have been promised more than was ever signed here, or paid on
    /// chain: what the chain has paid was signed, wherever the count of it is.
    fn check(&self, quote: &PricedQuote, redeemed: Amount) -> Result<()> {
        let last = self.all.get(&self.escrow).and_then(|last| last.get(&quote.payee.0));
        let counted = last.copied().unwrap_or_default().cumulative;
        let signed = counted.max(redeemed);
        if quote.promised > signed {
            bail!(
                "account {} says that {} was promised to it, but only {} was signed here or paid on \
                 chain; if you paid it from another machine, go on paying from there, or ask again when \
                 it has redeemed that",
                quote.payee,
                amount_in_open(quote.promised),
                amount_in_open(signed)
            );
        }
        Ok(())
    }

    fn advance(&mut self, payee: AccountId, cumulative: Amount) -> Result<u64> {
        let last = self.all.entry(self.escrow).or_default().entry(payee.0).or_default();
        let nonce = last.nonce + 1;
        *last = Counter { nonce, cumulative: cumulative.max(last.cumulative) };
        write_atomic(&self.path, &serde_json::to_vec(&self.all)?)?;
        Ok(nonce)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quote(promised: u128) -> PricedQuote {
        let (price, available) = (Amount(5), Amount(100));
        let (payee, promised) = (AccountId(1), Amount(promised));
        PricedQuote { price, payee, promised, tokens_in: 3, redeemed: promised, available }
    }

    #[test]
    fn what_was_signed_here_or_paid_on_chain_is_gone_on_from_and_nothing_above_it() {
        let dir = tempfile::tempdir().unwrap();
        let escrow = EvmAddress([1; 20]);
        let mut counters = Counters::open(dir.path(), escrow).unwrap();
        counters.advance(AccountId(1), Amount(30)).unwrap();
        assert!(counters.check(&quote(30), Amount(20)).is_ok());
        assert!(counters.check(&quote(10), Amount(10)).is_ok(), "a use that failed is not paid");
        assert!(counters.check(&quote(31), Amount(20)).is_err());
        // The file is lost, and the chain has paid more than it said.
        let lost = Counters { path: dir.path().join("lost"), escrow, all: BTreeMap::new() };
        assert!(lost.check(&quote(20), Amount(20)).is_ok());
        assert!(lost.check(&quote(30), Amount(20)).is_err());
        // What was promised in an escrow before it is nobody's due in another.
        let mut other = Counters::open(dir.path(), EvmAddress([2; 20])).unwrap();
        assert!(other.check(&quote(30), Amount(0)).is_err());
        assert_eq!(other.advance(AccountId(1), Amount(5)).unwrap(), 1);
        let counters = Counters::open(dir.path(), escrow).unwrap();
        assert!(counters.check(&quote(30), Amount(20)).is_ok());
    }
}
