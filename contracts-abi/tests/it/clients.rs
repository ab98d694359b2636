//! The development chain as other people's clients see it: scripts in `tests/clients`, each of which does
//! what a wallet and an application do, with ethers, viem, web3.py, cast and forge.
//!
//! `npm ci` there brings all but the third, `pip install --target python -r requirements.txt` the
//! third; a client that is not there is skipped, and says so.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use contracts_abi::deploy;
use contracts_abi::devchain::DEV_KEYS;
use contracts_abi::rpc::{DevChainServer, Mining, ServerConfig};
use protocol::eip712::EvmKey;
use serde_json::json;

use crate::genesis::genesis;

fn clients() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients")
}

fn key(index: usize) -> EvmKey {
    EvmKey::from_bytes(&DEV_KEYS[index].0).unwrap()
}

/// Runs a client on a chain of its own; it tells of what it does not find.
async fn run(needs: &str, command: Command) {
    run_on(Mining::Every(Duration::from_millis(50)), needs, command).await;
}

async fn run_on(mining: Mining, needs: &str, mut command: Command) {
    if !clients().join(needs).exists() {
        eprintln!("skipped: there is no {needs} in {}", clients().display());
        return;
    }
    let server = DevChainServer::start(ServerConfig { mining, ..ServerConfig::default() });
    let server = server.await.unwrap();
    let holders: Vec<_> = (1..DEV_KEYS.len()).map(|index| key(index).address()).collect();
    let at = deploy(&server.url(), &key(0), &genesis(&holders)).await.unwrap();
    let network = json!({
        "rpc": server.url(),
        "contracts": {
            "open": at.open, "registry": at.registry, "datanets": at.datanets,
            "escrow": at.escrow, "vault": at.vault,
        },
        "keys": DEV_KEYS,
    });
    command.current_dir(clients()).env("OPENLEDGER_NETWORK", network.to_string());
    let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
    let said = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes));
    assert!(output.status.success(), "{needs}: {}\n{}", output.status, said.concat());
}

fn script(program: &str, name: &str) -> Command {
    let mut command = Command::new(program);
    command.arg(clients().join(name));
    command
}

#[tokio::test(flavor = "multi_thread")]
async fn ethers_finds_what_it_relies_on() {
    run("node_modules/ethers", script("node", "ethers.mjs")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn viem_finds_what_it_relies_on() {
    run("node_modules/viem", script("node", "viem.mjs")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn web3_py_finds_what_it_relies_on() {
    let mut command = script("python3", "web3_client.py");
    command.env("PYTHONPATH", clients().join("python"));
    run("python/web3", command).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cast_finds_what_it_relies_on() {
    let program = "node_modules/@foundry-rs/cast-linux-amd64/bin/cast";
    let mut command = script("bash", "cast.sh");
    command.env("CAST", clients().join(program));
    run(program, command).await;
}

/// Random calls of people without roles to the contracts as they are deployed, and what is true of money
/// after each: `solidity/test`.
#[tokio::test(flavor = "multi_thread")]
async fn forge_finds_no_money_made_lost_or_taken() {
    let program = "node_modules/@foundry-rs/forge-linux-amd64/bin/forge";
    let mut command = script("bash", "forge.sh");
    command.env("FORGE", clients().join(program));
    // It goes on reading the state of the block from which it began.
    run_on(Mining::OnDemand, program, command).await;
}
