//! `openledger verify epoch N`: recompute a settlement from the chain alone.
//!
//! It needs no node, no data directory and no peer: the chain is read from its first block, every
//! settlement up to the one in question is computed again, and none of them is believed.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::{Args, Subcommand};
use protocol::Epoch;
use protocol::chain::Settlement;
use protocol::settle::Outcome;
use serde_json::json;

use crate::api::types::ProposedSettlement;
use crate::client::{ChainReader, Judged};
use crate::network::{NetworkFile, NetworkTicket};
use crate::output::Output;
use crate::words::amount_in_open;

#[derive(Debug, Subcommand)]
pub(super) enum VerifyCommand {
    /// Recompute the settlement of an epoch; fails, saying why, if it does not follow
    Epoch(EpochArgs),
}

#[derive(Debug, Args)]
pub(super) struct EpochArgs {
    /// Number of the epoch
    epoch: u64,
    /// The chain's JSON-RPC, instead of the network's
    #[arg(long, env = "OPENLEDGER_RPC_URL", value_name = "URL")]
    rpc_url: Option<String>,
    /// The ticket of a network, as `openledger status` prints it
    #[arg(long, value_name = "TICKET", conflicts_with = "network")]
    ticket: Option<String>,
    /// The network file; the data directory's by default
    #[arg(long, value_name = "FILE")]
    network: Option<PathBuf>,
}

impl EpochArgs {
    pub(super) const fn epoch(&self) -> Epoch {
        Epoch(self.epoch)
    }
}

/// The settlement of an epoch as the chain has it, or all its proposals, and what they come to.
pub(super) struct Found {
    pub(super) network: NetworkFile,
    pub(super) judged: Vec<Judged>,
}

pub(super) async fn verify(dir: &Path, command: VerifyCommand) -> Result<Output> {
    let VerifyCommand::Epoch(args) = command;
    let first = find(dir, &args).await?.judged.into_iter().next();
    let Judged { state, outcome } = first.context("an epoch that was found has a settlement")?;
    let settlement = state.settlement;
    Ok(match outcome {
        Ok(outcome) => verified(&outcome, state.is_final),
        Err(reason) => refuted(settlement.epoch, &settlement, &reason.to_string()),
    })
}

/// Reads the chain and computes the settlement again.
pub(super) async fn find(dir: &Path, args: &EpochArgs) -> Result<Found> {
    let ticket = args.ticket.as_deref().map(str::parse::<NetworkTicket>).transpose()?;
    let mut network = match (&args.network, ticket) {
        (Some(file), _) => NetworkFile::read(file)?,
        (None, Some(ticket)) => ticket.network,
        (None, None) => NetworkFile::of_dir(dir)?,
    };
    if let Some(url) = &args.rpc_url {
        network.rpc_url.clone_from(url);
    }
    let judged = ChainReader::connect(&network).await?.judge(args.epoch()).await?;
    Ok(Found { network, judged })
}

fn verified(outcome: &Outcome, is_final: bool) -> Output {
    let found = &outcome.settlement;
    let state = if is_final { "final" } else { "proposed" };
    let text = format!(
        "epoch {} ({state}) follows from the chain\n\
         records       {}\npayout root   {}\ntotal         {} to {} accounts\n\
         replicas proven {}, storage faults {}, shards verified {}, shards rejected {}",
        found.epoch,
        found.records,
        found.payout_root,
        amount_in_open(found.total),
        outcome.leaves.len(),
        found.replicas_proven,
        found.storage_faults,
        found.shards_verified,
        found.shards_rejected,
    );
    let json = json!({ "verified": true, "is_final": is_final, "settlement": ProposedSettlement::from(*found) });
    Output::new(text, &json)
}

fn refuted(epoch: Epoch, settlement: &Settlement, reason: &str) -> Output {
    let text = format!("epoch {epoch} does NOT follow from the chain: {reason}");
    let json = json!({ "verified": false, "reason": reason, "settlement": ProposedSettlement::from(*settlement) });
    Output::new(text, &json).failed()
}
