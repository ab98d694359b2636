//! Starting a node, step by step.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use compute::train::open_engine;
use contracts_abi::{ChainClient, ClientError, FeeLimits, ReadError};
use protocol::Blocks;
use protocol::chain::{Recent, Transaction};
use protocol::identity::Binding;
use protocol::message::Topic;
use protocol::node::{Enrolment, NodeConfig};
use protocol::params::Schedule;
use storage::store::StoreConfig;
use storage::{Store, durable};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::blobs::Blobs;
use super::chain::{Depth, Sender, follow};
use super::compute_thread::ComputeThread;
use super::handle::{Inner, NodeHandle};
use super::health::Health;
use super::holding::Prover;
use super::jobs::Jobs;
use super::pool::Pool;
use super::run::{Feeds, Loop};
use super::status::{Seen, Snapshot};
use super::uses;
use super::worker::Worker;
use crate::bases::Bases;
use crate::config::{ChainOptions, NetOptions, WorkOptions};
use crate::keys::NodeKeys;
use crate::net::{NetConfig, Network};
use crate::network::NetworkFile;
use crate::words::amount_in_open;

/// Commands that wait for the loop.
const COMMANDS: usize = 64;
/// Between two tries to reach the chain.
const CONNECT_RETRY: Duration = Duration::from_secs(2);

/// How a node runs.
#[derive(Debug)]
pub struct RunOptions {
    /// The directory that everything is kept in.
    pub data_dir: PathBuf,
    /// The network it belongs to.
    pub network: NetworkFile,
    /// The keys of its node id and of its operator.
    pub keys: NodeKeys,
    /// How it takes part in the network.
    pub net: NetOptions,
    /// How it follows the chain, and what it pays there.
    pub chain: ChainOptions,
    /// What it works with.
    pub work: WorkOptions,
}

/// Gives the machine's jobs to the node's worker, or to what is put around it.
pub(crate) type AssignJobs = fn(Worker) -> Arc<dyn Jobs>;

impl NodeHandle {
    /// Opens the data directory, the network, the chain and the device, and starts the loop.
    pub async fn start(options: RunOptions) -> Result<Self> {
        Self::start_with(options, |worker| Arc::new(worker)).await
    }

    /// [`Self::start`] with jobs that are done another way.
    pub(crate) async fn start_with(options: RunOptions, jobs: AssignJobs) -> Result<Self> {
        Box::pin(start(options, jobs)).await
    }
}

/// Why a node would be of no use, and lose stake for what it holds.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
enum TooSlow {
    /// It would read the chain too late.
    #[error(
        "with confirmations = {confirmations} this node reads the chain too late for the windows of this \
         network, and would answer storage disputes and see false settlements when it is too late: {most} are \
         the most"
    )]
    Node {
        /// Blocks that it has follow one before it believes it.
        confirmations: u64,
        /// As many as there may be.
        most: u64,
    },
    /// Every node of this network would, with whatever configuration.
    #[error(
        "the windows of this network are too short for any node to answer a storage dispute or to object to \
         a false settlement: settle_blocks has to be {settle} and challenge_blocks {challenge} at least"
    )]
    Network {
        /// Blocks from the end of an epoch to its cutoff.
        settle: u64,
        /// Blocks of the challenge window.
        challenge: u64,
    },
}

fn check_windows(schedule: &Schedule, confirmations: u64) -> Result<(), TooSlow> {
    let Some(Blocks(most)) = schedule.most_confirmations() else {
        let settle = Schedule::least_settle_blocks(Blocks(1)).0;
        let challenge = Schedule::least_challenge_blocks(Blocks(1)).0;
        return Err(TooSlow::Network { settle, challenge });
    };
    if confirmations > most { Err(TooSlow::Node { confirmations, most }) } else { Ok(()) }
}

async fn start(options: RunOptions, jobs: AssignJobs) -> Result<NodeHandle> {
    check_windows(&options.network.deployment.schedule, options.chain.confirmations)?;
    let stop = CancellationToken::new();
    let store = open_store(&options).await?;
    let chain = options.network.view();
    let pool = Pool::open(Arc::clone(&store), &chain.domain)?;
    let client = Arc::new(connect(&options).await?);
    let choice = options.work.device.0.clone();
    let engine = tokio::task::spawn_blocking(move || open_engine(&choice)).await??;
    let thread = ComputeThread::start(engine)?;
    let (net, events, streams) =
        Network::start(net_config(&options), store.blobs().store().clone()).await?;
    let health = Health::default();
    health.watch(&store, stop.clone());
    let blobs = Blobs::new(Arc::clone(&store), net.clone(), health.clone());
    let holding = options.network.params().holding;
    let prover = Prover {
        blobs: blobs.clone(),
        cell_bytes: holding.cell_bytes,
        opened_cells: holding.opened_cells,
    };
    let sender = Sender::start(Arc::clone(&client), stop.clone());
    let bases = Bases::of_dir(&options.data_dir);
    let worker = Worker::new(blobs, pool, prover, thread, sender, bases);
    let depth = Depth {
        confirmations: options.chain.confirmations,
        reorganised: usize::try_from(options.chain.reorg_blocks).unwrap_or(usize::MAX),
    };
    let blocks = follow(client, depth, health.clone(), stop.clone());
    let recent = Recent::new(chain.clone(), depth.reorganised);
    let (commands, command_queue) = mpsc::channel(COMMANDS);
    let chain = Arc::new(chain);
    let (status_out, status) = watch::channel(Arc::new(Snapshot::at_start(Arc::clone(&chain))));
    let main = Loop {
        node_id: net.node(),
        registration: registration(&options),
        enrolment: Enrolment::new(net.node()),
        refused: Arc::default(),
        health: health.clone(),
        operator: options.keys.operator.clone(),
        config: NodeConfig {
            computes: true,
            claim_epochs: options.work.claim_epochs,
            max_memory: Some(max_memory(&options.work)),
        },
        chain,
        recent,
        jobs: jobs(worker.clone()),
        worker: worker.clone(),
        net: net.clone(),
        machine: None,
        life: 0,
        seen: Seen::default(),
        syncs: super::sync::Turns::default(),
        unsent: VecDeque::new(),
        status: status_out,
    };
    health.guard(main.run(Feeds { blocks, events, commands: command_queue }, stop.clone()));
    let operator = options.keys.operator_address();
    let inner = Inner { store, net, worker, commands, status, operator, health, stop };
    let node = NodeHandle { inner: Arc::new(inner) };
    let stopped = node.inner.stop.clone();
    node.inner.health.guard(uses::answer_all(node.clone(), streams, stopped));
    Ok(node)
}

/// Bytes of memory for training runs: what the operator allows, else half of what the machine has.
fn max_memory(work: &WorkOptions) -> u64 {
    work.max_memory.map_or_else(crate::memory::half, |size| size.0)
}

async fn open_store(options: &RunOptions) -> Result<Arc<Store>> {
    durable::create_dir(&options.data_dir)?;
    let max_disk = options.work.max_disk.map(|size| size.0);
    let config = StoreConfig { max_disk, ..StoreConfig::default() };
    let store = Store::open(&options.data_dir.join("store"), config).await;
    let store = Arc::new(store.context("the data directory cannot be opened")?);
    store.check()?;
    report_repairs(&store);
    Ok(store)
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
        options: options.net.clone(),
        max_connections: 64,
        topics: Topic::ALL.iter().map(|topic| topic.name().to_owned()).collect(),
    }
}

/// Connects to the chain; waits for an RPC that is down or talks nonsense, refuses one of another
/// chain, and a network whose vault and parameters do not fit together.
async fn connect(options: &RunOptions) -> Result<ChainClient> {
    loop {
        match connect_once(options).await {
            Err(error) if may_pass(&error) => {
                tracing::warn!(%error, "the chain's RPC does not answer as it should; trying again");
                tokio::time::sleep(CONNECT_RETRY).await;
            }
            connected => return connected,
        }
    }
}

async fn connect_once(options: &RunOptions) -> Result<ChainClient> {
    let ChainOptions { max_fee_gwei, max_tip_gwei, max_gas, .. } = options.chain;
    let wei = |gwei: u64| u128::from(gwei) * FeeLimits::GWEI;
    let limits = FeeLimits { max_fee: wei(max_fee_gwei), max_tip: wei(max_tip_gwei), max_gas };
    let NetworkFile { rpc_url, deployment, .. } = &options.network;
    let client = ChainClient::connect(rpc_url, deployment.clone(), &options.keys.operator).await?;
    let (of_vault, here) =
        (client.least_stake().await?, options.network.params().economics.min_stake);
    if of_vault != here {
        let [of_vault, here] = [of_vault, here].map(amount_in_open);
        bail!(
            "the vault of this network frees what newcomers earned at a stake of {of_vault}, and its \
             network file has stake count from {here} on: claims would be refused; get the file anew from \
             whoever runs the network"
        );
    }
    Ok(client.with_limits(limits))
}

/// Whether asking the RPC again can help.
fn may_pass(error: &anyhow::Error) -> bool {
    match (error.downcast_ref::<ClientError>(), error.downcast_ref::<ReadError>()) {
        (Some(ClientError::Rpc(error)), _) | (_, Some(ReadError::Rpc(error))) => error.may_pass(),
        _ => false,
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
        payout: address,
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

#[cfg(test)]
mod tests {
    use protocol::BlockNumber;

    use super::*;

    #[test]
    fn a_node_that_would_act_too_late_does_not_start_and_says_what_it_can_wait_for() {
        let schedule = |settle: u64, challenge: u64| Schedule {
            genesis_block: BlockNumber(0),
            epoch_blocks: Blocks(24),
            commit_blocks: Blocks(8),
            settle_blocks: Blocks(settle),
            challenge_blocks: Blocks(challenge),
        };
        assert_eq!(check_windows(&schedule(8, 4), 2), Ok(()));
        let late = check_windows(&schedule(8, 4), 3).unwrap_err();
        assert_eq!(late, TooSlow::Node { confirmations: 3, most: 2 });
        let nobody = check_windows(&schedule(8, 1), 0).unwrap_err();
        assert_eq!(nobody, TooSlow::Network { settle: 3, challenge: 2 });
    }
}
