//! `openledger node run`.

use std::io::IsTerminal;
use std::path::Path;

use anyhow::{Context, Result};
use clap::Args;
use serde_json::json;
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

use super::Output;
use super::signals::{interrupted, stop_with_stdin};
use crate::api::ApiServer;
use crate::config::{Config, Layer};
use crate::keys::{NodeKeys, PassphraseSources};
use crate::network::NetworkFile;
use crate::node::{NodeHandle, RunOptions};

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
    /// Fault injection for the demo: delete a pack and claim it, train on other data
    #[arg(long, hide = true)]
    misbehave: bool,
}

pub(super) async fn run(dir: &Path, args: RunArgs) -> Result<Output> {
    let parent = if args.stop_with_stdin { stop_with_stdin() } else { CancellationToken::new() };
    start_log(args.log_json);
    let config = Config::load(dir, args.options)?;
    let mut network = NetworkFile::of_dir(dir)?;
    if let Some(url) = &config.rpc_url {
        network.rpc_url.clone_from(url);
    }
    let phrase = PassphraseSources::from_env(config.passphrase_file.clone()).find(dir)?;
    let keys = NodeKeys::open(dir, &phrase)?;
    let operator = keys.operator_address();
    let listener = ApiServer::bind(config.api_port).await?;
    let options = run_options(dir, config, network.clone(), keys, args.misbehave);
    let stopped = async {
        tokio::select! {
            () = interrupted() => {}
            () = parent.cancelled() => {}
        }
    };
    tokio::pin!(stopped);
    let node = tokio::select! {
        node = NodeHandle::start(options) => node.context("the node cannot start")?,
        () = &mut stopped => return Ok(Output::new("stopped before it was ready", &json!({}))),
    };
    let api = ApiServer::start(listener, dir, node.clone(), network, operator)?;
    tracing::info!(api = api.url(), dir = %dir.display(), "ready; see `openledger status`");
    let failed = tokio::select! {
        () = &mut stopped => None,
        reason = node.failed() => Some(reason),
    };
    tracing::info!("stopping");
    api.shutdown().await;
    node.shutdown().await;
    match failed {
        Some(reason) => Err(reason.into()),
        None => Ok(Output::new("stopped", &json!({ "stopped": true }))),
    }
}

fn run_options(
    dir: &Path,
    config: Config,
    network: NetworkFile,
    keys: NodeKeys,
    misbehave: bool,
) -> RunOptions {
    RunOptions {
        data_dir: dir.to_owned(),
        network,
        keys,
        listen_ip: config.listen_ip,
        control_port: config.control_port,
        data_port: config.data_port,
        bootstrap: config.bootstrap,
        mdns: config.mdns,
        relay_server: config.relay_server,
        relays: config.relays,
        max_disk: config.max_disk,
        max_upload: config.max_upload,
        device: config.device,
        claim_epochs: config.claim_epochs,
        misbehave,
    }
}

fn start_log(json: bool) {
    let filter = EnvFilter::try_from_env("OPENLEDGER_LOG").unwrap_or_else(|_| EnvFilter::new(LOG));
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    // A second subscriber in one process is refused; the first goes on.
    let _ = if json { log.json().try_init() } else { log.try_init() };
}
