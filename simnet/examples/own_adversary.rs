//! An adversary of one's own: stores a part of what it should and hopes for the sample.
//!
//! `cargo run --release --example own_adversary`

use protocol::BlobRef;
use protocol::node::{Done, Job};
use simnet::{
    Answer, Parts, Scenario, Simulation, World,
    adversary::Adversary,
    kernel::Purpose,
    scenario::{AdversaryKind, AdversaryPlan},
};

/// Keeps the share `keeps` of its packs and pretends to have the others.
struct Thrifty {
    keeps: f64,
}

impl Adversary for Thrifty {
    fn job(&mut self, world: &mut World<'_>, node: usize, job: &Job) -> Option<Answer> {
        match job {
            Job::Fetch(BlobRef { hash: blob, .. }) => {
                let word = u64::from_be_bytes(*blob.0.first_chunk()?);
                let is_kept =
                    world.draws().share(Purpose::Adversary, node as u64, word) < self.keeps;
                (!is_kept).then(|| Answer::after(0, Done::Fetched))
            }
            // The honest host then declares what is missing, which is unpaid and no fault.
            _ => None,
        }
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    for keeps in [1.0, 0.5, 0.1] {
        let mut scenario = Scenario { epochs: 3, ..Scenario::default() };
        scenario.population.nodes = 200;
        // Its nodes are those of the first `[[adversary]]`; with its own behaviour before theirs.
        scenario.adversaries = vec![AdversaryPlan::new(AdversaryKind::Sybil, 0.2)];
        let parts = Parts { adversaries: vec![Box::new(Thrifty { keeps })], ..Parts::default() };
        let mut simulation = Simulation::with(scenario, parts)?;
        while simulation.advance()?.is_some() {}
        let report = simulation.report()?;
        let kpi = |name| report.kpis.iter().find(|kpi| kpi.name == name).and_then(|kpi| kpi.value);
        let (own, honest) = (kpi("pay_adverse_mean"), kpi("pay_honest_mean"));
        println!("keeps {keeps}: paid {own:.2?} OPEN a node, honest ones {honest:.2?}");
    }
    Ok(())
}
