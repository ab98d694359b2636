use simnet::{Scenario, scenario::ChurnModel, units::Span};

use crate::{run, sized, with};

fn tiny() -> Scenario {
    sized(12, 1, 8, 2)
}

#[test]
fn the_same_scenario_gives_the_same_trace_and_report() {
    let (first, second) = (run(tiny()), run(tiny()));
    assert_eq!(first.trace, second.trace);
    assert_eq!(serde_json::to_value(&first).unwrap(), serde_json::to_value(&second).unwrap());
}

#[test]
fn what_is_spared_a_machine_changes_nothing() {
    let mut scenario = tiny();
    scenario.net.loss = 0.1;
    scenario.churn.model = ChurnModel::Exponential;
    scenario.churn.session = Span::seconds(90);
    scenario.churn.pause = Span::seconds(20);
    let spared = run(scenario.clone());
    let all = run(with(scenario, |s| s.net.deliver_all = true));
    assert!(all.totals.delivered > 2 * spared.totals.delivered, "everybody is given everything");
    assert_eq!(spared.trace, all.trace);
}

#[test]
fn another_seed_or_parameter_gives_another_trace() {
    let before = run(tiny()).trace;
    let others = [
        Scenario { seed: 8, ..tiny() },
        with(tiny(), |s| s.population.nodes = 13),
        with(tiny(), |s| s.net.loss = 0.5),
        with(tiny(), |s| s.net.latency = Span::millis(81)),
        with(tiny(), |s| s.adversaries[0].share = 0.2),
    ];
    for other in others {
        assert_ne!(run(other.clone()).trace, before, "{other:?}");
    }
}
