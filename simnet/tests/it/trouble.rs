//! Faults, adversaries and operators in whole runs.

use protocol::{record::Record, settle::Source};
use simnet::{
    Scenario, World,
    adversary::{self, Adversary, AdversaryKind, Profile},
    report::Report,
    scenario::{AdversaryPlan, ChurnModel, FaultEvent, FaultKind, PricePoint},
    units::Span,
};

use crate::{faultless, run, sized, with};

fn kpi(report: &Report, name: &str) -> f64 {
    let kpi = report.kpis.iter().find(|kpi| kpi.name == name).unwrap();
    kpi.value.unwrap_or_else(|| panic!("nothing to take {name} from"))
}

fn failed(report: &Report) -> Vec<&'static str> {
    report.checks.iter().filter(|check| !check.holds).map(|check| check.name).collect()
}

fn calm() -> Scenario {
    with(sized(30, 2, 24, 2), faultless)
}

#[test]
fn no_adversary_that_is_simulated_breaks_a_rule_or_ruins_the_honest() {
    let is_harmless = |kind: &AdversaryKind| {
        // What it does has a test of its own.
        kind.needs().is_none() && *kind != adversary::CENSORING_PROPOSER
    };
    for kind in adversary::ALL.into_iter().filter(is_harmless) {
        let report = run(with(calm(), |s| {
            s.adversaries = vec![AdversaryPlan::new(kind, 0.2)];
            s.training.rounds = u32::from(kind.needs_model());
        }));
        let broken = failed(&report);
        assert!(broken.is_empty(), "{kind}: {broken:?} {:?}", report.findings);
        assert!(kpi(&report, "honest_unpaid") < 0.2, "{kind}");
    }
}

/// Signs nothing at all.
struct Silent;

impl Adversary for Silent {
    fn sign(&mut self, _: &mut dyn World, _: usize, _: Record) -> Vec<(Span, Record)> {
        Vec::new()
    }
}

static SILENT: Profile = Profile::new("silent", "Signs nothing.", |_| Box::new(Silent));

#[test]
fn an_adversary_of_ones_own_acts_together_with_those_that_files_name() {
    let report = run(with(calm(), |s| {
        let mut plan = AdversaryPlan::new(AdversaryKind(&SILENT), 0.2);
        plan.also = vec![adversary::LAZY_AUDITOR, adversary::LATE_REVEAL];
        s.adversaries = vec![plan];
    }));
    assert!(failed(&report).is_empty(), "{:?}", report.findings);
    assert!(report.kinds.iter().any(|row| row.kind.to_string() == "silent"));
    assert_eq!(kpi(&report, "pay_adverse_mean"), 0.0, "whatever the others of its kind would do");
}

#[test]
fn a_censoring_proposer_takes_nothing_from_anybody() {
    let mut defeated = 0;
    for seed in 1..=6 {
        let report = run(with(calm(), |s| {
            (s.seed, s.epochs) = (seed, 8);
            s.adversaries = vec![AdversaryPlan::new(adversary::CENSORING_PROPOSER, 0.2)];
        }));
        assert!(failed(&report).is_empty(), "{:?}", report.findings);
        assert_eq!(report.totals.wrong_settlements > 0, report.totals.defeated > 0);
        defeated += report.totals.defeated;
        assert_eq!(kpi(&report, "honest_unpaid"), 0.0);
        let is_whole = |row: &simnet::report::EpochRow| {
            u64::from(row.replicas_proven) == row.replicas_assigned
        };
        assert!(report.epochs.iter().all(is_whole));
        // A fifth of them has no turn in one of six runs so long.
        if defeated > 0 {
            break;
        }
    }
    assert!(defeated > 0, "some of them had their turn");
}

#[test]
fn whoever_stores_nothing_is_caught_again_and_again_under_every_name() {
    let report = run(with(calm(), |s| {
        s.epochs = 4;
        s.adversaries = vec![AdversaryPlan::new(adversary::WHITEWASHING, 0.2)];
    }));
    assert_eq!(kpi(&report, "pay_adverse_mean"), 0.0);
    assert!(kpi(&report, "adverse_nodes_caught") > 0.5);
    assert!(kpi(&report, "detection_time_mean") < 120.0, "within the first epoch");
}

#[test]
fn fetching_on_demand_pays_only_on_a_fast_line() {
    let paid = |mbit| {
        let report = run(with(calm(), |s| {
            (s.net.down_mbit, s.net.up_mbit) = (mbit, mbit);
            s.adversaries = vec![AdversaryPlan::new(adversary::ON_DEMAND, 0.2)];
        }));
        // Audits are paid on any line.
        let storage = report.payouts.iter().filter(|row| row.line.source == Source::Storage);
        storage.filter(|row| row.kind.is_adverse()).map(|row| row.line.amount.0).sum::<u128>()
    };
    // The commit window is 40 s; two packs of 40 KiB take half a minute at 0.01 Mbit/s each.
    assert!(paid(20.0) > 4 * paid(0.01));
}

/// Half of the proposers lie; the arbiter rules after some blocks, or never.
fn lied_to(kind: AdversaryKind, arbiter_blocks: u64) -> Report {
    let report = run(with(calm(), |s| {
        s.epochs = 4;
        s.chain.arbiter_blocks = arbiter_blocks;
        s.adversaries = vec![AdversaryPlan::new(kind, 0.5)];
    }));
    assert!(report.final_books.vault_holds() && report.final_books.supply_holds());
    assert!(report.findings.is_empty(), "{:?}", report.findings);
    // Nobody pays gas again and again for what an objection stops.
    assert!(report.totals.reverted * 4 < report.totals.transactions, "{:?}", report.totals);
    report
}

#[test]
fn a_false_settlement_falls_and_the_next_in_rank_settles() {
    let report = lied_to(adversary::FALSE_SETTLEMENT, 10);
    assert!(report.totals.wrong_settlements > 0);
    assert!(report.totals.defeated > 0);
    assert_eq!(kpi(&report, "epochs_settled"), 1.0);
    assert_eq!(kpi(&report, "honest_unpaid"), 0.0);
}

#[test]
fn without_an_arbiter_a_false_settlement_stops_nothing() {
    let report = lied_to(adversary::FALSE_SETTLEMENT, 0);
    assert!(report.totals.wrong_settlements > 0);
    assert!(report.totals.defeated > 0, "by what became final");
    assert_eq!(kpi(&report, "epochs_settled"), 1.0);
    assert_eq!(kpi(&report, "honest_unpaid"), 0.0);
}

/// What ARCHITECTURE.md says that an epoch takes to be settled, whoever lies: each turn of somebody who is
/// false or absent costs the wait for the next, and objections to what is right one ruling.
#[test]
fn three_tenths_of_liars_delay_an_epoch_by_no_more_than_their_turns_and_a_ruling() {
    let mut defeated = 0;
    for seed in 1..=8 {
        let scenario = with(calm(), |s| {
            (s.seed, s.epochs) = (seed, 4);
            let liars = [
                adversary::FALSE_SETTLEMENT,
                adversary::CENSORING_PROPOSER,
                adversary::OBJECTION,
                adversary::ABSENT_PROPOSER,
            ];
            s.adversaries = liars.map(|kind| AdversaryPlan::new(kind, 0.075)).to_vec();
        });
        let rules = &scenario.chain;
        let turn = scenario.params().propose_fallback_blocks.0;
        // Of eight turns at least one is honest, but for one epoch in 15,000; and what is sent in a block
        // is in the next, and known of in the one after.
        let turns = 8 * turn + 4;
        let bound = rules.settle_blocks + turns + rules.challenge_blocks + rules.arbiter_blocks;
        let report = run(scenario);
        assert!(failed(&report).is_empty(), "seed {seed}: {:?}", report.findings);
        let delay = kpi(&report, "settlement_delay");
        assert!(delay <= bound as f64, "seed {seed}: {delay} blocks, at most {bound}");
        defeated += report.totals.defeated;
        assert_eq!(kpi(&report, "honest_unpaid"), 0.0, "seed {seed}");
    }
    assert!(defeated > 0, "some of them had their turn");
}

/// A ruling ends a lie, and moves nobody's turn: as many blocks as ARCHITECTURE.md says, without one.
#[test]
fn rulings_on_lies_cost_no_turn_where_half_of_the_proposers_lie() {
    for seed in 1..=8 {
        let scenario = with(calm(), |s| {
            (s.seed, s.epochs) = (seed, 4);
            s.adversaries = vec![AdversaryPlan::new(adversary::FALSE_SETTLEMENT, 0.5)];
        });
        let rules = &scenario.chain;
        let turn = scenario.params().propose_fallback_blocks.0;
        // Of ten turns at least one is honest, but for one epoch in 1,000.
        let bound = rules.settle_blocks + 10 * (turn + 1) + rules.challenge_blocks + 4;
        let report = run(scenario);
        assert!(failed(&report).is_empty(), "seed {seed}: {:?}", report.findings);
        let delay = kpi(&report, "settlement_delay");
        assert!(delay <= bound as f64, "seed {seed}: {delay} blocks, at most {bound}");
    }
}

#[test]
fn an_arbiter_that_is_away_for_long_costs_a_few_turns_where_half_of_them_lie() {
    let report = |lasts| {
        run(with(calm(), |s| {
            s.epochs = 4;
            s.adversaries = vec![AdversaryPlan::new(adversary::FALSE_SETTLEMENT, 0.5)];
            let away = FaultEvent::new(Span::ZERO, FaultKind::ArbiterOutage, Span::seconds(lasts));
            s.events = vec![away];
        }))
    };
    let (there, away) = (report(1), report(500));
    assert!(failed(&away).is_empty(), "{:?} {:?}", failed(&away), away.findings);
    let delay = |report| kpi(report, "settlement_delay");
    // Ten turns at most, where it is away for 250 blocks.
    assert!(delay(&away) <= 8.0 + 10.0 * 4.0 + 12.0 + 4.0, "{} {}", delay(&there), delay(&away));
    assert_eq!(kpi(&away, "honest_unpaid"), 0.0);
}

#[test]
fn churn_lowers_what_is_proven_and_returning_nodes_prove_again() {
    let report = run(with(calm(), |s| {
        s.churn.model = ChurnModel::Weibull;
        s.churn.session = Span::seconds(200);
        s.churn.pause = Span::seconds(60);
    }));
    assert!(report.totals.sessions > 30);
    let proven = kpi(&report, "replicas_proven");
    assert!((0.2..1.0).contains(&proven), "{proven}");
    assert!(failed(&report).iter().all(|name| !name.contains("fault")), "{:?}", failed(&report));
}

#[test]
fn every_fault_passes_and_what_it_cost_comes_back() {
    for fault in FaultKind::ALL {
        let mut event = FaultEvent::new(Span::seconds(250), fault, Span::seconds(20));
        event.share = 0.3;
        let report = run(with(calm(), |s| {
            s.epochs = 3;
            s.events = vec![event];
        }));
        let last = report.epochs.last().unwrap();
        assert_eq!(u64::from(last.replicas_proven), last.replicas_assigned, "{fault}");
        let broken = failed(&report);
        assert!(broken.is_empty(), "{fault}: {broken:?}");
    }
}

#[test]
fn operators_pay_for_what_they_send() {
    let cost = |upload| {
        let report = run(with(calm(), |s| s.economics.upload = upload));
        (kpi(&report, "cost_per_gib_month"), report.trace)
    };
    let ((free, before), (dear, after)) = (cost(0.0), cost(50.0));
    assert!(dear > 1.01 * free, "{dear} against {free}");
    assert_eq!(before, after, "who does not look at losses does nothing else for it");
}

#[test]
fn operators_quit_when_the_token_is_worth_nothing_and_stay_when_it_pays() {
    let operators = |usd| {
        run(with(calm(), |s| {
            s.epochs = 4;
            s.economics.price = vec![PricePoint { at: Span::ZERO, usd }];
            s.economics.patience = 2;
        }))
    };
    let (dear, worthless) = (operators(1_000.0), operators(0.0));
    assert!(kpi(&worthless, "operators_quit") > 25.0, "all lose");
    assert!(kpi(&dear, "operators_quit") < 10.0);
    assert!(kpi(&dear, "cost_per_gib_month") > 0.0);
}

/// Half pass all that they are drawn for, and a fifth of all nodes store nothing.
fn lazy_friends(seed: u64) -> Scenario {
    with(sized(40, 3, 40, 3), |s| {
        faultless(s);
        s.seed = seed;
        let mut lazy = AdversaryPlan::new(adversary::LAZY_STORAGE, 0.2);
        lazy.also = vec![adversary::LAZY_AUDITOR];
        s.adversaries = vec![lazy, AdversaryPlan::new(adversary::LAZY_AUDITOR, 0.3)];
    })
}

#[test]
fn lazy_holders_with_friends_among_their_auditors_are_unpaid_where_one_honest_one_looks() {
    let (mut caught, mut faults) = (0, 0);
    for seed in [1, 90_100] {
        let report = run(lazy_friends(seed));
        let broken = failed(&report);
        assert!(broken.is_empty(), "seed {seed}: {broken:?} {:?}", report.findings);
        caught += report.epochs.iter().map(|row| row.adverse_caught).sum::<u64>();
        faults += report.epochs.iter().map(|row| row.adverse_faults).sum::<u64>();
    }
    assert!(caught > 20 && faults >= caught, "{caught} caught, {faults} at fault");
}

#[test]
fn disputing_what_others_hold_earns_nothing_and_costs_them_nothing() {
    let griefed = run(with(calm(), |s| {
        s.adversaries = vec![AdversaryPlan::new(adversary::DISPUTE_GRIEFING, 0.2)];
    }));
    assert!(failed(&griefed).is_empty(), "{:?} {:?}", failed(&griefed), griefed.findings);
    assert_eq!(griefed.epochs.iter().map(|row| row.storage_faults).sum::<u32>(), 0);
    assert!(kpi(&griefed, "honest_unpaid") < 1e-9);
}
