//! Whole runs of small networks.
#![allow(missing_docs)]

mod attackers;
mod cli;
mod closed_forms;
mod determinism;
mod exits;
mod fuzz;
mod lookups;
mod mutations;
mod names;
mod outcomes;
mod preset;
mod reorgs;
mod results;
mod scenario;
mod scenario_file;
mod traffic;
mod trouble;
mod work;

use simnet::{Scenario, Simulation, report::Report};

/// A network that takes a few seconds: forty nodes, a tenth each offline and lazy.
fn small() -> Scenario {
    sized(40, 2, 40, 3)
}

fn sized(nodes: u32, epochs: u64, packs: u32, contributors: u32) -> Scenario {
    let mut scenario = Scenario { epochs, ..Scenario::default() };
    scenario.population.nodes = nodes;
    scenario.workload.packs = packs;
    scenario.workload.contributors = contributors;
    scenario
}

/// A scenario with something changed.
fn with(mut scenario: Scenario, change: impl FnOnce(&mut Scenario)) -> Scenario {
    change(&mut scenario);
    scenario
}

/// Everybody is there and honest, nothing is lost.
fn faultless(scenario: &mut Scenario) {
    scenario.population.offline = 0.0;
    scenario.adversaries.clear();
    scenario.net.loss = 0.0;
}

fn run(scenario: Scenario) -> Report {
    let mut simulation = Simulation::new(scenario).unwrap();
    while simulation.advance().unwrap().is_some() {}
    simulation.report().unwrap()
}
