//! The tables on disk. The only file that knows sled.
//!
//! sled is fast and loved, and four of its habits need a guard:
//! - Its `flush` is no fsync on Linux (it asks for `sync_file_range`), so every commit also syncs
//!   the database file before it is acknowledged.
//! - Damaged files make it fail or panic while opening, so opening is guarded and every entry is
//!   read once.
//! - Most damage it takes for the end of its log, and opens with older contents or none. So every
//!   commit counts up, in the database and in a small file beside it; a database that is behind
//!   that file has lost something that was acknowledged.
//! - A database that was closed stays locked for a moment, until sled's threads have let go of it.
//!   Opening waits for that; a locked database is never taken for a damaged one.
//!
//! What is damaged is moved aside as `<name>.broken-<n>` and replaced by an empty index. Nothing in
//! the index is the only copy of anything.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write as _};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use sled::transaction::{ConflictableTransactionError, TransactionError, Transactional};

use super::tables::{Entry, IndexError, Table, Tables, Write};
use super::{DiskIndex, Index};
use crate::durable::{self, DirLock};
use crate::error::DiskError;

/// The tree and the file that count commits.
const COMMITS: &str = "commits";

/// Ordered tables on disk.
#[derive(Debug)]
pub struct DiskTables {
    db: sled::Db,
    /// The tables, and behind them the tree that counts commits.
    trees: [sled::Tree; Table::ALL.len() + 1],
    dir: PathBuf,
    /// Commits so far; held during a commit.
    commits: Mutex<CommitFile>,
}

/// An index that was opened.
#[derive(Debug)]
pub struct Opened {
    /// The index, ready for use.
    pub index: DiskIndex,
    /// Where the damaged one was moved; then `index` is empty and the caller fills it anew.
    pub broken: Option<PathBuf>,
}

impl DiskIndex {
    /// Opens the index in `dir`, or replaces it when it is damaged. The lock shows that nobody
    /// else has it open, so that moving it aside is safe.
    pub fn open(dir: &Path, _lock: &DirLock) -> Result<Opened, IndexError> {
        durable::create_dir(dir)?;
        match Self::attempt(dir) {
            Ok(index) => Ok(Opened { index, broken: None }),
            Err(error) if is_damage(&error) => {
                let broken = move_aside(dir)?;
                durable::create_dir(dir)?;
                CommitFile::remove(dir)?;
                Ok(Opened { index: Self::attempt(dir)?, broken: Some(broken) })
            }
            Err(error) => Err(error),
        }
    }

    fn attempt(dir: &Path) -> Result<Self, IndexError> {
        remove_unfinished_snapshots(dir)?;
        let guarded = catch_unwind(AssertUnwindSafe(|| {
            let index = Index::new(DiskTables::open(dir)?);
            index.verify()?;
            Ok(index)
        }));
        guarded.unwrap_or(Err(IndexError::Corrupt))
    }
}

impl DiskTables {
    const CACHE_BYTES: u64 = 64 << 20;

    fn open(dir: &Path) -> Result<Self, IndexError> {
        let failed = |error| index_error(dir, error);
        let config = sled::Config::new()
            .path(dir)
            .cache_capacity(Self::CACHE_BYTES)
            .mode(sled::Mode::HighThroughput);
        let db = open_unlocked(dir, &config)?;
        let open = |name: &str| db.open_tree(name).map_err(failed);
        let [pins, manifests, meta, counters] = Table::ALL.map(|table| open(name_of(table)));
        let trees = [pins?, manifests?, meta?, counters?, open(COMMITS)?];
        let mut commits = CommitFile::open(dir)?;
        let counted = trees[Table::ALL.len()].get(COMMITS).map_err(failed)?;
        let counted = counted.map_or(Some(0), |bytes| to_number(&bytes));
        commits.count = match counted {
            Some(counted) if counted >= commits.count => counted,
            _ => return Err(IndexError::Corrupt),
        };
        let tables = Self { trees, db, dir: dir.to_owned(), commits: Mutex::new(commits) };
        tables.sync()?;
        durable::sync_dir(dir)?;
        Ok(tables)
    }

    /// Puts everything written so far on the disk.
    fn sync(&self) -> Result<(), IndexError> {
        self.db.flush().map_err(|error| index_error(&self.dir, error))?;
        let file = self.dir.join("db");
        let synced = File::open(&file).and_then(|file| file.sync_all());
        synced.map_err(|source| DiskError::new(&file, source).into())
    }

    fn tree(&self, table: Table) -> &sled::Tree {
        &self.trees[table as usize]
    }
}

impl Tables for DiskTables {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, IndexError> {
        let value = self.tree(table).get(key).map_err(|error| index_error(&self.dir, error))?;
        Ok(value.map(|value| value.to_vec()))
    }

    fn scan(&self, table: Table, prefix: &[u8]) -> Result<Vec<Entry>, IndexError> {
        let entry = |entry: sled::Result<(sled::IVec, sled::IVec)>| {
            let (key, value) = entry.map_err(|error| index_error(&self.dir, error))?;
            Ok((key.to_vec(), value.to_vec()))
        };
        self.tree(table).scan_prefix(prefix).map(entry).collect()
    }

    fn commit(&self, writes: &[Write]) -> Result<(), IndexError> {
        let mut commits = self.commits.lock().unwrap_or_else(PoisonError::into_inner);
        let count = commits.count.saturating_add(1);
        let applied = self.trees[..].transaction(|trees| {
            // In the same transaction, so that the count is right exactly if the writes are there.
            trees[Table::ALL.len()].insert(COMMITS, &count.to_be_bytes())?;
            for Write { table, key, value } in writes {
                let tree = &trees[*table as usize];
                match value {
                    Some(value) => tree.insert(key.as_slice(), value.as_slice())?,
                    None => tree.remove(key.as_slice())?,
                };
            }
            Ok::<(), ConflictableTransactionError<Never>>(())
        });
        match applied {
            Ok(()) => {
                commits.count = count;
                // First the database, then its count: the file must never be ahead by a crash.
                self.sync()?;
                Ok(commits.write()?)
            }
            Err(TransactionError::Storage(error)) => Err(index_error(&self.dir, error)),
            Err(TransactionError::Abort(never)) => match never {},
        }
    }
}

/// How many commits were acknowledged, in a file of its own beside the database: two slots that
/// take turns, each a number and its checksum.
#[derive(Debug)]
struct CommitFile {
    file: File,
    path: PathBuf,
    count: u64,
}

impl CommitFile {
    const SLOT: u64 = 512;
    const BYTES: usize = 12;

    fn path(dir: &Path) -> PathBuf {
        dir.with_extension(COMMITS)
    }

    /// The larger valid slot counts; a file without one says nothing.
    fn open(dir: &Path) -> Result<Self, DiskError> {
        let path = Self::path(dir);
        let attempt = || -> io::Result<(File, Vec<u8>)> {
            let mut options = OpenOptions::new();
            let mut file =
                options.read(true).write(true).create(true).truncate(false).open(&path)?;
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes)?;
            Ok((file, bytes))
        };
        let (file, bytes) = attempt().map_err(|source| DiskError::new(&path, source))?;
        durable::sync_dir(durable::parent_of(&path))?;
        let slots = [0, Self::SLOT as usize].map(|at| bytes.get(at..at + Self::BYTES));
        let count = slots.into_iter().flatten().filter_map(Self::decode).max().unwrap_or(0);
        Ok(Self { file, path, count })
    }

    fn remove(dir: &Path) -> Result<(), DiskError> {
        let path = Self::path(dir);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(DiskError::new(&path, error))
            }
            _ => Ok(()),
        }
    }

    /// Writes the count into the slot whose turn it is.
    fn write(&mut self) -> Result<(), DiskError> {
        let mut slot = self.count.to_be_bytes().to_vec();
        slot.extend_from_slice(&crc32fast::hash(&slot).to_be_bytes());
        let mut attempt = || -> io::Result<()> {
            self.file.seek(SeekFrom::Start(self.count % 2 * Self::SLOT))?;
            self.file.write_all(&slot)?;
            self.file.sync_all()
        };
        attempt().map_err(|source| DiskError::new(&self.path, source))
    }

    fn decode(slot: &[u8]) -> Option<u64> {
        let (number, checksum) = slot.split_at_checked(8)?;
        let valid = crc32fast::hash(number).to_be_bytes() == checksum;
        to_number(number).filter(|_| valid)
    }
}

fn to_number(bytes: &[u8]) -> Option<u64> {
    bytes.try_into().ok().map(u64::from_be_bytes)
}

/// No transaction here aborts by itself.
#[derive(Debug)]
enum Never {}

const fn name_of(table: Table) -> &'static str {
    match table {
        Table::Pins => "pins",
        Table::Manifests => "manifests",
        Table::Meta => "meta",
        Table::Counters => "counters",
    }
}

fn index_error(dir: &Path, error: sled::Error) -> IndexError {
    match error {
        sled::Error::Io(source) => DiskError::new(dir, source).into(),
        _ => IndexError::Corrupt,
    }
}

/// Opens the database when whoever holds its lock lets go. sled has no error of its own for a
/// lock: it is one of those that the operating system never gives.
fn open_unlocked(dir: &Path, config: &sled::Config) -> Result<sled::Db, IndexError> {
    const PATIENCE: Duration = Duration::from_secs(3);
    const PAUSE: Duration = Duration::from_millis(10);
    let started = Instant::now();
    loop {
        match config.open() {
            Err(sled::Error::Io(source)) if source.kind() == io::ErrorKind::Other => {
                if started.elapsed() < PATIENCE {
                    thread::sleep(PAUSE);
                    continue;
                }
                let path = dir.join("db");
                let held = File::open(&path).map(|file| file.try_lock());
                return Err(match held {
                    Ok(Err(TryLockError::WouldBlock)) => DiskError::Locked { path }.into(),
                    _ => DiskError::new(dir, source).into(),
                });
            }
            opened => return opened.map_err(|error| index_error(dir, error)),
        }
    }
}

/// Whether a new index would help: the disk is not what is wrong.
fn is_damage(error: &IndexError) -> bool {
    !matches!(error, IndexError::Disk(disk) if disk.is_actionable())
}

/// A snapshot that was being written when the process died keeps sled from opening.
fn remove_unfinished_snapshots(dir: &Path) -> Result<(), DiskError> {
    let failed = |source| DiskError::new(dir, source);
    for entry in fs::read_dir(dir).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with("snap.") && name.ends_with(".generating") {
            fs::remove_file(entry.path()).map_err(|source| DiskError::new(entry.path(), source))?;
        }
    }
    Ok(())
}

fn move_aside(dir: &Path) -> Result<PathBuf, DiskError> {
    let name = dir.file_name().unwrap_or_default().to_string_lossy();
    let mut candidates = (1u32..).map(|n| dir.with_file_name(format!("{name}.broken-{n}")));
    let free = candidates.find(|path| {
        matches!(path.symlink_metadata(), Err(error) if error.kind() == io::ErrorKind::NotFound)
    });
    let broken = free.ok_or_else(|| DiskError::Full { path: dir.to_owned() })?;
    fs::rename(dir, &broken).map_err(|source| DiskError::new(dir, source))?;
    durable::sync_dir(durable::parent_of(dir))?;
    Ok(broken)
}
