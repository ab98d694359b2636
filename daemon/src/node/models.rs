//! Contributing data, using models and measuring them.

use anyhow::{Context, Result, anyhow, bail};
use compute::run::Weights;
use compute::serve::Sampling;
use compute::train::eval;
use contracts_abi::DataDeposit;
use protocol::ask::{Ask, Prompt};
use protocol::chain::{Contribution, Transaction};
use protocol::codec::Wire;
use protocol::manifest::Manifest;
use protocol::node::{Failure, Refusal};
use protocol::receipt::SignedReceipt;
use protocol::rules::price;
use protocol::{AccountId, Amount, BlobRef, BlockNumber, DatanetId, EvmAddress, Hash, ModelId};
use tokio::sync::oneshot;

use super::failures::failed;
use super::handle::{NodeHandle, why};
use super::requests::{Asked, Opened, Served};
use super::run::Command;
use crate::words::amount_in_open;

/// A contribution, packed by [`crate::ingest`].
#[derive(Debug)]
pub struct AddRequest {
    /// The Datanet that it goes to.
    pub datanet: DatanetId,
    /// The account that is paid for it; its owner or operator must be this node's operator.
    pub account: AccountId,
    /// Which documents, packs and units it has.
    pub manifest: Manifest,
    /// The packs, in the manifest's order.
    pub packs: Vec<Vec<u8>>,
}

/// What became of a contribution.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contributed {
    /// Its number, in order of commitment.
    pub contribution: u64,
    /// Address of the manifest.
    pub manifest: Hash,
    /// Number of packs.
    pub packs: usize,
    /// Number of units.
    pub units: usize,
    /// Bytes of all packs.
    pub bytes: u64,
    /// The block that admitted it.
    pub block: BlockNumber,
    /// OPEN that is locked for them.
    pub deposit: Amount,
    /// The first block in which it may be taken back.
    pub until: BlockNumber,
}

/// What a contribution locks, for what others have to store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DepositQuote {
    /// OPEN that is locked.
    pub deposit: Amount,
    /// For so many blocks.
    pub blocks: u64,
    /// OPEN of the operator, whose it is and who has it back.
    pub has: Amount,
    /// The operator's address.
    pub operator: EvmAddress,
}

impl DepositQuote {
    /// Whether the operator has enough.
    ///
    /// # Errors
    /// What to do where not.
    pub fn check(&self) -> Result<()> {
        let Self { deposit, blocks, has, operator } = *self;
        if has >= deposit {
            return Ok(());
        }
        let missing = amount_in_open(deposit.saturating_sub(has));
        let (deposit, has) = (amount_in_open(deposit), amount_in_open(has));
        bail!(
            "others have to store what is published, so it locks {deposit} for {blocks} blocks, and the \
             operator of this node has {has}: send {missing} to {operator}, or publish less"
        )
    }
}

/// A paid request.
#[derive(Debug, Clone)]
pub struct InferRequest {
    /// The consumer's promise.
    pub receipt: SignedReceipt,
    /// The text that the model goes on from.
    pub prompt: String,
    /// Tokens to generate.
    pub max_tokens: u32,
    /// Seed of the draws.
    pub seed: u64,
}

/// Why a prompt is not read; nothing is paid for one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the prompt has {tokens} tokens; the model reads from 1 to {context}")]
pub(crate) struct PromptLength {
    /// Tokens of the prompt.
    pub(crate) tokens: usize,
    /// The most that the model reads at once.
    pub(crate) context: u32,
}

/// What a use costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quote {
    /// The price, in the smallest unit.
    pub price: Amount,
    /// The account that serves.
    pub payee: AccountId,
    /// What this consumer has promised it so far.
    pub promised: Amount,
    /// Length of the prompt in tokens.
    pub tokens_in: u32,
}

/// Losses on the same held-out text, in millionths of a nat per token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeldOutLoss {
    /// Of the untrained model.
    pub first: u64,
    /// Of the trained model.
    pub last: u64,
    /// Of a unigram model of the training data.
    pub unigram: u64,
    /// Of a bigram model of the training data.
    pub bigram: u64,
}

impl NodeHandle {
    /// Stores, announces and registers a contribution, for which the operator locks a deposit.
    pub async fn add(&self, request: AddRequest) -> Result<Contributed> {
        let AddRequest { datanet, account, .. } = request;
        // Nothing is announced, and nothing locked, for what does not come in.
        let quote = self.contribution_quote(datanet, &request.manifest.packs).await?;
        let mut announced = Vec::new();
        let manifest = request.manifest.to_bytes();
        let units = u32::try_from(request.manifest.units.len())?;
        for pack in request.packs {
            let length = pack.len() as u64;
            announced.push(BlobRef::new(self.put(pack).await?, length));
        }
        if announced != request.manifest.packs {
            bail!("the manifest lists other packs than were given");
        }
        let manifest_length = manifest.len() as u64;
        let manifest = self.put(manifest).await?;
        let packs = announced.clone();
        announced.push(BlobRef::new(manifest, manifest_length));
        self.command(Command::Announce(announced)).await?;
        let contribution =
            Contribution { id: 0, datanet, account, manifest, packs: packs.clone(), units };
        let outcome = self.submit(Transaction::Contribute(contribution)).await?;
        Ok(Contributed {
            contribution: outcome.created.context("the chain did not number the contribution")?,
            manifest,
            packs: packs.len(),
            units: request.manifest.units.len(),
            bytes: BlobRef::total(&packs),
            deposit: quote.deposit,
            until: BlockNumber(outcome.block.0.saturating_add(quote.blocks)),
            block: outcome.block,
        })
    }

    /// About what a contribution of so many bytes locks, and what this node's operator has for it.
    pub async fn data_deposit(&self, bytes: u64) -> Result<DepositQuote> {
        self.deposit_quote(|rule| rule.of_bytes(bytes)).await
    }

    /// What these packs lock, or why they would not come in.
    async fn contribution_quote(
        &self,
        datanet: DatanetId,
        packs: &[BlobRef],
    ) -> Result<DepositQuote> {
        if self.inner.worker.sender.is_reviewed(datanet).await? {
            bail!(
                "what is contributed to Datanet {datanet} waits for its owner, with its deposit, and this \
                 program cannot follow that; choose another one, or submit it to the DatanetRegistry itself"
            );
        }
        let quote = self.deposit_quote(|rule| rule.of(packs)).await?;
        quote.check()?;
        Ok(quote)
    }

    async fn deposit_quote(&self, of: impl FnOnce(&DataDeposit) -> Amount) -> Result<DepositQuote> {
        let (rule, has) = self.inner.worker.sender.data_deposit().await?;
        let (deposit, operator) = (of(&rule), self.inner.operator);
        Ok(DepositQuote { deposit, blocks: rule.blocks, has, operator })
    }

    /// The price of a use.
    pub async fn quote(
        &self,
        model: ModelId,
        payer: EvmAddress,
        prompt: &Prompt,
        max_tokens: u32,
    ) -> Result<Quote> {
        let chain = self.chain();
        let offer = chain.publication(model);
        let offer = offer.with_context(|| format!("model {model} is not offered yet"))?;
        let tokens_in = u32::try_from(self.encode(model, prompt).await?.len())?;
        let price = price(offer, tokens_in, max_tokens).context("the price overflows")?;
        Ok(Quote { price, payee: offer.server, promised: self.promised(payer).await?, tokens_in })
    }

    async fn encode(&self, model: ModelId, prompt: &Prompt) -> Result<Vec<u32>> {
        let language = self.inner.worker.language(&self.chain(), model).await?;
        let tokens = language.encode(prompt)?;
        let (count, context) = (tokens.len(), language.context());
        // What is paid is what is read.
        if tokens.is_empty() || count > context as usize {
            bail!(PromptLength { tokens: count, context });
        }
        Ok(tokens)
    }

    /// Serves a request that is paid at once: as much of an answer as its receipt pays for.
    pub async fn infer(&self, request: InferRequest) -> Result<Served> {
        let InferRequest { receipt, prompt, max_tokens, seed } = request;
        let (payer, model) = (receipt.receipt.payer, receipt.receipt.model);
        let ask = Ask::text(payer, model, prompt, max_tokens, seed);
        let opened = self.open(receipt, ask, max_tokens, false).await?;
        Ok(opened.outcome.await.context("the node is stopping")??)
    }

    /// Opens a paid request for so many tokens at most, read as it comes and paid for step by step where it
    /// `is_streamed`.
    pub(super) async fn open(
        &self,
        receipt: SignedReceipt,
        ask: Ask,
        tokens: u32,
        is_streamed: bool,
    ) -> Result<Opened> {
        receipt.verify(&self.chain().domain).context("the receipt is not signed by its payer")?;
        // Its auditors would find that it names something else.
        let named = &receipt.receipt;
        if (named.payer, named.model, named.request) != (ask.payer, ask.model, ask.digest()) {
            return Err(Refusal::WrongUse.into());
        }
        let prompt = self.encode(ask.model, &ask.prompt).await?;
        let sampling = Sampling::asked(&ask, tokens);
        let asked = Asked { receipt, ask, prompt, sampling, is_streamed };
        let requests = &self.inner.worker.requests;
        let (request, opened) = requests.open(asked)?;
        if let Err(error) = self.command(Command::Serve(Box::new(request))).await {
            requests.finish(opened.id, Err(Refusal::Failed));
            return Err(error);
        }
        Ok(opened)
    }

    /// A step of payment for a request that is open: how many tokens of its answer are paid for now.
    pub(super) async fn pay(&self, request: u64, receipt: SignedReceipt) -> Result<u32, Refusal> {
        receipt.verify(&self.chain().domain).map_err(|_| Refusal::WrongUse)?;
        let answer = self.inner.worker.requests.step(request)?;
        let pay = Command::Pay(request, Box::new(receipt));
        self.command(pay).await.map_err(|_| Refusal::Failed)?;
        answer.await.unwrap_or(Err(Refusal::WrongUse))
    }

    /// What a consumer has promised this node so far.
    pub(super) async fn promised(&self, payer: EvmAddress) -> Result<Amount> {
        let (reply, answer) = oneshot::channel();
        self.command(Command::Promised(payer, reply)).await?;
        answer.await.context("the node is stopping")
    }

    /// Losses of a ready model on held-out text.
    pub(crate) async fn evaluate(
        &self,
        model: ModelId,
        held_out: Vec<String>,
    ) -> Result<HeldOutLoss> {
        let run = self.inner.worker.run_data(model);
        let run = run.with_context(|| {
            format!("this node has not fetched the data of model {model} yet; try again later")
        })?;
        let ready = self.model_ready(model);
        let (checkpoint, _) = ready.with_context(|| {
            format!("model {model} is still in training; `openledger model ls` shows how far it is")
        })?;
        let bytes = self.inner.store.blobs().get(checkpoint).await?;
        let evaluated = self.inner.worker.thread.run(move |state| {
            let train: Vec<_> = run.units.iter().map(|unit| unit.tokens.clone()).collect();
            let encode = |text: &String| run.tokenizer.encode(text).map_err(|_| Failure::Invalid);
            let held_out = held_out.iter().map(encode).collect::<Result<Vec<_>, _>>()?;
            let last = run.weights(&bytes).map_err(failed)?;
            let first = run.initial().map_err(failed)?;
            let loss = |weights: &Weights| {
                let model = run.model(weights).map_err(|_| Failure::Invalid)?;
                eval::model(&state.engine, &model, &held_out).map_err(|_| Failure::Invalid)
            };
            let of = |report: Result<eval::EvalReport, eval::EvalError>| {
                report.map(|report| report.loss).map_err(|_| Failure::Invalid)
            };
            Ok(HeldOutLoss {
                first: loss(&first)?.loss,
                last: loss(&last)?.loss,
                unigram: of(eval::unigram(&train, &held_out, run.shape.vocab))?,
                bigram: of(eval::bigram(&train, &held_out, run.shape.vocab))?,
            })
        });
        let evaluated = evaluated.await;
        evaluated.map_err(|failure| anyhow!("the model cannot be evaluated: {}", why(failure)))
    }
}
