//! Figures from outside, each with its source: what simulations take from the world.
//!
//! A set without a source, a kind or the day of its retrieval is refused.

use std::{collections::BTreeMap, fmt, fs, path::Path, sync::LazyLock};

use protocol::{Hash, hash::blake3};
use serde::{Deserialize, Serialize};

const FILES: [(&str, &str); 5] = [
    ("latency.toml", include_str!("../data/latency.toml")),
    ("population.toml", include_str!("../data/population.toml")),
    ("costs.toml", include_str!("../data/costs.toml")),
    ("compute.toml", include_str!("../data/compute.toml")),
    ("traffic.toml", include_str!("../data/traffic.toml")),
];

/// How a figure came about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Somebody measured it.
    Measured,
    /// It follows from measured ones.
    Derived,
    /// It is a guess, and says why.
    Assumed,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Measured => "measured",
            Self::Derived => "derived",
            Self::Assumed => "assumed",
        })
    }
}

/// Figures of one source.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Set {
    /// Under which scenarios name it.
    pub name: String,
    /// What the figures are.
    pub what: String,
    /// The unit of its values.
    pub unit: String,
    /// How they came about.
    pub kind: Kind,
    /// Who found them, when and how.
    pub source: String,
    /// Where that is published.
    pub url: String,
    /// The day on which they were taken from there.
    pub retrieved: String,
    /// The figures by name.
    pub values: BTreeMap<String, f64>,
}

impl Set {
    /// A figure.
    ///
    /// # Errors
    /// [`DataError::NoValue`].
    pub fn value(&self, name: &str) -> Result<f64, DataError> {
        self.values
            .get(name)
            .copied()
            .ok_or_else(|| DataError::NoValue { set: self.name.clone(), value: name.to_owned() })
    }
}

/// Data that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// The file cannot be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// The file or folder, as it was asked for.
        path: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file is not a list of sets with their sources.
    #[error(
        "{path} is not a data file (every set needs name, what, unit, kind, source, url, retrieved and values): {reason}"
    )]
    Form {
        /// The file or folder, as it was asked for.
        path: String,
        /// What is wrong with the text, with its place.
        reason: String,
    },
    /// A set is without something that it must say.
    #[error(
        "the set {set} of {path} does not say its {field}; a figure without a source is not used"
    )]
    Unsourced {
        /// The file that was read.
        path: String,
        /// The set of values that was asked for.
        set: String,
        /// What is missing.
        field: &'static str,
    },
    /// There is no such set.
    #[error("there is no data set {0}; `simnet data list` shows them all")]
    NoSet(String),
    /// A set lacks a figure.
    #[error("the data set {set} has no value {value}")]
    NoValue {
        /// The set that was asked for.
        set: String,
        /// What is missing.
        value: String,
    },
    /// The shares of the population name a region without delays.
    #[error("population.regions has {region}, and the data set {set} has the regions {known}")]
    NoRegion {
        /// Which set of delays.
        set: String,
        /// The region that the scenario names.
        region: String,
        /// The regions that there are.
        known: String,
    },
    /// A trace cannot be used.
    #[error("line {line} of {path}: {reason}")]
    Trace {
        /// The file that was read.
        path: String,
        /// Which line, from 1.
        line: usize,
        /// What is wrong with the text, with its place.
        reason: String,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    set: Vec<Set>,
}

/// Reads the sets of a file's text.
///
/// # Errors
/// [`DataError`] when a set is not well formed or does not say where it is from.
pub fn parse(path: &str, text: &str) -> Result<Vec<Set>, DataError> {
    let file: File = toml::from_str(text)
        .map_err(|error| DataError::Form { path: path.to_owned(), reason: error.to_string() })?;
    for set in &file.set {
        let said = [("source", &set.source), ("url", &set.url), ("retrieved", &set.retrieved)];
        if let Some((field, _)) = said.into_iter().find(|(_, text)| text.trim().is_empty()) {
            let (path, set) = (path.to_owned(), set.name.clone());
            return Err(DataError::Unsourced { path, set, field });
        }
    }
    Ok(file.set)
}

/// Reads a data file.
///
/// # Errors
/// [`DataError`].
pub fn read(path: &Path) -> Result<Vec<Set>, DataError> {
    let name = path.display().to_string();
    match fs::read_to_string(path) {
        Ok(text) => parse(&name, &text),
        Err(source) => Err(DataError::Read { path: name, source }),
    }
}

static SETS: LazyLock<Vec<(&'static str, Set)>> = LazyLock::new(|| {
    let sets = FILES.iter().flat_map(|(file, text)| {
        let sets = parse(file, text).expect("the tests read every file that is shipped");
        sets.into_iter().map(|set| (*file, set))
    });
    sets.collect()
});

/// Every set that is shipped, with its file.
pub fn sets() -> &'static [(&'static str, Set)] {
    &SETS
}

/// A shipped set by its name.
///
/// # Errors
/// [`DataError::NoSet`].
pub fn set(name: &str) -> Result<&'static Set, DataError> {
    let found = SETS.iter().find(|(_, set)| set.name == name);
    found.map(|(_, set)| set).ok_or_else(|| DataError::NoSet(name.to_owned()))
}

/// A figure that is shipped.
pub(crate) fn shipped(name: &str, value: &str) -> f64 {
    let found = set(name).and_then(|set| set.value(value));
    found.expect("the tests look up every figure that the model names")
}

/// The hash over all files that are shipped.
pub fn hash() -> Hash {
    blake3(FILES.map(|(_, text)| text).concat().as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shipped_set_has_a_name_of_its_own_and_figures() {
        let mut names: Vec<_> = sets().iter().map(|(_, set)| set.name.as_str()).collect();
        assert!(sets().iter().all(|(_, set)| !set.values.is_empty()));
        names.sort_unstable();
        assert!(names.windows(2).all(|pair| pair[0] != pair[1]), "{names:?}");
    }

    #[test]
    fn a_set_without_a_source_is_refused_by_its_name() {
        let text = "[[set]]\nname='x'\nwhat='w'\nunit='ms'\nkind='measured'\nsource=' '\nurl='u'\n\
                    retrieved='2026-01-01'\nvalues={a=1}\n";
        let error = parse("own.toml", text).unwrap_err();
        assert!(
            matches!(error, DataError::Unsourced { ref set, field: "source", .. } if set == "x")
        );
        let error = parse("own.toml", "[[set]]\nname='x'\n").unwrap_err();
        assert!(matches!(error, DataError::Form { .. }), "{error}");
    }
}
