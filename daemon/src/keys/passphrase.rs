//! Where the passphrase comes from when nobody is there to type it.

use std::path::{Path, PathBuf};

use storage::durable::write_atomic;

use super::{KEYS_DIR, KeysError, random_bytes};

/// The file that `init` writes when no passphrase was given.
const GENERATED_FILE: &str = "passphrase";
/// The name of the systemd credential.
const CREDENTIAL: &str = "openledger-passphrase";
/// Bytes of a passphrase file at most.
const MAX_FILE: u64 = 4096;

/// A passphrase; it is never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Passphrase(String);

impl std::fmt::Debug for Passphrase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Passphrase(…)")
    }
}

impl Passphrase {
    /// Takes a text as it is.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

/// Why there is no passphrase.
#[derive(Debug, thiserror::Error)]
pub enum PassphraseError {
    /// Nobody gave one.
    #[error(
        "no passphrase for the keystore: set OPENLEDGER_PASSPHRASE_FILE to a file that holds it, \
         or pass the systemd credential {CREDENTIAL}"
    )]
    None,
    /// A file cannot be read.
    #[error("cannot read the passphrase from {}: {source}", path.display())]
    Read {
        /// The passphrase file.
        path: PathBuf,
        /// What the operating system says.
        source: std::io::Error,
    },
    /// A file is empty or far too long.
    #[error("{} does not hold a passphrase: write it there as one line of text", .0.display())]
    Content(PathBuf),
}

/// The places that are looked at, in this order: the file, the systemd credential, the variable,
/// the file that `init` wrote.
#[derive(Debug, Clone, Default)]
pub struct PassphraseSources {
    /// A file named by a flag, the configuration or `OPENLEDGER_PASSPHRASE_FILE`.
    pub file: Option<PathBuf>,
    /// The directory that systemd names in `CREDENTIALS_DIRECTORY`.
    pub credentials: Option<PathBuf>,
    /// What `OPENLEDGER_PASSPHRASE` holds.
    pub variable: Option<String>,
}

impl PassphraseSources {
    /// Reads the environment of this process.
    pub(crate) fn from_env(file: Option<PathBuf>) -> Self {
        let path = |name| std::env::var_os(name).map(PathBuf::from);
        Self {
            file: file.or_else(|| path("OPENLEDGER_PASSPHRASE_FILE")),
            credentials: path("CREDENTIALS_DIRECTORY"),
            variable: std::env::var("OPENLEDGER_PASSPHRASE").ok(),
        }
    }

    /// Finds the passphrase of a data directory.
    ///
    /// # Errors
    /// [`PassphraseError`] naming the place that failed, or that there is none.
    pub fn find(&self, dir: &Path) -> Result<Passphrase, PassphraseError> {
        if let Some(file) = &self.file {
            return read(file);
        }
        let credential = self.credentials.as_ref().map(|dir| dir.join(CREDENTIAL));
        if let Some(path) = credential.filter(|path| path.exists()) {
            return read(&path);
        }
        if let Some(text) = self.variable.as_ref().filter(|text| !text.is_empty()) {
            return Ok(Passphrase::new(text.clone()));
        }
        let generated = dir.join(KEYS_DIR).join(GENERATED_FILE);
        if generated.exists() { read(&generated) } else { Err(PassphraseError::None) }
    }

    /// Whether anybody gave a passphrase.
    pub fn any(&self) -> bool {
        let credential = self.credentials.as_ref().map(|dir| dir.join(CREDENTIAL));
        self.file.is_some()
            || credential.is_some_and(|path| path.exists())
            || self.variable.as_ref().is_some_and(|text| !text.is_empty())
    }
}

impl Passphrase {
    /// Makes a random passphrase and keeps it beside the keys, readable by the owner only. One that an
    /// interrupted `init` left there is taken: keys may be encrypted with it already.
    ///
    /// # Errors
    /// [`KeysError`] when the disk or the randomness fails.
    pub fn generate(dir: &Path) -> Result<(Self, PathBuf), KeysError> {
        let text = hex::encode(random_bytes()?);
        let path = dir.join(KEYS_DIR).join(GENERATED_FILE);
        if path.exists() {
            return Ok((read(&path)?, path));
        }
        storage::durable::create_dir(&dir.join(KEYS_DIR))?;
        write_atomic(&path, text.as_bytes())?;
        Ok((Self(text), path))
    }
}

fn read(path: &Path) -> Result<Passphrase, PassphraseError> {
    let fail = |source| PassphraseError::Read { path: path.to_owned(), source };
    if std::fs::metadata(path).map_err(fail)?.len() > MAX_FILE {
        return Err(PassphraseError::Content(path.to_owned()));
    }
    let text = std::fs::read_to_string(path).map_err(fail)?;
    // Editors end a file with a line break that nobody meant.
    let text = text.strip_suffix('\n').unwrap_or(&text);
    let text = text.strip_suffix('\r').unwrap_or(text);
    if text.is_empty() {
        return Err(PassphraseError::Content(path.to_owned()));
    }
    Ok(Passphrase::new(text))
}
