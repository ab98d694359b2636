//! `[check]`: conditions on key figures, like `durability = ">= 0.999"`.

use std::fmt;

use serde::Serialize;
use toml::Value;

use super::{FileError, Place};
use crate::{
    report::{KPIS, Kpi, KpiWords},
    units::{Size, Span},
};

/// How a figure is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Comparison {
    /// No larger: `<=`.
    #[serde(rename = "<=")]
    AtMost,
    /// No smaller: `>=`.
    #[serde(rename = ">=")]
    AtLeast,
    /// Smaller than: `<`.
    #[serde(rename = "<")]
    Below,
    /// Larger than: `>`.
    #[serde(rename = ">")]
    Above,
    /// The same: `==`.
    #[serde(rename = "==")]
    Equal,
    /// Another than: `!=`.
    #[serde(rename = "!=")]
    Unequal,
}

/// Longer signs before their beginnings.
const SIGNS: [(&str, Comparison); 6] = [
    ("<=", Comparison::AtMost),
    (">=", Comparison::AtLeast),
    ("==", Comparison::Equal),
    ("!=", Comparison::Unequal),
    ("<", Comparison::Below),
    (">", Comparison::Above),
];

/// One comparison with a number in the unit of the figure.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Condition {
    /// How the figure is compared with the limit.
    pub comparison: Comparison,
    /// The limit, in the unit of the figure.
    pub limit: f64,
}

impl Condition {
    /// Whether a value satisfies it.
    #[expect(clippy::float_cmp, reason = "equality is what was asked for")]
    pub fn holds(&self, value: f64) -> bool {
        match self.comparison {
            Comparison::AtMost => value <= self.limit,
            Comparison::AtLeast => value >= self.limit,
            Comparison::Below => value < self.limit,
            Comparison::Above => value > self.limit,
            Comparison::Equal => value == self.limit,
            Comparison::Unequal => value != self.limit,
        }
    }
}

/// What has to hold of one key figure.
#[derive(Debug, Clone, PartialEq)]
pub struct Assertion {
    /// The key figure, by its name in reports.
    pub kpi: String,
    /// As it was written.
    pub text: String,
    /// All of which must hold.
    pub conditions: Vec<Condition>,
}

/// An assertion against a run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Judgement {
    /// The key figure, by its name in reports.
    pub kpi: String,
    /// The conditions as they were written.
    pub wanted: String,
    /// What the run gave; `None` where the figure has no value.
    pub value: Option<f64>,
    /// Whether they hold; a figure without a value satisfies nothing.
    pub holds: bool,
}

impl fmt::Display for Judgement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Six decimals where they say enough.
        let rounded = |value: f64| {
            if value.abs() < 1e-3 { value } else { (value * 1e6).round() / 1e6 }
        };
        let said = |value| format!("is {}", rounded(value));
        let value = self.value.map_or("has no value".to_owned(), said);
        write!(f, "{} {value}, wanted {}", self.kpi, self.wanted)
    }
}

/// A `[check]` that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum BadAssertion {
    /// `check` is no table.
    #[error("check has to be a table, [check]")]
    NoTable,
    /// A figure's condition is no text.
    #[error("{0} needs a condition in quotes, like \">= 0.9\"")]
    NoText(String),
    /// There is no such figure.
    #[error("there is no key figure `{name}`; did you mean `{nearest}`?")]
    UnknownKpi {
        /// What was written.
        name: String,
        /// The nearest that there is.
        nearest: &'static str,
    },
    /// A condition that compares with nothing.
    #[error("`{0}` does not begin with <=, >=, <, >, == or !=")]
    NoSign(String),
    /// What stands behind the sign is neither a number nor a quantity of the figure's unit.
    #[error("`{text}` is not a number (the figure is in: {unit})")]
    NotANumber {
        /// What was written.
        text: String,
        /// In what the figure is.
        unit: &'static str,
    },
}

impl Assertion {
    pub(super) fn all(
        checks: Value,
        place: &dyn Fn(&str) -> Place,
    ) -> Result<Vec<Self>, FileError> {
        let wrong = |key: &str, error: BadAssertion| FileError::Value {
            place: place(key),
            message: error.to_string(),
        };
        let Value::Table(checks) = checks else {
            return Err(wrong("check", BadAssertion::NoTable));
        };
        let read = |(kpi, wanted): (String, Value)| {
            let Value::String(text) = wanted else {
                return Err(wrong(&kpi, BadAssertion::NoText(kpi.clone())));
            };
            Self::read(&kpi, &text).map_err(|error| wrong(&kpi, error))
        };
        checks.into_iter().map(read).collect()
    }

    fn read(kpi: &str, text: &str) -> Result<Self, BadAssertion> {
        let known = figure(kpi)?;
        let conditions = text.split(',').map(|part| condition(part.trim(), known.unit));
        let conditions = conditions.collect::<Result<_, _>>()?;
        Ok(Self { kpi: kpi.to_owned(), text: text.to_owned(), conditions })
    }

    /// Whether it holds of a run's figures.
    pub fn judge(&self, kpis: &[Kpi]) -> Judgement {
        let value = kpis.iter().find(|kpi| kpi.name == self.kpi).and_then(|kpi| kpi.value);
        let holds = value.is_some_and(|value| self.conditions.iter().all(|c| c.holds(value)));
        Judgement { kpi: self.kpi.clone(), wanted: self.text.clone(), value, holds }
    }
}

/// The key figure of a name.
pub(super) fn figure(name: &str) -> Result<&'static KpiWords, BadAssertion> {
    KPIS.iter().find(|known| known.name == name).ok_or_else(|| {
        let near = |known: &KpiWords| strsim::jaro_winkler(known.name, name);
        let nearest = KPIS.iter().max_by(|a, b| near(a).total_cmp(&near(b)));
        let nearest = nearest.map_or("", |nearest| nearest.name);
        BadAssertion::UnknownKpi { name: name.to_owned(), nearest }
    })
}

fn condition(text: &str, unit: &'static str) -> Result<Condition, BadAssertion> {
    let sign = SIGNS.iter().find_map(|(sign, comparison)| {
        text.strip_prefix(sign).map(|limit| (*comparison, limit.trim()))
    });
    let Some((comparison, limit)) = sign else {
        return Err(BadAssertion::NoSign(text.to_owned()));
    };
    let number = limit.parse::<f64>().ok().filter(|number| number.is_finite());
    let limit = number
        .or_else(|| quantity(limit, unit))
        .ok_or_else(|| BadAssertion::NotANumber { text: limit.to_owned(), unit })?;
    Ok(Condition { comparison, limit })
}

/// A time or size in the figure's unit.
#[expect(clippy::cast_precision_loss, reason = "limits to 15 digits")]
fn quantity(text: &str, unit: &str) -> Option<f64> {
    match unit {
        "s" => text.parse::<Span>().ok().map(|span| span.0 as f64 / 1e6),
        "ms" => text.parse::<Span>().ok().map(|span| span.0 as f64 / 1e3),
        "h" => text.parse::<Span>().ok().map(|span| span.0 as f64 / 3.6e9),
        "B" => text.parse::<Size>().ok().map(|size| size.0 as f64),
        _ => text
            .strip_suffix('%')
            .and_then(|share| share.trim().parse().ok())
            .map(|p: f64| p / 100.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Assertion, BadAssertion> {
        Assertion::read("durability", text)
    }

    fn judged(text: &str, value: Option<f64>) -> bool {
        let kpi = Kpi::new("durability", value);
        read(text).unwrap().judge(&[kpi]).holds
    }

    #[test]
    fn conditions_compare_as_they_read() {
        assert!(judged(">= 0.9", Some(0.9)) && !judged("> 0.9", Some(0.9)));
        assert!(judged("<= 1, > 90%", Some(0.95)) && !judged("<= 1, > 90%", Some(0.9)));
        assert!(
            judged("== 1", Some(1.0)) && !judged("!= 1", Some(1.0)) && judged("< 1", Some(0.0))
        );
    }

    #[test]
    fn a_figure_without_a_value_satisfies_nothing() {
        assert!(!judged(">= 0", None));
        assert!(!judged("!= 7", Some(f64::NAN)) || judged("!= 7", Some(8.0)));
    }

    #[test]
    fn nonsense_says_what_is_right() {
        assert!(matches!(read("0.9"), Err(BadAssertion::NoSign(text)) if text == "0.9"));
        assert!(
            matches!(read(">= many"), Err(BadAssertion::NotANumber { text, .. }) if text == "many")
        );
        assert!(read(">= NaN").is_err());
        let error = Assertion::read("durabilty", ">= 1").unwrap_err();
        assert_eq!(
            error.to_string(),
            "there is no key figure `durabilty`; did you mean `durability`?"
        );
    }

    #[test]
    fn times_and_sizes_are_in_the_unit_of_the_figure() {
        assert_eq!(quantity("2h", "s"), Some(7200.0));
        assert_eq!(quantity("1.5s", "ms"), Some(1500.0));
        assert_eq!(quantity("1KiB", "B"), Some(1024.0));
        assert_eq!(quantity("1KiB", "s"), None);
    }
}
