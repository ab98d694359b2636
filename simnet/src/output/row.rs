//! What is kept of one run of a sweep, and the table of all of them.

use serde::{Deserialize, Serialize};

use super::{Line, Named, Table, Values};

/// One run that was made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// The key of its job.
    pub key: String,
    /// The parameters that the sweep set.
    pub settings: Vec<(String, String)>,
    /// The seed from which the run draws.
    pub seed: u64,
    /// Whether every invariant and assertion holds.
    pub holds: bool,
    /// Which do not.
    pub broken: Vec<String>,
    /// Why the network crashed, if it did.
    pub crash: Option<String>,
    /// The trace hash.
    pub trace: String,
    /// The key figures of its report.
    pub kpis: Vec<Named>,
    /// Figures over epochs and time.
    pub lines: Vec<Line>,
    /// Wall time in seconds.
    pub seconds: f64,
}

impl Row {
    /// The parameters for people.
    pub fn label(&self) -> String {
        let parts: Vec<_> =
            self.settings.iter().map(|(key, value)| format!("{key}={value}")).collect();
        parts.join(" ")
    }
}

/// One row per run: a column for each parameter and each key figure.
pub fn summary(rows: &[Row]) -> Table {
    let mut keys: Vec<&str> = Vec::new();
    let mut figures: Vec<&str> = Vec::new();
    for row in rows {
        let new = row.settings.iter().map(|(key, _)| key.as_str());
        keys.extend(new.filter(|key| !keys.contains(key)).collect::<Vec<_>>());
        let new = row.kpis.iter().map(|kpi| kpi.name.as_str());
        figures.extend(new.filter(|name| !figures.contains(name)).collect::<Vec<_>>());
    }
    let mut table = Table::new();
    for key in keys {
        let values = rows.iter().map(|row| row.settings.iter().find(|(known, _)| known == key));
        let texts: Vec<_> = values.map(|value| value.map(|(_, value)| value.clone())).collect();
        let numbers: Option<Vec<_>> = texts
            .iter()
            .map(|text| text.as_ref().map(|text| text.parse::<f64>().ok()))
            .map(|number| match number {
                Some(None) => None,
                Some(number) => Some(number),
                None => Some(None),
            })
            .collect();
        let values = numbers.map_or(Values::Text(texts), Values::Float);
        table = table.with(&format!("param.{key}"), values);
    }
    table = table.int("seed", rows.iter().map(|row| row.seed));
    for name in figures {
        let of = |row: &Row| row.kpis.iter().find(|kpi| kpi.name == name).and_then(|k| k.value);
        table = table.float(name, rows.iter().map(of));
    }
    table
        .flag("holds", rows.iter().map(|row| row.holds))
        .flag("crashed", rows.iter().map(|row| row.crash.is_some()))
        .text("trace", rows.iter().map(|row| &row.trace))
        .float("wall_s", rows.iter().map(|row| row.seconds))
}
