//! Scenario files: strict TOML with assertions and sweeps.
//!
//! A file has the sections of [`Scenario`], and beside them `[check]` (what has to hold), `[sweep]`
//! (a grid of parameters), `[run]` (how it is made) and `[out]` (what is written). What it does not name has its default; a
//! file that names no faults and no adversaries has none. Unknown keys are refused with their line
//! and the nearest right one.

mod assertion;
mod error;
mod preset;
mod schema;
mod sweep;
mod template;

pub use assertion::{Assertion, Condition, Judgement};
use error::hinted;
pub use error::{FileError, Place, UnknownKey};
pub use schema::{Key, VERSION, json_schema, keys, nearest, published};
pub use sweep::{Axis, Point, Sweep};
pub use template::template;

use std::{collections::BTreeMap, fs, num::NonZeroUsize, path::Path};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use toml::{
    Table, Value,
    de::{DeTable, DeValue, Deserializer},
};

use crate::Scenario;

/// How a run is made; nothing of it changes what comes out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Making {
    /// Threads of one run; one for each core if left out. The runs of a sweep have one each.
    pub threads: Option<NonZeroUsize>,
}

/// What is written.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Out {
    /// Formats of the tables.
    pub formats: Vec<Format>,
    /// Whether `report.html` is written.
    pub report: bool,
}

impl Default for Out {
    fn default() -> Self {
        Self { formats: vec![Format::Parquet, Format::Csv], report: true }
    }
}

/// A format of tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// Columns, compressed, with types.
    Parquet,
    /// Text, a line for each row.
    Csv,
}

/// A scenario as a file describes it.
#[derive(Debug, Clone, PartialEq)]
pub struct ScenarioFile {
    /// Its name in messages.
    pub file: String,
    /// What is simulated.
    pub scenario: Scenario,
    /// What has to hold at the end.
    pub checks: Vec<Assertion>,
    /// Over what it is repeated.
    pub sweep: Sweep,
    /// How a run of it is made.
    pub making: Making,
    /// What is written.
    pub out: Out,
    table: Table,
}

/// The sections that are not the scenario's own.
const APART: [&str; 5] = ["schema", "check", "sweep", "run", "out"];

impl ScenarioFile {
    /// Reads a file.
    ///
    /// # Errors
    /// [`FileError`] for a file that cannot be read or used; an impossible scenario is found by
    /// [`Self::possible`] only, so that `--set` can mend it.
    pub fn read(path: &Path) -> Result<Self, FileError> {
        let read = fs::read_to_string(path);
        let text = read.map_err(|source| FileError::Read { path: path.to_owned(), source })?;
        Self::parse(&path.display().to_string(), &text)
    }

    /// Reads a text; `file` is its name in messages.
    ///
    /// # Errors
    /// [`FileError`], as for [`Self::read`].
    pub fn parse(file: &str, text: &str) -> Result<Self, FileError> {
        let document = DeTable::parse(text).map_err(|error| syntax(file, text, &error))?;
        let mut unknown = Vec::new();
        let place = |offset| Place::Line(file.to_owned(), line(text, offset));
        look(document.get_ref(), json_schema(), "", &place, &mut unknown);
        if !unknown.is_empty() {
            return Err(FileError::Unknown(unknown));
        }
        // The parser's own deserialiser knows the line of a wrong value; tables do not.
        typed::<Scenario>(file, text, |table| {
            for key in APART {
                table.remove(key);
            }
        })?;
        let table = text.parse().map_err(|error: toml::de::Error| syntax(file, text, &error))?;
        Self::from_table(file, table, &|key| key_line(file, text, key))
    }

    /// The same with some values changed; see [`setting`].
    ///
    /// # Errors
    /// [`FileError`] for keys that do not exist and values of the wrong kind.
    pub fn with(&self, settings: &[(String, Value)]) -> Result<Self, FileError> {
        let mut table = self.table.clone();
        for (key, value) in settings {
            set(&mut table, key, value.clone())?;
        }
        Self::from_table(&self.file, table, &|_| Place::Set)
    }

    /// A scenario that comes from no file.
    ///
    /// # Errors
    /// [`FileError::Value`] for integers that TOML does not have: those from 2⁶³ on.
    pub fn of(scenario: &Scenario) -> Result<Self, FileError> {
        let file = "simnet".to_owned();
        let table = Table::try_from(scenario).map_err(|error| FileError::Value {
            place: Place::File(file.clone()),
            message: error.to_string(),
        })?;
        let (scenario, checks) = (scenario.clone(), Vec::new());
        let (sweep, out) = (Sweep::default(), Out::default());
        Ok(Self { file, scenario, checks, sweep, making: Making::default(), out, table })
    }

    /// One run of it.
    #[must_use]
    pub fn without_sweep(mut self) -> Self {
        self.table.remove("sweep");
        self.sweep = Sweep::default();
        self
    }

    /// Checks that the scenario can be simulated.
    ///
    /// # Errors
    /// [`FileError::Scenario`] naming the first thing that is impossible.
    pub fn possible(&self) -> Result<(), FileError> {
        let file = self.file.clone();
        self.scenario.check().map_err(|source| FileError::Scenario { file, source })
    }

    /// The file as text, with everything that was set.
    pub fn text(&self) -> String {
        toml::to_string_pretty(&self.table).expect("a table from TOML is TOML")
    }

    fn from_table(
        file: &str,
        table: Table,
        place: &dyn Fn(&str) -> Place,
    ) -> Result<Self, FileError> {
        let mut rest = table.clone();
        let mut apart: BTreeMap<_, _> =
            APART.into_iter().filter_map(|key| Some((key, rest.remove(key)?))).collect();
        if let Some(version) = apart.remove("schema").filter(|v| *v != Value::from(1)) {
            let message = format!("schema {version} is not known; this version reads {VERSION}");
            return Err(FileError::Value { place: place("schema"), message });
        }
        preset::under(&mut rest);
        let scenario: Scenario = from_value(Value::Table(rest), &|| place(""))?;
        let checks = match apart.remove("check") {
            Some(checks) => Assertion::all(checks, place)?,
            None => Vec::new(),
        };
        let out = apart.remove("out").map(|out| from_value(out, &|| place("out"))).transpose()?;
        let run = apart.remove("run").map(|run| from_value(run, &|| place("run"))).transpose()?;
        let sweep = apart.remove("sweep").map(|sweep| Sweep::read(sweep, &scenario, place));
        let sweep = sweep.transpose()?.unwrap_or_default();
        let (making, out) = (run.unwrap_or_default(), out.unwrap_or_default());
        let read = Self { file: file.to_owned(), scenario, checks, sweep, making, out, table };
        // A wrong value of an axis is said now and not after half of the runs.
        for axis in &read.sweep.axes {
            known(&axis.key, || place(&axis.key))?;
            for value in &axis.values {
                let mut table = read.table.clone();
                table.remove("sweep");
                set(&mut table, &axis.key, value.clone())?;
                for key in APART {
                    table.remove(key);
                }
                from_value::<Scenario>(Value::Table(table), &|| place(&axis.key))?;
            }
        }
        Ok(read)
    }
}

fn from_value<T: DeserializeOwned>(
    value: Value,
    place: &dyn Fn() -> Place,
) -> Result<T, FileError> {
    value.try_into().map_err(|error: toml::de::Error| FileError::Value {
        place: place(),
        message: hinted(error.to_string().trim().replace('\n', " ")),
    })
}

fn typed<T: DeserializeOwned>(
    file: &str,
    text: &str,
    prune: impl FnOnce(&mut DeTable<'_>),
) -> Result<T, FileError> {
    let mut document = DeTable::parse(text).map_err(|error| syntax(file, text, &error))?;
    prune(document.get_mut());
    T::deserialize(Deserializer::from(document)).map_err(|error| {
        let place = match error.span() {
            Some(span) => Place::Line(file.to_owned(), line(text, span.start)),
            None => Place::File(file.to_owned()),
        };
        FileError::Value { place, message: hinted(error.message().to_owned()) }
    })
}

fn syntax(file: &str, text: &str, error: &toml::de::Error) -> FileError {
    let offset = error.span().map_or(0, |span| span.start);
    let place = Place::Line(file.to_owned(), line(text, offset));
    FileError::Syntax { place, message: error.message().trim().replace('\n', "; ") }
}

/// The line of a byte; the first is 1.
fn line(text: &str, offset: usize) -> usize {
    let before = text.as_bytes().get(..offset).unwrap_or(text.as_bytes());
    before.iter().filter(|byte| **byte == b'\n').count() + 1
}

/// The line in which the last name of a key first stands.
fn key_line(file: &str, text: &str, key: &str) -> Place {
    let leaf = key.rsplit('.').next().unwrap_or_default();
    let names = |line: &str| {
        let name = line.split('=').next().unwrap_or_default();
        !leaf.is_empty() && name.contains(leaf)
    };
    match text.lines().position(names) {
        Some(at) => Place::Line(file.to_owned(), at + 1),
        None => Place::File(file.to_owned()),
    }
}

/// Finds keys that the schema does not have.
fn look(
    table: &DeTable<'_>,
    schema: &serde_json::Value,
    path: &str,
    place: &dyn Fn(usize) -> Place,
    unknown: &mut Vec<UnknownKey>,
) {
    for (key, value) in table {
        let name = key.get_ref();
        let path = if path.is_empty() { name.to_string() } else { format!("{path}.{name}") };
        let Some(schema) = schema::child(schema, name) else {
            let nearest = nearest(&path);
            unknown.push(UnknownKey { place: place(key.span().start), key: path, nearest });
            continue;
        };
        // The axes of a sweep are paths, which are looked up whole.
        if path == "sweep" {
            continue;
        }
        match value.get_ref() {
            DeValue::Table(table) => look(table, schema, &path, place, unknown),
            DeValue::Array(array) => {
                let Some(items) = schema::items(schema) else { continue };
                for (at, item) in array.iter().enumerate() {
                    if let DeValue::Table(table) = item.get_ref() {
                        look(table, items, &format!("{path}.{at}"), place, unknown);
                    }
                }
            }
            _ => {}
        }
    }
}

/// Reads `key=value` of a command line: the value is TOML, or text where it is none.
///
/// # Errors
/// [`FileError::NotASetting`] without a key or `=`.
pub fn setting(text: &str) -> Result<(String, Value), FileError> {
    let wrong = || FileError::NotASetting(text.to_owned());
    let (key, value) = text.split_once('=').ok_or_else(wrong)?;
    let (key, value) = (key.trim(), value.trim());
    if key.is_empty() || value.is_empty() {
        return Err(wrong());
    }
    let parsed = format!("value = {value}").parse::<Table>().ok();
    let parsed = parsed.and_then(|mut table| table.remove("value"));
    Ok((key.to_owned(), parsed.unwrap_or_else(|| Value::String(value.to_owned()))))
}

/// Whether the schema has a path.
fn known(key: &str, place: impl Fn() -> Place) -> Result<(), FileError> {
    if schema::at(json_schema(), key).is_some() {
        return Ok(());
    }
    let (place, nearest) = (place(), nearest(key));
    Err(FileError::Unknown(vec![UnknownKey { place, key: key.to_owned(), nearest }]))
}

/// Sets one value; the path must be in the schema, and what it goes through must be there or be a
/// section.
fn set(table: &mut Table, key: &str, value: Value) -> Result<(), FileError> {
    known(key, || Place::Set)?;
    let (parents, leaf) = key.rsplit_once('.').map_or((None, key), |(a, b)| (Some(a), b));
    let mut here = table;
    let mut parts = parents.into_iter().flat_map(|parents| parents.split('.')).peekable();
    while let Some(part) = parts.next() {
        let wrong = || FileError::Value {
            place: Place::Set,
            message: format!("{key}: the file has no such [[{part}]]; write it there first"),
        };
        let index = parts.peek().and_then(|next| next.parse::<usize>().ok());
        here = match index {
            Some(index) => {
                parts.next();
                let array = here.get_mut(part).and_then(Value::as_array_mut);
                let item = array.and_then(|array| array.get_mut(index));
                item.and_then(Value::as_table_mut).ok_or_else(wrong)?
            }
            None => {
                let section = here.entry(part).or_insert_with(|| Value::Table(Table::new()));
                section.as_table_mut().ok_or_else(wrong)?
            }
        };
    }
    here.insert(leaf.to_owned(), value);
    Ok(())
}
