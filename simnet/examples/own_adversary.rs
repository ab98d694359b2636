//! An adversary of one's own: stores a part of what it should and hopes for the sample.
//!
//! `cargo run --release --example own_adversary`

use protocol::Hash;
use simnet::{
    Scenario, Simulation, World,
    adversary::{Adversary, AdversaryKind, Profile},
    kernel::Purpose,
    scenario::AdversaryPlan,
};

/// Under this name it is in reports; `strength` is the share of its packs that it keeps.
static THRIFTY: Profile = Profile::new(
    "thrifty",
    "Keeps a share of its packs and pretends to have the others.",
    |plan| Box::new(Thrifty { keeps: plan.strength }),
);

struct Thrifty {
    keeps: f64,
}

impl Adversary for Thrifty {
    // The honest host then declares what is missing, which is unpaid and no fault.
    fn stores(&mut self, world: &mut dyn World, node: usize, blob: &Hash) -> bool {
        let word = u64::from_be_bytes(*blob.0.first_chunk().expect("32 bytes have eight"));
        world.draws().share(Purpose::Adversary, node as u64, word) < self.keeps
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    for keeps in [1.0, 0.5, 0.1] {
        let mut scenario = Scenario { epochs: 3, ..Scenario::default() };
        scenario.population.nodes = 200;
        let plan = AdversaryPlan::new(AdversaryKind(&THRIFTY), 0.2);
        scenario.adversaries = vec![AdversaryPlan { strength: keeps, ..plan }];
        let mut simulation = Simulation::new(scenario)?;
        while simulation.advance()?.is_some() {}
        let report = simulation.report()?;
        let kpi = |name| report.kpis.iter().find(|kpi| kpi.name == name).and_then(|kpi| kpi.value);
        let (own, honest) = (kpi("pay_adverse_mean"), kpi("pay_honest_mean"));
        println!("keeps {keeps}: paid {own:.2?} OPEN a node, honest ones {honest:.2?}");
    }
    Ok(())
}
