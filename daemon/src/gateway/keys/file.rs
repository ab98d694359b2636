//! The file of the keys: reading and writing it whole.

use std::fs::{self, Metadata};
use std::io::{ErrorKind, Read};
use std::path::Path;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use super::{Key, KeyError};

/// Most bytes of the file: more than all keys that there may be.
const MAX_FILE: u64 = 1 << 20;

#[derive(Serialize, Deserialize)]
struct KeyFile {
    keys: Vec<Key>,
}

/// What tells a file from the one that replaced it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    length: u64,
    changed: Option<SystemTime>,
    /// Its number, where the system says.
    number: Option<u64>,
}

impl Stamp {
    fn of(file: &Metadata) -> Self {
        Self { length: file.len(), changed: file.modified().ok(), number: number(file) }
    }

    /// Whether the file that is there now is still the same.
    pub(super) fn is_of(&self, path: &Path) -> bool {
        fs::metadata(path).is_ok_and(|file| Self::of(&file) == *self)
    }
}

#[cfg(unix)]
fn number(file: &Metadata) -> Option<u64> {
    Some(std::os::unix::fs::MetadataExt::ino(file))
}

#[cfg(not(unix))]
fn number(_: &Metadata) -> Option<u64> {
    None
}

/// The keys, and the stamp of the file they are from; none where there is no file.
pub(super) fn read(path: &Path) -> Result<Option<(Stamp, Vec<Key>)>, KeyError> {
    let failed = |source| KeyError::Read { path: path.to_owned(), source };
    let damaged = |reason: String| KeyError::Damaged { path: path.to_owned(), reason };
    let file = match fs::File::open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        file => file.map_err(failed)?,
    };
    let stamp = Stamp::of(&file.metadata().map_err(failed)?);
    let mut bytes = Vec::new();
    file.take(MAX_FILE + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(damaged(format!("it has more than {MAX_FILE} bytes")));
    }
    let file: KeyFile =
        serde_json::from_slice(&bytes).map_err(|error| damaged(error.to_string()))?;
    Ok(Some((stamp, file.keys)))
}

/// The bytes that [`read`] reads.
pub(super) fn write(keys: &[Key]) -> Vec<u8> {
    let file = KeyFile { keys: keys.to_vec() };
    serde_json::to_vec_pretty(&file).expect("plain data has a JSON form")
}
