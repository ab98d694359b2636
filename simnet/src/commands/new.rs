//! `simnet new`: a scenario file to begin with.

use std::{fs::OpenOptions, io::Write as _, path::PathBuf};

use anyhow::Context as _;
use clap::Args;
use simnet::scenario_file::template;

use super::{End, print};

/// Writes NAME.toml: every key with its default and what it means. Nothing is overwritten.
#[derive(Debug, Args)]
pub(crate) struct New {
    /// The name of the scenario.
    name: String,
    /// The file to write instead of NAME.toml.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

impl New {
    pub(crate) fn execute(&self) -> anyhow::Result<End> {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        if self.name.is_empty() || !self.name.chars().all(plain) {
            anyhow::bail!("a name has letters, digits, - and _ only; `{}` has others", self.name);
        }
        let path = self.out.clone().unwrap_or_else(|| PathBuf::from(format!("{}.toml", self.name)));
        let file = OpenOptions::new().write(true).create_new(true).open(&path);
        let written = file.and_then(|mut file| file.write_all(template(&self.name).as_bytes()));
        written.with_context(|| format!("cannot write {}", path.display()))?;
        let path = path.display();
        print(&format!("{path} is written; change it, then: simnet run {path} --out results\n"));
        Ok(End::Well)
    }
}
