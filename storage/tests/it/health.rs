//! The data directory: its lock, its health, and the errors that an operator reads.

use std::fs;
use std::io;
use std::path::Path;

use storage::durable::{DirLock, write_atomic};
use storage::index::PinReason;
use storage::store::OpenError;
use storage::{DiskError, Store, StoreConfig};

use crate::support::{runtime, test_bytes};

#[test]
fn errors_of_the_system_are_classified_and_say_what_to_do() {
    let classify = |code| DiskError::new("/data", io::Error::from_raw_os_error(code));
    // The numbers are those of Linux.
    let (full, read_only, missing, denied, quota) =
        (classify(28), classify(30), classify(2), classify(13), classify(122));
    assert!(matches!(full, DiskError::Full { .. }));
    assert!(matches!(quota, DiskError::Full { .. }));
    assert!(matches!(read_only, DiskError::ReadOnly { .. }));
    assert!(matches!(missing, DiskError::Missing { .. }));
    assert!(matches!(denied, DiskError::Denied { .. }));
    assert!(matches!(classify(5), DiskError::Io { .. }));
    assert!(full.to_string().contains("free some space"));
    assert!(read_only.to_string().contains("remount"));
    assert!(missing.to_string().contains("mount the disk"));
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_device_is_a_full_disk() {
    use std::io::Write;
    let mut file = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let error = DiskError::new("/dev/full", file.write_all(b"x").unwrap_err());
    assert!(matches!(error, DiskError::Full { .. }), "{error}");
}

#[test]
fn small_files_are_replaced_whole() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("key");
    write_atomic(&path, b"one").unwrap();
    // What a crash left behind is no obstacle.
    fs::write(dir.path().join(".key.tmp"), b"half").unwrap();
    write_atomic(&path, b"two").unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"two");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }
    let missing = write_atomic(&dir.path().join("no/key"), b"x");
    assert!(matches!(missing, Err(DiskError::Missing { .. })));
}

#[test]
fn one_directory_has_one_holder() {
    let dir = tempfile::tempdir().unwrap();
    let lock = DirLock::acquire(dir.path()).unwrap();
    assert!(matches!(DirLock::acquire(dir.path()), Err(DiskError::Locked { .. })));
    lock.check().unwrap();
    drop(lock);
    DirLock::acquire(dir.path()).unwrap();
}

#[test]
fn a_store_opens_once_and_again_after_it_was_closed() {
    let dir = tempfile::tempdir().unwrap();
    let runtime = runtime();
    runtime.block_on(async {
        let store = Store::open(dir.path(), StoreConfig::default()).await.unwrap();
        let second = Store::open(dir.path(), StoreConfig::default()).await;
        assert!(matches!(second, Err(OpenError::Disk(DiskError::Locked { .. }))));
        let hash = store.blobs().put(test_bytes(1, 30_000)).await.unwrap();
        store.index().pin(hash, PinReason::Own).unwrap();
        let position = store.log().append(4, b"record").unwrap();
        let health = store.check().unwrap();
        assert_eq!((health.used, health.max_disk), (30_000, None));
        store.close().await;

        let store = Store::open(dir.path(), StoreConfig::default()).await.unwrap();
        assert_eq!(store.broken_index(), None);
        assert_eq!(store.blobs().get(hash).await.unwrap(), test_bytes(1, 30_000));
        assert_eq!(store.index().pins().unwrap(), [(hash, PinReason::Own)]);
        assert_eq!(store.log().read(position).unwrap(), b"record");
        store.close().await;
    });
}

#[test]
fn a_lost_index_keeps_every_blob_pinned() {
    let dir = tempfile::tempdir().unwrap();
    runtime().block_on(async {
        let store = Store::open(dir.path(), StoreConfig::default()).await.unwrap();
        let hash = store.blobs().put(test_bytes(1, 3000)).await.unwrap();
        store.index().pin(hash, PinReason::Own).unwrap();
        store.close().await;
        fs::remove_dir_all(dir.path().join("index")).unwrap();
        let store = Store::open(dir.path(), StoreConfig::default()).await.unwrap();
        assert_eq!(store.broken_index(), Some(dir.path().join("index.broken-1").as_path()));
        assert_eq!(store.index().pins().unwrap(), [(hash, PinReason::Recovered)]);
        store.close().await;
    });
}

#[test]
fn a_directory_that_is_not_there_is_not_made_up() {
    let dir = tempfile::tempdir().unwrap();
    let config = StoreConfig { create: false, ..StoreConfig::default() };
    let opened = runtime().block_on(Store::open(&dir.path().join("unmounted"), config));
    assert!(matches!(opened, Err(OpenError::Disk(DiskError::Missing { .. }))));
    assert!(!dir.path().join("unmounted").exists());
}

/// Opens a store, does something to its directory, and returns what its health check says.
fn check_after(config: StoreConfig, act: impl FnOnce(&Path)) -> Result<(), DiskError> {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    runtime().block_on(async {
        let store = Store::open(&data, config).await.unwrap();
        store.check()?;
        act(&data);
        store.check().map(|_| ())
    })
}

#[test]
fn a_directory_that_vanishes_or_is_replaced_is_noticed() {
    let config = StoreConfig::default();
    check_after(config, |_| {}).unwrap();
    let gone = check_after(config, |data| fs::rename(data, data.with_extension("moved")).unwrap());
    assert!(matches!(gone, Err(DiskError::Missing { .. })), "{gone:?}");
    let replaced = check_after(config, |data| {
        fs::rename(data, data.with_extension("moved")).unwrap();
        fs::create_dir(data).unwrap();
        fs::write(data.join("LOCK"), b"").unwrap();
    });
    assert!(matches!(replaced, Err(DiskError::Missing { .. })), "{replaced:?}");
}

#[test]
fn whatever_is_deleted_from_under_a_store_is_noticed() {
    let delete = |path: &Path| match path.is_dir() {
        true => fs::remove_dir_all(path).unwrap(),
        false => fs::remove_file(path).unwrap(),
    };
    for name in ["log", "index", "blobs", "blobs/data", "blobs/blobs.db", "index/db", "LOCK"] {
        let gone = check_after(StoreConfig::default(), |data| delete(&data.join(name)));
        assert!(matches!(gone, Err(DiskError::Missing { .. })), "{name}: {gone:?}");
        let replaced = check_after(StoreConfig::default(), |data| {
            let (path, kept) = (data.join(name), data.join("kept"));
            let is_folder = path.is_dir();
            fs::rename(&path, &kept).unwrap();
            if is_folder { fs::create_dir(&path).unwrap() } else { fs::write(&path, b"").unwrap() }
        });
        assert!(matches!(replaced, Err(DiskError::Missing { .. })), "{name}: {replaced:?}");
    }
    let dir = tempfile::tempdir().unwrap();
    runtime().block_on(async {
        let store = Store::open(dir.path(), StoreConfig::default()).await.unwrap();
        store.log().append(4, b"record").unwrap();
        store.check().unwrap();
        for segment in fs::read_dir(dir.path().join("log")).unwrap() {
            fs::remove_file(segment.unwrap().path()).unwrap();
        }
        let gone = store.check();
        assert!(matches!(gone, Err(DiskError::Missing { .. })), "{gone:?}");
    });
}

#[cfg(unix)]
#[test]
fn a_store_is_its_owners_alone() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    // As an earlier program or a careless hand may have left it.
    fs::create_dir(&data).unwrap();
    fs::write(data.join("LOCK"), b"").unwrap();
    for name in ["", "LOCK"] {
        fs::set_permissions(data.join(name), fs::Permissions::from_mode(0o755)).unwrap();
    }
    runtime().block_on(async {
        let store = Store::open(&data, StoreConfig::default()).await.unwrap();
        store.log().append(4, b"record").unwrap();
        store.check().unwrap();
    });
    assert_eq!([mode(&data), mode(&data.join("LOCK"))], [0o700, 0o600]);
    for folder in ["blobs", "index", "log"] {
        assert_eq!(mode(&data.join(folder)), 0o700, "{folder}");
    }
    let segment = fs::read_dir(data.join("log")).unwrap().next().unwrap().unwrap().path();
    assert_eq!([mode(&segment), mode(&data.join("PROBE"))], [0o600, 0o600]);
}

#[test]
fn too_little_free_space_is_a_full_disk() {
    let config = StoreConfig { min_free: u64::MAX, ..StoreConfig::default() };
    let full = check_after(config, |_| {});
    assert!(matches!(full, Err(DiskError::Full { .. })), "{full:?}");
}
