//! `simnet explain`: what a key, a key figure or a word means.

use std::fmt::Write as _;

use clap::Args;
use simnet::{
    Scenario, data,
    report::KPIS,
    scenario::{Given, Preset},
    scenario_file::{Key, keys, nearest, published},
};
use toml::{Table, Value};

use super::{End, print};

/// The key whose words stand for many values.
const PRESET: &str = "population.preset";

/// Without a name it lists all keys and key figures.
#[derive(Debug, Args)]
pub(crate) struct Explain {
    /// A key like net.loss, a section like net, or a key figure like durability.
    name: Option<String>,
    /// Print the JSON schema of scenario files.
    #[arg(long, conflicts_with = "name")]
    schema: bool,
}

impl Explain {
    pub(crate) fn execute(&self) -> anyhow::Result<End> {
        if self.schema {
            print(&published());
            return Ok(End::Well);
        }
        let Some(name) = &self.name else {
            print(&all());
            return Ok(End::Well);
        };
        let wanted = numbered(name);
        let found: Vec<Key> = keys()
            .into_iter()
            .filter(|key| {
                let plain = key.path.replace(".N", "");
                let is_in = |path: &str| path == wanted || path.starts_with(&format!("{wanted}."));
                is_in(&key.path) || is_in(&plain)
            })
            .collect();
        if let Some(kpi) = KPIS.iter().find(|kpi| kpi.name == name) {
            print(&format!("{} ({}): {}\n", kpi.name, kpi.unit, kpi.about));
        } else if let (true, Some(meant)) = (found.is_empty(), meaning(name)) {
            print(&meant);
        } else if found.is_empty() {
            let hint =
                nearest(name).map_or(String::new(), |near| format!("; did you mean `{near}`?"));
            anyhow::bail!("there is no key and no key figure `{name}`{hint}");
        }
        for key in found {
            print(&explained(&key));
        }
        Ok(End::Well)
    }
}

/// A word that some keys take, like an adversary or a fault.
fn meaning(word: &str) -> Option<String> {
    let mut text = String::new();
    for key in keys() {
        for (_, about) in key.words.iter().filter(|(known, _)| known == word) {
            let about = about.replace('\n', " ");
            writeln!(text, "{} = \"{word}\": {about}", key.path).ok()?;
        }
    }
    (!text.is_empty()).then_some(text)
}

/// A path with its places in arrays as `N`.
fn numbered(path: &str) -> String {
    let part =
        |part: &str| if part.parse::<usize>().is_ok() { "N".to_owned() } else { part.to_owned() };
    path.split('.').map(part).collect::<Vec<_>>().join(".")
}

fn explained(key: &Key) -> String {
    let mut text = String::new();
    let mut put = |line: String| writeln!(text, "{line}").expect("a string takes what memory has");
    put(format!("{}: {}", key.path, key.takes));
    put(format!("  {}", key.about.replace('\n', "\n  ")));
    if let Some(value) = default_of(&key.path) {
        put(format!("  default: {value}"));
    }
    for (word, about) in &key.words {
        put(format!("  \"{word}\"  {}", about.replace('\n', " ")));
        if key.path == PRESET
            && let Some(preset) = Preset::ALL.into_iter().find(|preset| preset.name() == word)
        {
            preset.values().iter().for_each(|given| put(sourced(given)));
        }
    }
    text
}

/// A value of a preset, with how it came about.
fn sourced(given: &Given) -> String {
    let kind = data::set(given.set).map_or(String::new(), |set| set.kind.to_string());
    format!("    {:<22} {:<20} {kind}: {}", given.key, given.value.to_string(), given.set)
}

/// The value of the scenario that a file without this key has.
fn default_of(path: &str) -> Option<Value> {
    let table = Table::try_from(Scenario::default()).ok()?;
    let mut value = Value::Table(table);
    for part in path.split('.') {
        value = value.get(part)?.clone();
    }
    Some(value)
}

fn all() -> String {
    let mut text = "keys of scenario files\n".to_owned();
    for key in keys() {
        let about = key.about.replace('\n', " ");
        // The first sentence, or what stands before the first colon or semicolon.
        let end = about.find(['.', ';', ':']).unwrap_or(about.len());
        writeln!(text, "  {:<28} {}", key.path, &about[..end]).expect("a string takes it all");
    }
    text.push_str(
        "\nN counts the tables of a list from 0: the first [[event]] is event.0 in --set and [sweep].\n",
    );
    text.push_str("\nkey figures, for [check] and in results\n");
    for kpi in KPIS {
        writeln!(text, "  {:<28} {}", kpi.name, kpi.about).expect("a string takes what memory has");
    }
    text
}
