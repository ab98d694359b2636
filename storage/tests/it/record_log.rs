//! The record log: order, rotation, epochs, and every way in which its files can be damaged.

use std::fs;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use storage::record_log::{LogConfig, LogError, MAX_BATCH, MAX_PAYLOAD, Position, RecordLog};

use crate::support::{Numbers, test_bytes};

const SMALL: LogConfig = LogConfig { segment_bytes: 256 };
const HEADER: u64 = 16;

fn open(dir: &Path) -> RecordLog {
    RecordLog::open(dir, SMALL).unwrap()
}

fn segment(dir: &Path, epoch: u64, number: u32) -> PathBuf {
    dir.join(format!("{epoch:020}-{number:010}.log"))
}

/// The readable records, and the errors between them.
fn read_all(log: &RecordLog) -> (Vec<(Position, Vec<u8>)>, Vec<LogError>) {
    let (mut records, mut errors) = (Vec::new(), Vec::new());
    for item in log.iter().unwrap() {
        match item {
            Ok(record) => records.push(record),
            Err(error) => errors.push(error),
        }
    }
    (records, errors)
}

fn payloads(log: &RecordLog) -> Vec<Vec<u8>> {
    let (records, errors) = read_all(log);
    assert!(errors.is_empty(), "{errors:?}");
    records.into_iter().map(|(_, payload)| payload).collect()
}

#[test]
fn records_come_back_in_order_and_by_position() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open(dir.path());
    let mut written = Vec::new();
    for i in 0..30u8 {
        written.push((log.append(5, &[i; 40]).unwrap(), vec![i; 40]));
    }
    let batch: Vec<_> = (30..35u8).map(|i| vec![i; 10]).collect();
    written.extend(log.append_batch(5, &batch).unwrap().into_iter().zip(batch));
    assert!(written.is_sorted());
    assert!(written.last().unwrap().0.segment > 3, "segments rotate");
    for log in [log, open(dir.path())] {
        assert!(log.recovery().is_clean());
        assert_eq!(read_all(&log).0, written);
        for (position, payload) in &written {
            assert_eq!(log.read(*position).unwrap(), *payload);
        }
    }
}

#[test]
fn epochs_are_apart_and_old_ones_are_dropped() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open(dir.path());
    for epoch in [3, 1, 2, 3, 1] {
        log.append(epoch, &[epoch as u8]).unwrap();
    }
    assert_eq!(log.epochs(), [1, 2, 3]);
    assert_eq!(payloads(&log), [[1], [1], [2], [3], [3]]);
    assert_eq!(log.iter_epoch(3).unwrap().count(), 2);
    assert_eq!(log.drop_before(3).unwrap(), 2);
    assert_eq!(log.epochs(), [3]);
    log.append(1, &[9]).unwrap();
    assert_eq!(payloads(&log), [[9], [3], [3]]);
    assert_eq!(payloads(&open(dir.path())), [[9], [3], [3]]);
}

#[test]
fn bounds_are_enforced_and_nothing_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open(dir.path());
    assert!(matches!(log.append(0, &[]), Err(LogError::Empty)));
    let long = vec![1; MAX_PAYLOAD + 1];
    assert!(matches!(log.append(0, &long), Err(LogError::TooLong { .. })));
    let many = vec![vec![1; MAX_PAYLOAD]; MAX_BATCH / MAX_PAYLOAD + 1];
    assert!(matches!(log.append_batch(0, &many), Err(LogError::BatchTooLong { .. })));
    assert_eq!(log.append_batch::<&[u8]>(0, &[]).unwrap(), []);
    assert!(payloads(&log).is_empty());
    log.append(0, &long[1..]).unwrap();
    assert_eq!(payloads(&open(dir.path())), [&long[1..]]);
}

#[test]
fn positions_without_a_record_are_typed_errors() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open(dir.path());
    let good = log.append(0, b"record").unwrap();
    for wrong in [
        Position { epoch: 1, ..good },
        Position { segment: 1, ..good },
        Position { offset: 0, ..good },
        Position { offset: 1000, ..good },
    ] {
        let error = log.read(wrong).unwrap_err();
        assert!(matches!(error, LogError::NoRecord { position } if position == wrong), "{error}");
    }
    let inside = Position { offset: good.offset + 1, ..good };
    assert!(log.read(inside).is_err());
}

/// Three records of 10 bytes in one segment: frames at 16, 34, 52; the end is 70.
fn three(dir: &Path) -> PathBuf {
    let mut log = open(dir);
    for i in 1..=3u8 {
        log.append(0, &[i; 10]).unwrap();
    }
    segment(dir, 0, 0)
}

#[test]
fn every_torn_tail_is_cut_and_the_log_goes_on() {
    for len in 0..70usize {
        let dir = tempfile::tempdir().unwrap();
        let path = three(dir.path());
        let bytes = fs::read(&path).unwrap();
        assert_eq!(bytes.len(), 70);
        fs::write(&path, &bytes[..len]).unwrap();
        let whole = len.saturating_sub(HEADER as usize) / 18;
        let clean = len >= 16 && (len - 16) % 18 == 0;

        let mut log = open(dir.path());
        assert_eq!(log.recovery().torn.len(), usize::from(!clean), "length {len}");
        assert!(log.recovery().corrupt.is_empty(), "length {len}");
        assert_eq!(payloads(&log).len(), whole, "length {len}");
        log.append(0, b"after").unwrap();
        let log = open(dir.path());
        assert!(log.recovery().is_clean());
        let read = payloads(&log);
        assert_eq!((read.len(), read.last().unwrap().as_slice()), (whole + 1, &b"after"[..]));
    }
}

#[test]
fn what_is_cut_is_kept_beside_the_segment() {
    let dir = tempfile::tempdir().unwrap();
    let path = three(dir.path());
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, &bytes[..60]).unwrap();
    let mut log = open(dir.path());
    let position = Position { epoch: 0, segment: 0, offset: 52 };
    assert_eq!(log.recovery().torn, [(position, 8)]);
    let torn = PathBuf::from(format!("{}.torn", path.display()));
    assert_eq!(fs::read(&torn).unwrap(), bytes[52..60]);
    log.drop_before(1).unwrap();
    assert!(!torn.exists());
}

#[test]
fn zeros_behind_the_last_record_are_a_torn_tail() {
    let dir = tempfile::tempdir().unwrap();
    let path = three(dir.path());
    let mut bytes = fs::read(&path).unwrap();
    bytes.resize(4096, 0);
    fs::write(&path, bytes).unwrap();
    let log = open(dir.path());
    assert_eq!(log.recovery().torn.len(), 1);
    assert_eq!(payloads(&log).len(), 3);
}

#[test]
fn every_flipped_byte_loses_at_most_its_record() {
    for at in 16..52usize {
        let dir = tempfile::tempdir().unwrap();
        let path = three(dir.path());
        let mut bytes = fs::read(&path).unwrap();
        bytes[at] ^= 0x20;
        fs::write(&path, &bytes).unwrap();
        let hit = (at - 16) / 18;
        let position = Position { epoch: 0, segment: 0, offset: 16 + 18 * hit as u64 };
        let is_here = |error: &LogError| matches!(error, LogError::Corrupt { position: p, lost: 18 } if *p == position);

        let mut log = open(dir.path());
        assert!(log.recovery().torn.is_empty(), "byte {at}");
        assert!(log.recovery().corrupt.iter().all(is_here), "byte {at}");
        assert_eq!(log.recovery().corrupt.len(), 1, "byte {at}");
        assert!(matches!(log.read(position), Err(LogError::Corrupt { .. })), "byte {at}");
        // The damaged segment is left alone; the next record begins another one.
        assert_eq!(log.append(0, b"after").unwrap().segment, 1);
        assert_eq!(fs::read(&path).unwrap(), bytes);
        let (records, errors) = read_all(&log);
        assert_eq!(records.len(), 3, "byte {at}");
        assert!(errors.len() == 1 && errors.iter().all(is_here), "byte {at}: {errors:?}");
    }
}

#[test]
fn damage_in_an_old_segment_leaves_the_later_ones_readable() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open(dir.path());
    for i in 0..20u8 {
        log.append(0, &[i; 100]).unwrap();
    }
    let path = segment(dir.path(), 0, 1);
    let mut bytes = fs::read(&path).unwrap();
    let len = bytes.len();
    bytes[17..len - 1].fill(0xee);
    fs::write(&path, &bytes).unwrap();
    let header = segment(dir.path(), 0, 3);
    let mut bytes = fs::read(&header).unwrap();
    bytes[7] = 9;
    fs::write(&header, &bytes).unwrap();

    let log = open(dir.path());
    assert!(log.recovery().is_clean(), "closed segments are not read on opening");
    let (records, errors) = read_all(&log);
    assert_eq!(records.len(), 18, "the damaged header of segment 3 costs no record");
    assert_eq!(records.last().unwrap().1, [19; 100]);
    assert!(matches!(
        &errors[..],
        [LogError::Corrupt { position: Position { epoch: 0, segment: 1, offset: 16 }, lost },
         LogError::Corrupt { position: Position { epoch: 0, segment: 3, offset: 0 }, lost: 16 }]
            if *lost == len as u64 - 16
    ));
}

#[test]
fn any_flipped_bit_in_a_header_closes_the_segment_and_loses_nothing() {
    for bit in 0..16 * 8 {
        let dir = tempfile::tempdir().unwrap();
        let path = three(dir.path());
        let before = read_all(&open(dir.path())).0;
        let mut bytes = fs::read(&path).unwrap();
        bytes[bit / 8] ^= 1 << (bit % 8);
        fs::write(&path, &bytes).unwrap();
        let mut log = open(dir.path());
        let start = Position { epoch: 0, segment: 0, offset: 0 };
        assert!(matches!(&log.recovery().corrupt[..],
            [LogError::Corrupt { position, lost: 16 }] if *position == start));
        assert_eq!(log.append(0, b"after").unwrap().segment, 1);
        let (records, errors) = read_all(&open(dir.path()));
        assert_eq!(records[..before.len()], before[..]);
        assert_eq!(records.last().unwrap().1, b"after");
        assert_eq!(errors.len(), 1);
    }
}

#[test]
fn a_segment_of_another_version_is_not_cut() {
    let dir = tempfile::tempdir().unwrap();
    let path = three(dir.path());
    let foreign = [&b"olrecor\x02"[..], &[0xee; 300]].concat();
    fs::write(&path, &foreign).unwrap();
    let mut log = open(dir.path());
    assert_eq!(log.append(0, b"after").unwrap().segment, 1);
    assert_eq!(fs::read(&path).unwrap(), foreign);
}

#[test]
fn other_files_are_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("notes.txt"), b"mine").unwrap();
    let mut log = open(dir.path());
    log.append(0, b"x").unwrap();
    log.drop_before(9).unwrap();
    assert_eq!(fs::read(dir.path().join("notes.txt")).unwrap(), b"mine");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Random appends, reopenings and drops against a list.
    #[test]
    fn the_log_follows_a_list(seed in any::<u64>()) {
        let mut numbers = Numbers(seed);
        let dir = tempfile::tempdir().unwrap();
        let mut log = open(dir.path());
        let mut oracle: Vec<(Position, Vec<u8>)> = Vec::new();
        for _ in 0..numbers.below(40) {
            match numbers.below(8) {
                0 => log = open(dir.path()),
                1 => {
                    let epoch = numbers.below(4);
                    log.drop_before(epoch).unwrap();
                    oracle.retain(|(position, _)| position.epoch >= epoch);
                }
                _ => {
                    let (epoch, count) = (numbers.below(4), numbers.below(4) as usize);
                    let batch: Vec<_> =
                        (0..count).map(|_| { let len = 1 + numbers.below(150); numbers.bytes(len as usize) }).collect();
                    let positions = log.append_batch(epoch, &batch).unwrap();
                    oracle.extend(positions.into_iter().zip(batch));
                }
            }
        }
        oracle.sort();
        prop_assert_eq!(read_all(&log).0, oracle.clone());
        prop_assert_eq!(read_all(&open(dir.path())).0, oracle);
    }

    /// Whatever the bytes of a segment are, opening and reading end without a panic, and what
    /// comes out was written.
    #[test]
    fn any_damage_is_survived(seed in any::<u64>()) {
        let mut numbers = Numbers(seed);
        let dir = tempfile::tempdir().unwrap();
        let mut log = open(dir.path());
        let written: Vec<_> = (0..12).map(|i| test_bytes(i, 30).to_vec()).collect();
        log.append_batch(0, &written[..6]).unwrap();
        log.append_batch(0, &written[6..]).unwrap();
        let path = segment(dir.path(), 0, numbers.below(2) as u32);
        let mut bytes = fs::read(&path).unwrap();
        for _ in 0..1 + numbers.below(20) {
            let at = numbers.below(bytes.len() as u64) as usize;
            match numbers.below(3) {
                0 => bytes[at] = numbers.next() as u8,
                1 => { bytes.remove(at); }
                _ => bytes.insert(at, numbers.next() as u8),
            }
        }
        fs::write(&path, bytes).unwrap();
        let mut log = open(dir.path());
        let after = log.append(0, b"after").unwrap();
        prop_assert_eq!(log.read(after).unwrap(), b"after");
        for (_, payload) in read_all(&log).0 {
            prop_assert!(payload == b"after" || written.contains(&payload));
        }
    }
}
