//! `openledger node run`.

use std::io::IsTerminal;
use std::path::Path;

use anyhow::{Context, Result};
use clap::Args;
use serde_json::json;
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

use crate::api::ApiServer;
use crate::config::{Config, Layer};
use crate::gateway::NodeGateway;
use crate::keys::{NodeKeys, PassphraseSources};
use crate::network::NetworkFile;
use crate::node::{AssignJobs, NodeHandle, RunOptions};
use crate::output::Output;
use crate::signals::{interrupted, stop_with_stdin};

/// What is logged unless OPENLEDGER_LOG says otherwise.
const LOG: &str = "warn,daemon=info,libp2p_kad=error";

#[derive(Debug, Args)]
pub(super) struct RunArgs {
    #[command(flatten)]
    options: Layer,
    /// Write the log as JSON lines
    #[arg(long)]
    log_json: bool,
    /// Stop when standard input ends
    #[arg(long, hide = true)]
    stop_with_stdin: bool,
}

pub(super) async fn run(dir: &Path, args: RunArgs, jobs: AssignJobs) -> Result<Output> {
    let parent = if args.stop_with_stdin { stop_with_stdin() } else { CancellationToken::new() };
    start_log(args.log_json);
    let Config { net, chain, work, gateway, process } = Config::load(dir, args.options)?;
    let mut network = NetworkFile::of_dir(dir)?;
    if let Some(url) = &process.rpc_url {
        network.rpc_url.clone_from(url);
    }
    let phrase = PassphraseSources::from_env(process.passphrase_file).find(dir)?;
    let keys = NodeKeys::open(dir, &phrase)?;
    let operator = keys.operator_address();
    let listener = ApiServer::bind(process.api_port).await?;
    let door = match gateway.gateway {
        Some(address) => Some(NodeGateway::bind(address).await?),
        None => None,
    };
    let payer = keys.operator.clone();
    let (data_dir, of_network) = (dir.to_owned(), network.clone());
    let options = RunOptions { data_dir, network: of_network, keys, net, chain, work };
    let stopped = async {
        tokio::select! {
            () = interrupted() => {}
            () = parent.cancelled() => {}
        }
    };
    tokio::pin!(stopped);
    let node = tokio::select! {
        node = NodeHandle::start_with(options, jobs) => node.context("the node cannot start")?,
        () = &mut stopped => return Ok(Output::new("stopped before the node was ready", &json!({}))),
    };
    let api = ApiServer::start(listener, dir, node.clone(), network, operator)?;
    tracing::info!(api = api.url(), dir = %dir.display(), "ready; `openledger status` shows the node's state");
    let gateway = match door {
        Some(listener) => Some(NodeGateway::start(listener, node.clone(), payer, dir, &gateway)?),
        None => None,
    };
    if let Some(gateway) = &gateway {
        let key = gateway.key().map_or_else(
            || "a key that you have (`openledger serve key add NAME` makes another)".to_owned(),
            |key| format!("the key {key}, which is shown only now"),
        );
        tracing::info!("OpenAI's clients are answered at {} with {key}", gateway.url());
    }
    let failed = tokio::select! {
        () = &mut stopped => None,
        reason = node.failed() => Some(reason),
    };
    tracing::info!("stopping");
    if let Some(gateway) = gateway {
        gateway.shutdown().await;
    }
    api.shutdown().await;
    node.shutdown().await;
    match failed {
        Some(reason) => Err(reason.into()),
        None => Ok(Output::new("stopped", &json!({ "stopped": true }))),
    }
}

pub(super) fn start_log(json: bool) {
    let filter = EnvFilter::try_from_env("OPENLEDGER_LOG").unwrap_or_else(|_| EnvFilter::new(LOG));
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    // A second subscriber in one process is refused; the first goes on.
    let _ = if json { log.json().try_init() } else { log.try_init() };
}
