//! The append-only log of what cannot be derived again: signed records.
//!
//! A log is a directory of segments, each belonging to one epoch; old epochs are dropped whole.
//! A segment is a header and frames (`u32` length ‖ `u32` CRC-32 ‖ payload, see [`frame`]).
//!
//! Invariants:
//! - An append is acknowledged after its bytes, and the directory entry of a new segment, were
//!   fsynced. A batch is acknowledged as a whole; after a crash any prefix of an unacknowledged
//!   batch may be there.
//! - A tail that a crash left half-written is cut on opening, and kept beside the segment. A tail
//!   that may hide acknowledged frames behind a damaged one is never cut: the segment is closed and
//!   a new one begun.
//! - Damage in one frame loses that frame, reported with its position; frames and segments behind
//!   it stay readable. A damaged header loses nothing: its segment takes no more records.

pub mod frame;
mod read;
mod segment;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

pub use self::frame::MAX_PAYLOAD;
pub use self::read::Records;
use self::segment::{HEADER_BYTES, SegmentId, Tail};
use crate::durable;
use crate::error::DiskError;

/// Largest batch, frames included.
pub const MAX_BATCH: usize = 16 << 20;

/// Where a record stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// The epoch of its segment.
    pub epoch: u64,
    /// The number of its segment inside the epoch, from 0.
    pub segment: u32,
    /// The offset of its frame in the segment.
    pub offset: u64,
}

/// Why the log failed.
#[expect(missing_docs, reason = "a message names its fields")]
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// A record is too long.
    #[error("a record of {len} bytes is too long for the log: {MAX_PAYLOAD} are allowed")]
    TooLong { len: usize },
    /// An empty record says nothing.
    #[error("an empty record cannot be logged")]
    Empty,
    /// A batch is too long.
    #[error("a batch of {len} bytes is too long for the log: {MAX_BATCH} are allowed")]
    BatchTooLong { len: usize },
    /// A frame is damaged.
    #[error(
        "the record log is damaged in epoch {}, segment {}, at byte {}: {lost} bytes are lost; check \
         the disk; peers have those records",
        position.epoch, position.segment, position.offset
    )]
    Corrupt {
        /// Where the damage begins.
        position: Position,
        /// Bytes up to the next readable frame, or to the end of the segment.
        lost: u64,
    },
    /// There is no frame at this position.
    #[error("there is no record at {position:?}")]
    NoRecord { position: Position },
    /// An earlier write failed, so what is on disk is unknown until the log is opened again.
    #[error("an earlier write of the record log failed: free the disk and restart the node")]
    Poisoned,
    /// The disk is the problem.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

/// Sizes of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogConfig {
    /// A segment that has reached this length is closed.
    pub segment_bytes: u64,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self { segment_bytes: 8 << 20 }
    }
}

/// What opening had to repair; the operator should hear of it.
#[derive(Debug, Default)]
pub struct Recovery {
    /// Half-written tails that were cut: where, and how many bytes.
    pub torn: Vec<(Position, u64)>,
    /// Damage that was found in segments that were still open.
    pub corrupt: Vec<LogError>,
}

impl Recovery {
    /// Nothing had to be repaired.
    pub fn is_clean(&self) -> bool {
        self.torn.is_empty() && self.corrupt.is_empty()
    }
}

/// An append-only log of records.
#[derive(Debug)]
pub struct RecordLog {
    dir: PathBuf,
    config: LogConfig,
    /// The segment that takes the next record, for each epoch.
    tails: BTreeMap<u64, Tail>,
    /// The segment that was written last stays open.
    writer: Option<(SegmentId, File)>,
    recovery: Recovery,
    poisoned: bool,
}

impl RecordLog {
    /// Opens the log in `dir`, creating it, and repairs what a crash left behind.
    pub fn open(dir: &Path, config: LogConfig) -> Result<Self, LogError> {
        durable::create_dir(dir)?;
        let mut last = BTreeMap::new();
        for id in segment::list(dir)? {
            last.insert(id.epoch, id);
        }
        let mut recovery = Recovery::default();
        let mut tails = BTreeMap::new();
        for (epoch, id) in last {
            tails.insert(epoch, segment::recover(dir, id, &mut recovery)?);
        }
        let dir = dir.to_owned();
        Ok(Self { dir, config, tails, writer: None, recovery, poisoned: false })
    }

    /// What opening had to repair.
    pub const fn recovery(&self) -> &Recovery {
        &self.recovery
    }

    /// Fails when the segment that is written is no longer in its folder.
    pub(crate) fn check(&self) -> Result<(), DiskError> {
        match &self.writer {
            Some((id, file)) => durable::check_same(file, &self.dir.join(id.file_name())),
            None => Ok(()),
        }
    }

    /// Epochs that have segments, ascending.
    pub fn epochs(&self) -> Vec<u64> {
        self.tails.keys().copied().collect()
    }

    /// Reads one record.
    pub fn read(&self, position: Position) -> Result<Vec<u8>, LogError> {
        read::read_one(&self.dir, position)
    }

    /// All records, in the order of epoch and position; damage shows as an error between them.
    pub fn iter(&self) -> Result<Records, LogError> {
        Ok(Records::new(&self.dir, segment::list(&self.dir)?))
    }

    /// The records of one epoch.
    pub fn iter_epoch(&self, epoch: u64) -> Result<Records, LogError> {
        let mut segments = segment::list(&self.dir)?;
        segments.retain(|id| id.epoch == epoch);
        Ok(Records::new(&self.dir, segments))
    }

    /// Appends a record; it is on the disk when this returns.
    pub fn append(&mut self, epoch: u64, payload: &[u8]) -> Result<Position, LogError> {
        let positions = self.append_batch(epoch, &[payload])?;
        Ok(*positions.first().expect("a batch answers one position for each payload"))
    }

    /// Appends records with one fsync; they are on the disk when this returns.
    pub fn append_batch<P: AsRef<[u8]>>(
        &mut self,
        epoch: u64,
        payloads: &[P],
    ) -> Result<Vec<Position>, LogError> {
        if self.poisoned {
            return Err(LogError::Poisoned);
        }
        if payloads.is_empty() {
            return Ok(Vec::new());
        }
        let batch = encode_batch(payloads)?;
        let start = self.begin_write(epoch, batch.bytes.len() as u64)?;
        let written = self.write(start, &batch.bytes);
        if let Err(error) = written {
            self.undo(start);
            return Err(error);
        }
        let position = |offset: &u64| Position { offset: start.offset + offset, ..start };
        Ok(batch.offsets.iter().map(position).collect())
    }

    /// Removes all epochs before `epoch`; returns how many segments that were.
    pub fn drop_before(&mut self, epoch: u64) -> Result<usize, LogError> {
        if self.writer.as_ref().is_some_and(|(id, _)| id.epoch < epoch) {
            self.writer = None;
        }
        self.tails.retain(|e, _| *e >= epoch);
        Ok(segment::remove_before(&self.dir, epoch)?)
    }

    /// The place where a write of `len` bytes goes; begins a new segment where needed.
    fn begin_write(&mut self, epoch: u64, len: u64) -> Result<Position, LogError> {
        let tail = self.tails.entry(epoch).or_insert(Tail { segment: 0, len: None });
        if let Some(used) = tail.len {
            let full = used > HEADER_BYTES && used + len > self.config.segment_bytes;
            if full {
                *tail = Tail { segment: tail.segment.saturating_add(1), len: None };
            }
        }
        let id = SegmentId { epoch, number: tail.segment };
        if self.writer.as_ref().is_none_or(|(open, _)| *open != id) {
            let file = match tail.len {
                Some(_) => segment::reopen(&self.dir, id)?,
                None => segment::create(&self.dir, id)?,
            };
            self.writer = Some((id, file));
        }
        let offset = *tail.len.get_or_insert(HEADER_BYTES);
        Ok(Position { epoch, segment: id.number, offset })
    }

    fn write(&mut self, start: Position, bytes: &[u8]) -> Result<(), LogError> {
        let (id, file) = self.writer.as_mut().expect("begin_write opened the segment");
        let path = self.dir.join(id.file_name());
        file.write_all(bytes).map_err(|source| DiskError::new(&path, source))?;
        if let Err(source) = file.sync_all() {
            // After a failed fsync nobody knows what is on the disk, not even the kernel.
            self.poisoned = true;
            return Err(DiskError::new(&path, source).into());
        }
        if let Some(tail) = self.tails.get_mut(&start.epoch) {
            tail.len = Some(start.offset + bytes.len() as u64);
        }
        Ok(())
    }

    /// Takes a half-written append back, so that the next one does not stand behind damage.
    fn undo(&mut self, start: Position) {
        let undone = match &self.writer {
            Some((_, file)) => file.set_len(start.offset).and_then(|()| file.sync_all()).is_ok(),
            None => false,
        };
        self.poisoned |= !undone;
        self.writer = None;
    }
}

struct EncodedBatch {
    bytes: Vec<u8>,
    /// Offset of each frame in `bytes`.
    offsets: Vec<u64>,
}

fn encode_batch<P: AsRef<[u8]>>(payloads: &[P]) -> Result<EncodedBatch, LogError> {
    let mut batch = EncodedBatch { bytes: Vec::new(), offsets: Vec::with_capacity(payloads.len()) };
    for payload in payloads {
        batch.offsets.push(batch.bytes.len() as u64);
        frame::encode(payload.as_ref(), &mut batch.bytes)?;
        if batch.bytes.len() > MAX_BATCH {
            return Err(LogError::BatchTooLong { len: batch.bytes.len() });
        }
    }
    Ok(batch)
}

/// Reads a whole segment.
fn load(path: &Path) -> Result<Vec<u8>, DiskError> {
    fs::read(path).map_err(|source| DiskError::new(path, source))
}
