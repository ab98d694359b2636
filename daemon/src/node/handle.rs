//! Asking a running node for things.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, Result, anyhow, bail};
use compute::formats::Checkpoint;
use compute::formats::Tokenizer;
use compute::train::TrainingPreset;
use compute::train::eval;
use contracts_abi::TxError;
use protocol::chain::{ChainEvent, ChainView, Contribution, Model, Transaction};
use protocol::codec::Wire;
use protocol::node::{Failure, ServeRequest, price};
use protocol::{AccountId, Amount, BlobRef, Digest, Epoch, EvmAddress, Hash, ModelId};
use storage::Store;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::RunOptions;
use super::bench::failed;
use super::health::{Health, Offline};
use super::jobs::Workshop;
use super::requests::{
    AddReport, AddRequest, Evaluation, InferRequest, Quote, TrainRequest, TxReport,
};
use super::run::Command;
use super::run_data::read_snapshot;
use super::serving::{Asked, InferReport};
use super::start::start;
use super::status::{RewardLine, RunStatus, Snapshot, StatusReport};
use crate::net::NetworkHandle;

/// Temperature of answers.
pub(super) const TEMPERATURE_PPM: u32 = 800_000;

/// Talks to a running node. Clones are cheap.
#[derive(Debug, Clone)]
pub struct NodeHandle {
    pub(super) inner: Arc<Inner>,
}

#[derive(Debug)]
pub(super) struct Inner {
    pub(super) store: Arc<Store>,
    pub(super) net: NetworkHandle,
    pub(super) workshop: Workshop,
    pub(super) commands: mpsc::Sender<Command>,
    pub(super) status: watch::Receiver<Arc<Snapshot>>,
    pub(super) operator: EvmAddress,
    pub(super) health: Health,
    pub(super) stop: CancellationToken,
    pub(super) requests: AtomicU64,
}

impl NodeHandle {
    /// Opens the data directory, the network, the chain and the device, and starts the loop.
    pub async fn start(options: RunOptions) -> Result<Self> {
        Box::pin(start(options)).await
    }

    /// Waits for a reason to stop that the node found by itself.
    pub async fn failed(&self) -> Arc<Offline> {
        self.inner.health.failed().await
    }

    /// How the node is.
    pub async fn status(&self) -> Result<StatusReport> {
        let snapshot = self.snapshot();
        let net = self.inner.net.status().await?;
        let join = self.inner.net.join_ticket().await?;
        let chain = &snapshot.chain;
        let inventory = self.inner.store.blobs().inventory();
        let packs = inventory.iter().filter(|blob| chain.pack(&blob.hash).is_some()).count();
        let account = snapshot.account;
        let earned = self.earned(chain, account).await;
        let claimed = chain.claimed(account);
        let block = chain.head().map_or(0, |head| head.number.0);
        Ok(StatusReport {
            schema: 1,
            version: env!("CARGO_PKG_VERSION").into(),
            account,
            node: net.node,
            device: self.inner.workshop.bench.device().into(),
            refused_device: self.inner.workshop.bench.refused().map(Into::into),
            shards_done: self.inner.workshop.shards_done(),
            peers: net.peers.len(),
            reachability: format!("{:?}", net.reachability).to_lowercase(),
            bootstrap: join.bootstrap(),
            quic_bytes_in: net.data.received,
            quic_bytes_out: net.data.sent,
            packs,
            stored_bytes: self.inner.store.blobs().used(),
            max_disk: self.inner.store.blobs().quota().0,
            epoch: chain.epoch().0,
            block,
            next_epoch_block: chain.schedule.start(chain.epoch().next()).0,
            earned,
            claimed,
            pending: earned.saturating_sub(claimed),
            waiting: self.waiting(&snapshot),
            runs: runs(&snapshot),
            rounds_closed: snapshot.seen.closed.clone(),
            faults_seen: snapshot.seen.storage_faults,
            shards_rejected_seen: snapshot.seen.shards_rejected,
        })
    }

    /// Why the node idles.
    fn waiting(&self, snapshot: &Snapshot) -> Vec<String> {
        if snapshot.account == AccountId(0) {
            let operator = self.inner.operator;
            return vec![format!(
                "this node has no account yet: send gas to its operator {operator}, and it registers \
                 by itself within a few blocks, or have it sponsored"
            )];
        }
        let chain = &snapshot.chain;
        let placement = chain.placement(chain.epoch().next());
        let mut lines = self.inner.workshop.blobs.no_room(placement.packs_of(snapshot.account));
        lines.extend(snapshot.waiting.iter().map(ToString::to_string));
        lines
    }

    fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.inner.status.borrow())
    }

    /// The chain as this node sees it.
    pub fn chain(&self) -> Arc<ChainView> {
        Arc::clone(&self.snapshot().chain)
    }

    /// Waits until something changes in what this node shows: at the latest with the next block.
    pub async fn changed(&self) {
        let mut status = self.inner.status.clone();
        status.mark_unchanged();
        // The loop ends only when the node stops; then nothing changes any more.
        let _ = status.changed().await;
    }

    /// This node's account; zero until it is registered.
    pub fn account(&self) -> AccountId {
        self.snapshot().account
    }

    /// Checkpoint and sketch root of a run that is finished; `None` before.
    pub fn model_ready(&self, model: ModelId) -> Option<(Hash, Digest)> {
        self.snapshot().seen.ready.get(&model).copied()
    }

    async fn earned(&self, chain: &Arc<ChainView>, account: AccountId) -> Amount {
        let Some(last) = chain.last_final() else { return Amount::ZERO };
        let outcome = self.inner.workshop.settler.confirmed(chain, &last.settlement).await;
        let leaf = |leaves: &[(AccountId, Amount)]| {
            leaves.iter().find(|(id, _)| *id == account).map(|(_, amount)| *amount)
        };
        outcome.ok().and_then(|outcome| leaf(&outcome.leaves)).unwrap_or_default()
    }

    /// Stores, announces and registers a contribution.
    pub async fn add(&self, request: AddRequest) -> Result<AddReport> {
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
        let contribution = Contribution {
            id: 0,
            datanet: request.datanet,
            account: request.account,
            manifest,
            packs: packs.clone(),
            units,
        };
        let report = self.submit(Transaction::Contribute(contribution)).await?;
        Ok(AddReport {
            contribution: report.created.context("the chain did not number the contribution")?,
            manifest,
            packs: packs.len(),
            units: request.manifest.units.len(),
            bytes: BlobRef::total(&packs),
            block: report.block,
        })
    }

    async fn put(&self, bytes: Vec<u8>) -> Result<Hash> {
        let put = self.inner.store.blobs().put(bytes.into()).await;
        Ok(put.inspect_err(|error| self.inner.health.blame(error))?)
    }

    async fn command(&self, command: Command) -> Result<()> {
        self.inner.commands.send(command).await.map_err(|_| anyhow!("the node is stopping"))
    }

    /// Sends a transaction with the operator's key and waits for its block.
    pub async fn submit(&self, transaction: Transaction) -> Result<TxReport> {
        let sent = self.inner.workshop.sender.send(transaction).await;
        let receipt =
            sent.context("the node is stopping")?.map_err(|error: TxError| anyhow!(error))?;
        let created = receipt.events.iter().find_map(created);
        Ok(TxReport { block: receipt.block.0, gas: receipt.gas, created })
    }

    /// Trains a tokenizer on the snapshot and orders a run.
    pub async fn train(&self, request: TrainRequest) -> Result<ModelId> {
        let chain = self.chain();
        let now = chain.head().context("no block was seen yet; try again")?.number.next();
        let texts = read_snapshot(&chain, &self.inner.workshop.blobs, request.datanet, now).await;
        let texts = texts
            .map_err(|failure| anyhow!("the Datanet's data cannot be had now: {}", why(failure)))?;
        if texts.is_empty() {
            bail!("Datanet {} is empty; add data first", request.datanet);
        }
        let preset = TrainingPreset::demo();
        let vocab = preset.model.vocab;
        let tokenizer = tokio::task::spawn_blocking(move || {
            Tokenizer::train(texts.iter().map(|(_, _, text)| text.as_str()), vocab)
        });
        let bytes = tokenizer.await??.to_bytes().to_vec();
        let length = bytes.len() as u64;
        let tokenizer = BlobRef::new(self.put(bytes).await?, length);
        self.command(Command::Announce(vec![tokenizer])).await?;
        let steps = request.steps.unwrap_or(preset.hyper.steps);
        let mut config = preset.order(tokenizer, request.seed, steps);
        config.rounds = request.rounds.unwrap_or(config.rounds);
        let model = Model {
            id: ModelId(0),
            developer: request.developer,
            datanet: request.datanet,
            config: config.to_bytes(),
        };
        let report = self.submit(Transaction::CreateModel(model)).await?;
        report.created.map(ModelId).context("the chain did not number the model")
    }

    /// The price of a use.
    pub async fn quote(
        &self,
        model: ModelId,
        payer: EvmAddress,
        prompt: &str,
        max_tokens: u32,
    ) -> Result<Quote> {
        let chain = self.chain();
        let offer = chain.publication(model);
        let offer = offer.with_context(|| format!("model {model} is not offered yet"))?;
        let tokens_in = u32::try_from(self.encode(model, prompt)?.len())?;
        let price = price(offer, tokens_in, max_tokens).context("the price overflows")?;
        let (reply, answer) = oneshot::channel();
        self.command(Command::Promised(payer, reply)).await?;
        Ok(Quote { price, payee: offer.server, promised: answer.await?, tokens_in })
    }

    fn encode(&self, model: ModelId, text: &str) -> Result<Vec<u32>> {
        let run = self.inner.workshop.run_data(model);
        let run = run.with_context(|| format!("this node has not prepared model {model}"))?;
        Ok(run.tokenizer.encode(text)?)
    }

    /// Serves a paid request.
    pub async fn infer(&self, request: InferRequest) -> Result<InferReport> {
        let chain = self.chain();
        request.receipt.verify(&chain.domain).context("the receipt is not signed by its payer")?;
        let receipt = request.receipt.receipt.clone();
        let prompt = self.encode(receipt.model, &request.prompt)?;
        let id = self.inner.requests.fetch_add(1, Ordering::Relaxed);
        let tokens_in = u32::try_from(prompt.len())?;
        let asked = Asked {
            receipt: request.receipt.clone(),
            prompt,
            max_tokens: request.max_tokens,
            temperature_ppm: TEMPERATURE_PPM,
            seed: request.seed,
        };
        let tokens_out = request.max_tokens;
        let serve = ServeRequest { id, receipt: request.receipt, tokens_in, tokens_out };
        let (reply, answer) = oneshot::channel();
        self.command(Command::Serve(Box::new((asked, serve)), reply)).await?;
        let mut report = answer.await.context("the node is stopping")??;
        let offer = chain.publication(receipt.model);
        report.fee = offer.and_then(|o| price(o, tokens_in, tokens_out)).unwrap_or_default();
        Ok(report)
    }

    /// The statement of an account: every final epoch, with the reason for each zero.
    pub async fn rewards(&self, account: AccountId) -> Result<Vec<RewardLine>> {
        let chain = self.chain();
        let mut lines = Vec::new();
        for epoch in (0..chain.next_to_settle().0).map(Epoch) {
            let Some(state) = chain.settlement(epoch) else { continue };
            let outcome = self.inner.workshop.settler.confirmed(&chain, &state.settlement).await;
            let outcome = outcome.map_err(|failure: Failure| {
                anyhow!("the log of epoch {epoch} cannot be had now: {}", why(failure))
            })?;
            lines.extend(outcome.lines.iter().filter(|line| line.account == account).map(|line| {
                RewardLine {
                    epoch: epoch.0,
                    source: format!("{:?}", line.source).to_lowercase(),
                    amount: line.amount,
                    record: line.record,
                    reason: None,
                }
            }));
            lines.extend(outcome.zeros.iter().filter(|zero| zero.account == account).map(|zero| {
                RewardLine {
                    epoch: epoch.0,
                    source: format!("{:?}", zero.source).to_lowercase(),
                    amount: Amount::ZERO,
                    record: zero.record,
                    reason: Some(zero.reason.to_string()),
                }
            }));
        }
        Ok(lines)
    }

    /// Losses of a ready model on held-out text.
    pub async fn evaluate(&self, model: ModelId, held_out: Vec<String>) -> Result<Evaluation> {
        let run = self.inner.workshop.run_data(model);
        let run = run.with_context(|| format!("this node has not prepared model {model}"))?;
        let ready = self.snapshot().seen.ready.get(&model).copied();
        let (checkpoint, _) = ready.with_context(|| format!("model {model} is not ready"))?;
        let bytes = self.inner.store.blobs().get(checkpoint).await?;
        let evaluated = self.inner.workshop.bench.run(move |bench| {
            let train: Vec<_> = run.units.iter().map(|unit| unit.tokens.clone()).collect();
            let encode = |text: &String| run.tokenizer.encode(text).map_err(|_| Failure::Invalid);
            let held_out = held_out.iter().map(encode).collect::<Result<Vec<_>, _>>()?;
            let last = run.checkpoint(&bytes).map_err(failed)?;
            let first = run.initial().map_err(failed)?;
            let loss = |checkpoint: &Checkpoint| {
                eval::model(&bench.engine, checkpoint, &held_out).map_err(|_| Failure::Invalid)
            };
            let of = |report: Result<eval::EvalReport, eval::EvalError>| {
                report.map(|report| report.loss).map_err(|_| Failure::Invalid)
            };
            Ok(Evaluation {
                loss_first: loss(&first)?.loss,
                loss_last: loss(&last)?.loss,
                unigram: of(eval::unigram(&train, &held_out, run.shape.vocab))?,
                bigram: of(eval::bigram(&train, &held_out, run.shape.vocab))?,
            })
        });
        let evaluated = evaluated.await;
        evaluated.map_err(|failure| anyhow!("the model cannot be evaluated: {}", why(failure)))
    }

    /// The bytes of a blob that this node has or can fetch.
    pub async fn blob(&self, hash: Hash, limit: u64) -> Result<bytes::Bytes> {
        let blob = self.inner.workshop.blobs.obtain(hash, limit, &[]).await;
        blob.map_err(|failure| anyhow!("blob {hash} cannot be had now: {}", why(failure)))
    }

    /// Keeps a local copy of a pack for this node's own reasons.
    pub async fn pin(&self, hash: Hash) -> Result<u64> {
        let limit = self.chain().params().holding.max_pack;
        let length = self.blob(hash, limit).await?.len() as u64;
        self.inner.store.index().pin(hash, storage::index::PinReason::Own)?;
        Ok(length)
    }

    /// A ticket by which any iroh-blobs client can fetch a blob from this node.
    pub fn ticket(&self, hash: Hash) -> String {
        self.inner.net.ticket(hash)
    }

    /// What another machine needs to join through this node.
    pub async fn join_ticket(&self) -> Result<crate::net::JoinTicket> {
        Ok(self.inner.net.join_ticket().await?)
    }

    /// Claims what final settlements owe an account; anyone may, for anyone.
    pub async fn claim(&self, account: AccountId) -> Result<Option<TxReport>> {
        let chain = self.chain();
        let Some(last) = chain.last_final() else { return Ok(None) };
        let epoch = last.settlement.epoch;
        let claim = self.inner.workshop.settler.claim(&chain, epoch, account).await;
        let claim = claim.map_err(|failure| {
            anyhow!("the log of epoch {epoch} cannot be had now: {}", why(failure))
        })?;
        match claim {
            Some(transaction) => self.submit(transaction).await.map(Some),
            None => Ok(None),
        }
    }

    /// Stops cleanly: network first, then the store.
    pub async fn shutdown(&self) {
        self.inner.stop.cancel();
        self.inner.net.shutdown().await;
        self.inner.store.blobs().shutdown().await;
    }
}

fn created(event: &ChainEvent) -> Option<u64> {
    match event {
        ChainEvent::AccountRegistered { account, .. } => Some(account.0),
        ChainEvent::DatanetCreated { datanet, .. } => Some(datanet.0),
        ChainEvent::ContributionAdmitted(contribution) => Some(contribution.id),
        ChainEvent::ModelCreated(model) => Some(model.id.0),
        _ => None,
    }
}

/// A failure in words for whoever waits.
const fn why(failure: Failure) -> &'static str {
    match failure {
        Failure::Unavailable => "no connected peer has it; try again when one is online that does",
        Failure::Invalid => "what there is is damaged or wrong; the log says what",
        Failure::Local => "this node cannot keep or compute it now; its log says why",
    }
}

fn runs(snapshot: &Snapshot) -> Vec<RunStatus> {
    let status = |run: &protocol::node::Progress| RunStatus {
        model: run.model,
        round: run.round,
        rounds: run.rounds,
        checkpoint: run.checkpoint,
        is_ready: run.is_ready,
        sketch_root: snapshot.seen.ready.get(&run.model).map(|(_, root)| *root),
    };
    snapshot.progress.iter().map(status).collect()
}
