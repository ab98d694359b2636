//! What can be wrong with a scenario file, said with its place and what to write instead.

use std::{fmt, io, path::PathBuf};

use crate::ScenarioError;

/// Where something was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// In a line of a file; the first is 1.
    Line(String, usize),
    /// In a file as a whole.
    File(String),
    /// In a `--set` of the command line.
    Set,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line(file, line) => write!(f, "{file}:{line}"),
            Self::File(file) => f.write_str(file),
            Self::Set => f.write_str("--set"),
        }
    }
}

/// A key that does not exist.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownKey {
    /// Where it was written.
    pub place: Place,
    /// Its whole path.
    pub key: String,
    /// The nearest that does exist.
    pub nearest: Option<String>,
}

impl fmt::Display for UnknownKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: there is no `{}`", self.place, self.key)?;
        match &self.nearest {
            Some(nearest) => write!(f, "; did you mean `{nearest}`?"),
            None => write!(f, "; `simnet explain` lists all keys"),
        }
    }
}

/// A scenario file that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It could not be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file, as it was asked for.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It is no TOML.
    #[error("{place}: {message}")]
    Syntax {
        /// The line and column in the file.
        place: Place,
        /// What the parser says.
        message: String,
    },
    /// Keys that do not exist.
    #[error("{}", all(.0))]
    Unknown(Vec<UnknownKey>),
    /// A value of the wrong kind.
    #[error("{place}: {message}")]
    Value {
        /// The line and column in the file.
        place: Place,
        /// What is wrong, and what is right.
        message: String,
    },
    /// A `--set` that is none.
    #[error("--set {0} is not of the form key=value, like net.loss=0.05")]
    NotASetting(String),
    /// TOML has no such integer.
    #[error("a seed has to be below 2^63; {0} is not")]
    Seed(u64),
    /// The scenario is impossible.
    #[error("{file}: {source}")]
    Scenario {
        /// The name of the file.
        file: String,
        /// What makes the scenario impossible.
        source: ScenarioError,
    },
}

fn all(unknown: &[UnknownKey]) -> String {
    let lines: Vec<_> = unknown.iter().map(ToString::to_string).collect();
    lines.join("\n")
}

/// Adds to a refusal of an unknown word the nearest of the words that are known.
pub(super) fn hinted(message: String) -> String {
    if !message.contains("unknown variant `") {
        return message;
    }
    let mut quoted = message.split('`').skip(1).step_by(2);
    let wrong = quoted.next().unwrap_or_default();
    let likeness = |known: &&str| strsim::jaro_winkler(known, wrong);
    let near = quoted.max_by(|a, b| likeness(a).total_cmp(&likeness(b)));
    match near.filter(|near| likeness(near) >= 0.7) {
        Some(near) => format!("{message}; did you mean `{near}`?"),
        None => message,
    }
}
