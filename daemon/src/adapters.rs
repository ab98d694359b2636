//! Adapters that were imported on this machine: their weights by hash, and a card of each by base and name.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use compute::lora::{Adapter, BaseId, PeftFiles};
use protocol::Hash;
use serde::{Deserialize, Serialize};
use storage::durable::{create_dir, write_atomic};

use crate::bases::optional;
use crate::clean;

const FOLDER: &str = "adapters";
/// How the names of weights and of cards end; a card stands in the folder of its base.
const WEIGHTS: &str = "safetensors";
const CARD: &str = "json";
/// What `peft` calls its files.
pub(crate) const PEFT_CONFIG: &str = "adapter_config.json";
pub(crate) const PEFT_WEIGHTS: &str = "adapter_model.safetensors";
/// The largest file that is opened.
const MAX_FILE: u64 = 1 << 30;
/// The largest card, and the longest name, in bytes.
const MAX_CARD: u64 = 1 << 12;
const MAX_NAME: usize = 64;
/// Letters of a hash that are enough to name an adapter.
const LEAST_PREFIX: usize = 4;

/// The adapters of a data directory.
#[derive(Debug, Clone)]
pub(crate) struct Adapters {
    dir: PathBuf,
}

/// What is known of an adapter without reading it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AdapterCard {
    /// What it is called beside its base.
    pub(crate) name: String,
    /// BLAKE3 of its canonical file.
    pub(crate) adapter: Hash,
    /// The base that it adds to.
    pub(crate) base: Hash,
    pub(crate) rank: u32,
    pub(crate) parameters: u64,
}

impl Adapters {
    pub(crate) fn of_dir(dir: &Path) -> Self {
        Self { dir: dir.join(FOLDER) }
    }

    fn weights(&self, adapter: &Hash) -> PathBuf {
        self.dir.join(format!("{adapter}.{WEIGHTS}"))
    }

    fn card(&self, base: &Hash, name: &str) -> PathBuf {
        self.dir.join(base.to_string()).join(format!("{name}.{CARD}"))
    }

    /// Keeps an adapter under a name, which no other of its base has; whether it is new here. The card is written
    /// last: killed at any instant, it is there as a whole or not at all.
    pub(crate) fn add(&self, name: &str, adapter: &Adapter) -> Result<(AdapterCard, bool)> {
        check_name(name)?;
        let bytes = adapter.to_bytes();
        let card = AdapterCard {
            name: name.to_owned(),
            adapter: protocol::hash::blake3(&bytes),
            base: adapter.base().checkpoint,
            rank: adapter.config().rank,
            parameters: adapter.values().len() as u64,
        };
        // One that is damaged is mended by importing it again.
        let known = self.get(&card.base, name).unwrap_or_default();
        if let Some(other) = known.as_ref().filter(|known| known.adapter != card.adapter) {
            bail!(
                "another adapter of that base is called {name} ({}); choose a name with --name, or remove it with \
                 `openledger model adapter rm {name}`",
                other.short()
            );
        }
        create_dir(&self.dir.join(card.base.to_string()))?;
        write_atomic(&self.weights(&card.adapter), &bytes)?;
        write_atomic(&self.card(&card.base, name), &serde_json::to_vec(&card)?)?;
        Ok((card, known.is_none()))
    }

    /// The one of a base that is called exactly so. However many there are, one file is read.
    pub(crate) fn get(&self, base: &Hash, name: &str) -> Result<Option<AdapterCard>> {
        // Whatever else is asked for is the name of no file here.
        if check_name(name).is_err() {
            return Ok(None);
        }
        read_card(&self.card(base, name))
    }

    /// All of them, by base and name.
    pub(crate) fn all(&self) -> Result<Vec<AdapterCard>> {
        let entries = match fs::read_dir(&self.dir) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.with_context(|| format!("{} cannot be read", self.dir.display()))?,
        };
        let mut all = Vec::new();
        for entry in entries {
            let folder = entry?.path();
            if !folder.is_dir() {
                continue;
            }
            for entry in fs::read_dir(&folder)? {
                let path = entry?.path();
                if path.extension().is_none_or(|end| end != CARD) {
                    continue;
                }
                match read_card(&path) {
                    Ok(card) => all.extend(card),
                    Err(error) => tracing::warn!(%error, "an adapter is passed over"),
                }
            }
        }
        all.sort_by(|a, b| (a.base, &a.name).cmp(&(b.base, &b.name)));
        Ok(all)
    }

    /// The one of that name, or else the one whose hash begins like that.
    ///
    /// # Errors
    /// What there is, where that names none or several.
    pub(crate) fn find(&self, named: &str) -> Result<AdapterCard> {
        let all = self.all()?;
        let mut found: Vec<_> = all.iter().filter(|card| card.name == named).collect();
        if found.is_empty() && named.len() >= LEAST_PREFIX {
            found = all.iter().filter(|card| card.adapter.to_string().starts_with(named)).collect();
        }
        match found.as_slice() {
            [card] => Ok((*card).clone()),
            [] if all.is_empty() => bail!(
                "no adapter is on this machine; import one with `openledger model adapter import FOLDER`"
            ),
            [] => bail!("no adapter is called {named:?}; there are {}", titles(&all)),
            several => bail!(
                "{named:?} may be any of {}: name it by its hash",
                titles(several.iter().copied())
            ),
        }
    }

    /// Forgets an adapter; what is in memory of it stays there until it is needed for others.
    pub(crate) fn remove(&self, card: &AdapterCard) -> Result<()> {
        let (path, weights) = (self.card(&card.base, &card.name), self.weights(&card.adapter));
        fs::remove_file(&path).with_context(|| format!("{} cannot be removed", path.display()))?;
        // It may have another name as well.
        if self.all()?.iter().any(|other| other.adapter == card.adapter) {
            return Ok(());
        }
        fs::remove_file(&weights)
            .with_context(|| format!("{} cannot be removed", weights.display()))
    }

    /// Reads one, and holds it against its hash.
    pub(crate) fn load(&self, card: &AdapterCard) -> Result<Adapter> {
        let path = self.weights(&card.adapter);
        let damaged = || format!("{} is damaged; import it again", path.display());
        let bytes = optional(&path, MAX_FILE)?
            .with_context(|| format!("{} is missing; import it again", path.display()))?;
        if protocol::hash::blake3(&bytes) != card.adapter {
            bail!(damaged());
        }
        Adapter::from_bytes(&bytes).with_context(damaged)
    }
}

impl AdapterCard {
    /// The start of its hash, by which it can be named.
    pub(crate) fn short(&self) -> String {
        self.adapter.to_string().chars().take(12).collect()
    }

    /// Its name and the start of its hash, for people.
    pub(crate) fn title(&self) -> String {
        format!("{} ({})", clean::line(&self.name), self.short())
    }
}

fn read_card(path: &Path) -> Result<Option<AdapterCard>> {
    let Some(bytes) = optional(path, MAX_CARD)? else { return Ok(None) };
    let card = serde_json::from_slice(&bytes)
        .with_context(|| format!("{} is damaged; import it again", path.display()))?;
    Ok(Some(card))
}

fn titles<'a>(all: impl IntoIterator<Item = &'a AdapterCard>) -> String {
    all.into_iter().map(AdapterCard::title).collect::<Vec<_>>().join(", ")
}

/// Names stand behind a colon in the names of models, and in commands.
fn check_name(name: &str) -> Result<()> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if name.is_empty() || name.len() > MAX_NAME || !name.bytes().all(is_plain) {
        bail!(
            "{name:?} is no name for an adapter: it has letters, digits, '-', '_' and '.', {MAX_NAME} at most; give \
             one with --name"
        );
    }
    Ok(())
}

/// Reads what `peft` saved as an adapter of a base.
pub(crate) fn read_peft(folder: &Path, base: &BaseId) -> Result<Adapter> {
    let file = |name: &str| {
        let path = folder.join(name);
        optional(&path, MAX_FILE)?.with_context(|| {
            format!("there is no {}: that is no folder as `peft` saves one", path.display())
        })
    };
    let files = PeftFiles { config: file(PEFT_CONFIG)?, weights: file(PEFT_WEIGHTS)? };
    let whom = || format!("{} is not imported", folder.display());
    // What the network trained names its base; of others the shapes alone tell.
    if let Ok(own) = Adapter::from_bytes(&files.weights) {
        own.expect_base(base).with_context(whom)?;
    }
    Adapter::from_peft(base, &files).with_context(whom)
}
