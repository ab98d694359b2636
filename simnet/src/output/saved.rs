//! `run.json`: a run as it is kept, read back by `plot`, `compare` and `replay`.

use std::{fs, io, path::Path};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{
    COMMIT, Cost, Finished,
    tables::{open, seconds},
};
use crate::{
    Scenario, plot,
    report::{EpochRow, Report},
    scenario_file::Judgement,
};

/// A number with its name and unit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Named {
    /// The name in reports.
    pub name: String,
    /// The unit of the values.
    pub unit: String,
    /// The value; `None` where there was nothing to take it from.
    pub value: Option<f64>,
}

/// A figure over epochs or time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Line {
    /// The name in reports.
    pub name: String,
    /// The unit of the values.
    pub unit: String,
    /// What x is: `epoch` or `time_h`.
    pub over: String,
    /// Its points, by the first number.
    pub points: Vec<(f64, f64)>,
}

/// A distribution: at each value the share up to it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Distribution {
    /// The name in reports.
    pub name: String,
    /// The unit of the values.
    pub unit: String,
    /// Its points, by the first number.
    pub points: Vec<(f64, f64)>,
}

/// Something that has to hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedCheck {
    /// What has to hold, as a sentence.
    pub name: String,
    /// Whether it does.
    pub holds: bool,
}

/// A run as it is kept. Everything but `cost` is reproducible.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Saved {
    /// Version of simnet.
    pub version: String,
    /// The commit it was built from, with `-dirty` where files had changed since; none where it was
    /// built outside of a checkout and `SIMNET_COMMIT` did not say.
    pub commit: Option<String>,
    /// From which every draw followed.
    pub seed: u64,
    /// BLAKE3 of `scenario.toml`.
    pub scenario_hash: String,
    /// BLAKE3 of the figures from outside that this version has.
    pub data_hash: String,
    /// What was simulated.
    pub scenario: Scenario,
    /// The hash over every output of every node.
    pub trace: String,
    /// Whether the run came to its end; otherwise all of this is partial.
    pub is_complete: bool,
    /// Virtual time at the end, in seconds.
    pub time_s: f64,
    /// The key figures of the report.
    pub kpis: Vec<Named>,
    /// The invariants, and whether they hold.
    pub checks: Vec<SavedCheck>,
    /// Where an invariant that does not hold was first broken.
    pub findings: Vec<String>,
    /// The scenario's own assertions.
    pub assertions: Vec<SavedAssertion>,
    /// Figures over epochs and time.
    pub lines: Vec<Line>,
    /// Distributions over nodes and deliveries.
    pub distributions: Vec<Distribution>,
    /// Mean pay by kind of node.
    pub pay: Vec<Named>,
    /// Counts over the whole run, by name.
    pub totals: Map<String, Value>,
    /// Epochs, kinds of nodes and the contracts' books, row by row.
    pub rows: Map<String, Value>,
    /// What it cost the machine that ran it.
    pub cost: Cost,
}

/// An assertion and its outcome.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SavedAssertion {
    /// The key figure, by its name in reports.
    pub kpi: String,
    /// The conditions, as the scenario states them.
    pub wanted: String,
    /// What the run gave.
    pub value: Option<f64>,
    /// Whether they hold.
    pub holds: bool,
}

impl From<&Judgement> for SavedAssertion {
    fn from(judgement: &Judgement) -> Self {
        let Judgement { kpi, wanted, value, holds } = judgement.clone();
        Self { kpi, wanted, value, holds }
    }
}

/// Results that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum SavedError {
    /// No such file, or it cannot be opened.
    #[error("cannot read {path}: {source}; it has to be the --out folder of a run")]
    Read {
        /// The file that was read.
        path: String,
        /// What the system said.
        source: io::Error,
    },
    /// It is not what this version writes.
    #[error("{path} was not written by this version of simnet: {source}")]
    Format {
        /// The file that was read.
        path: String,
        /// What is wrong with the JSON.
        source: serde_json::Error,
    },
}

fn plain<T: Serialize>(value: &T) -> Value {
    serde_json::to_value(value).expect("a report has only text keys and numbers")
}

impl Saved {
    /// What is kept of a run.
    pub fn new(run: &Finished<'_>) -> Self {
        let (report, text) = (run.report, run.file.text());
        let Value::Object(totals) = plain(&report.totals) else {
            unreachable!("totals are a table")
        };
        let rows = [
            ("epochs", plain(&report.epochs)),
            ("kinds", plain(&report.kinds)),
            ("books", plain(&report.books)),
            ("final_books", plain(&report.final_books)),
        ];
        let kpis = report.kpis.iter().map(|kpi| Named {
            name: kpi.name.to_owned(),
            unit: kpi.unit.to_owned(),
            value: kpi.value,
        });
        let checks = report.checks.iter();
        let checks = checks.map(|c| SavedCheck { name: c.name.to_owned(), holds: c.holds });
        Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            commit: COMMIT.map(str::to_owned),
            seed: report.scenario.seed,
            scenario_hash: blake3::hash(text.as_bytes()).to_hex().to_string(),
            data_hash: crate::data::hash().to_string(),
            scenario: report.scenario.clone(),
            trace: report.trace.to_string(),
            is_complete: report.is_complete,
            time_s: seconds(report.time.0),
            kpis: kpis.collect(),
            checks: checks.collect(),
            findings: report.findings.clone(),
            assertions: run.judgements.iter().map(Into::into).collect(),
            lines: lines(report),
            distributions: distributions(report),
            pay: pay(report),
            totals,
            rows: rows.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
            cost: run.cost,
        }
    }

    /// As the text of `run.json`.
    pub fn json(&self) -> String {
        let mut text = serde_json::to_string_pretty(self).expect("plain values");
        text.push('\n');
        text
    }

    /// Reads `run.json` of a folder.
    ///
    /// # Errors
    /// [`SavedError`] when there is none, or one of another version.
    pub fn read(dir: &Path) -> Result<Self, SavedError> {
        let path = dir.join("run.json");
        let name = path.display().to_string();
        let text = fs::read_to_string(&path)
            .map_err(|source| SavedError::Read { path: name.clone(), source })?;
        serde_json::from_str(&text).map_err(|source| SavedError::Format { path: name, source })
    }

    /// Whether every invariant and every assertion holds.
    pub fn holds(&self) -> bool {
        self.checks.iter().all(|check| check.holds)
            && self.assertions.iter().all(|assertion| assertion.holds)
    }
}

#[expect(clippy::cast_precision_loss, reason = "figures of a plot")]
fn share(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

/// Figures over epochs, and whatever the run recorded over time.
#[expect(clippy::cast_precision_loss, reason = "figures of a plot")]
fn lines(report: &Report) -> Vec<Line> {
    type Figure = fn(&EpochRow) -> Option<f64>;
    let unpaid: Figure = |row| {
        let all = row.honest_not_committed
            + row.honest_not_opened
            + row.honest_wrong
            + row.honest_no_quorum;
        share(all, row.holders.saturating_sub(row.adverse_holders))
    };
    let figures: [(&str, &str, Figure); 5] = [
        ("packs alive", "share", |row| share(row.packs_alive, row.packs)),
        ("replicas live", "share", |row| share(row.replicas_live, row.replicas_assigned)),
        ("replicas proven", "share", |row| {
            share(u64::from(row.replicas_proven), row.replicas_assigned)
        }),
        ("adverse holders caught", "share", |row| share(row.adverse_caught, row.adverse_holders)),
        ("honest holders unpaid", "share", unpaid),
    ];
    let over_epochs = figures.into_iter().map(|(name, unit, of)| Line {
        name: name.to_owned(),
        unit: unit.to_owned(),
        over: "epoch".to_owned(),
        points: report
            .epochs
            .iter()
            .filter_map(|row| Some((row.epoch.0 as f64, of(row)?)))
            .collect(),
    });
    let over_time = report.series.iter().map(|series| Line {
        name: series.name.to_owned(),
        unit: series.unit.to_owned(),
        over: "time_h".to_owned(),
        points: series.points.iter().map(|(at, value)| (seconds(at.0) / 3600.0, *value)).collect(),
    });
    over_epochs.chain(over_time).filter(|line| !line.points.is_empty()).collect()
}

#[expect(clippy::cast_precision_loss, reason = "shares of a plot")]
fn distributions(report: &Report) -> Vec<Distribution> {
    let paid = report.nodes.iter().map(|node| open(node.paid)).collect();
    let mut all = vec![Distribution {
        name: "pay of a node".to_owned(),
        unit: "OPEN".to_owned(),
        points: plot::distribution(paid),
    }];
    for histogram in &report.histograms {
        let total: u64 = histogram.bins.iter().map(|(_, count)| count).sum();
        let mut upto = 0;
        let points = histogram.bins.iter().map(|(bound, count)| {
            upto += count;
            (*bound, upto as f64 / total.max(1) as f64)
        });
        all.push(Distribution {
            name: histogram.name.to_owned(),
            unit: histogram.unit.to_owned(),
            points: points.collect(),
        });
    }
    all.retain(|distribution| !distribution.points.is_empty());
    all
}

fn pay(report: &Report) -> Vec<Named> {
    let row = |kind: &crate::report::KindRow| Named {
        name: kind.kind.to_string(),
        unit: "OPEN".to_owned(),
        value: Some(open(kind.mean)),
    };
    report.kinds.iter().map(row).collect()
}
