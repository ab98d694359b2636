//! `openledger model adapter`: adapters of base models on this machine.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};
use compute::lora::BaseId;
use serde_json::{Value, json};

use crate::adapters::{AdapterCard, Adapters, read_peft};
use crate::bases::{Bases, Found, title};
use crate::clean;
use crate::output::Output;

#[derive(Debug, Subcommand)]
pub(super) enum AdapterCommand {
    /// Import an adapter as `peft` saves one; `openledger serve` then answers with it as BASE:NAME
    Import(ImportArgs),
    /// List the adapters on this machine
    Ls,
    /// Forget an adapter
    Rm(RemoveArgs),
}

#[derive(Debug, Args)]
pub(super) struct ImportArgs {
    /// A folder with `adapter_config.json` and `adapter_model.safetensors`
    folder: PathBuf,
    /// The start of the name or of the hash of the base that it adds to, where there are several
    #[arg(long)]
    base: Option<String>,
    /// What to call it, where not as its folder
    #[arg(long)]
    name: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct RemoveArgs {
    /// Its name, or the start of its hash
    adapter: String,
}

pub(super) async fn adapter(dir: &Path, command: AdapterCommand) -> Result<Output> {
    let dir = dir.to_owned();
    let work = move || match command {
        AdapterCommand::Import(args) => import(&dir, args),
        AdapterCommand::Ls => list(&dir),
        AdapterCommand::Rm(args) => remove(&dir, &args),
    };
    tokio::task::spawn_blocking(work).await?
}

fn import(dir: &Path, args: ImportArgs) -> Result<Output> {
    let ImportArgs { folder, base, name } = args;
    let bases = Bases::of_dir(dir);
    let found = base_of(&bases, base.as_deref())?;
    let name = match name {
        Some(name) => name,
        None => {
            let last =
                folder.file_name().context("the folder has no name; give one with --name")?;
            last.to_string_lossy().into_owned()
        }
    };
    let base = bases.load(&found.card)?;
    let adapter = read_peft(&folder, &BaseId::of(base.checkpoint()))?;
    let (card, is_new) = Adapters::of_dir(dir).add(&name, &adapter)?;
    let what = if is_new { "imported" } else { "here already" };
    let text = format!(
        "{} is {what}: rank {}, {} parameters beside {}\nNext: `openledger serve` answers with it as {:?}",
        card.title(),
        card.rank,
        card.parameters,
        title(&found.card),
        format!("{}:{}", clean::line(&found.card.name), card.name),
    );
    let mut all = as_json(&card)?;
    all["is_new"] = Value::Bool(is_new);
    Ok(Output::new(text, &all))
}

/// The base that is named, or the only one.
fn base_of(bases: &Bases, named: Option<&str>) -> Result<Found> {
    if let Some(named) = named {
        return bases.find(named);
    }
    let mut all = bases.all()?;
    match (all.pop(), all.is_empty()) {
        (Some(only), true) => Ok(only),
        (None, _) => bail!(
            "no base model is on this machine; import the adapter's with `openledger model import PATH` first"
        ),
        (Some(_), false) => {
            bail!("there are several base models: say with --base whose adapter it is")
        }
    }
}

fn list(dir: &Path) -> Result<Output> {
    let (all, bases) = (Adapters::of_dir(dir).all()?, Bases::of_dir(dir).all()?);
    let line = |card: &AdapterCard| {
        let base = bases.iter().find(|found| found.card.checkpoint == card.base);
        let base = base.map_or_else(|| "a base that is not here".to_owned(), |f| title(&f.card));
        format!("{} of {base}: rank {}, {} parameters", card.title(), card.rank, card.parameters)
    };
    let lines: Vec<_> = all.iter().map(line).collect();
    let none = "no adapter yet; import one with `openledger model adapter import FOLDER`";
    let text = if lines.is_empty() { none.to_owned() } else { lines.join("\n") };
    let all = all.iter().map(as_json).collect::<Result<Vec<_>>>()?;
    Ok(Output::new(text, &all))
}

fn remove(dir: &Path, args: &RemoveArgs) -> Result<Output> {
    let adapters = Adapters::of_dir(dir);
    let card = adapters.find(&args.adapter)?;
    adapters.remove(&card)?;
    Ok(Output::new(format!("{} is forgotten", card.title()), &as_json(&card)?))
}

fn as_json(card: &AdapterCard) -> Result<Value> {
    Ok(json!(card))
}
