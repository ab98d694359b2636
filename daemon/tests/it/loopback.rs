//! The whole slice on real components in one process: an EVM chain behind JSON-RPC, four nodes with
//! their own disks and sockets, real text, a real (tiny) training run, one node that cheats.

use std::path::Path;
use std::time::Duration;

use compute::device::DeviceChoice;
use contracts_abi::devchain::DEV_KEYS;
use contracts_abi::rpc::{DevChainHandle, DevChainServer, Mining, ServerConfig};
use contracts_abi::{Bonds, ChainClient, DataDeposit, GenesisConfig, deploy};
use daemon::config::{Device, WorkOptions};
use daemon::demo::start_dishonest_node;
use daemon::keys::{NodeKeys, random_evm_key};
use daemon::network::{NetworkFile, Preset};
use daemon::node::{
    AdapterRequest, AddRequest, Answer, BaseOffer, InferRequest, NodeHandle, RunNumbers,
    RunOptions, StatementLine, TrainRequest,
};
use protocol::ask::{Ask, Prompt};
use protocol::chain::{ChainEvent, ModelPublication, Transaction};
use protocol::eip712::EvmKey;
use protocol::manifest::{Document, Manifest, cut_units};
use protocol::receipt::Receipt;
use protocol::settle::Source;
use protocol::{AccountId, Amount, BlobRef, DatanetId, EvmAddress, ModelId, NodeId};
use storage::packs::{PackRule, pack_all};

use super::bought::buy;
use super::cli::{openledger, stderr};
use super::cli_attribute::{Used, attribute_freely};
use super::cli_base::file_of;
use super::cli_statement::Earned;
use super::cli_support::{instant, loopback};

const OPEN: u128 = Amount::ONE_OPEN.0;
const BLOCK: Duration = Duration::from_millis(400);
const NODES: usize = 4;

struct World {
    _chain: DevChainHandle,
    client: ChainClient,
    network: NetworkFile,
    nodes: Vec<NodeHandle>,
    operators: Vec<EvmKey>,
    dirs: Vec<tempfile::TempDir>,
}

fn dev_key(index: usize) -> EvmKey {
    EvmKey::from_bytes(&DEV_KEYS[index].0).unwrap()
}

async fn start_chain() -> (DevChainHandle, ChainClient, NetworkFile) {
    contracts_abi::install_crypto_provider();
    let config = ServerConfig { mining: Mining::Every(BLOCK), ..ServerConfig::default() };
    let chain = DevChainServer::start(config).await.unwrap();
    let key = dev_key(0);
    let genesis = GenesisConfig {
        holders: vec![(key.address(), Amount(1_000_000 * OPEN))],
        vault: Amount(1_000_000 * OPEN),
        treasury: key.address(),
        budget: Amount(1000 * OPEN),
        epoch_blocks: 24,
        commit_blocks: 8,
        settle_blocks: 8,
        challenge_blocks: 4,
        start_after: 8,
        cell_bytes: Preset::Minimal.params().holding.cell_bytes,
        max_pack: Preset::Minimal.params().holding.max_pack,
        data_deposit: DataDeposit { per_byte: Amount(Amount::ONE_OPEN.0 >> 20), blocks: 48 },
        bonds: Bonds {
            proposal: Amount(1000 * OPEN),
            objection: Amount(10 * OPEN),
            dispute: Amount(OPEN),
            fault: Amount(OPEN),
        },
        governors: vec![],
        delay: 0,
        arbiter: dev_key(9).address(),
        min_stake: Amount(OPEN),
        least_stake: Amount(OPEN),
    };
    let deployment = deploy(&chain.url(), &key, &genesis).await.unwrap();
    let client = ChainClient::connect(&chain.url(), deployment.clone(), &key).await.unwrap();
    let network = NetworkFile {
        name: "test".into(),
        rpc_url: chain.url(),
        params: Preset::Minimal,
        deployment,
    };
    (chain, client, network)
}

/// A node on loopback, which may cheat.
pub(super) async fn start_node(
    dir: &Path,
    network: &NetworkFile,
    keys: NodeKeys,
    bootstrap: Vec<String>,
    cheats: bool,
) -> NodeHandle {
    let options = RunOptions {
        data_dir: dir.to_path_buf(),
        network: network.clone(),
        keys,
        net: loopback(bootstrap),
        chain: instant(),
        work: WorkOptions {
            device: Device(DeviceChoice::Cpu),
            claim_epochs: 1,
            ..WorkOptions::default()
        },
    };
    let started = match cheats {
        true => start_dishonest_node(options).await,
        false => NodeHandle::start(options).await,
    };
    started.unwrap()
}

impl World {
    /// Starts chain and nodes; the last node cheats.
    async fn start() -> Self {
        let (chain, client, network) = start_chain().await;
        let (mut nodes, mut operators, mut dirs) = (vec![], vec![], vec![]);
        let mut bootstrap = vec![];
        for index in 0..NODES {
            let dir = tempfile::tempdir().unwrap();
            let keys = NodeKeys::generate().unwrap();
            client.send_gas(keys.operator.address(), 10u128.pow(18)).await.unwrap();
            operators.push(keys.operator.clone());
            let cheats = index == NODES - 1;
            let node = start_node(dir.path(), &network, keys, bootstrap.clone(), cheats).await;
            if bootstrap.is_empty() {
                bootstrap = node.join_ticket().await.unwrap().bootstrap();
            }
            nodes.push(node);
            dirs.push(dir);
        }
        let world = Self { _chain: chain, client, network, nodes, operators, dirs };
        world
            .until("every node has an account", |w| {
                w.nodes.iter().all(|node| node.account().is_some())
            })
            .await;
        for node in &world.nodes {
            let account = node.account().unwrap();
            let stake = Transaction::StakeFor { account, amount: Amount(5_000 * OPEN) };
            world.client.submit(&stake).await.unwrap();
        }
        world
    }

    /// Waits for something to become true, as told by the nodes' own view of the chain.
    async fn until(&self, what: &str, mut holds: impl FnMut(&Self) -> bool) {
        let waited = tokio::time::timeout(Duration::from_secs(240), async {
            while !holds(self) {
                self.nodes[0].changed().await;
            }
        });
        if waited.await.is_err() {
            for node in &self.nodes {
                eprintln!("{:?}", node.status().await);
            }
            panic!("timed out: {what}");
        }
    }

    async fn account(&self, owner: EvmAddress, operator: EvmAddress) -> AccountId {
        let register = Transaction::Register {
            owner,
            operator,
            payout: owner,
            node: NodeId::ZERO,
            binding: [0; 64],
        };
        let receipt = self.client.submit(&register).await.unwrap();
        let account = receipt.events.iter().find_map(|event| match event {
            ChainEvent::AccountRegistered { account, .. } => Some(*account),
            _ => None,
        });
        account.unwrap()
    }

    async fn contribute(&self, node: usize, datanet: DatanetId, text: &str) -> AccountId {
        let owner = random_evm_key().unwrap().address();
        let account = self.account(owner, self.operators[node].address()).await;
        let params = self.network.params();
        let packs: Vec<Vec<u8>> = pack_all(text.as_bytes(), PackRule::MINIMAL.text())
            .unwrap()
            .into_iter()
            .map(|pack| pack.bytes.to_vec())
            .collect();
        let units = packs.iter().zip(0..).flat_map(|(p, i)| cut_units(i, p, params.unit_bytes));
        let hash = |bytes: &[u8]| protocol::hash::blake3(bytes);
        let manifest = Manifest {
            documents: vec![Document {
                name: "text".into(),
                length: text.len() as u64,
                hash: hash(text.as_bytes()),
            }],
            packs: packs.iter().map(|pack| BlobRef::new(hash(pack), pack.len() as u64)).collect(),
            units: units.collect(),
        };
        let deposit = self.network.deployment.data_deposit.of(&manifest.packs);
        self.client.transfer(self.operators[node].address(), deposit).await.unwrap();
        let request = AddRequest { datanet, account, manifest, packs };
        self.nodes[node].add(request).await.unwrap();
        account
    }
}

fn text(name: &str, bytes: usize) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/demo").join(name);
    let mut paths: Vec<_> =
        std::fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let whole: String = paths.iter().map(|path| std::fs::read_to_string(path).unwrap()).collect();
    whole.chars().take(bytes).collect()
}

async fn use_model(
    world: &World,
    model: ModelId,
    server: AccountId,
    prompt: &str,
) -> (Amount, Answer) {
    let consumer = dev_key(1);
    let funds = Amount(1000 * OPEN);
    world.client.transfer(consumer.address(), funds).await.unwrap();
    let deployment = world.network.deployment.clone();
    let purse = ChainClient::connect(&world.network.rpc_url, deployment, &consumer).await.unwrap();
    purse.submit(&Transaction::Deposit { payee: server, amount: funds }).await.unwrap();
    let node = &world.nodes[0];
    let is_covered =
        |n: &NodeHandle| n.chain().deposit(consumer.address(), server).balance >= funds;
    world.until("the server has seen the deposit", |w| is_covered(&w.nodes[0])).await;
    let quote =
        node.quote(model, consumer.address(), &Prompt::Text(prompt.into()), 24).await.unwrap();
    assert_eq!(quote.payee, server);
    let ask = Ask::text(consumer.address(), model, prompt.into(), 24, 5);
    let receipt = Receipt {
        escrow: world.network.deployment.escrow,
        payer: consumer.address(),
        payee: server,
        model,
        cumulative: Amount(quote.promised.0 + quote.price.0),
        price: quote.price,
        nonce: 1,
        request: ask.digest(),
    };
    let receipt = receipt.sign(&world.network.deployment.domain(), &consumer).unwrap();
    let request = InferRequest { receipt, prompt: prompt.into(), max_tokens: 24, seed: 5 };
    let served = node.infer(request).await.unwrap();
    assert_eq!(served.fee, quote.price);
    let answer = served.answer;
    assert_eq!(answer.tokens_out, 24);
    assert_eq!(answer.shares.iter().map(|(_, ppm)| ppm).sum::<u32>(), 1_000_000);
    (quote.price, answer)
}

/// Has the first node offer a model that is ready there.
async fn offer(world: &World, model: ModelId) -> AccountId {
    let node = &world.nodes[0];
    let (checkpoint, sketch_root) = node.model_ready(model).unwrap();
    let server = node.account().unwrap();
    let offer = ModelPublication {
        model,
        checkpoint,
        sketch_root,
        server,
        price_in: Amount(OPEN),
        price_out: Amount(2 * OPEN),
        price_use: Amount(OPEN / 10),
    };
    node.submit(Transaction::PublishModel(offer)).await.unwrap();
    world.until("the offer is seen", |w| w.nodes[0].chain().publication(model).is_some()).await;
    server
}

/// Trains an adapter of a model of others, which only the node that orders it has, and offers it.
async fn adapt(world: &World, datanet: DatanetId, developer: AccountId) -> ModelId {
    let (node, dir) = (&world.nodes[0], world.dirs[0].path());
    let file = file_of(dir, 128);
    let imported = openledger(dir, &["model", "import", file.to_str().unwrap(), "--json"]);
    assert!(imported.status.success(), "{}", stderr(&imported));
    let adapter = AdapterRequest {
        base: "tiny".into(),
        rank: 4,
        alpha: 8,
        targets: vec!["q_proj".into(), "v_proj".into()],
    };
    let numbers = RunNumbers { rounds: Some(2), steps: Some(4), ..RunNumbers::default() };
    let request = TrainRequest {
        datanet,
        developer,
        adapter: Some(adapter.clone()),
        seed: 4,
        numbers,
        budget: None,
    };
    for (wrong, named) in [
        (AdapterRequest { base: "none".into(), ..adapter.clone() }, "no base model is called"),
        (AdapterRequest { rank: 3, ..adapter.clone() }, "power of two"),
        (AdapterRequest { targets: vec!["lm_head".into()], ..adapter }, "\"lm_head\""),
    ] {
        let wrong = TrainRequest { adapter: Some(wrong), ..request.clone() };
        let error = node.train(wrong).await.unwrap_err();
        assert!(error.to_string().contains(named), "{error}");
    }
    let price = node.price_of_run(request.clone()).await.unwrap().price;
    world.client.transfer(world.operators[0].address(), price).await.unwrap();
    let model = node.train(request).await.unwrap();
    let is_ready = |node: &NodeHandle| node.model_ready(model).is_some();
    world.until("the adapter is ready on every node", |w| w.nodes.iter().all(is_ready)).await;
    let ready = world.nodes[0].model_ready(model);
    assert!(world.nodes.iter().all(|node| node.model_ready(model) == ready));
    offer(world, model).await;
    model
}

/// Offers the base as it is; a second time it is the same.
async fn offer_base(node: &NodeHandle) -> ModelId {
    let offer = |price_use| BaseOffer {
        base: "tiny".into(),
        price_in: Amount(OPEN),
        price_out: Amount(2 * OPEN),
        price_use: Amount(price_use),
    };
    let first = node.offer_base(offer(0)).await.unwrap().model;
    while node.chain().publication(first).is_none() {
        node.changed().await;
    }
    let again = node.offer_base(offer(OPEN / 10)).await.unwrap();
    assert_eq!(again.model, first);
    while node.chain().publication(first).is_none_or(|known| known.price_use != again.price_use) {
        node.changed().await;
    }
    first
}

/// Trains, publishes, uses; gives the fee.
async fn train_and_use(world: &World, datanet: DatanetId, author: AccountId) -> Amount {
    let operator = world.operators[0].address();
    let developer = world.account(dev_key(2).address(), operator).await;
    let numbers = RunNumbers { rounds: Some(2), steps: Some(6), ..RunNumbers::default() };
    let request =
        TrainRequest { datanet, developer, adapter: None, seed: 3, numbers, budget: None };
    let price = world.nodes[0].price_of_run(request.clone()).await.unwrap();
    assert!(price.slots == 4 && price.least < price.price, "{price:?}");
    let poor = world.nodes[0].train(request.clone()).await.unwrap_err();
    assert!(poor.to_string().contains("InsufficientBalance"), "{poor}");
    world.client.transfer(operator, price.price).await.unwrap();
    let model = world.nodes[0].train(request).await.unwrap();
    let is_ready = |node: &NodeHandle| node.model_ready(model).is_some();
    world.until("the run is ready on every node", |w| w.nodes.iter().all(is_ready)).await;
    assert_eq!(world.nodes[0].chain().model(model).unwrap().1.escrow, price.price);
    let (checkpoint, sketch_root) = world.nodes[0].model_ready(model).unwrap();
    for node in &world.nodes {
        let status = node.status().await.unwrap();
        assert_eq!(status.rounds_closed.len(), 2);
        assert!(
            status.rounds_closed.iter().all(|round| round.shards == 3),
            "the cheat is left out"
        );
        assert_eq!(node.model_ready(model), Some((checkpoint, sketch_root)));
    }
    let server = offer(world, model).await;
    let prompt = "LOVE, n. A temporary insanity";
    let (fee, answer) = use_model(world, model, server, prompt).await;
    let quote = text("bierce", 40_000);
    let quote = &quote[quote.find(". ").unwrap() + 2..];
    let quote = quote.split_inclusive(". ").find(|sentence| sentence.len() > 60).unwrap();
    let used = Used { model, prompt, seed: 5, answer: &answer, quote: quote.trim_end(), author };
    attribute_freely(&world.nodes[0], &world.network, operator, used).await;
    let adapted = adapt(world, datanet, developer).await;
    let base = offer_base(&world.nodes[0]).await;
    buy(&world.network, &world.client, &world.nodes[0], (model, adapted, base)).await;
    fee
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn data_becomes_money() {
    let _turn = crate::WHOLE_MACHINE.lock().await;
    let world = World::start().await;
    let owner = world.nodes[0].account().unwrap();
    let create = Transaction::CreateDatanet {
        owner,
        name: "letters".into(),
        domain: "text".into(),
        licence: 1,
    };
    let datanet = DatanetId(world.nodes[0].submit(create).await.unwrap().created.unwrap());
    let mut contributors = vec![];
    for (index, name) in ["bierce", "jargon"].into_iter().enumerate() {
        contributors.push(world.contribute(index, datanet, &text(name, 150_000)).await);
    }
    world
        .until("the stake of every node counts", |w| {
            let chain = w.nodes[0].chain();
            let counting = chain.seats_in(chain.epoch());
            w.nodes.iter().filter_map(NodeHandle::account).all(|id| counting.of(id) > 0)
        })
        .await;
    let fee = train_and_use(&world, datanet, contributors[0]).await;
    world
        .until("the fee is settled and storage proven", |w| {
            let chain = w.nodes[0].chain();
            let redeemed = chain.redeemed(dev_key(1).address(), owner);
            let last = chain.last_final().map(|state| state.settlement);
            let proven = last.is_some_and(|s| s.replicas_proven > 0);
            let is_caught = (0..chain.next_to_settle().0)
                .filter_map(|epoch| chain.settlement(protocol::Epoch(epoch)))
                .any(|state| state.settlement.storage_faults > 0);
            // A fee is settled with its output, which may be of the epoch after its redemption.
            let has_fee = (0..chain.next_to_settle().0.saturating_sub(1))
                .any(|epoch| chain.redemptions(protocol::Epoch(epoch)).next().is_some());
            redeemed == fee && proven && is_caught && has_fee
        })
        .await;
    judge(&world, &contributors).await;
    let nodes: Vec<_> = world.nodes.iter().filter_map(NodeHandle::account).collect();
    let earned = Earned {
        node: &world.nodes[0],
        network: &world.network,
        client: &world.client,
        operator: world.operators[0].address(),
        model: ModelId(1),
        contributors: &contributors,
        nodes: &nodes,
    };
    earned.check().await;
    for node in &world.nodes {
        node.shutdown().await;
    }
}

fn paid(lines: &[StatementLine], source: Source) -> Vec<u128> {
    let of_source = lines.iter().filter(|line| line.source == source);
    of_source.filter_map(|line| line.paid.ok()).map(|amount| amount.0).collect()
}

async fn judge(world: &World, contributors: &[AccountId]) {
    let chain = world.nodes[0].chain();
    let settled: Vec<_> = (0..chain.next_to_settle().0)
        .filter_map(|epoch| chain.settlement(protocol::Epoch(epoch)))
        .map(|state| state.settlement)
        .collect();
    let cheat = world.nodes[NODES - 1].account().unwrap();
    let lines = world.nodes[0].rewards(cheat).await.unwrap();
    let has_fault = settled.iter().any(|s| s.storage_faults == 1);
    assert!(has_fault, "the deleted pack is caught: {settled:#?} {lines:#?}");
    assert!(settled.iter().all(|s| s.storage_faults <= 1));
    // One of each round of both runs.
    assert_eq!(settled.iter().map(|s| s.shards_rejected).sum::<u32>(), 4, "{settled:?}");
    assert!(paid(&lines, Source::Storage).iter().all(|amount| *amount == 0), "{lines:?}");
    for node in &world.nodes[..NODES - 1] {
        let lines = world.nodes[0].rewards(node.account().unwrap()).await.unwrap();
        for source in [Source::Storage, Source::Shards] {
            assert!(paid(&lines, source).iter().any(|amount| *amount > 0), "{lines:?}");
        }
    }
    let mut of_contributors = 0;
    for account in contributors {
        let lines = world.nodes[0].rewards(*account).await.unwrap();
        of_contributors +=
            lines.iter().filter_map(|line| line.paid.ok()).map(|a| a.0).sum::<u128>();
    }
    assert!(of_contributors > 0);
    let vault = world.client.vault().await.unwrap();
    let balance = world.client.balance(world.network.deployment.vault).await.unwrap();
    assert_eq!(vault.funded.0 + vault.redeemed.0, balance.0 + vault.paid.0);
}
