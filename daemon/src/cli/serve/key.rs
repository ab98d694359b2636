//! `openledger serve key`: who may ask through the gateway.

use std::path::Path;

use anyhow::Result;
use clap::Subcommand;
use protocol::Amount;
use serde_json::{Value, json};

use crate::clean;
use crate::gateway::keys::{Budget, Key, KeyRing, today};
use crate::output::Output;
use crate::words::{amount_in_open, open_amount};

#[derive(Debug, Subcommand)]
pub(super) enum KeyCommand {
    /// Make a key, which is shown only now
    Add {
        /// Whose it is, or what it is for
        name: String,
        /// Most that may be spent with it in a day (UTC), in OPEN
        #[arg(long, value_name = "OPEN", value_parser = open_amount)]
        per_day: Option<Amount>,
        /// Most that may ever be spent with it, in OPEN
        #[arg(long, value_name = "OPEN", value_parser = open_amount)]
        in_all: Option<Amount>,
    },
    /// List the keys, with what was spent
    Ls,
    /// Remove a key: whoever asks with it is refused from now on
    Remove {
        /// The name of the key
        name: String,
    },
}

pub(super) fn key(dir: &Path, command: KeyCommand) -> Result<Output> {
    let keys = KeyRing::of_dir(dir);
    match command {
        KeyCommand::Add { name, per_day, in_all } => {
            let text = keys.add(&name, Budget { per_day, in_all })?;
            let shown = format!(
                "{text}\nKeep it: it is shown only now. `openledger serve` takes it at once."
            );
            Ok(Output::new(
                shown,
                &json!({ "name": name, "key": text, "per_day": per_day, "in_all": in_all }),
            ))
        }
        KeyCommand::Ls => {
            let all = keys.all()?;
            let lines: Vec<_> = all.iter().map(described).collect();
            let none = "no key yet; `openledger serve key add NAME` makes one";
            let text = if lines.is_empty() { none.to_owned() } else { lines.join("\n") };
            Ok(Output::new(text, &all.iter().map(as_json).collect::<Vec<_>>()))
        }
        KeyCommand::Remove { name } => {
            let removed = keys.remove(&name)?;
            let text =
                format!("{} is removed, and refused from now on", clean::line(&removed.name));
            Ok(Output::new(text, &as_json(&removed)))
        }
    }
}

pub(in crate::cli) fn described(key: &Key) -> String {
    let of = |most: Option<Amount>| match most {
        Some(most) => format!(" of {}", amount_in_open(most)),
        None => String::new(),
    };
    format!(
        "{}: {}{} spent today, {}{} in all",
        clean::line(&key.name),
        amount_in_open(key.spent_on(today())),
        of(key.budget.per_day),
        amount_in_open(key.spent),
        of(key.budget.in_all)
    )
}

pub(in crate::cli) fn as_json(key: &Key) -> Value {
    json!({
        "name": key.name,
        "per_day": key.budget.per_day,
        "in_all": key.budget.in_all,
        "spent_today": key.spent_on(today()),
        "spent": key.spent,
        "left": key.left_on(today()),
    })
}
