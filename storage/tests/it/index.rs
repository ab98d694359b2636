//! The index: one suite over both sets of tables, random operations against maps, damaged files.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::path::Path;
use std::thread;

use proptest::prelude::*;
use protocol::ids::Hash;
use storage::durable::DirLock;
use storage::index::{Index, IndexError, MAX_VALUE, PinReason, Tables};
use storage::{DiskError, DiskIndex, MemIndex};

use crate::support::Numbers;

const A: Hash = Hash([1; 32]);
const B: Hash = Hash([0xff; 32]);

fn keeps_pins(index: &Index<impl Tables>) {
    index.pin(B, PinReason::Own).unwrap();
    index.pin(A, PinReason::Replica).unwrap();
    index.pin(A, PinReason::Own).unwrap();
    index.pin(A, PinReason::Own).unwrap();
    let pins = index.pins().unwrap();
    assert_eq!(pins, [(A, PinReason::Own), (A, PinReason::Replica), (B, PinReason::Own)]);
    assert!(index.unpin(A, PinReason::Own).unwrap());
    assert!(!index.unpin(A, PinReason::Own).unwrap());
    assert!(index.is_pinned(A).unwrap(), "the other reason is left");
    assert!(index.unpin(A, PinReason::Replica).unwrap());
    assert!(!index.is_pinned(A).unwrap());
    assert!(index.is_pinned(B).unwrap());
}

fn keeps_manifests_and_settings(index: &Index<impl Tables>) {
    index.put_manifest(A, b"first").unwrap();
    index.put_manifest(A, b"second").unwrap();
    index.put_manifest(B, b"").unwrap();
    assert_eq!(index.manifest(A).unwrap().as_deref(), Some(&b"second"[..]));
    assert_eq!(index.manifests().unwrap(), [(A, b"second".to_vec()), (B, vec![])]);
    index.remove_manifest(A).unwrap();
    assert_eq!(index.manifest(A).unwrap(), None);

    index.put_meta("cursor/b", b"2").unwrap();
    index.put_meta("cursor/a", b"1").unwrap();
    index.put_meta("other", b"3").unwrap();
    assert_eq!(index.get_meta("cursor/a").unwrap().as_deref(), Some(&b"1"[..]));
    let cursors = index.list_meta("cursor/").unwrap();
    assert_eq!(cursors, [("cursor/a".into(), b"1".to_vec()), ("cursor/b".into(), b"2".to_vec())]);
    index.remove_meta("cursor/a").unwrap();
    assert_eq!(index.get_meta("cursor/a").unwrap(), None);
    let long = index.put_meta("long", &vec![0; MAX_VALUE + 1]);
    assert!(matches!(long, Err(IndexError::TooLong { .. })));
}

fn counts(index: &Index<impl Tables>) {
    assert_eq!(index.counter("served").unwrap(), 0);
    assert_eq!(index.add_to_counter("served", 5).unwrap(), 5);
    assert_eq!(index.add_to_counter("served", 6).unwrap(), 11);
    index.batch().set_counter("full", u64::MAX).commit().unwrap();
    assert_eq!(index.add_to_counter("full", 1).unwrap(), u64::MAX);
    assert_eq!(index.counters().unwrap(), [("full".into(), u64::MAX), ("served".into(), 11)]);
}

fn commits_batches_whole(index: &Index<impl Tables>) {
    let long = vec![0; MAX_VALUE + 1];
    let refused = index.batch().pin(A, PinReason::Own).put_meta("long", &long).commit();
    assert!(matches!(refused, Err(IndexError::TooLong { .. })));
    assert!(index.pins().unwrap().is_empty());
    index.batch().commit().unwrap();
    let batch = index.batch().pin(A, PinReason::Own).put_manifest(A, b"m").put_meta("a", b"b");
    batch.set_counter("c", 1).put_meta("a", b"c").commit().unwrap();
    assert_eq!(index.pins().unwrap(), [(A, PinReason::Own)]);
    assert_eq!(index.get_meta("a").unwrap().as_deref(), Some(&b"c"[..]));
    index.batch().unpin(A, PinReason::Own).remove_manifest(A).remove_meta("a").commit().unwrap();
    assert!(index.pins().unwrap().is_empty());
    assert!(index.manifests().unwrap().is_empty());
}

#[test]
fn memory_keeps_what_it_is_told() {
    keeps_pins(&MemIndex::default());
    keeps_manifests_and_settings(&MemIndex::default());
    counts(&MemIndex::default());
    commits_batches_whole(&MemIndex::default());
}

/// Opens an index that has to be healthy.
fn open(dir: &Path) -> DiskIndex {
    let lock = DirLock::acquire(dir).unwrap();
    let opened = DiskIndex::open(&dir.join("index"), &lock).unwrap();
    assert_eq!(opened.broken, None);
    opened.index
}

fn on_disk(suite: impl FnOnce(&DiskIndex)) {
    let dir = tempfile::tempdir().unwrap();
    let index = open(dir.path());
    suite(&index);
    let state = |index: &DiskIndex| {
        let (pins, manifests) = (index.pins().unwrap(), index.manifests().unwrap());
        (pins, manifests, index.list_meta("").unwrap(), index.counters().unwrap())
    };
    let before = state(&index);
    drop(index);
    assert_eq!(state(&open(dir.path())), before);
}

#[test]
fn disk_keeps_what_it_is_told() {
    on_disk(keeps_pins);
    on_disk(keeps_manifests_and_settings);
    on_disk(counts);
    on_disk(commits_batches_whole);
}

#[derive(Clone, Debug)]
enum Op {
    Pin(u8, bool),
    Unpin(u8, bool),
    Put(u8, Vec<u8>),
    Remove(u8),
    Count(u8, u64),
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let op = prop_oneof![
        (0..5u8, any::<bool>()).prop_map(|(key, own)| Op::Pin(key, own)),
        (0..5u8, any::<bool>()).prop_map(|(key, own)| Op::Unpin(key, own)),
        (0..5u8, prop::collection::vec(any::<u8>(), 0..9)).prop_map(|(key, v)| Op::Put(key, v)),
        (0..5u8).prop_map(Op::Remove),
        (0..3u8, any::<u64>()).prop_map(|(key, n)| Op::Count(key, n)),
    ];
    prop::collection::vec(op, 1..40)
}

fn follows_maps(index: &Index<impl Tables>, ops: &[Op]) {
    let mut pins = BTreeSet::new();
    let mut manifests = BTreeMap::new();
    let mut counters: BTreeMap<String, u64> = BTreeMap::new();
    let reason = |own| if own { PinReason::Own } else { PinReason::Replica };
    for op in ops {
        match op {
            Op::Pin(key, own) => {
                index.pin(Hash([*key; 32]), reason(*own)).unwrap();
                pins.insert((Hash([*key; 32]), reason(*own)));
            }
            Op::Unpin(key, own) => {
                let found = index.unpin(Hash([*key; 32]), reason(*own)).unwrap();
                assert_eq!(found, pins.remove(&(Hash([*key; 32]), reason(*own))));
            }
            Op::Put(key, value) => {
                index.put_manifest(Hash([*key; 32]), value).unwrap();
                manifests.insert(Hash([*key; 32]), value.clone());
            }
            Op::Remove(key) => {
                index.remove_manifest(Hash([*key; 32])).unwrap();
                manifests.remove(&Hash([*key; 32]));
            }
            Op::Count(key, amount) => {
                let name = key.to_string();
                let value = counters.entry(name.clone()).or_default();
                *value = value.saturating_add(*amount);
                assert_eq!(index.add_to_counter(&name, *amount).unwrap(), *value);
            }
        }
        assert!(index.pins().unwrap().into_iter().eq(pins.iter().copied()));
        assert!(index.manifests().unwrap().into_iter().eq(manifests.clone()));
    }
    assert!(index.counters().unwrap().into_iter().eq(counters));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn memory_follows_maps(ops in ops()) {
        follows_maps(&MemIndex::default(), &ops);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]

    #[test]
    fn disk_follows_maps(ops in ops()) {
        on_disk(|index| follows_maps(index, &ops));
    }
}

/// Fills an index with enough to have something to lose.
fn fill(dir: &Path) {
    let index = open(dir);
    for i in 0..40u8 {
        let name = format!("name/{i}");
        index
            .batch()
            .pin(Hash([i; 32]), PinReason::Own)
            .put_meta(&name, &[i; 200])
            .commit()
            .unwrap();
    }
}

/// Opens an index whose files were damaged: either nothing was lost or it was replaced.
fn survives(dir: &Path, what: &str) -> bool {
    let lock = DirLock::acquire(dir).unwrap();
    let opened = DiskIndex::open(&dir.join("index"), &lock)
        .unwrap_or_else(|error| panic!("{what}: {error}"));
    opened.index.pin(A, PinReason::Own).unwrap();
    assert!(opened.index.is_pinned(A).unwrap());
    match opened.broken {
        Some(broken) => {
            assert!(broken.is_dir(), "{what}");
            assert_eq!(opened.index.pins().unwrap().len(), 1, "{what}");
            true
        }
        None => false,
    }
}

#[test]
fn a_damaged_index_is_moved_aside_and_replaced() {
    let mut replaced = 0;
    for seed in 0..8u64 {
        let dir = tempfile::tempdir().unwrap();
        fill(dir.path());
        let path = dir.path().join("index/db");
        let mut bytes = fs::read(&path).unwrap();
        let mut numbers = Numbers(seed);
        let used = bytes.iter().rposition(|byte| *byte != 0).unwrap() as u64;
        if seed % 2 == 0 {
            for _ in 0..16 {
                bytes[numbers.below(used) as usize] ^= 1 << numbers.below(8);
            }
        } else {
            bytes.truncate(numbers.below(used) as usize);
        }
        fs::write(&path, bytes).unwrap();
        replaced += u32::from(survives(dir.path(), &format!("seed {seed}")));
    }
    assert!(replaced >= 6, "{replaced} of 8 were noticed");
}

#[test]
fn a_removed_index_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    fill(dir.path());
    fs::remove_dir_all(dir.path().join("index")).unwrap();
    assert!(survives(dir.path(), "removed"));
}

#[test]
fn a_lost_commit_count_costs_nothing() {
    let dir = tempfile::tempdir().unwrap();
    fill(dir.path());
    fs::remove_file(dir.path().join("index.commits")).unwrap();
    assert_eq!(open(dir.path()).pins().unwrap().len(), 40);
    fs::write(dir.path().join("index.commits"), [0xff; 600]).unwrap();
    assert_eq!(open(dir.path()).pins().unwrap().len(), 40);
}

/// sled lets go of a closed database a moment later, which once had a healthy one moved aside.
#[test]
fn a_locked_index_is_not_taken_for_a_damaged_one() {
    let dir = tempfile::tempdir().unwrap();
    fill(dir.path());
    let holder = File::open(dir.path().join("index/db")).unwrap();
    while holder.try_lock().is_err() {
        thread::yield_now();
    }
    let lock = DirLock::acquire(dir.path()).unwrap();
    let refused = DiskIndex::open(&dir.path().join("index"), &lock).unwrap_err();
    assert!(matches!(refused, IndexError::Disk(DiskError::Locked { .. })), "{refused}");
    drop((holder, lock));
    assert_eq!(open(dir.path()).pins().unwrap().len(), 40);
}

#[test]
fn every_rebuild_keeps_the_broken_ones() {
    let dir = tempfile::tempdir().unwrap();
    for n in 1..=2 {
        fill(dir.path());
        fs::write(dir.path().join("index/conf"), b"not a configuration").unwrap();
        assert!(survives(dir.path(), "conf"));
        assert!(dir.path().join(format!("index.broken-{n}")).is_dir());
    }
}

#[test]
fn an_unfinished_snapshot_does_not_keep_it_closed() {
    let dir = tempfile::tempdir().unwrap();
    fill(dir.path());
    fs::write(dir.path().join("index/snap.0000000000000042.generating"), b"half").unwrap();
    assert_eq!(open(dir.path()).pins().unwrap().len(), 40);
}
