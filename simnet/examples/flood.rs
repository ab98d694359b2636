//! A flood of messages over a real mesh of degree eight: the kernel at work, and what the model of
//! gossip is fitted to.
//!
//! `cargo run --release -p openledger-simnet --example flood -- 1000000 16`

use std::{env, time::Instant};

use simnet::{
    Scenario,
    faults::Faults,
    kernel::{Actor, CalendarQueue, Draws, EventQueue as _, Purpose, Time, ratio},
    network::{Coords, HOP_MICROS, MESH, Network, Underlay as _},
};

const SEED: u64 = 7;

/// The union of four random permutations and their inverses: eight neighbours each.
fn mesh(nodes: u32, draws: Draws) -> Vec<[u32; 8]> {
    let mut mesh = vec![[0; 8]; nodes as usize];
    for part in 0..4u32 {
        let mut order: Vec<_> = (0..nodes)
            .map(|node| (draws.word(Purpose::Place, node.into(), 100 + u64::from(part)), node))
            .collect();
        order.sort_unstable();
        for (place, (_, node)) in order.iter().enumerate() {
            let (_, next) = order[(place + 1) % order.len()];
            mesh[*node as usize][part as usize * 2] = next;
            mesh[next as usize][part as usize * 2 + 1] = *node;
        }
    }
    mesh
}

fn quantiles(mut delays: Vec<u64>) -> [u64; 4] {
    delays.sort_unstable();
    [10, 50, 90, 99].map(|percent| delays[delays.len() * percent / 100] / 1_000)
}

fn main() {
    let mut numbers = env::args().skip(1).map(|text| text.parse().expect("a number"));
    let (nodes, messages) = (numbers.next().unwrap_or(100_000), numbers.next().unwrap_or(16));
    let draws = Draws::new(SEED);
    let mesh = mesh(nodes, draws);
    let underlay = Coords::new(nodes, draws);
    let mut queue = CalendarQueue::default();
    let mut seen = vec![0u64; nodes as usize];
    let mut delays = Vec::new();
    let author =
        |message| draws.below(Purpose::Request, u64::from(message), 0, nodes.into()) as u32;
    for message in 0..messages {
        let node = Actor::node(author(message));
        queue.push(Time(0), node, node, message);
    }
    let (started, mut events, mut most) = (Instant::now(), 0u64, 0);
    while let Some(next) = queue.pop() {
        events += 1;
        let node = next.to.index().expect("no chain takes part");
        if seen[node] >> next.event & 1 == 1 {
            continue;
        }
        seen[node] |= 1 << next.event;
        if next.event == 0 {
            delays.push(next.at.0);
        }
        let me = node as u32;
        for peer in mesh[node] {
            if Actor::node(peer) != next.from {
                let jitter = ratio(draws.word(Purpose::Gossip, events, peer.into()));
                let delay = (underlay.delay(me, peer) as f64 * (0.5 + jitter)) as u64;
                let at = next.at.after(HOP_MICROS + delay);
                queue.push(at, Actor::node(peer), next.to, next.event);
            }
        }
        most = most.max(queue.pending());
    }
    let seconds = started.elapsed().as_secs_f64();
    let reached: u32 = seen.iter().map(|messages| messages.count_ones()).sum();
    println!("{nodes} nodes, mesh of {MESH}, {messages} messages: {reached} deliveries");
    println!("{events} events in {seconds:.1} s: {:.2} M events/s", events as f64 / seconds / 1e6);
    println!("most pending: {most}, {} MiB of events", (most * 24) >> 20);
    let mut scenario = Scenario::default();
    scenario.population.nodes = nodes;
    scenario.net.loss = 0.0;
    let network = Network::new(&scenario, Box::new(underlay), Faults::default());
    let model = (0..nodes.min(50_000)).map(|to| network.arrival(0, (author(0), Time(0)), to).0);
    println!("10, 50, 90, 99 % of receivers after, in ms");
    println!("  flood {:?}", quantiles(delays));
    println!("  model {:?}", quantiles(model.collect()));
}
