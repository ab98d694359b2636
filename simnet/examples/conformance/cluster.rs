//! The daemons: a chain, nodes with accounts and stake, and data that they hold.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use contracts_abi::{ChainClient, Deployment, devchain::DEV_KEYS};
use protocol::{
    AccountId, Amount, BlockNumber, EvmAddress, NodeId,
    chain::{ChainView, Transaction},
    eip712::EvmKey,
};
use serde::Deserialize;
use simnet::Scenario;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::sleep,
};

use crate::{
    hosts::{Host, output},
    router::{CONTROL_PORT, DATA_PORT, address},
};

/// The port of the chain's RPC.
const RPC_PORT: u16 = 8545;
const LOOPBACK: &str = "127.0.0.1";
/// How long any step of the set-up may take.
const PATIENCE: Duration = Duration::from_secs(300);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(200);
/// Gas money of an operator.
const GAS: u128 = 5_000_000_000_000_000_000;
/// What the daemons log: when records were signed and kept, beside the usual.
const LOG: &str = "warn,daemon=info,daemon::node::run=debug,libp2p_kad=error";

#[derive(Debug, Deserialize)]
struct NetworkFile {
    deployment: Deployment,
}

#[derive(Debug, Deserialize)]
struct Keys {
    node: NodeId,
    operator: EvmAddress,
}

/// One daemon.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) host: Host,
    pub(crate) dir: PathBuf,
    pub(crate) node: NodeId,
}

/// All processes, and the chain as everybody sees it.
#[derive(Debug)]
pub(crate) struct Cluster {
    program: PathBuf,
    dir: PathBuf,
    pub(crate) members: Vec<Member>,
    _chain: Host,
    forwarder: Child,
    client: Arc<ChainClient>,
    pub(crate) view: ChainView,
    claim_epochs: u64,
}

impl Cluster {
    /// Starts the chain, behind the same delays as everybody.
    pub(crate) async fn start(program: &Path, dir: &Path, scenario: &Scenario) -> Result<Self> {
        let chain_dir = dir.join("chain");
        fs::create_dir_all(&chain_dir)?;
        let mut command = Command::new(program);
        command.arg("--dir").arg(&chain_dir).args(["devchain", "--ephemeral", "--block-ms"]);
        command.arg((scenario.chain.block.0 / 1_000).to_string());
        let chain = Host::start(0, &dir.join("chain.log"), &mut command)?;
        let file = chain_dir.join("network.json");
        let since = Instant::now();
        while !file.exists() {
            ensure!(since.elapsed() < PATIENCE, "the contracts are not deployed");
            sleep(LOOK).await;
        }
        let network: NetworkFile = serde_json::from_slice(&fs::read(&file)?)?;
        let at = network.deployment;
        ensure!(
            at.schedule.epoch_blocks.0 == scenario.chain.epoch_blocks
                && at.schedule.commit_blocks.0 == scenario.chain.commit_blocks
                && at.schedule.challenge_blocks.0 == scenario.chain.challenge_blocks,
            "`openledger devchain` has {:?}; the scenario has to say the same",
            at.schedule
        );
        let forwarder = forward(&chain)?;
        let params = scenario.params();
        let view = at.view(params);
        let key = EvmKey::from_bytes(&DEV_KEYS[1].0).context("a development key")?;
        let client = loop {
            match ChainClient::connect(&rpc_url(), at.clone(), &key).await {
                Ok(client) => break Arc::new(client),
                Err(error) if since.elapsed() > PATIENCE => return Err(error.into()),
                Err(_) => sleep(LOOK).await,
            }
        };
        let (program, dir, members) = (program.to_owned(), dir.to_owned(), Vec::new());
        let claim_epochs = scenario.chain.claim_epochs;
        Ok(Self { program, dir, members, _chain: chain, forwarder, client, view, claim_epochs })
    }

    /// Reads the chain up to its newest block.
    pub(crate) async fn catch_up(&mut self) -> Result<()> {
        let first = self.client.deployment().genesis_block;
        let from = self.view.head().map_or(first, |head| BlockNumber(head.number.0 + 1));
        let head = self.client.head().await?;
        if head >= from {
            for (header, events) in self.client.poll_blocks(from, head).await? {
                self.view.apply(header, &events);
            }
        }
        for member in &mut self.members {
            if !member.host.is_alive() {
                bail!("the daemon of {} has ended; see node.log there", member.dir.display());
            }
        }
        Ok(())
    }

    /// Reads the chain until something is so.
    pub(crate) async fn until(
        &mut self,
        what: &str,
        mut is_so: impl FnMut(&ChainView) -> bool,
    ) -> Result<()> {
        let since = Instant::now();
        loop {
            self.catch_up().await?;
            if is_so(&self.view) {
                return Ok(());
            }
            ensure!(since.elapsed() < PATIENCE, "{what} takes too long");
            sleep(LOOK).await;
        }
    }

    // --- nodes

    /// Starts daemons, each with its own keys, which join through the first.
    pub(crate) async fn add_nodes(&mut self, nodes: usize) -> Result<()> {
        let network = self.dir.join("chain/network.json");
        let mut made = Vec::new();
        for number in 1..=nodes {
            let dir = self.dir.join(format!("node{number}"));
            let mut init = Command::new(&self.program);
            init.arg("--json").arg("--dir").arg(&dir).args(["init", "--light", "--network"]);
            let keys: Keys = last_line(&output(init.arg(&network))?)?;
            made.push((number, dir, keys));
        }
        self.fund(made.iter().map(|(_, _, keys)| keys.operator)).await?;
        let mut bootstrap = Vec::new();
        for (number, dir, keys) in made {
            let mut command = self.node_command(number, &dir, &bootstrap);
            let host = Host::start(number, &dir.join("node.log"), &mut command)?;
            self.members.push(Member { host, dir, node: keys.node });
            if bootstrap.is_empty() {
                bootstrap = self.ready(0).await?;
            }
            sleep(LOOK).await;
        }
        for member in 1..self.members.len() {
            self.ready(member).await?;
        }
        let ids: Vec<_> = self.members.iter().map(|member| member.node).collect();
        self.until("registration", |view| ids.iter().all(|id| view.account_of(id).is_some())).await
    }

    fn node_command(&self, number: usize, dir: &Path, bootstrap: &[String]) -> Command {
        let mut command = Command::new(&self.program);
        command.arg("--dir").arg(dir).args(["node", "run", "--stop-with-stdin", "--log-json"]);
        command.args(["--listen-ip", &address(number).to_string()]);
        command.args(["--control-port", &CONTROL_PORT.to_string()]);
        command.args(["--data-port", &DATA_PORT.to_string(), "--api-port", "7412"]);
        command.args(["--mdns", "false", "--device", "cpu", "--rpc-url", &rpc_url()]);
        command.args(["--claim-epochs", &self.claim_epochs.to_string(), "--confirmations", "0"]);
        command.args(["--max-per-address", "64", "--max-per-subnet", "64"]);
        if !bootstrap.is_empty() {
            command.args(["--bootstrap", &bootstrap.join(",")]);
        }
        command.env("OPENLEDGER_LOG", LOG).env("RAYON_NUM_THREADS", "1");
        command.env("TOKIO_WORKER_THREADS", "2");
        command
    }

    /// Waits until a daemon answers; says how to join through it.
    async fn ready(&mut self, member: usize) -> Result<Vec<String>> {
        #[derive(Deserialize)]
        struct Status {
            bootstrap: Vec<String>,
        }
        let since = Instant::now();
        loop {
            let answer = self.ask(member, &["status"]);
            if let Ok(text) = answer {
                return Ok(last_line::<Status>(&text)?.bootstrap);
            }
            let member = &mut self.members[member];
            let dir = member.dir.display();
            ensure!(member.host.is_alive(), "the daemon of {dir} has ended; see node.log there");
            ensure!(since.elapsed() < PATIENCE, "the daemon of {dir} does not answer");
            sleep(LOOK).await;
        }
    }

    /// Asks a daemon by its command line.
    pub(crate) fn ask(&self, member: usize, args: &[&str]) -> Result<String> {
        output(self.question(member).args(args))
    }

    fn question(&self, member: usize) -> Command {
        let member = &self.members[member];
        let mut command = member.host.inside(&self.program);
        command.arg("--json").arg("--dir").arg(&member.dir);
        command
    }

    async fn fund(&self, operators: impl Iterator<Item = EvmAddress>) -> Result<()> {
        let mut sends = JoinSet::new();
        for operator in operators {
            let client = Arc::clone(&self.client);
            sends.spawn(async move { client.send_gas(operator, GAS).await });
        }
        while let Some(sent) = sends.join_next().await {
            sent?.context("gas cannot be sent")?;
        }
        Ok(())
    }

    /// Puts stake behind every node.
    pub(crate) async fn stake(&self, amount: Amount) -> Result<()> {
        let mut stakes = self.accounts().map(|account| Transaction::StakeFor { account, amount });
        // The first alone: it also approves the token.
        self.client.submit(&stakes.next().context("there are nodes")?).await?;
        let mut sends = JoinSet::new();
        for stake in stakes {
            let client = Arc::clone(&self.client);
            sends.spawn(async move { client.submit(&stake).await });
        }
        while let Some(sent) = sends.join_next().await {
            sent?.context("a stake was not taken")?;
        }
        Ok(())
    }

    /// The accounts of all nodes.
    pub(crate) fn accounts(&self) -> impl Iterator<Item = AccountId> {
        let of = |member: &Member| self.view.account_of(&member.node).unwrap_or_default();
        self.members.iter().map(of)
    }

    // --- data

    /// Publishes packs of a length, each as a contribution of its own, through the nodes in turn.
    pub(crate) async fn publish(&mut self, packs: usize, length: usize) -> Result<()> {
        #[derive(Deserialize)]
        struct Created {
            id: u64,
        }
        let created: Created = last_line(&self.ask(0, &["datanet", "create", "conformance"])?)?;
        let id = created.id.to_string();
        self.until("the Datanet", |view| view.datanets().next().is_some()).await?;
        let mut sends = JoinSet::new();
        for pack in 0..packs {
            let file = self.dir.join(format!("pack{pack}.txt"));
            fs::write(&file, words(pack as u64, length))?;
            let mut command = self.question(pack % self.members.len());
            command.args(["datanet", "add", &id]).arg(&file);
            sends.spawn_blocking(move || output(&mut command));
            sleep(LOOK).await;
        }
        while let Some(added) = sends.join_next().await {
            added?.context("a pack cannot be published")?;
        }
        self.until("publishing", |view| view.contributions().len() >= packs).await
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // All at once, so that each has the same time to stop.
        self.members.iter_mut().for_each(|member| member.host.close());
        // It may be gone.
        let _ = self.forwarder.kill();
        let _ = self.forwarder.wait();
    }
}

/// Where daemons find the chain.
fn rpc_url() -> String {
    format!("http://{}:{RPC_PORT}", address(0))
}

/// A development chain answers on loopback only, since its keys are public: this program, started
/// again in its namespace, brings requests to it.
fn forward(chain: &Host) -> Result<Child> {
    let mut command = chain.inside(&std::env::current_exe()?);
    command.env(crate::FORWARD, "1").stdin(Stdio::piped());
    command.spawn().context("the forwarder cannot be started")
}

/// The forwarder; it ends with its standard input.
pub(crate) async fn forwarder() -> Result<()> {
    let listener = TcpListener::bind((address(0), RPC_PORT)).await?;
    let accepting = async {
        loop {
            let (near, _) = listener.accept().await?;
            tokio::spawn(bring(near));
        }
    };
    let (mut input, mut nothing) = (tokio::io::stdin(), [0]);
    tokio::select! {
        ended = accepting => ended,
        _ = input.read(&mut nothing) => Ok(()),
    }
}

/// Brings the requests of a connection to the chain under the name by which it knows itself, which
/// is as long as the other.
async fn bring(near: TcpStream) -> std::io::Result<()> {
    let far = TcpStream::connect((LOOPBACK, RPC_PORT)).await?;
    near.set_nodelay(true)?;
    far.set_nodelay(true)?;
    let name = address(0).to_string();
    let ((mut asked, mut answered), (mut answers, mut asks)) =
        (near.into_split(), far.into_split());
    let there = async {
        let mut buffer = vec![0; 1 << 16];
        loop {
            let length = asked.read(&mut buffer).await?;
            if length == 0 {
                return asks.shutdown().await;
            }
            let request = &mut buffer[..length];
            let found = request.windows(name.len()).position(|part| part == name.as_bytes());
            if let Some(at) = found {
                request[at..at + name.len()].copy_from_slice(LOOPBACK.as_bytes());
            }
            asks.write_all(request).await?;
        }
    };
    let back = async {
        tokio::io::copy(&mut answers, &mut answered).await?;
        answered.shutdown().await
    };
    tokio::try_join!(there, back).map(drop)
}

/// Text that is different for every seed.
fn words(seed: u64, length: usize) -> String {
    let mut text = String::new();
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    while text.len() < length {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let letters = (state >> 33) % 7 + 2;
        for letter in 0..letters {
            text.push(char::from(b'a' + u8::try_from((state >> (5 * letter)) % 26).unwrap_or(0)));
        }
        text.push(' ');
    }
    text.truncate(length);
    text
}

fn last_line<T: for<'a> Deserialize<'a>>(text: &str) -> Result<T> {
    let line = text.lines().last().unwrap_or_default();
    serde_json::from_str(line).with_context(|| format!("an unexpected answer: {line}"))
}
