//! `openledger model export`: an adapter that the network trained, for other programs.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::Args;
use compute::lora::{Adapter, PeftFiles};
use protocol::ModelId;
use serde::Serialize;
use storage::durable::{create_dir, write_atomic};

use crate::adapters::{PEFT_CONFIG, PEFT_WEIGHTS};
use crate::api::Client;
use crate::api::types::ModelInfo;
use crate::bases::Bases;
use crate::output::Output;

#[derive(Debug, Args)]
pub(super) struct ExportArgs {
    /// Number of the model, as `openledger model ls` lists it
    model: u64,
    /// The folder to make, with the files that `peft` loads
    folder: PathBuf,
}

/// What was written.
#[derive(Debug, Serialize)]
struct Exported {
    model: ModelId,
    /// The adapter's address.
    checkpoint: protocol::Hash,
    /// The base that it adds to.
    base: protocol::Hash,
    rank: u32,
    parameters: usize,
    folder: PathBuf,
}

pub(super) async fn export(dir: &Path, args: ExportArgs) -> Result<Output> {
    let ExportArgs { model, folder } = args;
    for name in [PEFT_CONFIG, PEFT_WEIGHTS] {
        if folder.join(name).exists() {
            bail!("{} is there already; choose another folder", folder.join(name).display());
        }
    }
    let client = Client::of_dir(dir)?;
    let all: Vec<ModelInfo> = client.get("/models").await?;
    let found = all.into_iter().find(|one| one.id == ModelId(model));
    let found = found.with_context(|| {
        format!("there is no model {model}; `openledger model ls` lists all of them")
    })?;
    let of_run = found.run.filter(|run| run.is_ready).and_then(|run| run.checkpoint);
    let checkpoint = of_run.with_context(|| {
        format!("model {model} is still in training, or this node takes no part in it")
    })?;
    let bytes = client.bytes(&format!("/blobs/{checkpoint}")).await?;
    let adapter = Adapter::from_bytes(&bytes).with_context(|| {
        format!("model {model} is no adapter, and others cannot read a model from nothing yet")
    })?;
    let base = adapter.base().checkpoint;
    // By its name where it is known here, so that people know what to load beside it.
    let named = Bases::of_dir(dir).find(&base.to_string());
    let called = named.map_or_else(|_| base.to_string(), |found| found.card.name);
    let PeftFiles { config, weights } = adapter.to_peft(&called);
    create_dir(&folder)?;
    write_atomic(&folder.join(PEFT_WEIGHTS), &weights)?;
    write_atomic(&folder.join(PEFT_CONFIG), &config)?;
    let exported = Exported {
        model: found.id,
        checkpoint,
        base,
        rank: adapter.config().rank,
        parameters: adapter.values().len(),
        folder: folder.clone(),
    };
    let text = format!(
        "{} holds the adapter of model {model}, of rank {}, for {called}: load it with peft",
        folder.display(),
        exported.rank
    );
    Ok(Output::new(text, &exported))
}
