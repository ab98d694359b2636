use std::num::NonZeroUsize;

use simnet::{
    Scenario, adversary,
    scenario::{AdversaryPlan, ChurnModel, FaultEvent, FaultKind, UnderlayKind},
    units::Span,
};

use crate::{faultless, run, sized, with};

fn tiny() -> Scenario {
    sized(12, 1, 8, 2)
}

#[test]
fn the_same_scenario_gives_the_same_trace_and_report() {
    let (first, second) = (run(tiny()), run(tiny()));
    assert_eq!(first.trace, second.trace);
    assert_eq!(serde_json::to_value(&first).unwrap(), serde_json::to_value(&second).unwrap());
}

/// Everything that a run has at once: loss, churn, cheats, faults, a slow disk.
fn troubled() -> Scenario {
    let faults = [
        FaultEvent::new(Span::seconds(300), FaultKind::Reboot, Span::seconds(20)),
        FaultEvent::new(Span::seconds(330), FaultKind::SlowDisk, Span::seconds(60)),
        FaultEvent::new(Span::seconds(420), FaultKind::Partition, Span::seconds(30)),
    ];
    with(sized(30, 2, 24, 2), |scenario| {
        scenario.net.loss = 0.1;
        scenario.net.underlay = UnderlayKind::Matrix;
        scenario.churn.model = ChurnModel::Exponential;
        scenario.churn.session = Span::seconds(150);
        scenario.churn.pause = Span::seconds(20);
        scenario.adversaries.push(AdversaryPlan::new(adversary::LATE_REVEAL, 0.1));
        scenario.adversaries.push(AdversaryPlan::new(adversary::ON_DEMAND, 0.1));
        scenario.events = faults.to_vec();
    })
}

#[test]
fn any_number_of_threads_gives_the_same_trace_and_report() {
    let calm = with(sized(40, 1, 40, 2), faultless);
    let all = with(tiny(), |s| s.net.deliver_all = true);
    for scenario in [tiny(), troubled(), calm, all, crate::work::working()] {
        let on = |threads| {
            let threads = NonZeroUsize::new(threads).unwrap();
            simnet::runner::run_on(threads, &scenario, &mut |_| true).unwrap()
        };
        let one = on(1);
        for several in [2, 8] {
            let report = on(several);
            assert_eq!(one.trace, report.trace, "{several} threads, {scenario:?}");
            assert_eq!(serde_json::to_value(&one).unwrap(), serde_json::to_value(&report).unwrap());
        }
    }
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
