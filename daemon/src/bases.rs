//! Base models that were imported on this machine: a folder of each, by the hash of its weights.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use compute::formats::import::{self, Folder, Imported, Options, Progress};
use compute::formats::{Base, Card, MAX_CARD_BYTES, MAX_TOKENIZER_BYTES};
use compute::model::ModelConfig;
use protocol::{BlobRef, Hash};
use storage::durable::{create_dir, write_atomic};

use crate::clean;
use crate::config::ByteSize;

const FOLDER: &str = "bases";
const CHECKPOINT: &str = "checkpoint.safetensors";
const TOKENIZER: &str = "tokenizer.json";
/// Written last: a folder without it is none.
const CARD: &str = "card.json";
/// The largest file that is opened: the largest model's weights as `f32`, and what stands beside them.
const MAX_FILE: u64 = (4 << 30) + (256 << 20);
/// Letters of a hash that are enough to name a base.
const LEAST_PREFIX: usize = 4;

/// The base models of a data directory.
#[derive(Debug, Clone)]
pub(crate) struct Bases {
    dir: PathBuf,
}

/// A base that lies on the disk, not yet read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) card: Card,
    /// Bytes of its weights.
    pub(crate) bytes: u64,
}

impl Bases {
    pub(crate) fn of_dir(dir: &Path) -> Self {
        Self { dir: dir.join(FOLDER) }
    }

    fn folder(&self, checkpoint: &Hash) -> PathBuf {
        self.dir.join(checkpoint.to_string())
    }

    /// Keeps a base, and mends one that is damaged; whether it is new here. Killed at any instant, it is
    /// there as a whole or not at all.
    pub(crate) fn add(&self, imported: &Imported) -> Result<bool> {
        let folder = self.folder(&imported.card.checkpoint);
        let is_new = !folder.join(CARD).exists();
        create_dir(&folder)?;
        write_atomic(&folder.join(CHECKPOINT), &imported.checkpoint)?;
        write_atomic(&folder.join(TOKENIZER), &imported.tokenizer)?;
        write_atomic(&folder.join(CARD), &imported.card.to_bytes())?;
        Ok(is_new)
    }

    /// All of them, by name.
    pub(crate) fn all(&self) -> Result<Vec<Found>> {
        let entries = match fs::read_dir(&self.dir) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.with_context(|| format!("{} cannot be read", self.dir.display()))?,
        };
        let mut all = Vec::new();
        for entry in entries {
            let folder = entry?.path();
            let path = folder.join(CARD);
            let Some(bytes) = optional(&path, MAX_CARD_BYTES as u64)? else { continue };
            let card = Card::from_bytes(&bytes)
                .with_context(|| format!("{} is damaged; import it again", path.display()))?;
            let bytes = fs::metadata(folder.join(CHECKPOINT)).map_or(0, |file| file.len());
            all.push(Found { card, bytes });
        }
        all.sort_by(|a, b| {
            (&a.card.name, a.card.checkpoint).cmp(&(&b.card.name, b.card.checkpoint))
        });
        Ok(all)
    }

    /// The one of that name, or else the one whose name or hash begins like that.
    ///
    /// # Errors
    /// What there is, where that names none or several.
    pub(crate) fn find(&self, named: &str) -> Result<Found> {
        let all = self.all()?;
        let start = named.to_lowercase();
        let is_called = |found: &&Found| found.card.name.to_lowercase() == start;
        let begins = |found: &&Found| {
            let hash = found.card.checkpoint.to_string();
            let is_hash = start.len() >= LEAST_PREFIX && hash.starts_with(&start);
            is_hash || found.card.name.to_lowercase().starts_with(&start)
        };
        let mut found: Vec<_> = all.iter().filter(is_called).collect();
        if found.is_empty() {
            found = all.iter().filter(begins).collect();
        }
        match found.as_slice() {
            [found] => Ok((*found).clone()),
            [] if all.is_empty() => bail!(
                "no base model is on this machine; import one with `openledger model import PATH`"
            ),
            [] => bail!("no base model is called {named:?}; there are {}", titles(&all)),
            several => {
                bail!(
                    "{named:?} may be any of {}: name it by its hash",
                    titles(several.iter().copied())
                )
            }
        }
    }

    /// Reads one, with all its weights.
    pub(crate) fn load(&self, card: &Card) -> Result<Base> {
        Ok(self.files(card)?.base)
    }

    /// Reads one as the files that others know by their hashes.
    pub(crate) fn files(&self, card: &Card) -> Result<BaseFiles> {
        let folder = self.folder(&card.checkpoint);
        let damaged = || format!("{} is damaged; import it again", folder.display());
        let read = |name: &str, most: u64| {
            let bytes = optional(&folder.join(name), most)?;
            bytes.with_context(|| {
                format!("{} is missing; import it again", folder.join(name).display())
            })
        };
        let checkpoint = read(CHECKPOINT, MAX_FILE)?;
        let tokenizer = read(TOKENIZER, MAX_TOKENIZER_BYTES as u64)?;
        let card = card.to_bytes();
        let base = Base::from_bytes(&checkpoint, &tokenizer, &card).with_context(damaged)?;
        Ok(BaseFiles { base, checkpoint, tokenizer, card })
    }
}

/// A base that was read, and the files that it was read from.
#[derive(Debug)]
pub(crate) struct BaseFiles {
    base: Base,
    checkpoint: Vec<u8>,
    tokenizer: Vec<u8>,
    card: Vec<u8>,
}

impl BaseFiles {
    pub(crate) fn model(&self) -> &ModelConfig {
        self.base.checkpoint().config()
    }

    pub(crate) fn card(&self) -> &Card {
        self.base.card()
    }

    pub(crate) fn checkpoint_ref(&self) -> BlobRef {
        BlobRef::new(self.base.card().checkpoint, self.checkpoint.len() as u64)
    }

    pub(crate) fn tokenizer_ref(&self) -> BlobRef {
        BlobRef::new(self.base.card().tokenizer, self.tokenizer.len() as u64)
    }

    pub(crate) fn card_ref(&self) -> BlobRef {
        BlobRef::new(protocol::hash::blake3(&self.card), self.card.len() as u64)
    }

    pub(crate) fn into_bytes(self) -> [Vec<u8>; 3] {
        [self.checkpoint, self.tokenizer, self.card]
    }
}

/// A base for people: its name and the start of its hash.
pub(crate) fn title(card: &Card) -> String {
    format!("{} ({})", clean::line(&card.name), short(card))
}

/// The start of a base's hash, by which it can be named.
pub(crate) fn short(card: &Card) -> String {
    card.checkpoint.to_string().chars().take(12).collect()
}

fn titles<'a>(all: impl IntoIterator<Item = &'a Found>) -> String {
    all.into_iter().map(|found| title(&found.card)).collect::<Vec<_>>().join(", ")
}

/// Reads a GGUF file or a Hugging Face folder.
pub(crate) fn import(
    path: &Path,
    options: &Options,
    progress: &mut dyn FnMut(Progress),
) -> Result<Imported> {
    let whom = || format!("{} is not imported", path.display());
    if path.is_dir() {
        return import::folder(&OnDisk(path), options, progress).with_context(whom);
    }
    let bytes =
        optional(path, MAX_FILE)?.with_context(|| format!("there is no {}", path.display()))?;
    import::gguf(&bytes, options, progress).with_context(whom)
}

struct OnDisk<'a>(&'a Path);

impl Folder for OnDisk<'_> {
    fn read(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        bounded(&self.0.join(name), MAX_FILE)
    }
}

/// The bytes of a file with so many at most; none where there is no such file.
pub(crate) fn optional(path: &Path, most: u64) -> Result<Option<Vec<u8>>> {
    bounded(path, most).with_context(|| format!("{} cannot be read", path.display()))
}

fn bounded(path: &Path, most: u64) -> io::Result<Option<Vec<u8>>> {
    let length = match fs::metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        found => found?.len(),
    };
    if length > most {
        let (length, most) = (ByteSize(length), ByteSize(most));
        let text = format!("it has {length}, and at most {most} are read");
        return Err(io::Error::new(ErrorKind::FileTooLarge, text));
    }
    fs::read(path).map(Some)
}
