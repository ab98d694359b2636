//! Results for people and programs: a table, CSV files, `run.json`.

mod table;

use std::{
    fmt::{self, Write as _},
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use protocol::Amount;
use serde::Serialize;

pub use table::{Column, Table, Values};

use crate::report::{EpochRow, Report};

/// What a run cost the machine that ran it; not part of what is reproducible.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Cost {
    /// Wall time in seconds.
    pub seconds: f64,
    /// Virtual over wall time.
    pub speed_up: f64,
    /// Events per second of wall time.
    pub events_per_second: f64,
    /// Largest resident memory in bytes, where the system tells.
    pub peak_memory: Option<u64>,
}

impl Cost {
    /// The cost of a run that took `wall`.
    #[expect(clippy::cast_precision_loss, reason = "a report to three digits")]
    pub fn new(report: &Report, wall: Duration) -> Self {
        let seconds = wall.as_secs_f64().max(1e-6);
        Self {
            seconds,
            speed_up: report.time.0 as f64 / 1e6 / seconds,
            events_per_second: report.totals.events as f64 / seconds,
            peak_memory: peak_memory(),
        }
    }
}

/// The high-water mark of this process (Linux).
fn peak_memory() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib << 10)
}

/// Results that could not be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot write {}: {source}", path.display())]
pub struct WriteError {
    /// Which file.
    pub path: PathBuf,
    /// Why.
    pub source: io::Error,
}

#[derive(Serialize)]
struct Run<'a> {
    version: &'static str,
    seed: u64,
    #[serde(flatten)]
    report: &'a Report,
    cost: Cost,
}

/// The run as one JSON object: reproducible but for `cost`.
pub fn json(report: &Report, cost: Cost) -> serde_json::Value {
    let version = env!("CARGO_PKG_VERSION");
    let run = Run { version, seed: report.scenario.seed, report, cost };
    serde_json::to_value(run).expect("a report has only text keys and numbers")
}

/// Creates the folder for results, before the run is paid for.
///
/// # Errors
/// [`WriteError`] naming the folder.
pub fn prepare(dir: &Path) -> Result<(), WriteError> {
    fs::create_dir_all(dir).map_err(|source| WriteError { path: dir.to_owned(), source })
}

/// Writes `epochs.csv`, `nodes.csv`, `payouts.csv` and `run.json`.
///
/// # Errors
/// [`WriteError`] naming the file.
pub fn write(report: &Report, cost: Cost, dir: &Path) -> Result<(), WriteError> {
    let mut run = json(report, cost).to_string();
    run.push('\n');
    let files = [
        ("epochs.csv", epochs_csv(report)),
        ("nodes.csv", nodes_csv(report)),
        ("payouts.csv", payouts_csv(report)),
        ("run.json", run),
    ];
    for (name, text) in files {
        let path = dir.join(name);
        fs::write(&path, text).map_err(|source| WriteError { path, source })?;
    }
    Ok(())
}

/// The columns of `epochs.csv`.
fn epoch_columns(row: &EpochRow) -> [(&'static str, String); 20] {
    let block =
        |block: Option<protocol::BlockNumber>| block.map_or(String::new(), |b| b.to_string());
    [
        ("epoch", row.epoch.to_string()),
        ("packs", row.packs.to_string()),
        ("packs_alive", row.packs_alive.to_string()),
        ("replicas_assigned", row.replicas_assigned.to_string()),
        ("replicas_live", row.replicas_live.to_string()),
        ("replicas_proven", row.replicas_proven.to_string()),
        ("holders", row.holders.to_string()),
        ("adverse_holders", row.adverse_holders.to_string()),
        ("adverse_caught", row.adverse_caught.to_string()),
        ("others_caught", row.others_caught.to_string()),
        ("storage_faults", row.storage_faults.to_string()),
        ("adverse_faults", row.adverse_faults.to_string()),
        ("honest_not_committed", row.honest_not_committed.to_string()),
        ("honest_not_opened", row.honest_not_opened.to_string()),
        ("honest_wrong", row.honest_wrong.to_string()),
        ("honest_no_quorum", row.honest_no_quorum.to_string()),
        ("status", row.status.to_string()),
        ("proposed_block", block(row.proposed_block)),
        ("final_block", block(row.final_block)),
        ("total", row.total.to_string()),
    ]
}

fn epochs_csv(report: &Report) -> String {
    let rows: Vec<_> = report.epochs.iter().map(epoch_columns).collect();
    let mut text = String::new();
    if let Some(first) = rows.first() {
        text.push_str(&first.each_ref().map(|(name, _)| *name).join(","));
        text.push('\n');
    }
    for row in rows {
        text.push_str(&row.map(|(_, value)| value).join(","));
        text.push('\n');
    }
    text
}

fn nodes_csv(report: &Report) -> String {
    let mut text = "node,account,kind,online,assigned,held,earned,paid\n".to_owned();
    for row in &report.nodes {
        let (node, account, kind) = (row.node, row.account, row.kind);
        let (online, assigned, held) = (row.is_online, row.assigned, row.held);
        let (earned, paid) = (row.earned, row.paid);
        line(
            &mut text,
            format_args!("{node},{account},{kind},{online},{assigned},{held},{earned},{paid}"),
        );
    }
    text
}

fn payouts_csv(report: &Report) -> String {
    let mut text = "epoch,account,kind,source,amount,record\n".to_owned();
    for row in &report.payouts {
        let source = format!("{:?}", row.line.source).to_lowercase();
        let (epoch, account, kind) = (row.epoch, row.account, row.kind);
        let (amount, record) = (row.line.amount, row.line.record);
        line(&mut text, format_args!("{epoch},{account},{kind},{source},{amount},{record}"));
    }
    text
}

fn line(text: &mut String, line: fmt::Arguments<'_>) {
    writeln!(text, "{line}").expect("a string takes what memory has");
}

/// The report as a table for people.
pub fn table(report: &Report, cost: Cost) -> String {
    let mut text = String::new();
    epochs_table(&mut text, report);
    kinds_table(&mut text, report);
    totals_table(&mut text, report, cost);
    line(&mut text, format_args!("\nchecks"));
    for check in &report.checks {
        let mark = if check.holds { "ok  " } else { "FAIL" };
        line(&mut text, format_args!("  {mark} {}", check.name));
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
            "  {:>8}  {:>6}  {:>14}  {:>14}  {:>14}",
            "kind", "nodes", "earned", "paid", "mean paid"
        ),
    );
    for row in &report.kinds {
        let [earned, paid, mean] = [row.earned, row.paid, row.mean].map(open);
        let (kind, nodes) = (row.kind, row.nodes);
        line(text, format_args!("  {kind:>8}  {nodes:>6}  {earned:>14}  {paid:>14}  {mean:>14}"));
    }
}

fn totals_table(text: &mut String, report: &Report, cost: Cost) {
    let totals = &report.totals;
    let memory =
        cost.peak_memory.map_or("unknown".to_owned(), |bytes| format!("{} MiB", bytes >> 20));
    line(
        text,
        format_args!(
            "\n{} blocks, {} transactions ({} reverted), {} records, {} of {} gossip deliveries lost, \
             {} records pulled",
            totals.blocks,
            totals.transactions,
            totals.reverted,
            totals.records,
            totals.gossip_lost,
            totals.gossip_sent,
            totals.pulled
        ),
    );
    line(
        text,
        format_args!(
            "simulated {:.0} s in {:.1} s: {:.1} times real time, {:.0} events/s, {memory}",
            report.time.millis() as f64 / 1e3,
            cost.seconds,
            cost.speed_up,
            cost.events_per_second
        ),
    );
}

/// An amount in OPEN with four decimals, cut off.
fn open(amount: Amount) -> String {
    let whole = amount.0 / Amount::ONE_OPEN.0;
    let rest = amount.0 % Amount::ONE_OPEN.0 / (Amount::ONE_OPEN.0 / 10_000);
    format!("{whole}.{rest:04}")
}
