//! A report on the screen.

use std::fmt::{self, Write as _};

use protocol::Amount;

use super::Cost;
use crate::{Scenario, plot::short, report::Report, scenario_file::Judgement, units::Span};

fn line(text: &mut String, line: fmt::Arguments<'_>) {
    writeln!(text, "{line}").expect("a string takes what memory has");
}

/// The report as a table for people.
pub fn table(report: &Report, judgements: &[Judgement], cost: Cost) -> String {
    let mut text = String::new();
    epochs_table(&mut text, report);
    kinds_table(&mut text, report);
    totals_table(&mut text, report, cost);
    kpis_table(&mut text, report);
    line(&mut text, format_args!("\nchecks"));
    for check in &report.checks {
        let mark = if check.holds { "ok  " } else { "FAIL" };
        line(&mut text, format_args!("  {mark} {}", check.name));
    }
    for finding in &report.findings {
        line(&mut text, format_args!("       {finding}"));
    }
    for judgement in judgements {
        let mark = if judgement.holds { "ok  " } else { "FAIL" };
        line(&mut text, format_args!("  {mark} {judgement}"));
    }
    if !report.is_complete {
        line(&mut text, format_args!("\nstopped early: these results are partial"));
    }
    line(&mut text, format_args!("\nseed {}   trace {}", report.scenario.seed, report.trace));
    text
}

fn epochs_table(text: &mut String, report: &Report) {
    line(text, format_args!("durability, detections and settlement"));
    line(
        text,
        format_args!(
            "  {:>5}  {:>11}  {:>14}  {:>8}  {:>13}  {:>6}  {:>9}  {:>9}",
            "epoch",
            "packs alive",
            "replicas alive",
            "proven",
            "cheats caught",
            "faults",
            "no quorum",
            "settled"
        ),
    );
    for row in &report.epochs {
        let packs = format!("{}/{}", row.packs_alive, row.packs);
        let replicas = format!("{}/{}", row.replicas_live, row.replicas_assigned);
        let lazy = format!("{} of {}", row.adverse_caught, row.adverse_holders);
        let (epoch, proven, faults) = (row.epoch, row.replicas_proven, row.storage_faults);
        let (quorum, status) = (row.honest_no_quorum, row.status);
        line(
            text,
            format_args!(
                "  {epoch:>5}  {packs:>11}  {replicas:>14}  {proven:>8}  {lazy:>13}  {faults:>6}  \
                 {quorum:>9}  {status:>9}"
            ),
        );
    }
}

fn kinds_table(text: &mut String, report: &Report) {
    line(text, format_args!("\npayouts, in OPEN"));
    line(
        text,
        format_args!(
            "  {:<20}  {:>6}  {:>14}  {:>14}  {:>14}",
            "kind", "nodes", "earned", "paid", "mean paid"
        ),
    );
    for row in &report.kinds {
        let [earned, paid, mean] = [row.earned, row.paid, row.mean].map(open);
        let (kind, nodes) = (row.kind, row.nodes);
        line(text, format_args!("  {kind:<20}  {nodes:>6}  {earned:>14}  {paid:>14}  {mean:>14}"));
    }
}

fn kpis_table(text: &mut String, report: &Report) {
    line(text, format_args!("\nkey figures"));
    for kpi in &report.kpis {
        let Some(value) = kpi.value else { continue };
        let (name, value, unit) = (kpi.name, short(value), kpi.unit);
        line(text, format_args!("  {name:<28} {value:>10}  {unit}"));
    }
    let absent = report.kpis.iter().filter(|kpi| kpi.value.is_none()).count();
    if absent > 0 {
        let about = "have nothing here to be taken from; `simnet explain` lists all";
        line(text, format_args!("  {absent} others {about}"));
    }
}

fn totals_table(text: &mut String, report: &Report, cost: Cost) {
    let totals = &report.totals;
    line(
        text,
        format_args!(
            "\n{} blocks, {} transactions ({} reverted), {} records, {} handed to machines, {} \
             transfers lost",
            totals.blocks,
            totals.transactions,
            totals.reverted,
            totals.records,
            totals.delivered,
            totals.lost_transfers
        ),
    );
    line(
        text,
        format_args!(
            "simulated {:.0} s in {:.1} s: {:.1} times real time, {:.0} events/s\n{}",
            report.time.millis() as f64 / 1e3,
            cost.seconds,
            cost.speed_up,
            cost.events_per_second,
            cost.held()
        ),
    );
    if let Some(note) = quantum_note(&report.scenario, totals.quantum_shift) {
        line(text, format_args!("{note}"));
    }
}

/// What the time quantum did to times, where it is not the finest; a mean shift in microseconds.
pub(super) fn quantum_note(scenario: &Scenario, shift: f64) -> Option<String> {
    (scenario.quantum > Span(1)).then(|| {
        format!(
            "times are rounded up to multiples of {}, by {} ms on average; compare with a run with \
             --set quantum=1us for what that changes",
            scenario.quantum,
            short(shift / 1e3)
        )
    })
}

/// An amount in OPEN with four decimals, cut off.
fn open(amount: Amount) -> String {
    let whole = amount.0 / Amount::ONE_OPEN.0;
    let rest = amount.0 % Amount::ONE_OPEN.0 / (Amount::ONE_OPEN.0 / 10_000);
    format!("{whole}.{rest:04}")
}
