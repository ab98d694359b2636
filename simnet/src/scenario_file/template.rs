//! `simnet new`: a scenario file with every key, its default and what it means.

use serde_json::Value;

use super::schema::{about, at, json_schema};
use crate::Scenario;

/// Keys that have no value unless a file gives one, each with an example.
const EXAMPLES: [(&str, &str); 4] = [
    ("population.preset", "\"home-2025\""),
    ("population.regions", "{ eu = 0.7, na = 0.3 }"),
    ("net.data", "\"rtt-simblock-2019\""),
    ("economics.price", "[{ at = \"0s\", usd = 0.02 }, { at = \"10m\", usd = 0.01 }]"),
];

/// A scenario file of a name, commented from the types' own documentation.
pub fn template(name: &str) -> String {
    let scenario = Scenario {
        name: name.to_owned(),
        question: "what does this scenario answer?".to_owned(),
        ..Scenario::default()
    };
    let plain = toml::to_string(&scenario).expect("a scenario is a table");
    let schema = json_schema();
    let mut text = "# What does this scenario answer? Say it in this line.\n\
         # Every key may be left out; `simnet explain KEY` says more about it.\n\nschema = 1\n"
        .to_owned();
    let mut section = String::new();
    // An empty list would keep its tables from being added.
    for line in plain.lines().filter(|line| !line.ends_with(" = []")) {
        if let Some(name) = line.strip_prefix('[') {
            let name = name.trim_start_matches('[').trim_end_matches(']');
            section = name.to_owned();
            comment(&mut text, schema, name);
            text.push_str(line);
            text.push('\n');
            for (path, example) in EXAMPLES.iter().filter(|(path, _)| {
                path.rsplit_once('.').is_some_and(|(section, _)| section == name)
            }) {
                comment(&mut text, schema, path);
                let key = path.rsplit('.').next().unwrap_or_default();
                text.push_str(&format!("# {key} = {example}\n"));
            }
            continue;
        } else if let Some((key, _)) = line.split_once(" = ") {
            let path = if section.is_empty() { key.to_owned() } else { format!("{section}.{key}") };
            comment(&mut text, schema, &path);
        }
        text.push_str(line);
        text.push('\n');
    }
    text.push_str(
        "\n# Faults at given times; `simnet explain event` lists them.\n# [[event]]\n# at = \"10m\"\n\
         # do = \"loss\"\n# for = \"5m\"\n# share = 0.3\n",
    );
    text.push_str(
        "\n# What has to hold at the end; otherwise `simnet run` ends with 3.\n[check]\n\
         durability = \">= 0.99\"\nepochs_settled = \"== 1\"\n\n\
         # `simnet sweep` runs every combination of these, each with every seed.\n[sweep]\n\
         seeds = 3\n\"net.loss\" = [0.0, 0.05]\n",
    );
    text
}

fn comment(text: &mut String, schema: &Value, path: &str) {
    let mut found = at(schema, path);
    // Inside an array of tables.
    if found.is_none()
        && let Some((list, key)) = path.rsplit_once('.')
    {
        found = at(schema, &format!("{list}.0.{key}"));
    }
    for line in found.map(about).unwrap_or_default().lines() {
        text.push_str(&format!("# {line}\n"));
    }
}
