//! `openledger devchain`: a whole chain on this machine, with the contracts deployed.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use clap::Args;
use contracts_abi::devchain::DEV_KEYS;
use serde_json::json;

use crate::devchain::{ARBITER, deploy_network, dev_key, genesis, start_chain};
use crate::network::{NETWORK_FILE, NetworkFile};
use crate::output::Output;
use crate::signals::interrupted;

#[derive(Debug, Args)]
pub(super) struct DevchainArgs {
    /// The port of the JSON-RPC
    #[arg(long, default_value_t = 8545)]
    port: u16,
    /// Milliseconds between blocks; 0 makes one for each transaction
    #[arg(long, default_value_t = 1_000)]
    block_ms: u64,
    /// Keep nothing on disk
    #[arg(long)]
    ephemeral: bool,
}

pub(super) async fn devchain(dir: &Path, args: DevchainArgs) -> Result<Output> {
    storage::durable::create_dir(dir)?;
    let chain_dir = dir.join("chain");
    let kept = (!args.ephemeral).then_some(chain_dir.as_path());
    let file = dir.join(NETWORK_FILE);
    let is_new = args.ephemeral || !chain_dir.exists() || !file.exists();
    let chain = start_chain(kept, args.port, Duration::from_millis(args.block_ms)).await?;
    let network = if is_new {
        let holders: Vec<_> = (1..DEV_KEYS.len()).map(|index| dev_key(index).address()).collect();
        let key = dev_key(0);
        let genesis = genesis(&holders, key.address());
        let network = deploy_network(&chain.url(), "devchain", &key, &genesis).await?;
        network.write(&file)?;
        network
    } else {
        NetworkFile { rpc_url: chain.url(), ..NetworkFile::read(&file)? }
    };
    eprintln!(
        "chain {} at {}\nnetwork file {}\nthe arbiter's key is that of development account {}\nnext: openledger --dir NODE init --network {}\n\
         stop with Ctrl-C",
        network.deployment.chain_id,
        chain.url(),
        file.display(),
        ARBITER,
        file.display()
    );
    interrupted().await;
    chain.shutdown().await;
    Ok(Output::new("stopped", &json!({ "stopped": true, "network": file })))
}
