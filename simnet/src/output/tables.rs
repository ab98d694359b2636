//! The tables of one run.

use protocol::{Amount, BlockNumber};

use super::Table;
use crate::report::{EpochRow, Report};

/// An amount in OPEN, for people and plots; exact ones stand beside it in its smallest unit.
#[expect(clippy::cast_precision_loss, reason = "a figure for people")]
pub(super) fn open(amount: Amount) -> f64 {
    amount.0 as f64 / Amount::ONE_OPEN.0 as f64
}

/// All tables with their names.
pub fn tables(report: &Report) -> Vec<(&'static str, Table)> {
    vec![
        ("epochs", epochs(report)),
        ("nodes", nodes(report)),
        ("payouts", payouts(report)),
        ("kpis", kpis(report)),
        ("series", series(report)),
        ("histograms", histograms(report)),
    ]
}

fn epochs(report: &Report) -> Table {
    type Count = (&'static str, fn(&EpochRow) -> u64);
    let count = |table: Table, name: &str, of: fn(&EpochRow) -> u64| {
        table.int(name, report.epochs.iter().map(of))
    };
    let block = |of: fn(&EpochRow) -> Option<BlockNumber>| {
        report.epochs.iter().map(move |row| of(row).map(|block| block.0))
    };
    let mut table = Table::new().int("epoch", report.epochs.iter().map(|row| row.epoch.0));
    let counts: [Count; 15] = [
        ("packs", |row| row.packs),
        ("packs_alive", |row| row.packs_alive),
        ("replicas_assigned", |row| row.replicas_assigned),
        ("replicas_live", |row| row.replicas_live),
        ("replicas_proven", |row| u64::from(row.replicas_proven)),
        ("holders", |row| row.holders),
        ("adverse_holders", |row| row.adverse_holders),
        ("adverse_caught", |row| row.adverse_caught),
        ("others_caught", |row| row.others_caught),
        ("storage_faults", |row| u64::from(row.storage_faults)),
        ("adverse_faults", |row| row.adverse_faults),
        ("honest_not_committed", |row| row.honest_not_committed),
        ("honest_not_opened", |row| row.honest_not_opened),
        ("honest_wrong", |row| row.honest_wrong),
        ("honest_no_quorum", |row| row.honest_no_quorum),
    ];
    for (name, of) in counts {
        table = count(table, name, of);
    }
    table
        .text("status", report.epochs.iter().map(|row| row.status))
        .int("proposed_block", block(|row| row.proposed_block))
        .int("final_block", block(|row| row.final_block))
        .text("total_earned_wei", report.epochs.iter().map(|row| row.total))
        .float("total_earned_open", report.epochs.iter().map(|row| open(row.total)))
}

fn nodes(report: &Report) -> Table {
    let rows = &report.nodes;
    Table::new()
        .int("node", rows.iter().map(|row| u64::from(row.node)))
        .int("account", rows.iter().map(|row| row.account.0))
        .text("kind", rows.iter().map(|row| row.kind))
        .flag("online", rows.iter().map(|row| row.is_online))
        .int("assigned_packs", rows.iter().map(|row| row.assigned))
        .int("held_packs", rows.iter().map(|row| row.held))
        .text("earned_wei", rows.iter().map(|row| row.earned))
        .text("paid_wei", rows.iter().map(|row| row.paid))
        .float("earned_open", rows.iter().map(|row| open(row.earned)))
        .float("paid_open", rows.iter().map(|row| open(row.paid)))
}

fn payouts(report: &Report) -> Table {
    let rows = &report.payouts;
    Table::new()
        .int("epoch", rows.iter().map(|row| row.epoch.0))
        .int("account", rows.iter().map(|row| row.account.0))
        .text("kind", rows.iter().map(|row| row.kind))
        .text("source", rows.iter().map(|row| format!("{:?}", row.line.source).to_lowercase()))
        .text("amount_wei", rows.iter().map(|row| row.line.amount))
        .float("amount_open", rows.iter().map(|row| open(row.line.amount)))
        .text("record", rows.iter().map(|row| row.line.record))
}

fn kpis(report: &Report) -> Table {
    Table::new()
        .text("name", report.kpis.iter().map(|kpi| kpi.name))
        .text("unit", report.kpis.iter().map(|kpi| kpi.unit))
        .float("value", report.kpis.iter().map(|kpi| kpi.value))
}

fn series(report: &Report) -> Table {
    let rows = || report.series.iter().flat_map(|s| s.points.iter().map(move |point| (s, point)));
    Table::new()
        .text("name", rows().map(|(series, _)| series.name))
        .text("unit", rows().map(|(series, _)| series.unit))
        .float("time_s", rows().map(|(_, (time, _))| seconds(time.0)))
        .float("value", rows().map(|(_, (_, value))| *value))
}

fn histograms(report: &Report) -> Table {
    let rows = || report.histograms.iter().flat_map(|h| h.bins.iter().map(move |bin| (h, bin)));
    Table::new()
        .text("name", rows().map(|(histogram, _)| histogram.name))
        .text("unit", rows().map(|(histogram, _)| histogram.unit))
        .float("upper_bound", rows().map(|(_, (bound, _))| *bound))
        .int("count", rows().map(|(_, (_, count))| *count))
}

/// Microseconds as seconds.
#[expect(clippy::cast_precision_loss, reason = "a figure for people")]
pub(super) fn seconds(micros: u64) -> f64 {
    micros as f64 / 1e6
}
