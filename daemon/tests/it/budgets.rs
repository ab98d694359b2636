//! What a node may cost under attack: a live one on loopback meets a crowd that has nothing to lose,
//! and its memory, its disk and the time that honest peers wait have bounds.
//!
//! Attackers and honest peers are at addresses of their own, since an address is what names cost here;
//! only on Linux is all of 127.0.0.0/8 this machine.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::{Duration, Instant};

use contracts_abi::ChainClient;
use contracts_abi::devchain::DEV_KEYS;
use contracts_abi::rpc::{DevChainHandle, Mining, ServerConfig};
use daemon::api::types::{AddReport, Contribute, CreateDatanet, Created, Document, StatusReport};
use daemon::net::NetConfig;
use daemon::network::NETWORK_FILE;
use futures::future::join_all;
use iroh::endpoint::{Connection, presets};
use iroh_blobs::ticket::BlobTicket;
use protocol::chain::{ChainEvent, Transaction};
use protocol::codec::Wire;
use protocol::eip712::{Domain, EvmKey};
use protocol::message::{Gossip, Request, Topic};
use protocol::record::{AuditBody, Body, Finding, Record, audit_subject};
use protocol::sync::Part;
use protocol::{AccountId, Amount, BlobRef, DatanetId, Digest, Epoch, Hash, NodeId};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{MissedTickBehavior, timeout};

use super::cli_support::start_chain;
use super::net_support::{Node, PATIENCE, config};
use super::process::{NodeProcess, init, until};

/// Names that one host uses at once.
const CROWD: u8 = 24;
/// Strangers of one address that a node lets in, and as many that it looks up itself.
const OF_ONE_HOST: usize = 8 + 8;
/// Resident memory that all of it may cost, in MiB.
const MEMORY: u64 = 256;
/// Bytes on the disk that it may cost.
const DISK: u64 = 16 << 20;
/// … in the log, where every byte stays: the node's own records, and none of 1.4 MB of others'.
const LOG: u64 = 128 << 10;
/// How long an honest request may take meanwhile.
const LATENCY: Duration = Duration::from_secs(8);

/// A node in a process of its own, so that what it uses can be told from what its attackers use.
struct Victim {
    process: NodeProcess,
    dir: tempfile::TempDir,
    chain: DevChainHandle,
    domain: Domain,
    node: NodeId,
    bootstrap: Vec<String>,
    /// An account that the crowd registered: names are free.
    name: AccountId,
}

impl Victim {
    async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (mining, home) = (Mining::Every(Duration::from_millis(500)), dir.path().join("node"));
        let (chain, network) = start_chain(ServerConfig { mining, ..Default::default() }).await;
        let file = dir.path().join(NETWORK_FILE);
        network.write(&file).unwrap();
        init(&home, &file);
        let process = NodeProcess::start(&home, &[]).await;
        let StatusReport { node: id, bootstrap, .. } = process.status().await;
        let domain = network.deployment.domain();
        let key = EvmKey::from_bytes(&DEV_KEYS[1].0).unwrap();
        let sponsor =
            ChainClient::connect(&network.rpc_url, network.deployment, &key).await.unwrap();
        process.enrol(&sponsor, Amount::ONE_OPEN).await;
        let owner = sponsor.address();
        let (node, binding) = (NodeId([3; 32]), [9; 64]);
        let name = Transaction::Register { owner, operator: owner, payout: owner, node, binding };
        let events = sponsor.submit(&name).await.unwrap().events;
        let [ChainEvent::AccountRegistered { account, .. }] = events[..] else {
            panic!("{events:?}")
        };
        Self { process, dir, chain, domain, node: id, bootstrap, name: account }
    }

    async fn status(&self) -> StatusReport {
        self.process.status().await
    }

    /// Publishes a text; the address of its manifest, which anybody may fetch.
    async fn publish(&self) -> Hash {
        let (name, domain) = ("tales".to_owned(), "text".to_owned());
        let create = CreateDatanet { name, domain, licence: 0 };
        let Created::<DatanetId> { id } =
            self.process.client.post("/datanets", &create).await.unwrap();
        let text = "Once upon a time there was a ledger.\n".repeat(3_000);
        let documents = vec![Document { name: "tale".to_owned(), text }];
        let contribute = Contribute { owner: None, documents };
        let path = format!("/datanets/{id}/contributions");
        let report: AddReport = self.process.client.post(&path, &contribute).await.unwrap();
        report.manifest
    }

    /// Resident memory in MiB, and bytes on the disk, in all and in the log.
    fn usage(&self) -> (u64, u64, u64) {
        let path = format!("/proc/{}/status", self.process.id());
        let status = std::fs::read_to_string(path).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
        let kib: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
        let home = self.dir.path().join("node");
        (kib >> 10, bytes_in(&home), bytes_in(&home.join("log")))
    }
}

fn bytes_in(dir: &Path) -> u64 {
    let entries = std::fs::read_dir(dir).into_iter().flatten().filter_map(Result::ok);
    entries
        .map(|entry| match entry.metadata() {
            Ok(found) if found.is_dir() => bytes_in(&entry.path()),
            Ok(found) => found.len(),
            Err(_) => 0,
        })
        .sum()
}

/// A node that speaks the protocol at an address of this machine.
async fn peer_at(ip: Ipv4Addr, seed: u8, bootstrap: Vec<String>) -> Node {
    let mut config: NetConfig = config(seed, bootstrap);
    config.options.listen_ip = IpAddr::V4(ip);
    config.options.relay_server = false;
    config.topics = Topic::ALL.iter().map(|topic| topic.name().to_owned()).collect();
    Node::with(config).await
}

/// A verdict that nobody asked for on a proof that there is not, signed with a key that the chain knows.
fn junk(victim: &Victim, key: &EvmKey, status: &StatusReport, number: u64) -> Vec<u8> {
    let mut work = Digest([5; 32]);
    work.0[..8].copy_from_slice(&number.to_be_bytes());
    let (of, epoch) = (status.account, Epoch(status.epoch));
    let body = AuditBody { of, work, finding: Finding::StorageMissing };
    let record = Record {
        epoch,
        account: victim.name,
        subject: audit_subject(of, &work),
        body: Body::Audit(body),
    };
    Gossip::Record(record.sign(&victim.domain, key).unwrap()).to_bytes()
}

/// One host with many names, each of which says all the time that it has what nobody has, publishes
/// junk, and asks the same again and again without taking the answers.
async fn crowd(victim: &Victim) -> Vec<Node> {
    let host = Ipv4Addr::LOCALHOST;
    let mut crowd = Vec::new();
    for seed in 100..100 + CROWD {
        crowd.push(peer_at(host, seed, victim.bootstrap.clone()).await);
    }
    let key = EvmKey::from_bytes(&DEV_KEYS[1].0).unwrap();
    let status = victim.status().await;
    for (node, seed) in crowd.iter().zip(0_u64..) {
        let (net, to) = (node.net.clone(), victim.node);
        let records: Vec<_> =
            (0..256).map(|number| junk(victim, &key, &status, (seed << 32) | number)).collect();
        let mut records = records.into_iter().cycle();
        tokio::spawn(async move {
            let mut turns = tokio::time::interval(Duration::from_millis(50));
            turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
            for round in 0_u64.. {
                // Once the network is gone, every call fails at once: only here does the test end it.
                turns.tick().await;
                let have = (0..1024).map(|blob| {
                    let mut hash = Hash([7; 32]);
                    hash.0[..24]
                        .copy_from_slice(&[seed, round, blob].map(u64::to_be_bytes).concat());
                    BlobRef::new(hash, 1 << 20)
                });
                let have = Gossip::Have(have.collect()).to_bytes();
                // Whether it is let in or not, it goes on.
                let _ = net.publish(Topic::Announce as usize, have).await;
                for record in records.by_ref().take(16) {
                    let _ = net.publish(Topic::Records as usize, record).await;
                }
                let sums = Request::Sums { epoch: Epoch(0), part: Part::ALL }.to_bytes();
                let asked = net.request(to, sums);
                let _ = timeout(Duration::from_millis(50), asked).await;
            }
        });
    }
    crowd
}

/// Connections to the data plane from many subnets, which ask for nothing.
async fn idle(ticket: &BlobTicket) -> (Vec<iroh::Endpoint>, Vec<Connection>) {
    let (mut endpoints, mut connections) = (Vec::new(), Vec::new());
    for subnet in 10..22 {
        let address = SocketAddr::from(([127, subnet, 0, 1], 0));
        let endpoint = iroh::Endpoint::builder(presets::Minimal)
            .relay_mode(iroh::RelayMode::Disabled)
            .clear_ip_transports()
            .bind_addr(address)
            .unwrap()
            .bind()
            .await
            .unwrap();
        let connect = |_| endpoint.connect(ticket.addr().clone(), iroh_blobs::ALPN);
        connections.extend(join_all((0..16).map(connect)).await.into_iter().filter_map(Result::ok));
        endpoints.push(endpoint);
    }
    assert!(connections.len() > 64, "the handshakes themselves are answered");
    (endpoints, connections)
}

/// Connections to the control plane that never say a word.
async fn silent(victim: &Victim) -> Vec<TcpStream> {
    let tcp = victim.bootstrap.iter().find(|address| address.contains("/tcp/")).unwrap();
    let port: u16 = tcp.split('/').nth(4).unwrap().parse().unwrap();
    let to = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let mut open = Vec::new();
    for _ in 0..200 {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::from(([127, 2, 0, 1], 0))).unwrap();
        open.extend(socket.connect(to).await);
    }
    open
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_without_stake_costs_a_node_little_and_honest_peers_nothing() {
    let _turn = crate::WHOLE_MACHINE.lock().await;
    let victim = Victim::start().await;
    let manifest = victim.publish().await;
    let ticket: daemon::api::types::Ticket =
        victim.process.client.get(&format!("/blobs/{manifest}/ticket")).await.unwrap();
    let ticket: BlobTicket = ticket.ticket.parse().unwrap();
    let (memory, disk, log) = victim.usage();

    let crowd = crowd(&victim).await;
    let silent = silent(&victim).await;
    let (endpoints, idle) = idle(&ticket).await;

    // A newcomer, of whom nobody knows anything either, from elsewhere.
    // QUIC alone keeps the address that it listens on when it dials.
    let quic = victim.bootstrap.iter().filter(|address| address.contains("/quic-v1")).cloned();
    let elsewhere = Ipv4Addr::new(127, 3, 0, 1);
    let mut honest = peer_at(elsewhere, 1, quic.collect()).await;
    honest.wait_up(victim.node).await;
    let mut slowest = Duration::ZERO;
    for _ in 0..20 {
        let begun = Instant::now();
        let asked = honest.net.request(victim.node, Request::Has(vec![manifest]).to_bytes());
        timeout(LATENCY, asked).await.expect("an answer in time").unwrap();
        slowest = slowest.max(begun.elapsed());
    }
    let begun = Instant::now();
    honest.net.fetch(manifest, 1 << 20, vec![victim.node]).await.unwrap();
    let fetched = begun.elapsed();
    assert!(fetched < LATENCY, "{fetched:?}");

    let all_closed = join_all(idle.iter().map(Connection::closed));
    timeout(PATIENCE, all_closed).await.expect("idle connections lose their places");
    let status = victim.status().await;
    let crowded = status.peers;
    assert!(crowded <= OF_ONE_HOST + 1, "one host has {crowded} places");
    let (memory_now, disk_now, log_now) = victim.usage();
    eprintln!(
        "memory {memory} → {memory_now} MiB, disk {disk} → {disk_now} bytes, log {log} → {log_now} bytes, \
         slowest request {slowest:?}, fetch {fetched:?}, {crowded} peers"
    );
    assert!(memory_now < memory + MEMORY, "{memory} → {memory_now} MiB");
    assert!(disk_now < disk + DISK, "{disk} → {disk_now} bytes");
    assert!(log_now < log + LOG, "{log} → {log_now} bytes");
    let before = status.block;
    until(|| async { (victim.status().await.block > before).then_some(()) }).await;
    drop((silent, endpoints, crowd));
    honest.net.shutdown().await;
    victim.chain.address();
}
