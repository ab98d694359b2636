use protocol::Amount;
use simnet::{
    nodes::Kind,
    report::{KindRow, Report, Status},
};

use crate::{faultless, run, sized, small, with};

const LAZY: Kind = Kind::Adversary("lazy-storage");

fn of(report: &Report, kind: Kind) -> KindRow {
    *report.kinds.iter().find(|row| row.kind == kind).unwrap()
}

#[test]
fn lazy_nodes_are_caught_and_end_unpaid_through_a_final_settlement() {
    let report = run(small());
    let failed: Vec<_> = report.checks.iter().filter(|check| !check.holds).collect();
    assert!(report.is_complete && failed.is_empty(), "{failed:?}");
    assert_eq!(report.epochs.len(), 2);
    let mut assigned = 0;
    for row in &report.epochs {
        assert_eq!(row.status, Status::Final);
        assert!(row.final_block > row.proposed_block);
        assert_eq!(row.adverse_caught, row.adverse_holders, "auditors caught every lazy holder");
        assert_eq!(u64::from(row.storage_faults), row.adverse_holders);
        assert_eq!(row.replicas_assigned, 120);
        // Who leaves after it has proven is paid for the epoch, though its replicas are gone.
        assert!(u64::from(row.replicas_proven) <= row.replicas_assigned);
        assigned += row.adverse_holders;
    }
    assert!(assigned > 0, "lazy nodes were assigned packs");
    assert_eq!(of(&report, LAZY).nodes, 4);
    assert_eq!(of(&report, LAZY).paid, Amount::ZERO);
    assert_eq!(of(&report, LAZY).earned, Amount::ZERO);
    let honest = of(&report, Kind::Honest);
    assert!(honest.paid > Amount::ZERO);
    assert_eq!(honest.paid, honest.earned, "who is online claims what it earned");
}

#[test]
fn the_contracts_paid_exactly_what_the_settlements_say() {
    let report = run(small());
    let books = report.final_books;
    assert!(books.supply_holds() && books.vault_holds());
    let paid = report.nodes.iter().fold(Amount::ZERO, |sum, node| sum.saturating_add(node.paid));
    assert_eq!(paid, books.paid);
    let lines =
        report.payouts.iter().fold(Amount::ZERO, |sum, row| sum.saturating_add(row.line.amount));
    assert_eq!(lines, report.epochs.last().unwrap().total);
}

#[test]
fn without_faults_and_losses_every_replica_is_proven() {
    let report = run(with(small(), faultless));
    assert!(report.holds());
    for row in &report.epochs {
        assert_eq!(row.packs_alive, row.packs);
        assert_eq!(row.replicas_live, row.replicas_assigned);
        assert_eq!(u64::from(row.replicas_proven), row.replicas_assigned);
        assert_eq!(row.storage_faults, 0);
    }
}

#[test]
fn lost_gossip_is_repaired_by_pulling() {
    let report = run(with(small(), |scenario| {
        faultless(scenario);
        scenario.net.loss = 0.3;
    }));
    assert!(report.holds());
    let slowest = report.histograms[0].bins.last().unwrap().0;
    assert!(slowest > 2_000.0, "what was lost comes by pulling, {slowest} ms after it was sent");
    for row in &report.epochs {
        assert_eq!(u64::from(row.replicas_proven), row.replicas_assigned);
    }
}

#[test]
fn who_claims_less_often_has_no_less_and_sends_fewer_transactions() {
    let often = with(sized(20, 6, 30, 2), faultless);
    let seldom = run(with(often.clone(), |s| s.chain.claim_epochs = 4));
    let often = run(often);
    let totals = |report: &Report| {
        let honest = of(report, Kind::Honest);
        (honest.earned, honest.paid)
    };
    let ((earned, paid), (same, later)) = (totals(&often), totals(&seldom));
    assert_eq!((earned, paid), (same, earned), "every epoch is claimed");
    // Accounts take turns: of the last four epochs they have claimed up to each.
    assert!(later < paid && later > Amount(paid.0 / 2));
    assert!(seldom.nodes.iter().all(|node| node.paid > Amount::ZERO));
    let claims = often.totals.transactions - seldom.totals.transactions;
    assert!(claims > 20 * 3, "{claims} fewer");
}
