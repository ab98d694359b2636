//! How many bytes nodes send and receive: what moved is priced afterwards, with the overheads of
//! `data/traffic.toml`. Nothing here changes what happens.

use protocol::{
    Epoch,
    codec::Wire as _,
    message::{Answer, Request},
    sync::{PARTS, Part, Sum},
};

use super::{env::Env, traffic::Moved};
use crate::{data::shipped, kernel::real, network::MESH, report::Kpi, scenario::WARM_UP_EPOCHS};

/// Bytes of a node in an epoch, both ways.
#[derive(Debug, Clone, Copy, Default)]
struct Bytes {
    chain: f64,
    control: f64,
    data: f64,
}

impl Bytes {
    fn all(self) -> f64 {
        self.chain + self.control + self.data
    }
}

/// Records and bytes per epoch, on average over the measured epochs but the first, in which the
/// network is still forming.
pub(super) fn figures(env: &Env) -> [Kpi; 5] {
    let steady = WARM_UP_EPOCHS + 1..=env.last_epoch().0;
    let moved = env.links.traffic().by_epoch();
    let measured = moved.filter(|(epoch, _)| steady.contains(&epoch.0));
    let priced: Vec<_> = measured.map(|(_, moved)| (moved, price(env, &moved))).collect();
    let mean = |of: &dyn Fn(&(Moved, Bytes)) -> f64| {
        let sum: f64 = priced.iter().map(of).sum();
        (!priced.is_empty()).then(|| sum / real(priced.len() as u64))
    };
    [
        Kpi::new("records_per_epoch", mean(&|(moved, _)| real(moved.records))),
        Kpi::new("bytes_per_node", mean(&|(_, bytes)| bytes.all())),
        Kpi::new("bytes_control", mean(&|(_, bytes)| bytes.control)),
        Kpi::new("bytes_data", mean(&|(_, bytes)| bytes.data)),
        Kpi::new("bytes_chain", mean(&|(_, bytes)| bytes.chain)),
    ]
}

/// The bytes of a mean node for what moved in an epoch. Each byte counts at both of its ends;
/// the chain is no node.
fn price(env: &Env, moved: &Moved) -> Bytes {
    let nodes = real(env.population.len() as u64);
    let chain = &env.scenario.chain;
    let blocks = real(chain.epoch_blocks);
    let seconds = blocks * real(chain.block.0) / 1e6;
    let peers = (nodes - 1.0).min(of_daemon("connections"));
    let control = gossip(env, moved, peers) * 2.0 / nodes
        + seconds * sync_rate(env)
        + seconds * peers * overhead("connection");
    let data = (real(moved.fetches) * overhead("fetch")
        + real(moved.fetched_bytes) * of_packets("bulk"))
        * 2.0
        / nodes;
    // A look takes a round trip, and the next one comes a pause later.
    let (least, most) = (of_daemon("look-least"), of_daemon("look-most"));
    let pause = (seconds / blocks * of_daemon("look-share")).clamp(least, most);
    let trip = 2.0 * real(env.links.network().underlay().typical()) / 1e6;
    let looks = seconds / (pause + trip);
    let chain = looks * overhead("look")
        + blocks * overhead("block")
        + real(moved.transactions) / nodes * overhead("transaction");
    Bytes { chain, control, data }
}

/// Bytes of all copies of the records, and of what tells of them (gossipsub 1.1, flood
/// publishing and IHAVE).
fn gossip(env: &Env, moved: &Moved, peers: f64) -> f64 {
    let receivers = real(env.population.len() as u64) - 1.0;
    let mesh = real(MESH).min(peers);
    let flood = f64::from(env.scenario.net.flood).min(peers);
    // Everybody passes a message to its mesh but not back; who has it from an author outside of
    // its mesh passes it to all of that.
    let copies = flood + receivers * (mesh - 1.0) + (flood - mesh).max(0.0);
    let envelope = of_packets("message") + of_packets("gossip");
    let sent = copies * (real(moved.record_bytes) + real(moved.records) * envelope);
    let others = peers - mesh;
    let told = others.min((others * of_daemon("gossip-factor")).max(6.0));
    let mentions = of_daemon("gossip-history") * told * (receivers + 1.0);
    sent + real(moved.records) * mentions * of_packets("ihave")
}

/// Bytes per second of pull sync where nobody lacks anything: a node asks, and is asked as often.
fn sync_rate(env: &Env) -> f64 {
    let question = Request::Sums { epoch: Epoch(0), part: Part::ALL }.to_bytes().len();
    let answer = Answer::Sums(vec![Sum { count: 0, digest: [0; 16] }; PARTS]).to_bytes().len();
    let exchange = real((question + answer) as u64) + overhead("question");
    let rounds = 1e6 / real(env.scenario.net.pull.0.max(1));
    2.0 * rounds * of_daemon("sync-epochs") * exchange
}

fn of_daemon(value: &str) -> f64 {
    shipped("traffic-daemon", value)
}

fn of_packets(value: &str) -> f64 {
    shipped("traffic-packets", value)
}

fn overhead(value: &str) -> f64 {
    shipped("traffic-overheads", value)
}
