//! `[sweep]`: a grid of parameters times seeds.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use toml::{Table, Value};

use super::{FileError, Place, assertion::figure};
use crate::Scenario;

/// Runs that one sweep may have.
const MAX_RUNS: usize = 100_000;

/// Over what a scenario is repeated. Beside `seeds`, every key is the path of a parameter with the
/// list of its values: `"adversary.0.share" = [0, 0.1]`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, JsonSchema)]
#[schemars(extend("additionalProperties" = true))]
pub struct Sweep {
    /// How many seeds, counted from the scenario's own, or a list of them.
    #[schemars(with = "Seeds")]
    pub seeds: Vec<u64>,
    /// The key figures that answer the question: the table shows these, and their plots come first.
    pub figures: Vec<String>,
    /// The parameters that vary, each with its values.
    #[serde(skip)]
    #[schemars(skip)]
    pub axes: Vec<Axis>,
}

/// A number of seeds or the seeds themselves.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
enum Seeds {
    /// So many, counted from the scenario's own.
    Count(u32),
    /// Exactly these seeds.
    List(Vec<u64>),
}

/// A parameter and its values.
#[derive(Debug, Clone, PartialEq)]
pub struct Axis {
    /// The path of the key in the scenario, with dots.
    pub key: String,
    /// The values that it takes, one run each.
    pub values: Vec<Value>,
}

/// One run of a sweep.
#[derive(Debug, Clone, PartialEq)]
pub struct Point {
    /// The parameters that differ from the file.
    pub settings: Vec<(String, Value)>,
    /// The seed of the run, in place of the scenario's.
    pub seed: u64,
}

impl Sweep {
    /// Whether there is nothing to sweep over.
    pub const fn is_empty(&self) -> bool {
        self.seeds.is_empty() && self.axes.is_empty()
    }

    pub(super) fn read(
        value: Value,
        scenario: &Scenario,
        place: &dyn Fn(&str) -> Place,
    ) -> Result<Self, FileError> {
        let wrong = |key: &str, message: String| FileError::Value { place: place(key), message };
        let Value::Table(mut table) = value else {
            return Err(wrong("sweep", "sweep has to be a table, [sweep]".to_owned()));
        };
        let seeds = match table.remove("seeds") {
            None => vec![scenario.seed],
            Some(seeds) => match seeds.try_into() {
                Ok(Seeds::Count(count)) => {
                    (0..u64::from(count)).map(|n| scenario.seed.wrapping_add(n)).collect()
                }
                Ok(Seeds::List(list)) => list,
                Err(_) => {
                    let message = "seeds has to be a number of them or a list, like 5 or [1, 2]";
                    return Err(wrong("seeds", message.to_owned()));
                }
            },
        };
        let figures = match table.remove("figures").map(Value::try_into::<Vec<String>>) {
            None => Vec::new(),
            Some(Ok(figures)) => figures,
            Some(Err(_)) => {
                let message = "figures has to be a list of key figures, like [\"durability\"]";
                return Err(wrong("figures", message.to_owned()));
            }
        };
        for name in &figures {
            figure(name).map_err(|error| wrong("figures", error.to_string()))?;
        }
        let mut axes = Vec::new();
        flatten(table, "", &mut axes);
        for axis in &axes {
            if axis.values.is_empty() {
                let message = format!("{} has no values; write a list of them", axis.key);
                return Err(wrong(&axis.key, message));
            }
        }
        let sizes = axes.iter().map(|axis| axis.values.len()).chain([seeds.len()]);
        let runs = sizes.fold(1usize, usize::saturating_mul);
        if runs == 0 || runs > MAX_RUNS {
            let message = format!("the sweep has {runs} runs; it needs from 1 to {MAX_RUNS}");
            return Err(wrong("sweep", message));
        }
        Ok(Self { seeds, figures, axes })
    }

    /// All runs: every combination of values, each with every seed; the last axis varies first.
    pub fn points(&self) -> Vec<Point> {
        let mut grid: Vec<Vec<(String, Value)>> = vec![Vec::new()];
        for axis in &self.axes {
            let mut wider = Vec::with_capacity(grid.len() * axis.values.len());
            for settings in &grid {
                for value in &axis.values {
                    let mut settings = settings.clone();
                    settings.push((axis.key.clone(), value.clone()));
                    wider.push(settings);
                }
            }
            grid = wider;
        }
        let with_seeds = |settings: &Vec<(String, Value)>| {
            let point = |seed: &u64| Point { settings: settings.clone(), seed: *seed };
            self.seeds.iter().map(point).collect::<Vec<_>>()
        };
        grid.iter().flat_map(with_seeds).collect()
    }
}

/// Tables inside are paths too: `net.loss = [0, 0.1]`. What is not a list is a list of one.
fn flatten(table: Table, path: &str, axes: &mut Vec<Axis>) {
    for (key, value) in table {
        let key = if path.is_empty() { key } else { format!("{path}.{key}") };
        match value {
            Value::Table(inner) => flatten(inner, &key, axes),
            Value::Array(values) => axes.push(Axis { key, values }),
            value => axes.push(Axis { key, values: vec![value] }),
        }
    }
}
