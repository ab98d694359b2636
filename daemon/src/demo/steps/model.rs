//! Ordering, training, offering and using a model.

use std::path::Path;

use anyhow::{Context, Result};
use compute::formats::import::Options;
use protocol::{AccountId, DatanetId, ModelId, Round};

use crate::api::Client;
use crate::api::types::{
    Created, Evaluate, Evaluation, InferReport, ModelInfo, Offer, Publish, RunPrice, StatusReport,
    Train, TrainAdapter, TrainNumbers,
};
use crate::bases::{self, Bases, title};
use crate::client::{Consumer, Question};
use crate::demo::participants::Accounts;
use crate::demo::progress::describe_run;
use crate::demo::report::{Losses, Ordered, Tally, first};
use crate::demo::world::World;
use crate::devchain::whole;
use crate::words::amount_in_open;

/// Tokens of an answer.
const ANSWER_TOKENS: u32 = 32;

/// Has the serving node read the model of others whose adapter is trained.
async fn import(world: &World<'_>, path: &Path) -> Result<TrainAdapter> {
    world.progress.wait("the base model");
    let (dir, path) = (world.members()[world.server].dir.clone(), path.to_owned());
    let work = move || {
        let imported = bases::import(&path, &Options::default(), &mut |_| {})?;
        Bases::of_dir(&dir).add(&imported)?;
        anyhow::Ok(imported.card)
    };
    let card = tokio::task::spawn_blocking(work).await??;
    world.progress.line(format!("{} is the base: node {} has it", title(&card), world.server + 1));
    Ok(TrainAdapter {
        base: card.checkpoint.to_string(),
        rank: TrainAdapter::usual_rank(),
        alpha: TrainAdapter::usual_alpha(),
        targets: TrainAdapter::usual_targets(),
    })
}

/// Orders a training run with a slot for every node.
pub(in crate::demo) async fn order(world: &mut World<'_>, datanet: DatanetId) -> Result<ModelId> {
    let adapter = match world.base.clone() {
        None => None,
        Some(path) => Some(import(world, &path).await?),
    };
    let mut train = Train {
        datanet,
        owner: Some(world.people.developer),
        adapter,
        seed: world.seed,
        numbers: TrainNumbers {
            rounds: world.workload.rounds,
            steps: world.workload.steps,
            ..TrainNumbers::default()
        },
        budget: None,
    };
    let client = world.server()?;
    let RunPrice { price, slots, .. } = price(world, &client, &train).await?;
    // Its node sends the order, and so pays for it; the developer's money comes from the sponsor here.
    let node = world.members()[world.server].operator;
    world.sponsor.transfer(node, price).await.context("the developer has no OPEN")?;
    train.budget = Some(price);
    let Created { id } = client.post("/models", &train).await?;
    let price = amount_in_open(price);
    let text =
        format!("a training run is ordered as model {id}: {slots} slots a round for {price}");
    world.progress.line(text);
    Ok(id)
}

/// What a run costs in which everybody has a slot whose stake counts. The node that says it may be a block
/// behind, in the epoch before, and fewer slots than nodes are as few as a cheat among them can stop.
async fn price(world: &mut World<'_>, client: &Client, train: &Train) -> Result<RunPrice> {
    let what = "a price with a slot for every node";
    let mut wait = world.wait_for(what);
    let most = world.reader.catch_up().await?.slots_now();
    loop {
        let price: RunPrice = client.post("/models/price", train).await?;
        if price.slots >= most {
            return Ok(price);
        }
        world.pause(&mut wait, what).await?;
    }
}

/// Waits until the model and its sketches are there, and tells of every round that closes.
pub(in crate::demo) async fn train(world: &mut World<'_>, model: ModelId) -> Result<()> {
    let mut wait = world.wait_for("training");
    let mut told = 0;
    loop {
        let statuses = world.workspace.cluster.statuses().await?;
        let status = &statuses[world.server];
        let closed: Vec<_> =
            status.rounds_closed.iter().filter(|closed| closed.model == model).collect();
        for round in closed.iter().skip(told) {
            let Round(number) = round.round;
            let hash = &round.checkpoint.to_string()[..12];
            let shards = round.shards;
            world.progress.line(format!("round {number} closes over {shards} shards: {hash}…"));
        }
        told = told.max(closed.len());
        if is_ready(status, model) {
            return Ok(());
        }
        world.pause(&mut wait, &describe_run(status, model)).await?;
    }
}

fn is_ready(status: &StatusReport, model: ModelId) -> bool {
    let mut runs = status.runs.iter();
    runs.any(|run| run.model == model && run.is_ready && run.sketch_root.is_some())
}

/// What the run cost, and what of that its parts earned.
pub(in crate::demo) async fn cost(world: &World<'_>, model: ModelId) -> Result<Ordered> {
    let models: Vec<ModelInfo> = world.server()?.get("/models").await?;
    let run = models.into_iter().find(|one| one.id == model).context("the run is on chain")?;
    Ok(Ordered { run_escrow: run.escrow, run_spent: run.spent })
}

/// Measures the model on held-out text and offers it for use.
pub(in crate::demo) async fn offer(world: &World<'_>, model: ModelId) -> Result<Losses> {
    let client = world.server()?;
    let contributors = world.people.contributors.iter();
    let held_out = contributors.flat_map(|person| person.corpus.held_out.clone()).collect();
    world.progress.wait("the loss on held-out text");
    let path = format!("/models/{model}/evaluate");
    let evaluation: Evaluation = client.post(&path, &Evaluate { held_out }).await?;
    let losses = Losses::of(&evaluation);
    world.progress.line(format!(
        "held-out loss {:.3} → {:.3} (a unigram model has {:.3})",
        losses.loss_first, losses.loss_last, losses.loss_unigram
    ));
    let publish = Publish { price_in: whole(10), price_out: whole(40), price_use: whole(1) };
    let path = format!("/models/{model}/publish");
    let _: Offer = client.post(&path, &publish).await?;
    let mut wait = world.wait_for("the offer");
    loop {
        let models: Vec<ModelInfo> = client.get("/models").await?;
        if models.iter().any(|one| one.id == model && one.offer.is_some()) {
            world.progress.line(format!("node {} serves the model", world.server + 1));
            return Ok(losses);
        }
        world.pause(&mut wait, "the offer to be on chain").await?;
    }
}

/// Asks the model to go on from text of each contributor, for pay.
pub(in crate::demo) async fn consume(
    world: &World<'_>,
    accounts: &Accounts,
    model: ModelId,
) -> Result<Tally> {
    let dir = world.workspace.dir().join("consumer");
    let key = world.people.consumer.clone();
    let mut consumer = Consumer::connect(&world.network, key, &dir).await?;
    let client = world.server()?;
    let mut tally = Tally::default();
    for (person, account) in world.people.contributors.iter().zip(&accounts.contributors) {
        for prompt in person.corpus.prompts(world.workload.prompts, world.seed) {
            let name = &person.corpus.name;
            world.progress.wait(format!("an answer to a prompt of {name}"));
            let number = u64::from(tally.of);
            let seed = world.seed.wrapping_mul(1_000).wrapping_add(number);
            let (max_tokens, max_price) = (ANSWER_TOKENS, None);
            let question = Question { model, prompt, max_tokens, seed, max_price };
            let output = consumer.ask(&client, &question).await?;
            tally.count(*account, &output);
            let named = |account| name_of(world, accounts, account);
            world.progress.line(describe(name, *account, &output, named));
        }
    }
    Ok(tally)
}

fn name_of<'w>(world: &'w World<'_>, accounts: &Accounts, account: AccountId) -> &'w str {
    let index = accounts.contributors.iter().position(|known| *known == account);
    let person = index.and_then(|index| world.people.contributors.get(index));
    person.map_or("?", |person| person.corpus.name.as_str())
}

fn describe<'w>(
    name: &str,
    right: AccountId,
    output: &InferReport,
    name_of: impl Fn(AccountId) -> &'w str,
) -> String {
    let named = |shares: &[(AccountId, u32)]| match first(shares) {
        Some(account) => {
            let ppm = shares.iter().find(|(id, _)| *id == account).map_or(0, |(_, ppm)| *ppm);
            format!("{} {} %", name_of(account), ppm / 10_000)
        }
        None => "nobody".to_owned(),
    };
    let mark = if first(&output.shares) == Some(right) { "right" } else { "wrong" };
    let (paid, gradient) = (named(&output.shares), named(&output.gradient));
    let spans = named(&output.span_shares);
    let start: String = output.text.chars().take(40).collect();
    format!("prompt of {name}: {paid} ({mark}; gradient {gradient}, spans {spans}) {start:?}")
}
