//! `openledger verify epoch N`: recompute a settlement from the chain and the published log alone.
//!
//! It needs no node and no data directory: the chain is read from its first block, the log is taken
//! from a file or fetched by its hash from one peer, and neither is believed.

use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};
use protocol::chain::{Settlement, SettlementState};
use protocol::limits::MAX_LOG_BYTES;
use protocol::settle::{Outcome, VerifyError, verify as verify_log};
use protocol::{Epoch, Hash};
use serde_json::json;

use crate::api::types::ProposedSettlement;
use crate::client::ChainReader;
use crate::config::NetOptions;
use crate::keys::random_bytes;
use crate::net::{JoinTicket, NetConfig, Network};
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
    /// The log as a file, instead of a peer's
    #[arg(long, value_name = "FILE")]
    log: Option<PathBuf>,
    /// The chain's JSON-RPC, instead of the network's
    #[arg(long, env = "OPENLEDGER_RPC_URL", value_name = "URL")]
    rpc_url: Option<String>,
    /// A peer that has the log: the ticket that its `openledger status` prints
    #[arg(long, value_name = "TICKET")]
    peer: Option<String>,
    /// The network file; the ticket's or the data directory's by default
    #[arg(long, value_name = "FILE")]
    network: Option<PathBuf>,
    /// Keep the log in a file
    #[arg(long, value_name = "FILE")]
    save_log: Option<PathBuf>,
}

/// The settlement of an epoch as the chain has it, and the chain.
pub(super) struct Found {
    pub(super) network: NetworkFile,
    pub(super) reader: ChainReader,
    pub(super) state: SettlementState,
    peer: Option<JoinTicket>,
}

pub(super) async fn verify(dir: &Path, command: VerifyCommand) -> Result<Output> {
    let VerifyCommand::Epoch(args) = command;
    let found = find(dir, &args).await?;
    let settlement = found.state.settlement;
    Ok(match judge(&args, &found).await? {
        Ok(outcome) => verified(&outcome, found.state.is_final),
        Err(reason) => refuted(settlement.epoch, &settlement, &reason.to_string()),
    })
}

/// Reads the chain up to now.
pub(super) async fn find(dir: &Path, args: &EpochArgs) -> Result<Found> {
    let ticket = args.peer.as_deref().map(str::parse::<NetworkTicket>).transpose()?;
    let mut network = match (&args.network, &ticket) {
        (Some(file), _) => NetworkFile::read(file)?,
        (None, Some(ticket)) => ticket.network.clone(),
        (None, None) => NetworkFile::of_dir(dir)?,
    };
    if let Some(url) = &args.rpc_url {
        network.rpc_url.clone_from(url);
    }
    let mut reader = ChainReader::connect(&network).await?;
    let chain = reader.catch_up().await?;
    let epoch = Epoch(args.epoch);
    let state = *chain.settlement(epoch).with_context(|| {
        format!("epoch {epoch} has no settlement yet; the chain is in epoch {}", chain.epoch())
    })?;
    Ok(Found { network, reader, state, peer: ticket.and_then(|ticket| ticket.peer) })
}

/// Recomputes a settlement from its log: what it pays, or why it does not follow.
pub(super) async fn judge(args: &EpochArgs, found: &Found) -> Result<Result<Outcome, VerifyError>> {
    let settlement = &found.state.settlement;
    let log = obtain(args, found.peer.as_ref(), settlement).await?;
    if let Some(path) = &args.save_log {
        std::fs::write(path, &log).with_context(|| format!("cannot write {}", path.display()))?;
    }
    let chain = found.reader.view();
    Ok(verify_log(chain, settlement, &log))
}

fn verified(outcome: &Outcome, is_final: bool) -> Output {
    let found = &outcome.settlement;
    let state = if is_final { "final" } else { "proposed" };
    let text = format!(
        "epoch {} ({state}) follows from its log\n\
         records root  {}\npayout root   {}\ntotal         {} to {} accounts\n\
         replicas proven {}, storage faults {}, shards verified {}, shards rejected {}",
        found.epoch,
        found.records_root,
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
    let text = format!("epoch {epoch} does NOT follow from its log: {reason}");
    let json = json!({ "verified": false, "reason": reason, "settlement": ProposedSettlement::from(*settlement) });
    Output::new(text, &json).failed()
}

async fn obtain(
    args: &EpochArgs,
    peer: Option<&JoinTicket>,
    settlement: &Settlement,
) -> Result<Vec<u8>> {
    if let Some(path) = &args.log {
        return read_log(path);
    }
    let Some(peer) = peer else {
        bail!("name a peer that has the log with --peer TICKET, or the log itself with --log FILE");
    };
    let limit = settlement.log_length.min(MAX_LOG_BYTES as u64);
    let bytes = Box::pin(fetch(peer, settlement.log, limit)).await;
    bytes.with_context(|| format!("the log {} could not be fetched", settlement.log))
}

fn read_log(path: &Path) -> Result<Vec<u8>> {
    let shown = path.display();
    let length = std::fs::metadata(path).with_context(|| format!("cannot read {shown}"))?.len();
    if length > MAX_LOG_BYTES as u64 {
        bail!("{shown} is longer than any log can be; is it another file?");
    }
    std::fs::read(path).with_context(|| format!("cannot read {shown}"))
}

/// Fetches one blob through a node that lives for this purpose only.
async fn fetch(peer: &JoinTicket, hash: Hash, limit: u64) -> Result<Vec<u8>> {
    let store = iroh_blobs::store::mem::MemStore::new();
    let bootstrap = peer.bootstrap();
    let is_local = bootstrap.iter().all(|address| address.contains("/ip4/127."));
    let ip = if is_local { Ipv4Addr::LOCALHOST } else { Ipv4Addr::UNSPECIFIED };
    let config = NetConfig {
        secret: random_bytes()?,
        options: NetOptions {
            listen_ip: IpAddr::V4(ip),
            control_port: 0,
            data_port: 0,
            mdns: false,
            ..NetOptions::default()
        },
        max_connections: 8,
        topics: Vec::new(),
    };
    let (net, mut events) = Network::start(config, store.clone().into()).await?;
    // Nothing that arrives concerns this node, and a full queue only drops.
    tokio::spawn(async move { while events.recv().await.is_some() {} });
    let mut reached = None;
    for address in &bootstrap {
        match net.dial(address).await {
            Ok(node) => reached = Some(node),
            Err(error) => tracing::debug!(%address, %error, "not reached"),
        }
        if reached.is_some() {
            break;
        }
    }
    let node = reached.context("the peer of the ticket cannot be reached; is it running?")?;
    net.fetch(hash, limit, vec![node]).await?;
    let bytes = store.get_bytes(iroh_blobs::Hash::from_bytes(hash.0)).await?;
    net.shutdown().await;
    Ok(bytes.to_vec())
}
