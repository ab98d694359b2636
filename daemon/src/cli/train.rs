//! `openledger model train`: orders a training run, by flags or by a file that says the same.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::Args;
use protocol::{Amount, DatanetId, EvmAddress, ModelId};
use serde::Deserialize;

use crate::api::Client;
use crate::api::types::{Created, RunPrice, Train, TrainAdapter, TrainNumbers};
use crate::output::Output;
use crate::words::{amount_in_open, open_amount};

/// The longest file of a run, in bytes.
const MAX_RUN_FILE: u64 = 64 * 1024;

#[derive(Debug, Args)]
pub(super) struct TrainArgs {
    /// Number of the Datanet, as `openledger datanet ls` lists it, or a TOML file that says all of the run
    what: String,
    #[command(flatten)]
    run: RunFlags,
    /// Order nothing where the price is more than this, in OPEN
    #[arg(long, value_name = "OPEN", value_parser = open_amount, conflicts_with = "budget")]
    max_price: Option<Amount>,
    /// Only say what it would cost
    #[arg(long)]
    price: bool,
}

/// What a file may say instead.
#[derive(Debug, Clone, Default, PartialEq, Args)]
struct RunFlags {
    /// Train an adapter of this base on this machine, by the start of its name or hash
    #[arg(long)]
    base: Option<String>,
    /// Inner width of the adapter: a power of two up to 64; 8 by default
    #[arg(long, requires = "base")]
    rank: Option<u32>,
    /// Factor of what the adapter adds, times the rank; 16 by default
    #[arg(long, requires = "base")]
    alpha: Option<u32>,
    /// Linear maps of each layer that it adds to; `q_proj,v_proj` by default
    #[arg(long, requires = "base", value_delimiter = ',')]
    targets: Option<Vec<String>>,
    /// Seed of the initial weights; 1 by default
    #[arg(long)]
    seed: Option<u64>,
    /// Rounds, where not the preset's
    #[arg(long)]
    rounds: Option<u32>,
    /// Optimiser steps of a shard, where not the preset's
    #[arg(long)]
    steps: Option<u32>,
    /// Sequences of a step, where not the preset's
    #[arg(long)]
    batch: Option<u32>,
    /// Tokens of a sequence, where not the preset's
    #[arg(long)]
    context: Option<u32>,
    /// Learning rate of the first round, where not the preset's
    #[arg(long, value_parser = learning_rate)]
    learning_rate: Option<u32>,
    /// Who earns the developer's share: an address whose account this node operates
    #[arg(long)]
    owner: Option<EvmAddress>,
    /// What to pay for it, in OPEN: less than the price buys fewer slots in each round, more pays better
    /// for each. The price by default, for a slot for every node
    #[arg(long, value_name = "OPEN", value_parser = open_amount)]
    budget: Option<Amount>,
}

/// A learning rate in billionths.
fn learning_rate(text: &str) -> Result<u32, String> {
    let rate: f64 = text.parse().map_err(|_| format!("{text:?} is no number"))?;
    let billionths = (rate * 1e9).round();
    if (1.0..=1e9).contains(&billionths) {
        Ok(billionths as u32)
    } else {
        Err("a learning rate is above 0 and at most 1".to_owned())
    }
}

/// A file that says all of a run.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RunFile {
    datanet: u64,
    #[serde(default = "one")]
    seed: u64,
    owner: Option<EvmAddress>,
    /// In OPEN, as people write it.
    budget: Option<String>,
    learning_rate: Option<f64>,
    rounds: Option<u32>,
    steps: Option<u32>,
    batch: Option<u32>,
    context: Option<u32>,
    adapter: Option<TrainAdapter>,
}

const fn one() -> u64 {
    1
}

impl RunFlags {
    fn train(self, datanet: DatanetId) -> Train {
        let Self { base, rank, alpha, targets, seed, owner, budget, .. } = self;
        let adapter = base.map(|base| TrainAdapter {
            base,
            rank: rank.unwrap_or_else(TrainAdapter::usual_rank),
            alpha: alpha.unwrap_or_else(TrainAdapter::usual_alpha),
            targets: targets.unwrap_or_else(TrainAdapter::usual_targets),
        });
        let Self { rounds, steps, batch, context, learning_rate, .. } = self;
        let numbers = TrainNumbers { rounds, steps, batch, context, learning_rate };
        Train { datanet, owner, adapter, seed: seed.unwrap_or_else(one), numbers, budget }
    }
}

impl RunFile {
    fn train(self) -> Result<Train> {
        let Self { datanet, seed, owner, budget, adapter, .. } = self;
        let budget = budget.map(|text| open_amount(&text)).transpose();
        let budget = budget.map_err(|error| anyhow::anyhow!("budget: {error}"))?;
        let rate = self.learning_rate.map(|rate| learning_rate(&rate.to_string())).transpose();
        let learning_rate = rate.map_err(|error| anyhow::anyhow!("learning_rate: {error}"))?;
        let Self { rounds, steps, batch, context, .. } = self;
        let numbers = TrainNumbers { rounds, steps, batch, context, learning_rate };
        Ok(Train { datanet: DatanetId(datanet), owner, adapter, seed, numbers, budget })
    }
}

/// What is ordered: by the number of a Datanet and flags, or by a file.
fn read(what: &str, run: RunFlags) -> Result<Train> {
    if let Ok(datanet) = what.parse() {
        return Ok(run.train(DatanetId(datanet)));
    }
    let path = PathBuf::from(what);
    if run != RunFlags::default() {
        bail!("{what} says all of the run: write there what you gave as flags");
    }
    of_file(&path).with_context(|| format!("{} orders no run", path.display()))
}

fn of_file(path: &Path) -> Result<Train> {
    let length = std::fs::metadata(path).context("it is no number of a Datanet and no file")?.len();
    if length > MAX_RUN_FILE {
        bail!("it has {length} bytes; {MAX_RUN_FILE} are the most");
    }
    let text = std::fs::read_to_string(path)?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let file: RunFile = toml::from_str(text)?;
    file.train()
}

/// Says what a run costs, and orders it for that or for the budget.
pub(super) async fn order(client: &Client, args: TrainArgs) -> Result<Output> {
    let TrainArgs { what, run, max_price, price: is_question } = args;
    let mut train = read(&what, run)?;
    let price: RunPrice = client.post("/models/price", &train).await?;
    let text = format!(
        "a run with {} slots in each round costs {}, and the smallest {}",
        price.slots,
        amount_in_open(price.price),
        amount_in_open(price.least)
    );
    if is_question {
        return Ok(Output::new(text, &price));
    }
    if let Some(most) = max_price.filter(|most| price.price > *most) {
        bail!("{text}; that is more than the {} of --max-price", amount_in_open(most));
    }
    // What was shown is paid, whatever the price is a moment later.
    let pays = *train.budget.get_or_insert(price.price);
    eprintln!("{text}; this one is paid {}.", amount_in_open(pays));
    let created: Created<ModelId> = client.post("/models", &train).await?;
    let text = format!(
        "model {} is ordered for {}; `openledger model ls` shows how far it is",
        created.id,
        amount_in_open(pays)
    );
    Ok(Output::new(text, &created))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_says_what_flags_say() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run.toml");
        let text = "\u{feff}datanet = 3\nbudget = \"2.5\"\nlearning_rate = 0.002\nsteps = 4\n\
                    [adapter]\nbase = \"smol\"\ntargets = [\"o_proj\"]\n";
        std::fs::write(&path, text).unwrap();
        let flags = RunFlags {
            base: Some("smol".to_owned()),
            targets: Some(vec!["o_proj".to_owned()]),
            steps: Some(4),
            learning_rate: Some(2_000_000),
            budget: Some(open_amount("2.5").unwrap()),
            ..RunFlags::default()
        };
        let by_flags = read("3", flags.clone()).unwrap();
        assert_eq!(read(path.to_str().unwrap(), RunFlags::default()).unwrap(), by_flags);
        let both = read(path.to_str().unwrap(), flags).unwrap_err();
        assert!(both.to_string().contains("says all of the run"), "{both}");
    }

    #[test]
    fn what_a_file_should_not_say_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run.toml");
        for (text, named) in [
            ("datanet = 1\nstep = 3\n", "step"),
            ("datanet = 1\nbudget = \"many\"\n", "budget"),
            ("datanet = 1\nlearning_rate = 0\n", "learning_rate"),
            ("datanet = 1\nlearning_rate = nan\n", "learning_rate"),
            ("seed = 1\n", "datanet"),
            ("datanet = 1\n[adapter]\nbase = \"x\"\nrang = 4\n", "rang"),
        ] {
            std::fs::write(&path, text).unwrap();
            let error = read(path.to_str().unwrap(), RunFlags::default()).unwrap_err();
            assert!(format!("{error:#}").contains(named), "{text}: {error:#}");
        }
        let missing = read("nothing.toml", RunFlags::default()).unwrap_err();
        assert!(format!("{missing:#}").contains("no number of a Datanet and no file"));
    }
}
