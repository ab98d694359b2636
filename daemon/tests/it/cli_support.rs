//! A whole network in this process: a chain, and one node with its API.

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::time::Duration;

use compute::device::DeviceChoice;
use contracts_abi::devchain::DEV_KEYS;
use contracts_abi::rpc::{DevChainHandle, DevChainServer, Mining, ServerConfig};
use contracts_abi::{Bonds, ChainClient, DataDeposit, GenesisConfig, deploy};
use daemon::api::{ApiServer, Client};
use daemon::config::{ByteSize, ChainOptions, Device, List, NetOptions, WorkOptions};
use daemon::keys::NodeKeys;
use daemon::network::{NETWORK_FILE, NetworkFile, Preset};
use daemon::node::{NodeHandle, RunOptions};
use protocol::Amount;
use protocol::eip712::EvmKey;

pub(crate) struct Net {
    pub(crate) chain: DevChainHandle,
    pub(crate) node: NodeHandle,
    pub(crate) api: ApiServer,
    pub(crate) client: Client,
}

/// The development account that rules on objections.
pub(crate) const ARBITER: usize = 9;

fn dev_key(index: usize) -> EvmKey {
    EvmKey::from_bytes(&DEV_KEYS[index].0).unwrap()
}

const fn open(whole: u128) -> Amount {
    Amount(whole * Amount::ONE_OPEN.0)
}

/// A node that stays on loopback, on any ports.
pub(crate) fn loopback(bootstrap: Vec<String>) -> NetOptions {
    NetOptions {
        listen_ip: IpAddr::V4(Ipv4Addr::LOCALHOST),
        control_port: 0,
        data_port: 0,
        bootstrap: List(bootstrap),
        mdns: false,
        // All nodes of a test are neighbours.
        max_per_address: 64,
        max_per_subnet: 64,
        ..NetOptions::default()
    }
}

/// A node that believes each block at once.
pub(crate) fn instant() -> ChainOptions {
    ChainOptions { confirmations: 0, ..ChainOptions::default() }
}

/// A chain with the contracts deployed.
pub(crate) async fn start_chain(config: ServerConfig) -> (DevChainHandle, NetworkFile) {
    let chain = DevChainServer::start(config).await.unwrap();
    let genesis = GenesisConfig {
        holders: vec![(dev_key(1).address(), open(10_000))],
        vault: open(1_000_000),
        treasury: dev_key(2).address(),
        budget: open(100),
        epoch_blocks: 24,
        commit_blocks: 8,
        settle_blocks: 8,
        challenge_blocks: 4,
        start_after: 8,
        cell_bytes: 16 << 10,
        max_pack: 64 << 10,
        data_deposit: DataDeposit { per_byte: Amount(Amount::ONE_OPEN.0 >> 20), blocks: 48 },
        bonds: Bonds { proposal: open(100), objection: open(1), dispute: open(1), fault: open(1) },
        governors: vec![],
        delay: 0,
        arbiter: dev_key(ARBITER).address(),
        min_stake: open(1),
        least_stake: open(1),
    };
    let deployment = deploy(&chain.url(), &dev_key(0), &genesis).await.unwrap();
    let (name, rpc_url) = ("test".to_owned(), chain.url());
    (chain, NetworkFile { name, rpc_url, params: Preset::Minimal, deployment })
}

/// A network of one node, whose epochs take a few seconds.
pub(crate) async fn start(dir: &Path, block: Duration) -> Net {
    start_with(dir, block, None).await
}

/// [`start`] with a limit on the node's disk.
pub(crate) async fn start_with(dir: &Path, block: Duration, max_disk: Option<u64>) -> Net {
    let config = ServerConfig { mining: Mining::Every(block), ..ServerConfig::default() };
    let (chain, network) = start_chain(config).await;
    network.write(&dir.join(NETWORK_FILE)).unwrap();
    let keys = NodeKeys::generate().unwrap();
    let operator = keys.operator_address();
    let deployment = network.deployment.clone();
    let sponsor = ChainClient::connect(&chain.url(), deployment, &dev_key(1)).await.unwrap();
    let options = RunOptions {
        data_dir: dir.to_owned(),
        network: network.clone(),
        keys,
        net: loopback(Vec::new()),
        chain: instant(),
        work: WorkOptions {
            max_disk: max_disk.map(ByteSize),
            device: Device(DeviceChoice::Cpu),
            claim_epochs: 1,
            ..WorkOptions::default()
        },
    };
    let node = NodeHandle::start(options).await.unwrap();
    let listener = ApiServer::bind(0).await.unwrap();
    let api = ApiServer::start(listener, dir, node.clone(), network, operator).unwrap();
    let client = Client::of_dir(dir).unwrap();
    let net = Net { chain, node, api, client };
    // As with a person: the node runs, and says that it needs gas.
    let poor = net.node.status().await.unwrap();
    assert!(poor.waiting[0].contains(&operator.to_string()), "{:?}", poor.waiting);
    sponsor.send_gas(operator, 1_000_000_000_000_000_000).await.unwrap();
    // What it publishes locks a deposit.
    sponsor.transfer(operator, open(1)).await.unwrap();
    let account = net.registered().await;
    let stake = protocol::chain::Transaction::StakeFor { account, amount: open(1_000) };
    sponsor.submit(&stake).await.unwrap();
    net
}

impl Net {
    async fn registered(&self) -> protocol::AccountId {
        self.until(|net| net.node.account()).await
    }

    /// Looks at the node after every block until something is there.
    pub(crate) async fn until<T>(&self, found: impl Fn(&Self) -> Option<T>) -> T {
        let look = async {
            loop {
                if let Some(found) = found(self) {
                    return found;
                }
                self.node.changed().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(120), look).await.expect("it comes in time")
    }

    pub(crate) async fn stop(self) {
        self.api.shutdown().await;
        self.node.shutdown().await;
        self.chain.shutdown().await;
    }
}
