//! `openledger datanet` and `openledger pin`.

use std::fmt::Write as _;
use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::{Args, Subcommand};
use protocol::{DatanetId, EvmAddress, Hash};
use serde_json::json;

use crate::api::Client;
use crate::api::types::{
    AddReport, Contribute, CreateDatanet, Created, DataDeposit, DatanetInfo, Pin, Pinned, TakeBack,
    Ticket, TxReport,
};
use crate::clean;
use crate::config::ByteSize;
use crate::ingest::{Skipped, batches, read};
use crate::output::Output;
use crate::words::amount_in_open;

#[derive(Debug, Subcommand)]
pub(super) enum DatanetCommand {
    /// Create a Datanet
    Create {
        /// A name for people
        name: String,
        /// What it is about
        #[arg(long, default_value = "text")]
        domain: String,
        /// The licence, as a number of bits
        #[arg(long, default_value_t = 0)]
        licence: u32,
    },
    /// Publish text files, or the .txt and .md files of a folder
    Add {
        /// Number of the Datanet, as `openledger datanet ls` lists it
        datanet: u64,
        /// Files and folders
        #[arg(required = true)]
        paths: Vec<PathBuf>,
        /// Who is paid for them: an address whose account this node operates; this node by default
        #[arg(long)]
        owner: Option<EvmAddress>,
    },
    /// Take back the deposit of a contribution, once it is not locked any more
    TakeBack {
        /// Number of the contribution, as `openledger datanet show` lists it
        contribution: u64,
    },
    /// List all Datanets
    Ls,
    /// Show the contributions to a Datanet
    Show {
        /// Number of the Datanet, as `openledger datanet ls` lists it
        datanet: u64,
    },
}

pub(super) async fn datanet(client: &Client, command: DatanetCommand) -> Result<Output> {
    match command {
        DatanetCommand::Create { name, domain, licence } => {
            let create = CreateDatanet { name, domain, licence };
            let created: Created<DatanetId> = client.post("/datanets", &create).await?;
            let id = created.id;
            let text = format!("Datanet {id}. Next: `openledger datanet add {id} FOLDER`");
            Ok(Output::new(text, &created))
        }
        DatanetCommand::Add { datanet, paths, owner } => add(client, datanet, paths, owner).await,
        DatanetCommand::TakeBack { contribution } => {
            let taken: TxReport = client.post("/deposits", &TakeBack { contribution }).await?;
            let (block, gas) = (taken.block, taken.gas);
            let text = format!(
                "the deposit of contribution {contribution} went back to who paid it in block \
                 {block} ({gas} gas)"
            );
            Ok(Output::new(text, &taken))
        }
        DatanetCommand::Ls => {
            let all: Vec<DatanetInfo> = client.get("/datanets").await?;
            let lines: Vec<_> = all.iter().map(line).collect();
            let none = "no Datanet yet; create one with `openledger datanet create NAME`";
            let text = if lines.is_empty() { none.to_owned() } else { lines.join("\n") };
            Ok(Output::new(text, &all))
        }
        DatanetCommand::Show { datanet } => {
            let found: DatanetInfo = client.get(&format!("/datanets/{datanet}")).await?;
            Ok(Output::new(describe(&found)?, &found))
        }
    }
}

fn line(datanet: &DatanetInfo) -> String {
    let units: u64 = datanet.contributions.iter().map(|c| u64::from(c.units)).sum();
    let count = datanet.contributions.len();
    let name = clean::line(&datanet.name);
    format!("{}\t{name}\t{count} contributions, {units} units", datanet.id)
}

fn describe(datanet: &DatanetInfo) -> Result<String, std::fmt::Error> {
    let mut text = String::new();
    let name = clean::line(&datanet.name);
    writeln!(text, "Datanet {} \"{name}\", owner account {}", datanet.id, datanet.owner)?;
    for item in &datanet.contributions {
        let bytes = ByteSize(item.packs.iter().map(|(_, length)| length).sum());
        let (id, account, packs) = (item.id, item.account, item.packs.len());
        let units = item.units;
        writeln!(text, "#{id} account {account}: {packs} packs, {units} units, {bytes}")?;
        for (hash, length) in &item.packs {
            writeln!(text, "  {hash} {}", ByteSize(*length))?;
        }
    }
    Ok(text)
}

async fn add(
    client: &Client,
    datanet: u64,
    paths: Vec<PathBuf>,
    owner: Option<EvmAddress>,
) -> Result<Output> {
    let (documents, skipped) = tokio::task::spawn_blocking(move || read(&paths)).await??;
    let bytes: usize = documents.iter().map(|document| document.text.len()).sum();
    let deposit: DataDeposit = client.get(&format!("/deposits?bytes={bytes}")).await?;
    // Before anything is published: it is not undone.
    eprintln!("{}", locks(&deposit)?);
    let mut reports = Vec::new();
    for documents in batches(documents) {
        let documents = documents.into_iter().map(Into::into).collect();
        let path = format!("/datanets/{datanet}/contributions");
        let report: AddReport = client.post(&path, &Contribute { owner, documents }).await?;
        reports.push(report);
    }
    let mut text = String::new();
    for report in &reports {
        let AddReport { contribution, packs, units, bytes, deposit, until_block, .. } = report;
        let (bytes, deposit) = (ByteSize(*bytes), amount_in_open(*deposit));
        writeln!(
            text,
            "contribution {contribution}: {units} units in {packs} packs, {bytes}; {deposit} locked \
             until block {until_block}"
        )?;
    }
    for Skipped { path, reason } in &skipped {
        writeln!(text, "skipped {}: {reason}", clean::line(&path.to_string_lossy()))?;
    }
    let skipped: Vec<_> = skipped
        .iter()
        .map(|Skipped { path, reason }| json!({ "path": path, "reason": reason }))
        .collect();
    Ok(Output::new(text, &json!({ "contributions": reports, "skipped": skipped })))
}

/// What publishing locks, or why it cannot be paid.
fn locks(deposit: &DataDeposit) -> Result<String> {
    let DataDeposit { deposit, blocks, has, operator } = *deposit;
    let (wanted, found) = (amount_in_open(deposit), amount_in_open(has));
    if has < deposit {
        let missing = amount_in_open(deposit.saturating_sub(has));
        bail!(
            "others have to store this, so it locks about {wanted} for {blocks} blocks, and the operator \
             of the node has {found}: send {missing} to {operator}, or publish less"
        );
    }
    Ok(format!("locks about {wanted} of the operator's {found} for {blocks} blocks"))
}

#[derive(Debug, Args)]
pub(super) struct PinArgs {
    /// BLAKE3 hash of the pack
    hash: Hash,
}

pub(super) async fn pin(client: &Client, args: &PinArgs) -> Result<Output> {
    let pinned: Pinned = client.post("/pins", &Pin { hash: args.hash }).await?;
    let Ticket { ticket } = client.get(&format!("/blobs/{}/ticket", args.hash)).await?;
    let bytes = ByteSize(pinned.bytes);
    let text =
        format!("pinned {} ({bytes})\nticket for any iroh-blobs client:\n{ticket}", args.hash);
    Ok(Output::new(text, &json!({ "hash": pinned.hash, "bytes": pinned.bytes, "ticket": ticket })))
}

#[cfg(test)]
mod tests {
    use protocol::AccountId;

    use super::*;

    #[test]
    fn a_name_commands_no_terminal() {
        let name = "\u{1b}]0;owned\u{7}\u{1b}[2J\nfree OPEN\u{202e}".to_owned();
        let contributions = Vec::new();
        let hostile = DatanetInfo { id: DatanetId(1), owner: AccountId(2), name, contributions };
        for shown in [line(&hostile), describe(&hostile).unwrap()] {
            let text = shown.trim_end().replace('\t', " ");
            assert!(!text.contains(|c: char| c.is_control() || c == '\u{202e}'), "{text:?}");
        }
    }
}
