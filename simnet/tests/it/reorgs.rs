//! The chain's newest blocks are replaced.

use simnet::{Scenario, report::Report, runner, scenario_file::ScenarioFile};

use crate::{faultless, run, sized, with};

fn forked(change: impl FnOnce(&mut Scenario)) -> Report {
    run(with(sized(20, 4, 16, 2), |s| {
        faultless(s);
        s.chain.reorg = 0.05;
        s.chain.reorg_depth = 2.0;
        change(s);
    }))
}

fn kpi(report: &Report, name: &str) -> f64 {
    report.kpis.iter().find(|kpi| kpi.name == name).and_then(|kpi| kpi.value).unwrap()
}

#[test]
fn nodes_stop_where_blocks_that_they_read_are_replaced_and_the_books_hold() {
    let report = forked(|_| {});
    // Reorgs this often keep epochs from being settled, and make honest nodes faulty whose commitment
    // was for the seed of a block that is gone; money is never wrong.
    let known = ["every epoch is settled for good", "nobody but adversaries is at fault"];
    let failed = report.checks.iter().filter(|check| !check.holds);
    let failed: Vec<_> = failed.filter(|check| !known.contains(&check.name)).collect();
    assert!(report.is_complete && failed.is_empty(), "{failed:?} {:?}", report.findings);
    assert!(report.totals.reorgs > 5, "{}", report.totals.reorgs);
    let depth = report.totals.replaced_blocks as f64 / report.totals.reorgs as f64;
    assert!((1.0..4.0).contains(&depth), "{depth}");
    assert!(kpi(&report, "reorg_stops") > 3.0, "a stop at each for most nodes");
    assert!(report.final_books.supply_holds() && report.final_books.vault_holds());
    let paid: u128 = report.nodes.iter().map(|node| node.paid.0).sum();
    assert_eq!(paid, report.final_books.paid.0, "who was paid is who the contract paid");
}

#[test]
fn who_reads_below_the_deepest_reorg_never_stops() {
    let report = forked(|s| {
        s.chain.reorg_limit = 3;
        s.chain.confirmations = 3;
    });
    assert!(report.totals.reorgs > 5);
    assert_eq!(report.totals.reorg_stops, 0);
    assert!(report.checks.iter().all(|check| check.holds), "{:?}", report.findings);
    assert!((kpi(&report, "epochs_settled") - 1.0).abs() < 1e-9);
    let shallow = forked(|s| {
        s.chain.reorg_limit = 3;
        s.chain.confirmations = 1;
    });
    assert!(shallow.totals.reorg_stops > 0);
}

#[test]
fn reorgs_are_the_same_from_the_same_seed_and_none_are_as_if_the_key_were_not_there() {
    assert_eq!(forked(|_| {}).trace, forked(|_| {}).trace);
    let without = |limit| forked(|s| (s.chain.reorg, s.chain.reorg_limit) = (0.0, limit));
    assert_eq!(without(1).trace, without(32).trace);
}

#[test]
fn reorgs_that_cannot_be_are_refused() {
    let refused = |text: &str| {
        let file = ScenarioFile::parse("a.toml", &format!("[chain]\n{text}")).unwrap();
        runner::run(&file.scenario, &mut |_| true).unwrap_err().to_string()
    };
    assert_eq!(refused("reorg = 2"), "chain.reorg is 2; it has to be from 0 to 1");
    assert_eq!(refused("reorg_depth = 0.5"), "chain.reorg_depth is 0.5; it has to be at least 1");
    assert_eq!(
        refused("reorg = 0.01\n[training]\nrounds = 1"),
        "not simulated yet: taking back orders and receipts of replaced blocks, which chain.reorg \
         with training needs"
    );
    assert!(refused("confirmations = 40").contains("an epoch of 60 blocks is too short"));
}
