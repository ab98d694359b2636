//! `openledger devchain`: a whole chain on this machine, with the contracts deployed.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Args;
use contracts_abi::devchain::{DEV_KEYS, DevConfig};
use contracts_abi::rpc::{DevChainHandle, DevChainServer, Mining, ServerConfig};
use contracts_abi::{Bonds, GenesisConfig, deploy};
use protocol::eip712::EvmKey;
use protocol::{Amount, EvmAddress};
use serde_json::json;

use super::Output;
use super::signals::interrupted;
use crate::network::{NETWORK_FILE, NetworkFile, Preset};

/// Blocks of an epoch of a development network.
const EPOCH_BLOCKS: u64 = 24;
/// Blocks of it in which commitments may be anchored.
const COMMIT_BLOCKS: u64 = 8;
/// Blocks of the challenge window.
const CHALLENGE_BLOCKS: u64 = 4;
/// Blocks between the deployment and epoch 0.
const START_AFTER: u64 = 2;

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

/// An amount of whole OPEN.
pub(crate) const fn whole(open: u128) -> Amount {
    Amount(open * Amount::ONE_OPEN.0)
}

/// A development account's key.
pub(crate) fn dev_key(index: usize) -> EvmKey {
    EvmKey::from_bytes(&DEV_KEYS[index].0).expect("the constants are valid scalars")
}

/// The start of a development network whose holders have 100,000 OPEN each.
pub(crate) fn genesis(holders: &[EvmAddress], treasury: EvmAddress) -> GenesisConfig {
    GenesisConfig {
        holders: holders.iter().map(|holder| (*holder, whole(100_000))).collect(),
        vault: whole(400_000_000),
        treasury,
        budget: whole(1_000),
        epoch_blocks: EPOCH_BLOCKS,
        commit_blocks: COMMIT_BLOCKS,
        challenge_blocks: CHALLENGE_BLOCKS,
        start_after: START_AFTER,
        cell_bytes: Preset::Minimal.params().holding.cell_bytes,
        bonds: Bonds {
            proposal: whole(100),
            objection: whole(100),
            dispute: whole(1),
            fault: whole(10),
        },
        min_stake: whole(1),
    }
}

/// Starts a chain.
pub(crate) async fn start_chain(
    dir: Option<&Path>,
    port: u16,
    block: Duration,
) -> Result<DevChainHandle> {
    let config = ServerConfig {
        chain: DevConfig::default(),
        dir: dir.map(Path::to_owned),
        listen: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port),
        mining: if block.is_zero() { Mining::OnDemand } else { Mining::Every(block) },
    };
    DevChainServer::start(config).await.context("the development chain cannot start")
}

/// Deploys the contracts on a chain and describes the network.
pub(crate) async fn deploy_network(
    rpc_url: &str,
    name: &str,
    key: &EvmKey,
    genesis: &GenesisConfig,
) -> Result<NetworkFile> {
    let deployment =
        deploy(rpc_url, key, genesis).await.context("the contracts are not deployed")?;
    let (name, rpc_url) = (name.to_owned(), rpc_url.to_owned());
    Ok(NetworkFile { name, rpc_url, params: Preset::Minimal, deployment })
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
        "chain {} at {}\nnetwork file {}\nnext: openledger --dir NODE init --network {}\n\
         stop with Ctrl-C",
        network.deployment.chain_id,
        chain.url(),
        file.display(),
        file.display()
    );
    interrupted().await;
    chain.shutdown().await;
    Ok(Output::new("stopped", &json!({ "stopped": true, "network": file })))
}
