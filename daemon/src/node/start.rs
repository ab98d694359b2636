//! Starting a node, step by step.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use anyhow::{Context, Result};
use compute::train::open_engine;
use contracts_abi::ChainClient;
use protocol::AccountId;
use protocol::chain::Transaction;
use protocol::identity::Binding;
use protocol::message::Topic;
use protocol::node::{Enrolment, NodeConfig};
use storage::store::StoreConfig;
use storage::{Store, durable};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::RunOptions;
use super::bench::BenchHandle;
use super::blobs::Blobs;
use super::chain::{Sender, follow};
use super::handle::{Inner, NodeHandle};
use super::health::Health;
use super::holding::Prover;
use super::jobs::Workshop;
use super::pool::Pool;
use super::run::{Feeds, Loop};
use super::status::{Seen, Snapshot};
use crate::net::{NetConfig, Network};

/// Commands that wait for the loop.
const COMMANDS: usize = 64;
/// Between two tries to reach the chain.
const CONNECT_RETRY: Duration = Duration::from_secs(2);

/// Opens the data directory, the chain, the device and the network, and starts the loop.
pub(super) async fn start(options: RunOptions) -> Result<NodeHandle> {
    let stop = CancellationToken::new();
    durable::create_dir(&options.data_dir)?;
    let config = StoreConfig { max_disk: options.max_disk, ..StoreConfig::default() };
    let store = Store::open(&options.data_dir.join("store"), config).await;
    let store = Arc::new(store.context("the data directory cannot be opened")?);
    store.check()?;
    report_repairs(&store);
    let chain = options.network.view();
    let pool = Pool::open(Arc::clone(&store), &chain.domain)?;
    let client = Arc::new(connect(&options).await?);
    let choice = options.device.clone();
    let engine = tokio::task::spawn_blocking(move || open_engine(&choice)).await??;
    let bench = BenchHandle::start(engine)?;
    let (net, events) = Network::start(net_config(&options), store.blobs().store().clone()).await?;
    let health = Health::default();
    health.watch(&store, stop.clone());
    let blobs = Blobs::new(Arc::clone(&store), net.clone(), health.clone());
    let params = options.network.params();
    let prover = Prover {
        blobs: blobs.clone(),
        cell_bytes: params.holding.cell_bytes,
        opened_cells: params.holding.opened_cells,
        claims_deleted: options.misbehave,
    };
    let sender = Sender::start(Arc::clone(&client), stop.clone());
    let workshop = Workshop::new(blobs, pool, prover, bench, sender, options.misbehave);
    let blocks = follow(client, &options.network.deployment, health.clone(), stop.clone());
    let (commands, command_queue) = mpsc::channel(COMMANDS);
    let chain = Arc::new(chain);
    let (status_out, status) = watch::channel(Arc::new(Snapshot {
        account: AccountId(0),
        chain: Arc::clone(&chain),
        progress: Vec::new(),
        waiting: Vec::new(),
        seen: Seen::default(),
    }));
    let main = Loop {
        node_id: net.node(),
        registration: registration(&options),
        enrolment: Enrolment::new(net.node()),
        refused: Arc::default(),
        health: health.clone(),
        operator: options.keys.operator.clone(),
        config: NodeConfig { computes: true, claim_epochs: options.claim_epochs },
        chain,
        workshop: workshop.clone(),
        net: net.clone(),
        machine: None,
        seen: Seen::default(),
        waiting: Default::default(),
        unsent: Default::default(),
        status: status_out,
    };
    tokio::spawn(main.run(Feeds { blocks, events, commands: command_queue }, stop.clone()));
    let operator = options.keys.operator_address();
    let requests = AtomicU64::new(1);
    let inner = Inner { store, net, workshop, commands, status, operator, health, stop, requests };
    Ok(NodeHandle { inner: Arc::new(inner) })
}

/// Says what opening the store had to repair.
fn report_repairs(store: &Store) {
    if let Some(broken) = store.broken_index() {
        let broken = broken.display();
        tracing::error!("the index was damaged: it is now {broken}, and a new one was made");
    }
    for (position, bytes) in &store.log().recovery().torn {
        tracing::warn!(?position, bytes, "the end of the record log was half-written, and is cut");
    }
}

fn net_config(options: &RunOptions) -> NetConfig {
    NetConfig {
        secret: options.keys.node,
        listen_ip: options.listen_ip,
        control_port: options.control_port,
        data_port: options.data_port,
        bootstrap: options.bootstrap.clone(),
        mdns: options.mdns,
        relay_server: options.relay_server,
        relays: options.relays.clone(),
        max_connections: 64,
        max_upload: options.max_upload,
        topics: Topic::ALL.iter().map(|topic| topic.name().to_owned()).collect(),
    }
}

/// Connects to the chain; waits for an RPC that is down, refuses one of another chain.
async fn connect(options: &RunOptions) -> Result<ChainClient> {
    loop {
        let deployment = options.network.deployment.clone();
        let url = &options.network.rpc_url;
        match ChainClient::connect(url, deployment, &options.keys.operator).await {
            Ok(client) => return Ok(client),
            Err(contracts_abi::ClientError::Rpc(error)) if error.is_transient() => {
                tracing::warn!(%error, "the chain's RPC does not answer; trying again");
                tokio::time::sleep(CONNECT_RETRY).await;
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// The transaction by which a node with gas registers itself: its operator owns it until the owner
/// is set to a colder key.
fn registration(options: &RunOptions) -> Transaction {
    let address = options.keys.operator.address();
    let deployment = &options.network.deployment;
    let binding = Binding {
        chain_id: deployment.chain_id,
        registry: deployment.registry,
        owner: address,
        operator: address,
    };
    let (node, signature) = binding.sign(&options.keys.node);
    Transaction::Register {
        owner: address,
        operator: address,
        payout: address,
        node,
        binding: signature,
    }
}
