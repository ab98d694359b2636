//! Models that are trained, asked and paid for.

use simnet::{
    Scenario,
    adversary::{self, AdversaryKind},
    report::Report,
    scenario::{AdversaryPlan, ChurnModel},
    units::Span,
};

use crate::{faultless, run, sized, with};

const NODES: u32 = 12;

/// A calm network on equal devices that trains a model and serves it.
pub(crate) fn working() -> Scenario {
    with(sized(NODES, 2, 8, 2), |s| {
        faultless(s);
        s.training.rounds = 2;
        s.training.gpus = 1.0;
        s.training.spread = 0.2;
        s.inference.per_hour = 360.0;
    })
}

pub(crate) fn kpi(report: &Report, name: &str) -> f64 {
    let found = report.kpis.iter().find(|kpi| kpi.name == name).unwrap();
    found.value.unwrap_or_else(|| panic!("{name} has a value"))
}

fn assert_holds(report: &Report) {
    let failed: Vec<_> = report.checks.iter().filter(|check| !check.holds).collect();
    assert!(failed.is_empty(), "{failed:?} {:?}", report.findings);
}

#[test]
fn a_calm_network_trains_serves_and_gives_every_fee_away() {
    let report = run(working());
    assert_holds(&report);
    // Two rounds and the sketches, each node one shard of each.
    assert_eq!(kpi(&report, "shards_verified"), f64::from(3 * NODES));
    assert_eq!(kpi(&report, "rounds_closed"), 2.0);
    assert_eq!(kpi(&report, "shards_rejected") + kpi(&report, "shards_late"), 0.0);
    assert_eq!(kpi(&report, "requests_served"), 1.0);
    assert!(kpi(&report, "inference_p50") <= kpi(&report, "inference_p99"));
    // 128 tokens of 5 ms on a GPU, a fifth more to attribute, and four ways of 80 ms.
    assert!((0.5..2.0).contains(&kpi(&report, "inference_p50")));
    let fees = kpi(&report, "fees_redeemed");
    let sum = given_away(&report);
    assert!(fees > 0.1 && (fees - sum).abs() < 1e-9, "{fees} {sum}");
    assert!((kpi(&report, "fees_treasury") / fees - 0.1).abs() < 1e-9, "a tenth of the gross");
    assert!((kpi(&report, "fees_contributors") / fees - 0.45).abs() < 1e-9, "half of the rest");
}

#[test]
fn what_is_spared_a_machine_changes_nothing_in_training() {
    let scenario = with(working(), |s| {
        s.net.loss = 0.1;
        s.churn.model = ChurnModel::Exponential;
        s.churn.session = Span::seconds(120);
        s.churn.pause = Span::seconds(20);
    });
    let spared = run(scenario.clone());
    let all = run(with(scenario, |s| s.net.deliver_all = true));
    assert!(kpi(&spared, "shards_verified") > 0.0);
    assert_eq!(spared.trace, all.trace);
}

#[test]
fn who_makes_shards_up_is_found_and_unpaid() {
    for kind in [adversary::FORGED_SHARD, adversary::COPIED_SHARD] {
        let report = run(with(working(), |s| {
            let plan = AdversaryPlan { strength: 1.0, ..AdversaryPlan::new(kind, 0.25) };
            s.adversaries = vec![plan];
        }));
        assert_holds(&report);
        assert_eq!(kpi(&report, "forged_paid"), 0.0, "{kind}");
        assert!(kpi(&report, "shards_rejected") > 0.1, "{kind}");
        assert!(kpi(&report, "forged_detection_time") < 60.0, "{kind}");
        assert_eq!(kpi(&report, "rounds_closed"), 2.0, "the others go on");
    }
}

#[test]
fn lazy_auditors_get_fewer_forged_shards_paid_the_more_seats_there_are() {
    let paid_by = |auditors, seed| {
        let report = run(with(working(), |s| {
            s.seed = seed;
            s.training.rounds = 4;
            s.training.auditors = auditors;
            s.inference.per_hour = 0.0;
            let mut forger = AdversaryPlan::new(adversary::FORGED_SHARD, 0.1);
            (forger.strength, forger.also) = (1.0, vec![adversary::LAZY_AUDITOR]);
            s.adversaries = vec![AdversaryPlan::new(adversary::LAZY_AUDITOR, 0.25), forger];
        }));
        assert_holds(&report);
        kpi(&report, "forged_paid")
    };
    // Three of eleven that may be drawn: a quarter of single seats, most of nine in one draw of thirty.
    let paid = |auditors| (1..=48).map(|seed| paid_by(auditors, seed)).sum::<f64>();
    let (one, nine) = (paid(1), paid(9));
    assert!(one > 2.0 * nine, "{one} and {nine}");
}

#[test]
fn nobody_gains_by_being_its_own_customer() {
    let report = run(with(working(), |s| {
        s.training.models = 2;
        let plan = AdversaryPlan::new(adversary::SELF_DEALING, 0.1);
        s.adversaries = vec![AdversaryPlan { strength: 0.5, ..plan }];
    }));
    assert_holds(&report);
    assert!(kpi(&report, "self_dealing_profit") <= 0.0);
    assert!(kpi(&report, "requests_served") > 0.0, "the other model is used by others");
}

/// One of three nodes orders runs all the time, beside a run of somebody else and beside none.
#[test]
fn nobody_gains_by_working_on_runs_that_it_orders() {
    for (models, also) in [(1, vec![]), (2, vec![adversary::LAZY_AUDITOR])] {
        let report = run(with(working(), |s| {
            s.training.models = models;
            s.inference.per_hour = 0.0;
            let plan = AdversaryPlan::new(adversary::SELF_ORDERING, 0.34);
            s.adversaries = vec![AdversaryPlan { strength: 2.0, also, ..plan }];
        }));
        assert_holds(&report);
        // Four of twelve nodes work on a third of what they pay for; the rest is earned by others.
        let profit = kpi(&report, "self_ordering_profit");
        assert!(profit < -0.5 * 100.0, "{profit} of 100 OPEN and more");
        let all = f64::from(3 * NODES * models);
        assert!(kpi(&report, "shards_verified") > all, "its further runs are worked on too");
    }
}

/// Claims from made up checkpoints are paid where friends alone were drawn for them, and those that no
/// member named never are.
#[test]
fn invented_checkpoints_earn_less_than_the_work_that_they_spare() {
    let forged = |auditors, seed| {
        let report = run(with(working(), |s| {
            s.seed = seed;
            s.training.rounds = 4;
            s.training.auditors = auditors;
            s.inference.per_hour = 0.0;
            let plan = AdversaryPlan::new(adversary::INVENTED_BASE, 0.25);
            s.adversaries = vec![AdversaryPlan { strength: 1.0, ..plan }];
        }));
        assert_holds(&report);
        assert_eq!(kpi(&report, "rounds_closed"), 4.0, "the others go on");
        kpi(&report, "forged_paid")
    };
    // Two friends of eleven that may be drawn, for half of the shards: a tenth with one seat each.
    let paid = |auditors| (1..=4).map(|seed| forged(auditors, seed)).sum::<f64>() / 4.0;
    let (one, five) = (paid(1), paid(5));
    assert!(one < 0.25 && five <= one, "{one} and {five}");
}

/// All of the fees that was given to somebody, in OPEN.
fn given_away(report: &Report) -> f64 {
    let parts = ["contributors", "developers", "stakers", "nodes", "treasury"];
    parts.iter().map(|part| kpi(report, &format!("fees_{part}"))).sum()
}

#[test]
fn a_server_that_withholds_attributions_gives_nobody_their_fees() {
    let withheld = |strength| {
        let report = run(with(working(), |s| {
            let plan = AdversaryPlan::new(adversary::WITHHELD_ATTRIBUTION, 0.1);
            s.adversaries = vec![AdversaryPlan { strength, ..plan }];
        }));
        assert_holds(&report);
        let redeemed = kpi(&report, "fees_redeemed");
        assert!(redeemed > 0.1, "it serves, and has itself paid");
        given_away(&report) / redeemed
    };
    assert!((withheld(0.0) - 1.0).abs() < 1e-9);
    assert_eq!(withheld(1.0), 0.0, "all stays in the vault");
    let half = withheld(0.5);
    assert!((0.4..0.7).contains(&half), "what it attributes is paid for itself alone: {half}");
}

#[test]
fn a_deposit_that_is_taken_back_leaves_no_answer_unpaid() {
    let report = run(with(working(), |s| {
        s.inference.per_hour = 60.0;
        let plan = AdversaryPlan::new(adversary::UNPAID_WITHDRAWAL, 0.1);
        s.adversaries = vec![AdversaryPlan { strength: 0.5, ..plan }];
    }));
    assert_holds(&report);
    assert_eq!(kpi(&report, "fees_unpaid"), 0.0);
    let served = kpi(&report, "requests_served");
    assert!(
        (0.05..0.9).contains(&served),
        "it gets answers, and none while it withdraws: {served}"
    );
}

/// The part of the data that is an adversary's, and the part of the contributors' fees.
fn gained(kind: AdversaryKind, changed: f64) -> (f64, f64) {
    let report = run(with(working(), |s| {
        s.inference.per_hour = 1_000.0;
        let plan = AdversaryPlan::new(kind, 0.1);
        s.adversaries = vec![AdversaryPlan { strength: 1.0, changed, ..plan }];
    }));
    assert_holds(&report);
    (kpi(&report, "adverse_data"), kpi(&report, "adverse_attribution"))
}

#[test]
fn copies_earn_as_far_as_they_are_not_recognised() {
    let (data, paid) = gained(adversary::DATA_COPYING, 0.0);
    assert!((data - 0.5).abs() < 0.05, "everything was copied: {data}");
    assert_eq!(paid, 0.0);
    let (data, paid) = gained(adversary::DATA_COPYING, 0.3);
    // 15 % of the copies count, beside as much as they copy.
    assert!(paid > 0.05 && paid < data / 2.0, "{data} {paid}");
}

#[test]
fn whoever_splits_its_data_is_paid_as_for_all_of_it() {
    let (data, paid) = gained(adversary::DATA_SPLITTING, 0.0);
    assert!((data - paid).abs() < 0.1, "{data} {paid}");
}

#[test]
fn a_model_whose_server_leaves_is_served_by_another() {
    let report = run(with(working(), |s| {
        s.epochs = 3;
        s.inference.servers = 1.0;
        s.churn.model = ChurnModel::Exponential;
        s.churn.session = Span::seconds(100);
        s.churn.pause = Span::seconds(15);
    }));
    let share = kpi(&report, "requests_served");
    assert!(share > 0.3, "{share}");
    assert!(report.findings.is_empty(), "{:?}", report.findings);
}
