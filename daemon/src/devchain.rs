//! A development chain on this machine, and the contracts of a network on any chain.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use contracts_abi::devchain::{DEV_KEYS, DevConfig};
use contracts_abi::rpc::{DevChainHandle, DevChainServer, Mining, ServerConfig};
use contracts_abi::{Bonds, DataDeposit, GenesisConfig, deploy};
use protocol::eip712::EvmKey;
use protocol::{Amount, EvmAddress};

use crate::network::{NetworkFile, Preset};

/// Blocks of an epoch of a development network.
const EPOCH_BLOCKS: u64 = 24;
/// Blocks of it in which commitments may be included.
const COMMIT_BLOCKS: u64 = 8;
/// Blocks after it in which its records may still be included.
const SETTLE_BLOCKS: u64 = 8;
/// Blocks of the challenge window.
const CHALLENGE_BLOCKS: u64 = 4;
/// Blocks between the deployment and epoch 0.
const START_AFTER: u64 = 8;

/// The development account that asks for changes of the contracts.
const GOVERNOR: usize = 8;
/// The development account that rules on objections.
pub(crate) const ARBITER: usize = 9;

/// An amount of whole OPEN.
pub(crate) const fn whole(open: u128) -> Amount {
    Amount(open * Amount::ONE_OPEN.0)
}

/// A development account's key.
pub(crate) fn dev_key(index: usize) -> EvmKey {
    EvmKey::from_bytes(&DEV_KEYS[index].0).expect("the constants are valid scalars")
}

/// What a proposer of a development network has to lose.
pub(crate) const PROPOSAL_BOND: Amount = whole(1_000);

/// What a development network starts with: its holders have 100,000 OPEN each, an epoch has 24 blocks and a
/// challenge window four.
pub fn genesis(holders: &[EvmAddress], treasury: EvmAddress) -> GenesisConfig {
    GenesisConfig {
        holders: holders.iter().map(|holder| (*holder, whole(100_000))).collect(),
        vault: whole(400_000_000),
        treasury,
        budget: whole(1_000),
        epoch_blocks: EPOCH_BLOCKS,
        commit_blocks: COMMIT_BLOCKS,
        settle_blocks: SETTLE_BLOCKS,
        challenge_blocks: CHALLENGE_BLOCKS,
        start_after: START_AFTER,
        cell_bytes: Preset::Minimal.params().holding.cell_bytes,
        max_pack: Preset::Minimal.params().holding.max_pack,
        // One OPEN for a MiB, for ten epochs.
        data_deposit: DataDeposit {
            per_byte: Amount(Amount::ONE_OPEN.0 >> 20),
            blocks: 10 * EPOCH_BLOCKS,
        },
        bonds: Bonds {
            // What an epoch can move, so that a false settlement costs more than it can bring.
            proposal: PROPOSAL_BOND,
            objection: whole(100),
            dispute: whole(1),
            fault: whole(10),
        },
        governors: vec![dev_key(GOVERNOR).address()],
        delay: 0,
        arbiter: dev_key(ARBITER).address(),
        min_stake: whole(1),
        least_stake: Preset::Minimal.params().economics.min_stake,
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
