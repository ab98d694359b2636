//! Files that survive power loss, and the lock that keeps a directory to one process. What is made
//! here is its owner's alone: files have mode 0600 and folders 0700.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::error::DiskError;

/// Replaces a small file atomically and durably: after a crash the file has its old bytes or its
/// new bytes, never a mixture, and after `Ok` it has the new ones.
pub fn write_atomic(path: &Path, bytes: &[u8]) -> Result<(), DiskError> {
    let temporary = temporary_of(path);
    let result = write_new(&temporary, bytes)
        .and_then(|()| fs::rename(&temporary, path))
        .map_err(|source| DiskError::new(path, source));
    if result.is_err() {
        // Best effort: a left-over temporary file is overwritten by the next attempt.
        let _ = fs::remove_file(&temporary);
        return result;
    }
    sync_dir(parent_of(path))
}

fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    // A left-over of an earlier crash may have other permissions.
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut options = OpenOptions::new();
    let mut file = private(options.write(true).create_new(true)).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// What is created with these options is its owner's alone, where the system knows owners.
pub(crate) fn private(options: &mut OpenOptions) -> &mut OpenOptions {
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(options, 0o600);
    options
}

/// Takes a file or folder that was made otherwise away from everybody but its owner.
pub(crate) fn make_private(path: &Path) -> Result<(), DiskError> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let failed = |source| DiskError::new(path, source);
        let found = fs::metadata(path).map_err(failed)?;
        let wanted = if found.is_dir() { 0o700 } else { 0o600 };
        if found.permissions().mode() & 0o777 != wanted {
            fs::set_permissions(path, fs::Permissions::from_mode(wanted)).map_err(failed)?;
        }
    }
    #[cfg(not(unix))]
    let _ = path;
    Ok(())
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
pub(crate) fn sync_file(path: &Path) -> Result<(), DiskError> {
    File::open(path).and_then(|file| file.sync_all()).map_err(|source| DiskError::new(path, source))
}

/// Creates a directory and its parents, durably.
pub fn create_dir(dir: &Path) -> Result<(), DiskError> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(dir).map_err(|source| DiskError::new(dir, source))?;
    sync_dir(parent_of(dir))
}

/// Free bytes on the file system of a directory; `None` where the system does not say.
pub(crate) fn free_bytes(dir: &Path) -> Result<Option<u64>, DiskError> {
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

/// A lock on a file that is there for nothing else; it ends with the process however that dies.
#[derive(Debug)]
pub struct FileLock {
    file: File,
    path: PathBuf,
}

/// Lets go at once. Closing the file would not: a process that is just being started holds a copy
/// of it until it runs its own program.
impl Drop for FileLock {
    fn drop(&mut self) {
        // Should this fail, closing the file does it a little later.
        let _ = self.file.unlock();
    }
}

impl FileLock {
    /// Waits until nobody else has it. The file is made where it is missing.
    pub fn wait(path: &Path) -> Result<Self, DiskError> {
        let lock = Self::open(path)?;
        lock.file.lock().map_err(|source| DiskError::new(path, source))?;
        Ok(lock)
    }

    fn open(path: &Path) -> Result<Self, DiskError> {
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(false);
        let opened = private(&mut options).open(path);
        let file = opened.map_err(|source| DiskError::new(path, source))?;
        // Who can open it can lock it.
        make_private(path)?;
        Ok(Self { file, path: path.to_owned() })
    }
}

/// The right to change a data directory; at most one process holds it.
#[derive(Debug)]
pub struct DirLock(FileLock);

impl DirLock {
    const NAME: &str = "LOCK";

    /// Takes the lock of a directory that exists; never waits.
    pub fn acquire(dir: &Path) -> Result<Self, DiskError> {
        let lock = FileLock::open(&dir.join(Self::NAME))?;
        match lock.file.try_lock() {
            Ok(()) => Ok(Self(lock)),
            Err(TryLockError::WouldBlock) => Err(DiskError::Locked { path: lock.path.clone() }),
            Err(TryLockError::Error(source)) => Err(DiskError::new(&lock.path, source)),
        }
    }

    /// Fails when the directory is no longer the one that was locked: its disk was unmounted, or
    /// it was moved or replaced.
    pub fn check(&self) -> Result<(), DiskError> {
        check_same(&self.0.file, &self.0.path).map_err(|error| match error {
            DiskError::Missing { path } => DiskError::Missing { path: parent_of(&path).to_owned() },
            error => error,
        })
    }
}

/// Fails when a path no longer leads to the file that is open.
pub(crate) fn check_same(file: &File, path: &Path) -> Result<(), DiskError> {
    let failed = |source| DiskError::new(path, source);
    let (held, found) = (file.metadata().map_err(failed)?, fs::metadata(path).map_err(failed)?);
    if identity(&held) == identity(&found) {
        Ok(())
    } else {
        Err(DiskError::Missing { path: path.to_owned() })
    }
}

/// What tells a file from another one of the same name, where the system says.
fn identity(file: &fs::Metadata) -> Option<(u64, u64)> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        Some((file.dev(), file.ino()))
    }
    #[cfg(not(unix))]
    {
        let _ = file;
        None
    }
}

/// Files and folders that must stay where they are while a store is open.
#[derive(Debug)]
pub(crate) struct Fixtures(Vec<(PathBuf, Option<(u64, u64)>)>);

impl Fixtures {
    /// The folders in `dir` and in these, and the named files.
    pub(crate) fn of(dir: &Path, files: &[&str]) -> Result<Self, DiskError> {
        let mut paths = subfolders(dir)?;
        for inner in paths.clone() {
            paths.extend(subfolders(&inner)?);
        }
        paths.extend(files.iter().map(|file| dir.join(file)));
        let known = |path: PathBuf| {
            let found = fs::metadata(&path).map_err(|source| DiskError::new(&path, source))?;
            Ok((path, identity(&found)))
        };
        Ok(Self(paths.into_iter().map(known).collect::<Result<_, DiskError>>()?))
    }

    /// Fails when one of them was deleted, moved or replaced.
    pub(crate) fn check(&self) -> Result<(), DiskError> {
        for (path, known) in &self.0 {
            let found = fs::metadata(path).map_err(|source| DiskError::new(path, source))?;
            if identity(&found) != *known {
                return Err(DiskError::Missing { path: path.clone() });
            }
        }
        Ok(())
    }
}

fn subfolders(dir: &Path) -> Result<Vec<PathBuf>, DiskError> {
    let failed = |source| DiskError::new(dir, source);
    let mut folders = Vec::new();
    for entry in fs::read_dir(dir).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        if entry.file_type().map_err(failed)?.is_dir() {
            folders.push(entry.path());
        }
    }
    Ok(folders)
}
