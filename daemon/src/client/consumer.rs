//! A consumer: a deposit on chain, and one signed receipt per use.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use contracts_abi::ChainClient;
use protocol::ask::Ask;
use protocol::chain::Transaction;
use protocol::codec::Wire;
use protocol::eip712::EvmKey;
use protocol::receipt::{Receipt, SignedReceipt};
use protocol::{Amount, ModelId};

use super::counters::{Claim, Counters};
use crate::api::Client;
use crate::api::types::{AskQuote, Infer, InferReport, PricedQuote};
use crate::network::NetworkFile;
use crate::words::amount_in_open;

/// How many uses a deposit is made for, so that not every use needs a transaction.
const USES_PER_DEPOSIT: u128 = 10;
/// How long a node may take to see a deposit, and how often it is asked.
const DEPOSIT_TIMEOUT: Duration = Duration::from_secs(60);
const DEPOSIT_POLL: Duration = Duration::from_millis(200);

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
        let claim = Claim { payee: quote.payee, promised: quote.promised };
        self.counters.check(claim, deposit.redeemed)?;
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
        let cumulative =
            quote.promised.checked_add(quote.price).context("the promise overflows")?;
        let Question { model, max_tokens, seed, .. } = *question;
        let ask = Ask::text(self.key.address(), model, question.prompt.clone(), max_tokens, seed);
        let receipt = Receipt {
            escrow: self.chain.deployment().escrow,
            payer: self.key.address(),
            payee: quote.payee,
            model,
            cumulative,
            price: quote.price,
            nonce: self.counters.advance(quote.payee, cumulative)?,
            request: ask.digest(),
        };
        let domain = self.chain.deployment().domain();
        receipt.sign(&domain, &self.key).context("the receipt cannot be signed")
    }
}
