//! `simnet data`: the measurements that come with the program.

use clap::{Args, Subcommand};
use simnet::data::{Set, set, sets};

use super::{End, print};

/// Figures from outside that simulations use, each with its source.
#[derive(Debug, Args)]
pub(crate) struct Data {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// All sets with what they are and how they came about.
    List {
        /// Print one JSON array.
        #[arg(long)]
        json: bool,
    },
    /// The source of one set, or of all, with its figures.
    Cite {
        /// The set; all if left out.
        name: Option<String>,
        /// Print one JSON array.
        #[arg(long)]
        json: bool,
    },
}

impl Data {
    pub(crate) fn execute(&self) -> anyhow::Result<End> {
        match &self.command {
            Command::List { json: true } | Command::Cite { name: None, json: true } => {
                let all: Vec<_> = sets().iter().map(|(_, set)| set).collect();
                print(&format!("{}\n", serde_json::to_string(&all)?));
            }
            Command::List { json: false } => {
                for (file, set) in sets() {
                    let (name, kind, what) = (&set.name, set.kind, &set.what);
                    print(&format!("{name:<28} {kind:<9} {what}  ({file})\n"));
                }
            }
            Command::Cite { name, json } => {
                let all: Vec<&Set> = match name {
                    Some(name) => vec![set(name)?],
                    None => sets().iter().map(|(_, set)| set).collect(),
                };
                if *json {
                    print(&format!("{}\n", serde_json::to_string(&all)?));
                } else {
                    all.into_iter().for_each(|set| print(&cited(set)));
                }
            }
        }
        Ok(End::Well)
    }
}

fn cited(set: &Set) -> String {
    let mut text = format!("{}: {} ({})\n", set.name, set.what, set.kind);
    text.push_str(&format!("  {}. {}, retrieved {}\n", set.source, set.url, set.retrieved));
    for (name, value) in &set.values {
        text.push_str(&format!("  {name} = {value} {}\n", set.unit));
    }
    text.push('\n');
    text
}
