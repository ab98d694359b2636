//! `simnet compare`: what differs between two runs.

use std::{fmt::Write as _, path::PathBuf};

use clap::Args;
use serde_json::json;
use simnet::{
    compare::{Difference, compare},
    output::Row,
    plot::short,
};

use super::{End, print, rows_of};

/// Both are result folders of `run` or `sweep`; the second is compared with the first.
#[derive(Debug, Args)]
pub(crate) struct Compare {
    /// The first folder.
    a: PathBuf,
    /// The second folder.
    b: PathBuf,
    /// Print one JSON object instead of the table.
    #[arg(long)]
    json: bool,
}

impl Compare {
    pub(crate) fn execute(&self) -> anyhow::Result<End> {
        let (a, b) = (rows_of(&self.a)?, rows_of(&self.b)?);
        let differences = compare(&a, &b);
        if differences.is_empty() {
            anyhow::bail!(
                "no point of {} is in {}: the first has {}, the second {}; compare two runs, or two \
                 sweeps with the same values",
                self.a.display(),
                self.b.display(),
                points(&a),
                points(&b)
            );
        }
        if self.json {
            print(&format!("{}\n", json!({ "differences": differences })));
        } else {
            print(&table(&differences));
        }
        Ok(End::Well)
    }
}

/// What a set of runs is at.
fn points(rows: &[Row]) -> String {
    match rows.first() {
        None => "no finished run".to_owned(),
        Some(row) if row.settings.is_empty() => "one scenario without a sweep".to_owned(),
        Some(row) => format!("points like {}", row.label()),
    }
}

fn table(differences: &[Difference]) -> String {
    let mut text = String::new();
    let mut at = None;
    for row in differences {
        if at != Some(&row.at) {
            let (a, b) = row.seeds;
            let pairs = if row.is_paired { ", compared seed by seed" } else { "" };
            let label = if row.at.is_empty() { "one scenario" } else { &row.at };
            line(&mut text, &format!("\n{label}  ({a} and {b} seeds{pairs})"));
            line(
                &mut text,
                &format!(
                    "  {:<28} {:>10} {:>10} {:>9}  {:<20}",
                    "figure", "first", "second", "change", "95 % interval"
                ),
            );
            at = Some(&row.at);
        }
        let percent = row.percent.map_or("–".to_owned(), signed);
        // No percentage of nothing, and no interval from one seed.
        let (a, b) = row.seeds;
        let without = if a.min(b) > 1 { "–" } else { "one seed" };
        let interval = row.interval.map_or(without.to_owned(), |(low, high)| {
            format!("{} to {}", signed(low), signed(high))
        });
        let mark = if row.is_sure() { "*" } else { "" };
        line(
            &mut text,
            &format!(
                "  {:<28} {:>10} {:>10} {percent:>9}  {interval:<20} {mark}",
                row.kpi,
                short(row.a),
                short(row.b)
            ),
        );
    }
    if differences.iter().any(Difference::is_sure) {
        line(&mut text, "\n* the interval leaves out zero");
    }
    text
}

fn line(text: &mut String, line: &str) {
    writeln!(text, "{}", line.trim_end()).expect("a string takes what memory has");
}

fn signed(percent: f64) -> String {
    format!("{percent:+.1} %")
}
