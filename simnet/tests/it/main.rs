//! Whole runs of small networks.
#![allow(missing_docs)]

mod determinism;
mod outcomes;
mod scenario;

use simnet::{Scenario, Simulation, report::Report};

/// A network that takes a few seconds: forty nodes, a tenth each offline and lazy.
fn small() -> Scenario {
    Scenario { nodes: 40, epochs: 2, packs: 40, contributors: 3, ..Scenario::default() }
}

fn run(scenario: Scenario) -> Report {
    let mut simulation = Simulation::new(scenario).unwrap();
    while simulation.advance().unwrap().is_some() {}
    simulation.report().unwrap()
}
