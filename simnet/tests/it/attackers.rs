//! What each attack on records, settlements, names, data and runs earns whoever makes it.

use protocol::settle::Source;
use simnet::{
    Scenario,
    adversary::{self, AdversaryKind},
    report::{Report, Status},
    scenario::AdversaryPlan,
    scenario_file::ScenarioFile,
};

use crate::{
    run, with,
    work::{kpi, working},
};

/// A working network of which a fifth attacks in some way, hard.
fn attacked(kind: AdversaryKind, change: impl FnOnce(&mut Scenario)) -> Report {
    let report = run(with(working(), |s| {
        let mut plan = AdversaryPlan::new(kind, 0.2);
        plan.strength = 1.0;
        s.adversaries = vec![plan];
        change(s);
    }));
    let failed: Vec<_> = report.checks.iter().filter(|check| !check.holds).collect();
    assert!(failed.is_empty(), "{kind}: {failed:?} {:?}", report.findings);
    assert!(report.epochs.iter().all(|row| row.status == Status::Final), "{kind}");
    report
}

/// One of many runs, what an attack paid in all of them over what work did, and the standard error of that:
/// seeds and draws make a node's pay differ from another's by a third. Of a fixed pot the two are paid at each
/// other's cost, so the mean of the runs' own ratios is above one where nobody does anything: 1.02 here.
fn many_times(kind: AdversaryKind, seeds: u64) -> (Report, f64, f64) {
    let mut reports: Vec<_> = (1..=seeds).map(|seed| attacked(kind, |s| s.seed = seed)).collect();
    let of = |report: &Report| (kpi(report, "adverse_return"), kpi(report, "pay_honest_mean"));
    let all: Vec<_> = reports.iter().map(of).collect();
    let (number, work) = (all.len() as f64, all.iter().map(|(_, work)| work).sum::<f64>());
    let ratio = all.iter().map(|(of, work)| of * work).sum::<f64>() / work;
    let squares: f64 = all.iter().map(|(of, work)| ((of - ratio) * work).powi(2)).sum();
    let error = (squares / (number * (number - 1.0))).sqrt() * number / work;
    (reports.remove(0), ratio, error)
}

/// Not more than chance gives once in a thousand times; an attack that works pays much more.
fn pays_no_more_than_work(kind: AdversaryKind) -> Report {
    let (report, mean, error) = many_times(kind, 64);
    assert!(error < 0.06, "{kind}: {error} is too much to say anything");
    assert!(mean < 1.0 + 3.0 * error, "{kind}: {mean} of what work pays, by {error}");
    report
}

#[test]
fn two_records_of_one_key_are_one_and_cost_their_author_its_pay() {
    let (_, mean, _) = many_times(adversary::EQUIVOCATION, 24);
    assert!(mean < 0.8, "{mean}");
}

#[test]
fn no_epoch_is_settled_out_of_turn() {
    let report = pays_no_more_than_work(adversary::EPOCH_SKIPPING);
    assert_eq!(report.totals.wrong_settlements, 0, "the contract takes none of them");
    assert_eq!(kpi(&report, "honest_unpaid"), 0.0);
}

#[test]
fn a_copied_binding_takes_no_node_from_its_account() {
    let report = pays_no_more_than_work(adversary::REPLAYED_BINDING);
    assert_eq!(kpi(&report, "honest_unpaid"), 0.0);
    assert!(report.nodes.iter().all(|row| row.paid == row.earned), "to their own addresses");
}

#[test]
fn a_flood_of_records_costs_gas_and_nobody_else() {
    let calm = run(working());
    let report = pays_no_more_than_work(adversary::RECORD_FLOOD);
    assert!(report.totals.gas > 4 * calm.totals.gas, "it came in");
    assert_eq!(kpi(&report, "honest_unpaid"), 0.0);
    assert_eq!(kpi(&report, "honest_shards_unpaid"), 0.0);
    assert_eq!(kpi(&report, "settlement_delay"), kpi(&calm, "settlement_delay"));
}

#[test]
fn packs_of_false_lengths_take_nothing_from_whoever_stores() {
    let storage = |report: &Report| {
        let lines = report.payouts.iter().map(|row| &row.line);
        let storage = lines.filter(|line| line.source == Source::Storage);
        storage.map(|line| line.amount.0).sum::<u128>()
    };
    let report = attacked(adversary::FALSE_LENGTH, |s| s.inference.per_hour = 0.0);
    let calm = run(with(working(), |s| s.inference.per_hour = 0.0));
    assert!(report.epochs[1].replicas_assigned > calm.epochs[1].replicas_assigned);
    assert!(storage(&report) * 100 > storage(&calm) * 99, "all of the pot is paid");
}

#[test]
fn a_worker_that_claims_again_and_again_draws_the_same_auditors() {
    let paid = |also: &[AdversaryKind]| {
        let forged = (1..=4).map(|seed| {
            let report = attacked(adversary::FORGED_SHARD, |s| {
                s.seed = seed;
                s.epochs = 3;
                s.training.auditors = 3;
                let friends = &mut s.adversaries[0];
                friends.share = 0.34;
                friends.also = [&[adversary::COLLUDING_AUDITOR], also].concat();
            });
            kpi(&report, "forged_paid") * kpi(&report, "shards_verified")
        });
        forged.sum::<f64>()
    };
    let (once, again) = (paid(&[]), paid(&[adversary::GRINDING]));
    assert!(again <= 1.3 * once, "{again} parts that were ground against {once}");
}

#[test]
fn slots_that_nobody_works_on_pay_nothing_and_rounds_go_on() {
    let (report, mean, _) = many_times(adversary::SLOT_HOG, 24);
    let lines = report.payouts.iter().filter(|row| row.line.source == Source::Shards);
    assert!(lines.clone().count() > 0 && lines.clone().all(|row| !row.kind.is_adverse()));
    assert_eq!(kpi(&report, "rounds_closed"), 2.0);
    assert!(mean < 1.0, "{mean} of what work pays");
}

#[test]
fn units_are_counted_by_the_text_that_there_is() {
    let report = attacked(adversary::EMPTY_UNITS, |s| s.inference.per_hour = 1_000.0);
    let (data, paid) = (kpi(&report, "adverse_data"), kpi(&report, "adverse_attribution"));
    assert!(data < 0.01, "a kilobyte is two units: {data}");
    assert!(paid < 0.05, "{paid}");
}

/// Three tenths of the stake, and names without any: each of them attacks in several ways.
#[test]
fn everything_at_once_stops_no_epoch_and_pays_less_than_work() {
    let text = include_str!("../../scenarios/everything-at-once.toml");
    let file = ScenarioFile::parse("everything-at-once.toml", text).unwrap();
    let report = run(file.scenario);
    let failed: Vec<_> = report.checks.iter().filter(|check| !check.holds).collect();
    assert!(failed.is_empty(), "{failed:?} {:?}", report.findings);
    let judged = file.checks.iter().map(|check| check.judge(&report.kpis));
    let broken: Vec<_> = judged.filter(|judgement| !judgement.holds).collect();
    assert!(broken.is_empty(), "{broken:?}");
}
