//! What the logs of the daemons say of records: when they were signed, and when they came.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{BufRead as _, BufReader},
    ops::Range,
    path::Path,
};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

/// Microseconds of the machine's clock.
pub(crate) type Micros = u64;

#[derive(Debug, Deserialize)]
struct Line {
    timestamp: String,
    fields: Fields,
}

#[derive(Debug, Default, Deserialize)]
struct Fields {
    #[serde(default)]
    message: String,
    #[serde(default)]
    record: String,
    #[serde(default)]
    kind: String,
    #[serde(default)]
    source: String,
}

#[derive(Debug)]
struct Signed {
    author: usize,
    at: Micros,
    kind: String,
}

#[derive(Debug)]
struct Kept {
    node: usize,
    at: Micros,
    is_pulled: bool,
}

/// Records of all daemons by id.
#[derive(Debug, Default)]
pub(crate) struct Logs {
    signed: BTreeMap<String, Signed>,
    kept: BTreeMap<String, Vec<Kept>>,
    nodes: usize,
}

/// How long records took.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Delivery {
    /// Signed in the time that was looked at.
    pub(crate) records: usize,
    /// Pairs of a record and another node than its author.
    pub(crate) wanted: usize,
    /// Those in which it came by gossip, and by pull sync.
    pub(crate) gossiped: usize,
    pub(crate) pulled: usize,
    /// Times from signing to keeping in ascending order, in microseconds.
    #[serde(skip)]
    pub(crate) delays: Vec<Micros>,
}

impl Delivery {
    /// A quantile in milliseconds.
    #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
    pub(crate) fn quantile(&self, percent: usize) -> Option<f64> {
        let place = self.delays.len() * percent / 100;
        Some(*self.delays.get(place.min(self.delays.len().checked_sub(1)?))? as f64 / 1_000.0)
    }
}

impl Logs {
    /// Reads the log of the next daemon.
    pub(crate) fn read(&mut self, log: &Path) -> Result<()> {
        let node = self.nodes;
        self.nodes += 1;
        for line in BufReader::new(File::open(log)?).lines() {
            // What is not a line of the log, like the last words of a process.
            let Ok(line) = serde_json::from_str::<Line>(&line?) else { continue };
            let fields = line.fields;
            let at = micros(&line.timestamp);
            let at = at.with_context(|| format!("{} is no time", line.timestamp));
            match fields.message.as_str() {
                "a record was signed" => {
                    let signed = Signed { author: node, at: at?, kind: fields.kind };
                    self.signed.insert(fields.record, signed);
                }
                "a record was kept" => {
                    let is_pulled = fields.source == "Pull";
                    let kept = Kept { node, at: at?, is_pulled };
                    self.kept.entry(fields.record).or_default().push(kept);
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// What became of the records that were signed in a time, by kind, and of all.
    pub(crate) fn deliveries(&self, time: Range<Micros>) -> BTreeMap<String, Delivery> {
        let mut all = BTreeMap::<String, Delivery>::new();
        for (id, signed) in self.signed.iter().filter(|(_, signed)| time.contains(&signed.at)) {
            for name in ["all", &signed.kind] {
                let of = all.entry(name.to_owned()).or_default();
                of.records += 1;
                of.wanted += self.nodes - 1;
                let kept = self.kept.get(id).into_iter().flatten();
                for kept in kept.filter(|kept| kept.node != signed.author) {
                    of.gossiped += usize::from(!kept.is_pulled);
                    of.pulled += usize::from(kept.is_pulled);
                    of.delays.push(kept.at.saturating_sub(signed.at));
                }
            }
        }
        all.values_mut().for_each(|of| of.delays.sort_unstable());
        all
    }
}

/// A time like `2026-11-21T14:39:28.123456Z`.
fn micros(text: &str) -> Option<Micros> {
    let number = |range: Range<usize>| text.get(range)?.parse::<u64>().ok();
    let (year, month, day) = (number(0..4)?, number(5..7)?, number(8..10)?);
    // Days since 0000-03-01 of the Gregorian calendar, in which a year begins in March.
    let (years, months) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = years * 365 + years / 4 - years / 100 + years / 400 + (153 * months + 2) / 5 + day;
    // 719,469 of them lie before 1970.
    let days = days.checked_sub(719_469)?;
    let seconds = number(11..13)? * 3_600 + number(14..16)? * 60 + number(17..19)?;
    Some((days * 86_400 + seconds) * 1_000_000 + number(20..26)?)
}

/// The machine's clock.
pub(crate) fn now() -> Micros {
    let since = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or_default()
}
