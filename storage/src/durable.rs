//! Files that survive power loss, and the lock that keeps a directory to one process.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::error::DiskError;

/// Replaces a small file atomically and durably: after a crash the file has its old bytes or its
/// new bytes, never a mixture, and after `Ok` it has the new ones.
pub fn write_atomic(path: &Path, bytes: &[u8]) -> Result<(), DiskError> {
    replace(path, bytes, false)
}

/// [`write_atomic`] for keys: only the owner can read the file, from its first byte on.
pub fn write_atomic_secret(path: &Path, bytes: &[u8]) -> Result<(), DiskError> {
    replace(path, bytes, true)
}

fn replace(path: &Path, bytes: &[u8], secret: bool) -> Result<(), DiskError> {
    let temporary = temporary_of(path);
    let result = write_new(&temporary, bytes, secret)
        .and_then(|()| fs::rename(&temporary, path))
        .map_err(|source| DiskError::new(path, source));
    if result.is_err() {
        // Best effort: a left-over temporary file is overwritten by the next attempt.
        let _ = fs::remove_file(&temporary);
        return result;
    }
    sync_dir(parent_of(path))
}

fn write_new(path: &Path, bytes: &[u8], secret: bool) -> io::Result<()> {
    // A left-over of an earlier crash may have other permissions.
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    if secret {
        use std::os::unix::fs::OpenOptionsExt;
        options.mode(0o600);
    }
    #[cfg(not(unix))]
    let _ = secret;
    let mut file = options.open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn temporary_of(path: &Path) -> PathBuf {
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(".tmp");
    path.with_file_name(name)
}

/// The directory that holds `path`.
pub(crate) fn parent_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// Makes creations, renames and removals in a directory durable.
pub fn sync_dir(dir: &Path) -> Result<(), DiskError> {
    // Other systems make directory entries durable by themselves and refuse to open directories.
    if cfg!(unix) {
        sync_file(dir)?;
    }
    Ok(())
}

/// Makes the contents of an existing file durable.
pub fn sync_file(path: &Path) -> Result<(), DiskError> {
    File::open(path).and_then(|file| file.sync_all()).map_err(|source| DiskError::new(path, source))
}

/// Creates a directory and its parents, durably.
pub fn create_dir(dir: &Path) -> Result<(), DiskError> {
    fs::create_dir_all(dir).map_err(|source| DiskError::new(dir, source))?;
    sync_dir(parent_of(dir))
}

/// Free bytes on the file system of a directory; `None` where the system does not say.
pub fn free_bytes(dir: &Path) -> Result<Option<u64>, DiskError> {
    #[cfg(unix)]
    {
        let stat = rustix::fs::statvfs(dir).map_err(|source| DiskError::new(dir, source.into()))?;
        Ok(Some(stat.f_bavail.saturating_mul(stat.f_frsize)))
    }
    #[cfg(not(unix))]
    {
        let _ = dir;
        Ok(None)
    }
}

/// The right to change a data directory; at most one process holds it, and it ends with the
/// process however that dies.
#[derive(Debug)]
pub struct DirLock {
    file: File,
    path: PathBuf,
}

/// Lets go at once. Closing the file would not: a process that is just being started holds a copy
/// of it until it runs its own program.
impl Drop for DirLock {
    fn drop(&mut self) {
        // Should this fail, closing the file does it a little later.
        let _ = self.file.unlock();
    }
}

impl DirLock {
    const NAME: &str = "LOCK";

    /// Takes the lock of a directory that exists; never waits.
    pub fn acquire(dir: &Path) -> Result<Self, DiskError> {
        let path = dir.join(Self::NAME);
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(|source| DiskError::new(&path, source))?;
        match file.try_lock() {
            Ok(()) => Ok(Self { file, path }),
            Err(TryLockError::WouldBlock) => Err(DiskError::Locked { path }),
            Err(TryLockError::Error(source)) => Err(DiskError::new(&path, source)),
        }
    }

    /// Fails when the directory is no longer the one that was locked: its disk was unmounted, or
    /// it was moved or replaced.
    pub fn check(&self) -> Result<(), DiskError> {
        let found = fs::metadata(&self.path).map_err(|e| DiskError::new(&self.path, e))?;
        #[cfg(unix)]
        {
            use std::os::unix::fs::MetadataExt;
            let held = self.file.metadata().map_err(|e| DiskError::new(&self.path, e))?;
            if (held.dev(), held.ino()) != (found.dev(), found.ino()) {
                return Err(DiskError::Missing { path: parent_of(&self.path).to_owned() });
            }
        }
        #[cfg(not(unix))]
        let _ = (&self.file, found);
        Ok(())
    }
}
