//! Blob stores: one suite over both, random operations against a map, damage on disk.

use std::collections::BTreeMap;
use std::fs;

use bytes::Bytes;
use proptest::prelude::*;
use protocol::ids::Hash;
use storage::quota::Quota;
use storage::{BlobStore, CHUNK_BYTES, MemBlobs, StoreError, hash_of};

use crate::support::{Blocking, test_bytes};

/// Lengths around every boundary: chunk, chunk group, what the store keeps inside its metadata.
const LENGTHS: [usize; 9] = [1, 1023, 1024, 1025, 16 << 10, (16 << 10) + 1, 40_000, 65_536, 70_001];

fn stores_what_it_is_given(store: &mut impl BlobStore) {
    let mut total = 0;
    for (seed, len) in LENGTHS.into_iter().enumerate() {
        let bytes = test_bytes(seed as u64, len);
        let hash = store.put(bytes.clone()).unwrap();
        assert_eq!(hash, hash_of(&bytes));
        assert!(store.has(hash));
        assert_eq!(store.len(hash), Some(len as u64));
        assert_eq!(store.get(hash).unwrap(), bytes);
        total += len as u64;
        assert_eq!(store.used(), total);
        assert_eq!(store.put(bytes).unwrap(), hash);
        assert_eq!(store.used(), total, "the same bytes count once");
    }
    let list = store.list();
    assert_eq!(list.len(), LENGTHS.len());
    assert!(list.is_sorted());
}

fn reads_ranges_and_chunks(store: &mut impl BlobStore) {
    for (seed, len) in LENGTHS.into_iter().enumerate() {
        let bytes = test_bytes(100 + seed as u64, len);
        let hash = store.put(bytes.clone()).unwrap();
        let size = len as u64;
        for (offset, len) in [
            (0, size),
            (0, 1),
            (size - 1, 1),
            (size, 0),
            (size / 2, size - size / 2),
            (size / 3, 1),
        ] {
            let expected = bytes.slice(offset as usize..(offset + len) as usize);
            assert_eq!(store.read_range(hash, offset, len).unwrap(), expected);
        }
        for (offset, len) in [(0, size + 1), (size, 1), (u64::MAX, 1), (1, u64::MAX)] {
            let error = store.read_range(hash, offset, len).unwrap_err();
            assert!(matches!(error, StoreError::Range { .. }), "{error}");
        }
        let last = (size - 1) / CHUNK_BYTES;
        let chunks = store.read_chunks(hash, &[last, 0, last]).unwrap();
        let expected: Vec<_> = bytes.chunks(CHUNK_BYTES as usize).collect();
        assert_eq!(chunks, [expected[last as usize], expected[0], expected[last as usize]]);
        for chunk in [last + 1, u64::MAX] {
            let error = store.read_chunks(hash, &[chunk]).unwrap_err();
            assert!(matches!(error, StoreError::Range { .. }), "{error}");
        }
    }
}

fn forgets_what_is_deleted(store: &mut impl BlobStore) {
    let small = store.put(test_bytes(1, 100)).unwrap();
    let large = store.put(test_bytes(2, 50_000)).unwrap();
    let kept = store.put(test_bytes(3, 50_000)).unwrap();
    for hash in [small, large] {
        assert!(store.delete(hash).unwrap());
        assert!(!store.delete(hash).unwrap());
        assert!(!store.has(hash));
        assert!(matches!(store.get(hash), Err(StoreError::NotFound { hash: h }) if h == hash));
        assert!(matches!(store.read_range(hash, 0, 1), Err(StoreError::NotFound { .. })));
        assert!(matches!(store.read_chunks(hash, &[0]), Err(StoreError::NotFound { .. })));
    }
    assert_eq!(store.list(), [kept]);
    assert_eq!(store.used(), 50_000);
    assert_eq!(store.get(kept).unwrap(), test_bytes(3, 50_000));
    assert_eq!(store.put(test_bytes(2, 50_000)).unwrap(), large);
    assert_eq!(store.get(large).unwrap(), test_bytes(2, 50_000));
}

fn refuses_what_it_cannot_keep(store: &mut impl BlobStore) {
    assert!(matches!(store.put(Bytes::new()), Err(StoreError::Empty)));
    let first = store.put(test_bytes(1, 60_000)).unwrap();
    let refused = store.put(test_bytes(2, 40_001));
    assert!(matches!(
        refused,
        Err(StoreError::QuotaExceeded { used: 60_000, limit: 100_000, needed: 40_001 })
    ));
    assert_eq!(store.list(), [first]);
    store.put(test_bytes(2, 40_000)).unwrap();
    assert_eq!(store.used(), 100_000);
    store.put(test_bytes(1, 60_000)).expect("what is there needs no space");
    assert!(store.delete(first).unwrap());
    store.put(test_bytes(4, 60_000)).expect("a deletion makes room");
}

const QUOTA: Quota = Quota::bytes(100_000);

#[test]
fn memory_stores_what_it_is_given() {
    stores_what_it_is_given(&mut MemBlobs::default());
}

#[test]
fn memory_reads_ranges_and_chunks() {
    reads_ranges_and_chunks(&mut MemBlobs::default());
}

#[test]
fn memory_forgets_what_is_deleted() {
    forgets_what_is_deleted(&mut MemBlobs::default());
}

#[test]
fn memory_refuses_what_it_cannot_keep() {
    refuses_what_it_cannot_keep(&mut MemBlobs::new(QUOTA));
}

#[test]
fn memory_shares_bytes_between_nodes() {
    let bytes = test_bytes(1, 1000);
    let (mut a, mut b) = (MemBlobs::default(), MemBlobs::default());
    let hash = a.put(bytes.clone()).unwrap();
    b.adopt(hash, a.get(hash).unwrap()).unwrap();
    assert_eq!(b.get(hash).unwrap().as_ptr(), bytes.as_ptr());
}

#[test]
fn memory_scrub_finds_what_was_never_verified() {
    let mut store = MemBlobs::default();
    store.put(test_bytes(1, 10)).unwrap();
    assert!(store.scrub().is_empty());
    store.adopt(Hash([7; 32]), test_bytes(2, 10)).unwrap();
    assert_eq!(store.scrub(), [Hash([7; 32])]);
}

fn on_disk(quota: Quota, suite: impl FnOnce(&mut Blocking)) {
    let dir = tempfile::tempdir().unwrap();
    let mut store = Blocking::open(dir.path(), quota);
    suite(&mut store);
    // Whatever a suite leaves behind is the same after the store was opened again.
    let (list, used) = (store.list(), store.used());
    store.close();
    let reopened = Blocking::open(dir.path(), quota);
    assert_eq!((reopened.list(), reopened.used()), (list, used));
    for hash in reopened.list() {
        assert_eq!(hash_of(&reopened.get(hash).unwrap()), hash);
    }
    reopened.close();
}

#[test]
fn disk_stores_what_it_is_given() {
    on_disk(Quota::UNLIMITED, stores_what_it_is_given);
}

#[test]
fn disk_reads_ranges_and_chunks() {
    on_disk(Quota::UNLIMITED, reads_ranges_and_chunks);
}

#[test]
fn disk_forgets_what_is_deleted() {
    on_disk(Quota::UNLIMITED, forgets_what_is_deleted);
}

#[test]
fn disk_refuses_what_it_cannot_keep() {
    on_disk(QUOTA, refuses_what_it_cannot_keep);
}

#[test]
fn a_blob_that_arrives_counts_before_its_first_byte() {
    on_disk(QUOTA, |store| {
        let bytes = test_bytes(5, 70_000);
        let hash = hash_of(&bytes);
        let incoming = store.blobs.begin(hash, 70_000).unwrap();
        assert_eq!((store.used(), store.has(hash)), (70_000, false));
        assert!(matches!(store.delete(hash), Err(StoreError::InUse { .. })));
        let refused = store.put(test_bytes(6, 30_001));
        assert!(matches!(refused, Err(StoreError::QuotaExceeded { .. })));
        drop(incoming);
        assert_eq!(store.used(), 0);

        let incoming = store.blobs.begin(hash, 70_000).unwrap();
        let early = store.runtime.block_on(incoming.finish());
        assert!(matches!(early, Err(StoreError::Incomplete { .. })));

        let incoming = store.blobs.begin(hash, 70_000).unwrap();
        let arrival = store.blobs.store().add_bytes(bytes.clone());
        let _tag = store.runtime.block_on(arrival.temp_tag()).unwrap();
        store.runtime.block_on(incoming.finish()).unwrap();
        assert_eq!((store.used(), store.get(hash).unwrap()), (70_000, bytes));

        let wrong = store.blobs.begin(hash, 1).unwrap();
        let wrong = store.runtime.block_on(wrong.finish());
        assert!(matches!(wrong, Err(StoreError::Length { announced: 1, found: 70_000, .. })));
        assert_eq!(store.used(), 70_000);
    });
}

#[test]
fn deletions_spare_what_is_written_meanwhile() {
    on_disk(Quota::UNLIMITED, |store| {
        let doomed: Vec<_> = (0..8).map(|i| store.put(test_bytes(i, 20_000)).unwrap()).collect();
        let blobs = &store.blobs;
        store.runtime.block_on(async {
            let mut writers = tokio::task::JoinSet::new();
            for seed in 100..116 {
                let blobs = blobs.clone();
                writers.spawn(async move { blobs.put(test_bytes(seed, 20_000)).await.unwrap() });
            }
            for hash in doomed {
                assert!(blobs.delete(hash).await.unwrap());
            }
            while writers.join_next().await.is_some() {}
        });
        assert_eq!(store.list().len(), 16);
        for hash in store.list() {
            assert_eq!(hash_of(&store.get(hash).unwrap()), hash);
        }
    });
}

#[test]
fn scrub_finds_bit_rot_and_a_fresh_copy_repairs_it() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = Blocking::open(dir.path(), Quota::UNLIMITED);
    let good = store.put(test_bytes(1, 50_000)).unwrap();
    let bad = store.put(test_bytes(2, 50_000)).unwrap();
    store.close();
    let path = dir.path().join(format!("data/{bad}.data"));
    let mut bytes = fs::read(&path).unwrap();
    bytes[30_000] ^= 1;
    fs::write(&path, bytes).unwrap();

    let mut store = Blocking::open(dir.path(), Quota::UNLIMITED);
    let report = store.runtime.block_on(store.blobs.scrub()).unwrap();
    assert_eq!((report.blobs, report.bytes, report.damaged), (2, 100_000, vec![bad]));
    assert!(matches!(store.get(bad), Err(StoreError::Corrupt { hash }) if hash == bad));
    assert!(matches!(store.read_chunks(bad, &[29]), Err(StoreError::Corrupt { .. })));
    assert_eq!(store.read_chunks(bad, &[0]).unwrap()[0], test_bytes(2, 50_000).slice(..1024));
    assert_eq!(store.get(good).unwrap(), test_bytes(1, 50_000));

    assert!(store.delete(bad).unwrap());
    assert_eq!(store.put(test_bytes(2, 50_000)).unwrap(), bad);
    let report = store.runtime.block_on(store.blobs.scrub()).unwrap();
    assert!(report.damaged.is_empty());
    assert_eq!(store.get(bad).unwrap(), test_bytes(2, 50_000));
    store.close();
}

#[test]
fn scrub_finds_files_that_are_gone_or_short() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = Blocking::open(dir.path(), Quota::UNLIMITED);
    let gone = store.put(test_bytes(1, 50_000)).unwrap();
    let short = store.put(test_bytes(2, 50_000)).unwrap();
    store.close();
    fs::remove_file(dir.path().join(format!("data/{gone}.data"))).unwrap();
    fs::write(dir.path().join(format!("data/{short}.data")), b"short").unwrap();
    let store = Blocking::open(dir.path(), Quota::UNLIMITED);
    let report = store.runtime.block_on(store.blobs.scrub()).unwrap();
    let mut expected = vec![gone, short];
    expected.sort();
    assert_eq!((report.unreadable, report.damaged), (expected, vec![]));
    assert!(matches!(store.get(gone), Err(StoreError::Unreadable { .. })));
    store.close();
}

#[test]
fn a_closed_store_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = Blocking::open(dir.path(), Quota::UNLIMITED);
    let hash = store.put(test_bytes(1, 50_000)).unwrap();
    store.runtime.block_on(store.blobs.shutdown());
    assert!(matches!(store.get(hash), Err(StoreError::Closed)));
    assert!(matches!(store.put(test_bytes(2, 10)), Err(StoreError::Closed)));
    assert!(matches!(store.delete(hash), Err(StoreError::Closed)));
    store.runtime.block_on(store.blobs.shutdown());
}

#[derive(Clone, Debug)]
enum Op {
    Put(u8, usize),
    Delete(u8),
    Range(u8, u64, u64),
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let op = prop_oneof![
        3 => (0..6u8, 1..40_000usize).prop_map(|(key, len)| Op::Put(key, len)),
        1 => (0..6u8).prop_map(Op::Delete),
        3 => (0..6u8, 0..45_000u64, 0..45_000u64).prop_map(|(k, o, l)| Op::Range(k, o, l)),
    ];
    prop::collection::vec(op, 1..24)
}

/// Compares a store with a map after every operation.
fn follows_a_map(store: &mut impl BlobStore, ops: &[Op]) {
    let mut oracle: BTreeMap<Hash, Bytes> = BTreeMap::new();
    let mut names: BTreeMap<u8, Hash> = BTreeMap::new();
    for op in ops {
        match *op {
            Op::Put(key, len) => {
                let bytes = test_bytes(u64::from(key), len);
                let hash = store.put(bytes.clone()).unwrap();
                oracle.insert(hash, bytes);
                names.insert(key, hash);
            }
            Op::Delete(key) => {
                let Some(hash) = names.get(&key) else { continue };
                assert_eq!(store.delete(*hash).unwrap(), oracle.remove(hash).is_some());
            }
            Op::Range(key, offset, len) => {
                let Some(hash) = names.get(&key) else { continue };
                let read = store.read_range(*hash, offset, len);
                let expected = oracle.get(hash).and_then(|bytes| {
                    bytes.get(offset as usize..(offset + len) as usize).map(<[u8]>::to_vec)
                });
                assert_eq!(read.ok().map(|bytes| bytes.to_vec()), expected);
            }
        }
        assert!(store.list().iter().eq(oracle.keys()));
        assert_eq!(store.used(), oracle.values().map(|bytes| bytes.len() as u64).sum::<u64>());
    }
    for (hash, bytes) in &oracle {
        assert_eq!(store.get(*hash).unwrap(), bytes);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn memory_follows_a_map(ops in ops()) {
        follows_a_map(&mut MemBlobs::default(), &ops);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(6))]

    #[test]
    fn disk_follows_a_map(ops in ops()) {
        on_disk(Quota::UNLIMITED, |store| follows_a_map(store, &ops));
    }
}
