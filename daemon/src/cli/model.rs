//! `openledger model` and `openledger infer`.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::{Args, Subcommand};
use protocol::{Amount, ModelId};
use serde_json::json;

use super::adapter::{self, AdapterCommand};
use super::base::{self, AskArgs, ImportArgs};
use super::export::{self, ExportArgs};
use super::train::{self, TrainArgs};
use crate::api::Client;
use crate::api::types::{BaseInfo, InferReport, ModelInfo, Offer, OfferBase, Publish};
use crate::clean;
use crate::client::{Consumer, Question};
use crate::keys::{NodeKeys, PassphraseSources};
use crate::network::NetworkFile;
use crate::output::Output;
use crate::words::{amount_in_open, open_amount};

#[derive(Debug, Subcommand)]
pub(super) enum ModelCommand {
    /// Order a training run on a Datanet: of a model from nothing, or of an adapter of a base
    Train(TrainArgs),
    /// Offer a finished model, or a base on this machine as it is, for use, served by this node
    Publish(PublishArgs),
    /// List all models, and the bases that are offered
    Ls,
    /// Write an adapter that was trained, as Hugging Face's `peft` reads it
    Export(ExportArgs),
    /// Import a base model, which stays on this machine
    Import(ImportArgs),
    /// List the base models on this machine
    Bases,
    /// Import, list and forget adapters of base models
    #[command(subcommand)]
    Adapter(AdapterCommand),
    /// Ask a base model on this machine: free, and nothing leaves it
    Ask(AskArgs),
}

#[derive(Debug, Args)]
pub(super) struct PublishArgs {
    /// Number of the model, as `openledger model ls` lists it; or the start of the name or hash of a base
    model: String,
    /// Price of 1,000 prompt tokens, in the smallest unit of OPEN
    #[arg(long, default_value_t = 1_000_000_000_000_000_000)]
    price_in: u128,
    /// Price of 1,000 generated tokens, in the smallest unit of OPEN
    #[arg(long, default_value_t = 4_000_000_000_000_000_000)]
    price_out: u128,
    /// Fixed part of the price of one use, in the smallest unit of OPEN
    #[arg(long, default_value_t = 10_000_000_000_000_000)]
    price_use: u128,
}

pub(super) async fn model(dir: &Path, command: ModelCommand, is_json: bool) -> Result<Output> {
    match command {
        ModelCommand::Import(args) => base::import(dir, args).await,
        ModelCommand::Bases => base::list(dir),
        ModelCommand::Adapter(command) => adapter::adapter(dir, command).await,
        ModelCommand::Ask(args) => base::ask(dir, args, is_json).await,
        ModelCommand::Train(args) => train::order(&Client::of_dir(dir)?, args).await,
        ModelCommand::Publish(args) => publish(&Client::of_dir(dir)?, args).await,
        ModelCommand::Export(args) => export::export(dir, args).await,
        ModelCommand::Ls => list(&Client::of_dir(dir)?).await,
    }
}

async fn publish(client: &Client, args: PublishArgs) -> Result<Output> {
    let PublishArgs { model, price_in, price_out, price_use } = args;
    let [price_in, price_out, price_use] = [price_in, price_out, price_use].map(Amount);
    let offer: Offer = match model.parse::<u64>() {
        Ok(model) => {
            let publish = Publish { price_in, price_out, price_use };
            client.post(&format!("/models/{model}/publish"), &publish).await?
        }
        Err(_) => {
            let offer = OfferBase { base: model, price_in, price_out, price_use };
            client.post("/bases", &offer).await?
        }
    };
    let model = offer.model;
    let text = format!("model {model} is offered; use it with `openledger infer {model} TEXT`");
    Ok(Output::new(text, &offer))
}

async fn list(client: &Client) -> Result<Output> {
    let trained: Vec<ModelInfo> = client.get("/models").await?;
    let bases: Vec<BaseInfo> = client.get("/bases").await?;
    let mut lines: Vec<_> = trained.iter().map(|model| (model.id, line(model))).collect();
    lines.extend(bases.iter().map(|base| (base.id, base_line(base))));
    lines.sort_unstable();
    let lines: Vec<_> = lines.into_iter().map(|(_, line)| line).collect();
    let none = "no model yet; order one with `openledger model train DATANET`";
    let text = if lines.is_empty() { none.to_owned() } else { lines.join("\n") };
    Ok(Output::new(text, &json!({ "trained": trained, "bases": bases })))
}

fn base_line(base: &BaseInfo) -> String {
    let licence = if base.licence.is_empty() { "no licence stated" } else { &base.licence };
    let state = match &base.offer {
        Some(offer) => format!("served by account {}", offer.server),
        None => "not offered".to_owned(),
    };
    let (name, licence) = (clean::line(&base.name), clean::line(licence));
    format!("{}\tbase {name}, {licence}, developer account {}: {state}", base.id, base.developer)
}

fn line(model: &ModelInfo) -> String {
    let ModelInfo { id, datanet, developer, .. } = model;
    let state = match (&model.offer, &model.run, &model.refused) {
        (Some(offer), ..) => format!("served by account {}", offer.server),
        (None, _, Some(why)) => format!("no run: {why}"),
        (None, Some(run), _) if run.is_ready => "ready".to_owned(),
        (None, Some(run), _) => format!("round {} of {}", run.round, run.rounds),
        (None, None, _) => "waiting for its data".to_owned(),
    };
    let (spent, escrow) = (amount_in_open(model.spent), amount_in_open(model.escrow));
    let paid = format!("{spent} of {escrow} paid for work");
    format!("{id}\tDatanet {datanet}, developer account {developer}: {state}, {paid}")
}

#[derive(Debug, Args)]
pub(super) struct InferArgs {
    /// Number of the model, as `openledger model ls` lists it
    model: u64,
    /// Text that the model goes on from; it becomes public, and so does the answer
    prompt: String,
    /// Tokens to generate
    #[arg(long, default_value_t = 48)]
    max_tokens: u32,
    /// Seed of the draws
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Ask nothing where the answer costs more than this, in OPEN
    #[arg(long, value_name = "OPEN", value_parser = open_amount)]
    max_price: Option<Amount>,
    /// A data directory whose operator key pays; the node's own by default
    #[arg(long, value_name = "DIR")]
    payer: Option<PathBuf>,
}

pub(super) async fn infer(dir: &Path, args: &InferArgs) -> Result<Output> {
    eprintln!(
        "What you ask and what is answered become public: auditors are drawn later and must repeat it."
    );
    let client = Client::of_dir(dir)?;
    let payer = args.payer.as_deref().unwrap_or(dir);
    let phrase = PassphraseSources::from_env(None).find(payer)?;
    let keys = NodeKeys::open(payer, &phrase)?;
    let network = NetworkFile::of_dir(dir)?;
    let mut consumer = Consumer::connect(&network, keys.operator, payer).await?;
    let question = Question {
        model: ModelId(args.model),
        prompt: args.prompt.clone(),
        max_tokens: args.max_tokens,
        seed: args.seed,
        max_price: args.max_price,
    };
    let report = consumer.ask(&client, &question).await?;
    Ok(Output::new(describe(&args.prompt, &report)?, &report))
}

fn describe(prompt: &str, report: &InferReport) -> Result<String, std::fmt::Error> {
    let mut text = String::new();
    writeln!(text, "{prompt}{}\n", report.text)?;
    let percent = |ppm: u32| format!("{}.{} %", ppm / 10_000, ppm / 1_000 % 10);
    let columns =
        [("paid", &report.shares), ("gradient", &report.gradient), ("spans", &report.span_shares)];
    for (name, shares) in columns {
        let parts: Vec<_> = shares
            .iter()
            .map(|(account, ppm)| format!("account {account} {}", percent(*ppm)))
            .collect();
        let parts = if parts.is_empty() { "none".to_owned() } else { parts.join(", ") };
        writeln!(text, "{name:<9} {parts}")?;
    }
    for span in &report.spans {
        let bits = span.millibits / 1_000;
        writeln!(text, "span      {:?}: account {}, {bits} bits", span.text, span.owner)?;
    }
    for unit in report.top_units.iter().take(3) {
        let start: String = unit.text.chars().take(60).collect();
        writeln!(text, "unit      account {}: {start:?}", unit.owner)?;
    }
    writeln!(text, "fee       {}", amount_in_open(report.fee))?;
    Ok(text)
}
