//! The real small model in whole runs: payloads, checkpoints and losses.

use simnet::{
    Scenario, Simulation, adversary, report::Report, scenario::AdversaryPlan, units::Size,
};

const NODES: u32 = 5;

/// A small calm network that trains on text.
fn training() -> Scenario {
    let mut scenario = Scenario { epochs: 1, adversaries: Vec::new(), ..Scenario::default() };
    scenario.population.nodes = NODES;
    scenario.population.offline = 0.0;
    scenario.net.loss = 0.0;
    scenario.workload.packs = 4;
    scenario.workload.contributors = 2;
    (scenario.workload.pack_min, scenario.workload.pack_max) = (Size::kib(8), Size::kib(8));
    scenario.training.real_compute = true;
    scenario.training.rounds = 2;
    scenario.training.gpus = 1.0;
    scenario.training.spread = 0.0;
    scenario
}

fn run(scenario: Scenario) -> Report {
    let mut simulation = Simulation::new(scenario).unwrap();
    while simulation.advance().unwrap().is_some() {}
    simulation.report().unwrap()
}

fn kpi(report: &Report, name: &str) -> f64 {
    let found = report.kpis.iter().find(|kpi| kpi.name == name).unwrap();
    found.value.unwrap_or_else(|| panic!("{name} has a value"))
}

#[test]
fn the_model_learns_and_a_second_run_is_the_same() {
    let report = run(training());
    let failed: Vec<_> = report.checks.iter().filter(|check| !check.holds).collect();
    assert!(failed.is_empty(), "{failed:?} {:?}", report.findings);
    assert_eq!(kpi(&report, "rounds_closed"), 2.0);
    assert_eq!(kpi(&report, "shards_verified"), f64::from(3 * NODES));
    // Guessing among 512 tokens costs 6.24 nats.
    let (before, after) = (kpi(&report, "loss_before"), kpi(&report, "loss_after"));
    assert!((6.0..6.5).contains(&before) && after < before - 0.3, "{before} {after}");
    let again = run(training());
    assert_eq!(report.trace, again.trace);
    assert_eq!(after.to_bits(), kpi(&again, "loss_after").to_bits());
}

#[test]
fn a_payload_that_nobody_computed_is_found_by_computing_it() {
    for kind in [adversary::FORGED_SHARD, adversary::COPIED_SHARD] {
        let mut scenario = training();
        scenario.training.rounds = 1;
        let plan = AdversaryPlan::new(kind, 1.0 / f64::from(NODES));
        scenario.adversaries = vec![AdversaryPlan { strength: 1.0, ..plan }];
        let report = run(scenario);
        assert!(report.findings.is_empty(), "{:?}", report.findings);
        assert_eq!(kpi(&report, "forged_paid"), 0.0, "{kind}");
        // The shard, and the sketches.
        assert!(kpi(&report, "shards_rejected") > 0.0, "{kind}");
        assert_eq!(kpi(&report, "rounds_closed"), 1.0, "the others go on");
        assert!(kpi(&report, "loss_after") < kpi(&report, "loss_before"), "{kind}");
    }
}
