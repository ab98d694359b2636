//! Ordering training runs: of a model from nothing, or of an adapter of a base on this machine.

use anyhow::{Context, Result, anyhow, bail};
use compute::data::Text;
use compute::formats::Tokenizer;
use compute::model::shape_of;
use compute::train::{ShardSize, TrainingPreset};
use protocol::chain::{ChainView, Model, Transaction};
use protocol::codec::Wire;
use protocol::math::PPM;
use protocol::model::{AdapterOrder, RunModel, TARGETS, targets};
use protocol::order::OrderFault;
use protocol::training::{Contributions, RunConfig};
use protocol::{AccountId, Amount, BlobRef, DatanetId, Hash, ModelId};

use super::handle::{NodeHandle, why};
use super::run::Command;
use super::run_data::{Readable, read_datanet};
use crate::bases::BaseFiles;
use crate::words::amount_in_open;

/// A training run to be ordered.
#[derive(Debug, Clone)]
pub struct TrainRequest {
    /// The Datanet to train on.
    pub datanet: DatanetId,
    /// The account that orders it; its operator must be this node's operator.
    pub developer: AccountId,
    /// The adapter that is trained; a model from nothing if none is given.
    pub adapter: Option<AdapterRequest>,
    /// Seed of the initial weights.
    pub seed: u64,
    /// Numbers of the run where they are not the preset's.
    pub numbers: RunNumbers,
    /// What is paid for it; the network's price for as many slots as a run may have now if nothing is
    /// given. Less buys fewer slots, and more pays better for each.
    pub budget: Option<Amount>,
}

/// An adapter to be trained.
#[derive(Debug, Clone)]
pub struct AdapterRequest {
    /// The start of the name or of the hash of a base model on this machine.
    pub base: String,
    /// Inner width; a power of two up to 64.
    pub rank: u32,
    /// The factor of what is added, times the rank.
    pub alpha: u32,
    /// Which linear maps of each layer it adds to, by their names ([`TARGETS`]).
    pub targets: Vec<String>,
}

/// What a run does, where it is not what its preset says.
#[derive(Debug, Clone, Copy, Default)]
pub struct RunNumbers {
    /// Rounds of training.
    pub rounds: Option<u32>,
    /// Optimiser steps of a shard.
    pub steps: Option<u32>,
    /// Sequences of an optimiser step.
    pub batch: Option<u32>,
    /// Tokens of a sequence.
    pub context: Option<u32>,
    /// Learning rate of the first round, in billionths.
    pub learning_rate: Option<u32>,
}

/// What a run would cost that is ordered now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunPrice {
    /// The price of a run with as many slots as it may have now.
    pub price: Amount,
    /// Slots of a round of such a run; at most one for each node that weighs as much as the others.
    pub slots: u32,
    /// The price of a run with as few slots as its rounds need.
    pub least: Amount,
}

/// What an order makes.
struct Made {
    model: RunModel,
    tokenizer: BlobRef,
    /// Most tokens that it reads at once.
    context: u32,
    preset: TrainingPreset,
}

impl Made {
    /// A model from nothing, with a tokenizer of its own.
    const fn model(tokenizer: BlobRef) -> Self {
        let preset = TrainingPreset::demo();
        Self { model: RunModel::Preset(0), tokenizer, context: preset.model.context, preset }
    }

    /// An adapter of a base, with the base's tokenizer.
    fn adapter(request: &AdapterRequest, base: &BaseFiles) -> Result<Self> {
        let order = request.order(base)?;
        Ok(Self {
            model: RunModel::Adapter(order),
            tokenizer: base.tokenizer_ref(),
            context: order.shape.context,
            preset: TrainingPreset::adapter(),
        })
    }

    /// The order of a run that makes it.
    fn order(&self, request: &TrainRequest, data: Vec<Contributions>) -> RunConfig {
        let (preset, numbers) = (&self.preset, &request.numbers);
        let context = preset.hyper.context.min(self.context);
        let size = ShardSize {
            steps: numbers.steps.unwrap_or(preset.hyper.steps),
            batch: numbers.batch.unwrap_or(preset.hyper.batch),
            context: numbers.context.unwrap_or(context),
        };
        let mut config = preset.order(self.model, self.tokenizer, request.seed, size);
        config.rounds = numbers.rounds.unwrap_or(config.rounds);
        config.learning_rate = numbers.learning_rate.unwrap_or(config.learning_rate);
        config.data = data;
        config
    }
}

impl AdapterRequest {
    /// The order of it for a base.
    fn order(&self, base: &BaseFiles) -> Result<AdapterOrder> {
        let targets = targets(&self.targets).map_err(|name| {
            anyhow!("{name:?} is no linear map of a layer; there are {}", TARGETS.join(", "))
        })?;
        let scale = u64::from(self.alpha).saturating_mul(PPM.into());
        let scale = scale.checked_div(self.rank.into());
        let order = AdapterOrder {
            base: base.checkpoint_ref(),
            card: base.card_ref(),
            shape: shape_of(base.model()),
            rank: self.rank,
            scale: scale.and_then(|scale| u32::try_from(scale).ok()).unwrap_or(u32::MAX),
            targets,
        };
        let fault = "the rank must be a power of two from 1 to 64, alpha from 1 to a thousand ranks, and at \
                     least one linear map be named";
        order.is_sane().then_some(order).context(fault)
    }
}

fn run_price(chain: &ChainView, datanet: DatanetId, config: &[u8]) -> Result<RunPrice> {
    let cost = |slots| chain.cost_now(datanet, config, slots);
    let least = cost(0).map_err(refused)?;
    let slots = chain.slots_now().max(chain.params().training.min_shards);
    Ok(RunPrice { price: cost(slots).map_err(refused)?, slots, least })
}

fn refused(fault: OrderFault) -> anyhow::Error {
    match fault {
        OrderFault::Price { pays, least } => anyhow!(
            "the network would refuse this run: it pays {}, and its work costs at least {}",
            amount_in_open(pays),
            amount_in_open(least)
        ),
        fault => anyhow!("the network would refuse this run: {fault}"),
    }
}

impl NodeHandle {
    /// What a run would cost; who orders it makes no difference.
    pub async fn price_of_run(&self, request: TrainRequest) -> Result<RunPrice> {
        let Readable { data, .. } = self.readable(request.datanet).await?;
        let made = match &request.adapter {
            // The tokenizer has no part in the price.
            None => Made::model(BlobRef::new(Hash::ZERO, 0)),
            Some(adapter) => Made::adapter(adapter, &self.base(&adapter.base).await?)?,
        };
        let config = made.order(&request, data);
        run_price(&self.chain(), request.datanet, &config.to_bytes())
    }

    /// The files of a base model on this machine.
    pub(super) async fn base(&self, named: &str) -> Result<BaseFiles> {
        let (bases, named) = (self.inner.worker.bases.clone(), named.to_owned());
        tokio::task::spawn_blocking(move || bases.files(&bases.find(&named)?.card)).await?
    }

    /// What of a Datanet a run could read that is ordered now, which is something.
    async fn readable(&self, datanet: DatanetId) -> Result<Readable> {
        let chain = self.chain();
        let now = chain.head().context("no block was read yet; try again")?.number.next();
        let read = read_datanet(&chain, &self.inner.worker.blobs, datanet, now).await;
        let read = read.map_err(|failure| {
            anyhow!("the Datanet's data is not available now: {}", why(failure))
        })?;
        if read.texts.is_empty() && read.left_out > 0 {
            bail!("none of the data of Datanet {datanet} can be read now; try again later");
        }
        if read.texts.is_empty() {
            bail!("Datanet {datanet} is empty; add data first");
        }
        Ok(read)
    }

    /// Makes what a run begins with known to the network, orders it and pays for it.
    pub async fn train(&self, request: TrainRequest) -> Result<ModelId> {
        let Readable { data, texts, .. } = self.readable(request.datanet).await?;
        let made = match &request.adapter {
            None => Made::model(self.new_tokenizer(texts).await?),
            Some(adapter) => {
                let base = self.base(&adapter.base).await?;
                let made = Made::adapter(adapter, &base)?;
                self.give_base(base).await?;
                made
            }
        };
        let config = made.order(&request, data).to_bytes();
        let chain = self.chain();
        let escrow = match request.budget {
            Some(budget) => budget,
            None => run_price(&chain, request.datanet, &config)?.price,
        };
        let model = Model {
            id: ModelId(0),
            developer: request.developer,
            datanet: request.datanet,
            escrow,
            config,
        };
        // What no node would work on is not worth the transaction, and would not be paid back.
        chain.order_now(&model).map_err(refused)?;
        let outcome = self.submit(Transaction::CreateModel(model)).await?;
        outcome.created.map(ModelId).context("the chain did not number the model")
    }
    /// Trains a tokenizer on texts.
    async fn new_tokenizer(&self, texts: Vec<Text>) -> Result<BlobRef> {
        let vocab = TrainingPreset::demo().model.vocab;
        let tokenizer = tokio::task::spawn_blocking(move || {
            Tokenizer::train(texts.iter().map(|(_, _, text)| text.as_str()), vocab)
        });
        let bytes = tokenizer.await??.to_bytes().to_vec();
        let length = bytes.len() as u64;
        let tokenizer = BlobRef::new(self.put(bytes).await?, length);
        self.command(Command::Announce(vec![tokenizer])).await?;
        Ok(tokenizer)
    }

    /// Stores a base where the members of a run can fetch it.
    async fn give_base(&self, base: BaseFiles) -> Result<()> {
        let named = vec![base.checkpoint_ref(), base.tokenizer_ref(), base.card_ref()];
        for bytes in base.into_bytes() {
            self.put(bytes).await?;
        }
        self.command(Command::Announce(named)).await
    }
}
