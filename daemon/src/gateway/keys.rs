//! Keys: who may ask through the gateway, and how much each may spend.
//!
//! They are in one file of the data directory, which holds no secret: of a key only its BLAKE3 hash. Every
//! change is made under a lock and replaces the file as a whole, so that a command and any number of
//! gateways on one directory see each other's changes, and `kill -9` at any instant loses none.
//!
//! What a question may cost is booked before anybody is asked, and put right when it has ended: a process
//! that is killed in between has booked too much, never too little.

mod file;

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use protocol::{Amount, Hash};
use serde::{Deserialize, Serialize};
use storage::durable::{FileLock, create_dir, write_atomic};

use self::file::{Stamp, read};
use crate::keys::{KeysError, random_bytes};

const FOLDER: &str = "gateway";
const KEYS: &str = "keys.json";
/// Who holds a lock on it may replace the file beside it.
const LOCK: &str = "keys.lock";
/// What every key begins with, as clients expect it.
const PREFIX: &str = "sk-";
/// Most keys of one directory.
const MAX_KEYS: usize = 1_000;
/// Most bytes of a key's name.
const MAX_NAME: usize = 64;

/// How much may be spent with a key; where nothing is said, any amount.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Budget {
    /// In a day that begins at midnight UTC.
    pub(crate) per_day: Option<Amount>,
    pub(crate) in_all: Option<Amount>,
}

/// A key as the file has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Key {
    pub(crate) name: String,
    /// BLAKE3 of the key's text.
    pub(crate) hash: Hash,
    #[serde(flatten)]
    pub(crate) budget: Budget,
    /// The day, counted from 1970, of which `spent_that_day` is.
    pub(crate) day: u64,
    pub(crate) spent_that_day: Amount,
    pub(crate) spent: Amount,
}

/// What was booked on a key for one question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Booked {
    /// The hash of the key.
    pub(crate) key: Hash,
    pub(crate) day: u64,
    pub(crate) amount: Amount,
}

/// Why the keys cannot be read or changed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KeyError {
    #[error("cannot read {}: {source}", path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error("{} is damaged ({reason}); put back a copy, or remove it and make new keys", path.display())]
    Damaged { path: PathBuf, reason: String },
    #[error("cannot save the keys: {0}")]
    Write(#[from] storage::DiskError),
    #[error(transparent)]
    Entropy(#[from] KeysError),
    #[error("a key's name has 1 to {MAX_NAME} bytes and no control characters")]
    Name,
    #[error(
        "there is a key {0:?} already; remove it with `openledger serve key remove`, or choose another name"
    )]
    Exists(String),
    #[error("there is no key {0:?}; `openledger serve key ls` lists them")]
    Unknown(String),
    #[error(
        "there are {MAX_KEYS} keys, and no room for more; remove one with `openledger serve key remove`"
    )]
    TooMany,
}

impl Key {
    /// What was spent on a day.
    pub(crate) fn spent_on(&self, day: u64) -> Amount {
        if self.day == day { self.spent_that_day } else { Amount::ZERO }
    }

    /// What is left on a day; any amount where nothing is said.
    pub(crate) fn left_on(&self, day: u64) -> Option<Amount> {
        let of_day = self.budget.per_day.map(|most| most.saturating_sub(self.spent_on(day)));
        let of_all = self.budget.in_all.map(|most| most.saturating_sub(self.spent));
        of_day.into_iter().chain(of_all).min()
    }

    /// Puts another amount in the place of one that was booked.
    fn rebook(&mut self, booked: &Booked, amount: Amount) {
        let instead = |sum: Amount| sum.saturating_sub(booked.amount).saturating_add(amount);
        self.spent = instead(self.spent);
        if self.day < booked.day {
            (self.day, self.spent_that_day) = (booked.day, Amount::ZERO);
        }
        // What ends after its day changes nothing of the next.
        if self.day == booked.day {
            self.spent_that_day = instead(self.spent_that_day);
        }
    }
}

/// The keys of a data directory.
#[derive(Debug)]
pub(crate) struct KeyRing {
    folder: PathBuf,
    seen: Mutex<Option<(Stamp, Vec<Key>)>>,
}

impl KeyRing {
    pub(crate) fn of_dir(dir: &Path) -> Self {
        Self { folder: dir.join(FOLDER), seen: Mutex::default() }
    }

    /// Makes a key and gives its text, which is nowhere else.
    pub(crate) fn add(&self, name: &str, budget: Budget) -> Result<String, KeyError> {
        if name.is_empty() || name.len() > MAX_NAME || name.contains(char::is_control) {
            return Err(KeyError::Name);
        }
        let text = format!("{PREFIX}{}", hex::encode(random_bytes()?));
        let key = Key {
            name: name.to_owned(),
            hash: hash(&text),
            budget,
            day: 0,
            spent_that_day: Amount::ZERO,
            spent: Amount::ZERO,
        };
        self.change(|keys| {
            if keys.iter().any(|other| other.name == key.name) {
                return Err(KeyError::Exists(key.name));
            }
            if keys.len() >= MAX_KEYS {
                return Err(KeyError::TooMany);
            }
            keys.push(key);
            Ok(())
        })?;
        Ok(text)
    }

    /// Makes a first key, where there is none.
    pub(crate) fn first(&self, name: &str) -> Result<Option<String>, KeyError> {
        if !self.all()?.is_empty() {
            return Ok(None);
        }
        match self.add(name, Budget::default()) {
            // Another process was faster.
            Err(KeyError::Exists(_)) => Ok(None),
            made => made.map(Some),
        }
    }

    /// All keys, in the order in which they were made.
    pub(crate) fn all(&self) -> Result<Vec<Key>, KeyError> {
        Ok(read(&self.folder.join(KEYS))?.map_or_else(Vec::new, |(_, keys)| keys))
    }

    /// Takes a key away: what is asked with it from now on is refused.
    pub(crate) fn remove(&self, name: &str) -> Result<Key, KeyError> {
        self.change(|keys| {
            let at = keys.iter().position(|key| key.name == name);
            at.map(|at| keys.remove(at)).ok_or_else(|| KeyError::Unknown(name.to_owned()))
        })
    }

    /// The key with that text.
    pub(crate) fn find(&self, text: &str) -> Result<Option<Key>, KeyError> {
        let path = self.folder.join(KEYS);
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.as_ref().is_none_or(|(stamp, _)| !stamp.is_of(&path)) {
            *seen = read(&path)?;
        }
        let (hash, all) = (hash(text), seen.iter().flat_map(|(_, keys)| keys));
        // Of hashes, how long a comparison takes tells nothing of the key.
        Ok(all.into_iter().find(|key| key.hash == hash).cloned())
    }

    /// Books all that is left on a key, and says how much that is; nothing is booked where any amount
    /// may be spent. None where the key was removed.
    pub(crate) fn reserve(&self, key: Hash) -> Result<Option<(Booked, Option<Amount>)>, KeyError> {
        let day = today();
        let empty = Booked { key, day, amount: Amount::ZERO };
        let left = match self.all()?.into_iter().find(|other| other.hash == key) {
            Some(found) => found.left_on(day),
            None => return Ok(None),
        };
        if left.is_none_or(|left| left == Amount::ZERO) {
            return Ok(Some((empty, left)));
        }
        self.change(|keys| {
            let Some(key) = keys.iter_mut().find(|other| other.hash == key) else {
                return Ok(None);
            };
            // Again, since others may have booked meanwhile.
            let left = key.left_on(day);
            let booked = Booked { amount: left.unwrap_or(Amount::ZERO), ..empty };
            key.rebook(&empty, booked.amount);
            Ok(Some((booked, left)))
        })
    }

    /// Books another amount than was booked. Of a key that was removed nothing is booked any more.
    pub(crate) fn rebook(&self, booked: &Booked, amount: Amount) -> Result<Booked, KeyError> {
        if amount != booked.amount {
            self.change(|keys| {
                if let Some(key) = keys.iter_mut().find(|other| other.hash == booked.key) {
                    key.rebook(booked, amount);
                }
                Ok(())
            })?;
        }
        Ok(Booked { amount, ..*booked })
    }

    /// Changes the file under the lock; an error changes nothing.
    fn change<T>(
        &self,
        change: impl FnOnce(&mut Vec<Key>) -> Result<T, KeyError>,
    ) -> Result<T, KeyError> {
        create_dir(&self.folder)?;
        let _lock = FileLock::wait(&self.folder.join(LOCK))?;
        let mut keys = self.all()?;
        let changed = change(&mut keys)?;
        write_atomic(&self.folder.join(KEYS), &file::write(&keys))?;
        Ok(changed)
    }
}

/// The day, counted from 1970 in UTC.
pub(crate) fn today() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map_or(0, |since| since.as_secs() / 86_400)
}

fn hash(text: &str) -> Hash {
    Hash(*blake3::hash(text.as_bytes()).as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ring() -> (tempfile::TempDir, KeyRing) {
        let dir = tempfile::tempdir().unwrap();
        let ring = KeyRing::of_dir(dir.path());
        (dir, ring)
    }

    fn budget(per_day: Option<u128>, in_all: Option<u128>) -> Budget {
        Budget { per_day: per_day.map(Amount), in_all: in_all.map(Amount) }
    }

    #[test]
    fn a_key_is_known_by_its_text_until_it_is_removed() {
        let (dir, ring) = ring();
        let text = ring.first("default").unwrap().unwrap();
        assert_eq!(ring.first("default").unwrap(), None);
        // Another process on the directory.
        let other = KeyRing::of_dir(dir.path());
        assert_eq!(other.find(&text).unwrap().unwrap().name, "default");
        assert_eq!(other.find("sk-guess").unwrap(), None);
        let file = std::fs::read_to_string(dir.path().join("gateway/keys.json")).unwrap();
        assert!(!file.contains(&text[3..]), "the file holds no secret");
        assert!(matches!(ring.add("default", Budget::default()), Err(KeyError::Exists(_))));
        assert!(matches!(ring.add("a\nb", Budget::default()), Err(KeyError::Name)));
        ring.remove("default").unwrap();
        assert_eq!(other.find(&text).unwrap(), None, "at once, and everywhere");
        assert!(matches!(ring.remove("default"), Err(KeyError::Unknown(_))));
    }

    #[test]
    fn what_a_question_may_cost_is_booked_first_and_put_right_afterwards() {
        let (dir, ring) = ring();
        let text = ring.add("a", budget(Some(100), Some(130))).unwrap();
        let key = ring.find(&text).unwrap().unwrap().hash;
        let (first, left) = ring.reserve(key).unwrap().unwrap();
        assert_eq!((left, first.amount), (Some(Amount(100)), Amount(100)));
        assert_eq!(ring.reserve(key).unwrap().unwrap().1, Some(Amount::ZERO), "all is booked");
        let first = ring.rebook(&first, Amount(60)).unwrap();
        // Killed here: what was booked stays booked.
        let again = KeyRing::of_dir(dir.path());
        let (second, left) = again.reserve(key).unwrap().unwrap();
        assert_eq!(left, Some(Amount(40)));
        again.rebook(&second, Amount::ZERO).unwrap();
        ring.rebook(&first, Amount(25)).unwrap();
        let found = ring.find(&text).unwrap().unwrap();
        assert_eq!((found.spent, found.left_on(today())), (Amount(25), Some(Amount(75))));
        assert_eq!(found.left_on(today() + 1), Some(Amount(100)), "a day later");
    }

    #[test]
    fn what_ends_after_midnight_changes_only_the_sum_of_all() {
        let (_, ring) = ring();
        let text = ring.add("a", budget(Some(100), None)).unwrap();
        let hash = ring.find(&text).unwrap().unwrap().hash;
        let (of_day, amount) = (today(), Amount(100));
        let before = Booked { key: hash, day: of_day - 1, amount: Amount::ZERO };
        let before = ring.rebook(&before, amount).unwrap();
        ring.reserve(hash).unwrap().unwrap();
        ring.rebook(&before, Amount(10)).unwrap();
        let key = ring.find(&text).unwrap().unwrap();
        assert_eq!((key.spent_on(of_day), key.spent), (Amount(100), Amount(110)));
    }

    #[test]
    fn many_at_once_lose_nothing() {
        let (dir, ring) = ring();
        let text = ring.add("a", budget(None, Some(1_000_000))).unwrap();
        let key = ring.find(&text).unwrap().unwrap().hash;
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    let own = KeyRing::of_dir(dir.path());
                    for _ in 0..8 {
                        let free = Booked { key, day: today(), amount: Amount::ZERO };
                        own.rebook(&free, Amount(3)).unwrap();
                    }
                });
            }
        });
        assert_eq!(ring.find(&text).unwrap().unwrap().spent, Amount(8 * 8 * 3));
    }

    #[test]
    fn a_damaged_file_is_named_and_kept() {
        let (dir, ring) = ring();
        ring.first("default").unwrap();
        let path = dir.path().join("gateway/keys.json");
        for bytes in [&b"{\"keys\":["[..], b"[]", b"\xff"] {
            std::fs::write(&path, bytes).unwrap();
            let error = ring.add("b", Budget::default()).unwrap_err();
            assert!(error.to_string().contains("keys.json is damaged"), "{error}");
            assert_eq!(std::fs::read(&path).unwrap(), bytes);
        }
    }
}
