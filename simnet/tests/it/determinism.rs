use simnet::Scenario;

use crate::run;

fn tiny() -> Scenario {
    Scenario { nodes: 12, epochs: 1, packs: 8, contributors: 2, ..Scenario::default() }
}

#[test]
fn the_same_scenario_gives_the_same_trace_and_report() {
    let (first, second) = (run(tiny()), run(tiny()));
    assert_eq!(first.trace, second.trace);
    assert_eq!(serde_json::to_value(&first).unwrap(), serde_json::to_value(&second).unwrap());
}

#[test]
fn another_seed_or_parameter_gives_another_trace() {
    let before = run(tiny()).trace;
    let others = [
        Scenario { seed: 8, ..tiny() },
        Scenario { nodes: 13, ..tiny() },
        Scenario { loss: 0.02, ..tiny() },
        Scenario { latency_ms: 81, ..tiny() },
        Scenario { lazy: 0.2, ..tiny() },
    ];
    for other in others {
        assert_ne!(run(other.clone()).trace, before, "{other:?}");
    }
}
