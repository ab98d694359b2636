//! The keys of scenario files: one JSON schema, derived from the types that read them.
//!
//! Editors complete and check files with it; `explain` and `new` take their words from it, and
//! unknown keys are found by it.

use std::{collections::BTreeMap, sync::LazyLock};

use schemars::{JsonSchema, generate::SchemaSettings};
use serde_json::{Value, json};

use super::{Making, Out, Sweep};
use crate::Scenario;

/// The version of the format, which a file may state as `schema`.
pub const VERSION: u64 = 1;

static SCHEMA: LazyLock<Value> = LazyLock::new(derive);

/// The JSON schema (draft 2020-12) of scenario files.
pub fn json_schema() -> &'static Value {
    &SCHEMA
}

fn derive() -> Value {
    let mut schema = of::<Scenario>();
    let check = json!({
        "description": "What has to hold at the end of a run: key figures and conditions.",
        "type": "object",
        "additionalProperties": {
            "description": "One or more conditions, separated by commas.",
            "type": "string",
            "examples": [">= 0.999", "<= 2s", "> 0, < 0.5"],
        },
    });
    let version =
        json!({ "description": "Version of the format.", "type": "integer", "const": VERSION });
    let properties = schema.get_mut("properties").and_then(Value::as_object_mut);
    let properties = properties.expect("a scenario is a table");
    properties.insert("schema".to_owned(), version);
    properties.insert("check".to_owned(), check);
    properties.insert("sweep".to_owned(), part::<Sweep>());
    properties.insert("run".to_owned(), part::<Making>());
    properties.insert("out".to_owned(), part::<Out>());
    schema["title"] = json!("simnet scenario");
    schema
}

/// The schema as the file that is published.
pub fn published() -> String {
    let mut text = serde_json::to_string_pretty(json_schema()).expect("a schema is plain JSON");
    text.push('\n');
    text
}

fn of<T: JsonSchema>() -> Value {
    let settings =
        SchemaSettings::draft2020_12().with(|settings| settings.inline_subschemas = true);
    settings.into_generator().into_root_schema_for::<T>().to_value()
}

fn part<T: JsonSchema>() -> Value {
    let mut schema = of::<T>();
    if let Some(object) = schema.as_object_mut() {
        object.remove("$schema");
        object.remove("title");
    }
    schema
}

/// The branches of a schema: itself, and what `anyOf`, `oneOf` and `allOf` add.
fn branches(schema: &Value) -> Vec<&Value> {
    let mut all = vec![schema];
    for word in ["anyOf", "oneOf", "allOf"] {
        let parts = schema.get(word).and_then(Value::as_array);
        all.extend(parts.into_iter().flatten().flat_map(branches));
    }
    all
}

/// The schema of a key inside a table, or of an item inside an array.
pub(super) fn child<'a>(schema: &'a Value, key: &str) -> Option<&'a Value> {
    let in_branch = |branch: &'a Value| {
        if let Some(known) = branch.get("properties").and_then(|all| all.get(key)) {
            return Some(known);
        }
        if key.parse::<usize>().is_ok()
            && let Some(items) = branch.get("items")
        {
            return Some(items);
        }
        branch.get("additionalProperties").filter(|any| any.is_object() || any == &&json!(true))
    };
    branches(schema).into_iter().find_map(in_branch)
}

/// The keys that a table may have.
pub(super) fn children(schema: &Value) -> BTreeMap<&str, &Value> {
    let tables = branches(schema).into_iter().filter_map(|branch| branch.get("properties"));
    let keys = tables.filter_map(Value::as_object).flatten();
    keys.map(|(key, schema)| (key.as_str(), schema)).collect()
}

/// The schema of the items of an array.
pub(super) fn items(schema: &Value) -> Option<&Value> {
    branches(schema).into_iter().find_map(|branch| branch.get("items"))
}

/// A key, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// Its path; `N` stands for a place in an array.
    pub path: String,
    /// What it is.
    pub about: String,
    /// Its type and what values it takes.
    pub takes: String,
    /// Allowed words, each with what it means.
    pub words: Vec<(String, String)>,
}

/// All keys that have a value of their own.
pub fn keys() -> Vec<Key> {
    let mut keys = Vec::new();
    collect(json_schema(), "", &mut keys);
    keys
}

fn collect(schema: &Value, path: &str, keys: &mut Vec<Key>) {
    for (name, schema) in children(schema) {
        let path = if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
        if let Some(items) = items(schema).filter(|items| !children(items).is_empty()) {
            collect(items, &format!("{path}.N"), keys);
        } else if children(schema).is_empty() {
            keys.push(Key {
                about: about(schema).to_owned(),
                takes: takes(schema),
                words: words(schema),
                path,
            });
        } else {
            collect(schema, &path, keys);
        }
    }
}

/// What the documentation of the type says.
pub(super) fn about(schema: &Value) -> &str {
    schema.get("description").and_then(Value::as_str).unwrap_or_default()
}

/// The schema at a path.
pub(super) fn at<'a>(schema: &'a Value, path: &str) -> Option<&'a Value> {
    path.split('.').try_fold(schema, |schema, key| child(schema, key))
}

fn takes(schema: &Value) -> String {
    let branches = branches(schema);
    let example = |branch: &&Value| branch.get("examples").and_then(Value::as_array).cloned();
    if let Some(examples) = branches.iter().find_map(example) {
        let examples: Vec<_> = examples.iter().map(ToString::to_string).collect();
        return format!("text like {}", examples.join(", "));
    }
    let mut kinds: Vec<&str> = Vec::new();
    for branch in branches {
        kinds.extend(branch.get("type").into_iter().flat_map(|kind| match kind {
            Value::String(kind) => vec![kind.as_str()],
            Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).collect(),
            _ => Vec::new(),
        }));
    }
    kinds.retain(|kind| *kind != "null");
    kinds.dedup();
    let kinds = kinds.into_iter().map(|kind| match kind {
        "string" => "text",
        "boolean" => "true or false",
        "integer" => "a whole number",
        "array" => "a list",
        "object" => "a table",
        other => other,
    });
    kinds.collect::<Vec<_>>().join(" or ")
}

fn words(schema: &Value) -> Vec<(String, String)> {
    let mut words = Vec::new();
    for branch in branches(schema) {
        if let Some(word) = branch.get("const").and_then(Value::as_str) {
            words.push((word.to_owned(), about(branch).to_owned()));
        }
        let listed = branch.get("enum").and_then(Value::as_array).into_iter().flatten();
        words.extend(listed.filter_map(Value::as_str).map(|word| (word.to_owned(), String::new())));
    }
    words
}

/// The nearest path to a wrong one: the same last name elsewhere, or a similar spelling.
pub fn nearest(path: &str) -> Option<String> {
    let numbers = |path: &str| {
        let is_number = |part: &str| part.parse::<usize>().is_ok();
        let parts: Vec<_> =
            path.split('.').map(|part| if is_number(part) { "N" } else { part }).collect();
        parts.join(".")
    };
    let wrong = numbers(path);
    let leaf = |path: &str| path.rsplit('.').next().unwrap_or_default().to_owned();
    let mut paths: Vec<String> = keys().into_iter().map(|key| key.path).collect();
    // Sections too.
    let sections = paths.iter().filter_map(|path| Some(path.rsplit_once('.')?.0.to_owned()));
    let sections: Vec<_> = sections.collect();
    paths.extend(sections);
    paths.sort();
    paths.dedup();
    if let Some(same) = paths.iter().find(|path| leaf(path) == leaf(&wrong)) {
        return Some(same.clone());
    }
    let likeness = |path: &String| {
        let whole = strsim::normalized_damerau_levenshtein(path, &wrong);
        whole.max(strsim::normalized_damerau_levenshtein(&leaf(path), &leaf(&wrong)) * 0.95)
    };
    let best = paths.into_iter().max_by(|a, b| likeness(a).total_cmp(&likeness(b)))?;
    (likeness(&best) >= 0.6).then_some(best)
}
