//! A flood of messages over a real mesh of degree eight, and what the model of gossip makes of it:
//! the model is fitted to this.
//!
//! `cargo run --release --example flood -- 1000000 16`

#[path = "../benches/measure/flood.rs"]
mod measure;

use std::env;

use measure::{Flood, author, flood};
use simnet::{
    Scenario,
    faults::Faults,
    kernel::{Draws, Time},
    network::{Coords, MESH, Network},
};

const SEED: u64 = 7;

fn quantiles(mut delays: Vec<u64>) -> [u64; 4] {
    delays.sort_unstable();
    [10, 50, 90, 99].map(|percent| delays[delays.len() * percent / 100] / 1_000)
}

fn main() {
    let mut numbers = env::args().skip(1).map(|text| text.parse().expect("a number"));
    let (nodes, messages) = (numbers.next().unwrap_or(100_000), numbers.next().unwrap_or(16));
    let draws = Draws::new(SEED);
    let underlay = Coords::new(nodes, draws);
    let Flood { reached, events, most_pending, seconds, delays } =
        flood(nodes, messages, &underlay, draws);
    println!("{nodes} nodes, mesh of {MESH}, {messages} messages: {reached} deliveries");
    println!("{events} events in {seconds:.1} s: {:.2} M events/s", events as f64 / seconds / 1e6);
    println!("most pending: {most_pending}, {} MiB of events", (most_pending * 24) >> 20);
    let mut scenario = Scenario::default();
    scenario.population.nodes = nodes;
    scenario.net.loss = 0.0;
    let network = Network::new(&scenario, Box::new(underlay), Faults::default());
    let first = author(0, nodes, draws);
    let model = (0..nodes.min(50_000)).map(|to| network.arrival(0, (first, Time(0)), to).0);
    println!("10, 50, 90, 99 % of receivers after, in ms");
    println!("  flood {:?}", quantiles(delays));
    println!("  model {:?}", quantiles(model.collect()));
}
