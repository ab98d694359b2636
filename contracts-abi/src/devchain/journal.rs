//! The block log: an append-only file from which a chain is rebuilt by executing it again.
//!
//! Layout: the magic, then frames `u32 length ‖ 8-byte checksum ‖ payload` (big-endian; the
//! checksum is the head of the payload's BLAKE3 hash; the payload is JSON). The first frame is the
//! configuration. Each append is synced before it is acknowledged, so a kill at any instant loses
//! at most the frame being written: a torn tail is dropped at the next start. A bad frame that is
//! followed by others is damage, not a torn tail, and is never dropped silently. A damaged length is
//! mended: the frame ends where the next one begins, or the log does.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use alloy::primitives::{Address, B256, Bytes, U256};
use serde::{Deserialize, Serialize};

use super::config::DevConfig;

const FILE: &str = "blocks.log";
const MAGIC: &[u8; 8] = b"OLCHAIN1";
const HEAD: usize = 12;
/// Bytes of a frame at most; a longer length field is damage.
const FRAME_LIMIT: usize = 256 * 1024 * 1024;
/// How every payload begins.
const OPENING: &[u8] = b"{\"";
/// Bytes that may be hashed in search of the frame behind a damaged one.
const SEARCH_BUDGET: usize = 1024 * 1024 * 1024;

/// Why the block log can't be read or written.
#[expect(missing_docs, reason = "a message names its fields")]
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The file system refused.
    #[error("{path}: {source}; free space or fix permissions, then start again")]
    Io { path: PathBuf, source: io::Error },
    /// Another process has this chain open.
    #[error("{0} is in use by another development chain; stop it or choose another directory")]
    Locked(PathBuf),
    /// The file is not a block log.
    #[error("{0} is not a block log of a development chain; choose another directory")]
    Foreign(PathBuf),
    /// A frame in the middle is damaged.
    #[error("{path} is damaged at byte {offset}; restore it from a copy or remove it")]
    Corrupt { path: PathBuf, offset: u64 },
}

/// One entry of the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Frame {
    /// The chain's configuration; always the first frame and only the first.
    Genesis(DevConfig),
    /// A balance that was set by hand.
    Balance { address: Address, balance: U256 },
    /// A sealed block: what is needed to build it again, and the hash it must have.
    Block { timestamp: u64, hash: B256, transactions: Vec<(Address, Bytes)> },
}

/// The open log.
#[derive(Debug)]
pub(crate) struct Journal {
    path: PathBuf,
    file: File,
}

impl Journal {
    /// Opens or creates the log in a directory and reads its frames. Drops a torn tail.
    pub(crate) fn open(dir: &Path) -> Result<(Self, Vec<Frame>), JournalError> {
        let path = dir.join(FILE);
        let at = |source| JournalError::Io { path: path.clone(), source };
        std::fs::create_dir_all(dir).map_err(at)?;
        let mut file =
            OpenOptions::new().read(true).append(true).create(true).open(&path).map_err(at)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(JournalError::Locked(path)),
            Err(TryLockError::Error(source)) => return Err(at(source)),
        }
        if !file.metadata().map_err(at)?.is_file() {
            return Err(JournalError::Foreign(path));
        }
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(at)?;
        if MAGIC.starts_with(&bytes[..bytes.len().min(MAGIC.len())]) && bytes.len() < MAGIC.len() {
            file.set_len(0).map_err(at)?;
            file.write_all(MAGIC).map_err(at)?;
            file.sync_all().map_err(at)?;
            sync_dir(dir).map_err(at)?;
            return Ok((Self { path, file }, Vec::new()));
        }
        if !bytes.starts_with(MAGIC) {
            return Err(JournalError::Foreign(path));
        }
        let (frames, end) =
            scan(&bytes).map_err(|offset| JournalError::Corrupt { path: path.clone(), offset })?;
        if end < bytes.len() {
            tracing::warn!(path = %path.display(), dropped = bytes.len() - end, "torn tail");
            file.set_len(end as u64).map_err(at)?;
            file.seek(SeekFrom::End(0)).map_err(at)?;
            file.sync_all().map_err(at)?;
        }
        Ok((Self { path, file }, frames))
    }

    /// Appends a frame; durable when this returns.
    pub(crate) fn append(&mut self, frame: &Frame) -> Result<(), JournalError> {
        let payload = serde_json::to_vec(frame).expect("frames hold nothing that JSON refuses");
        let mut bytes = Vec::with_capacity(HEAD + payload.len());
        bytes.extend_from_slice(&(payload.len() as u32).to_be_bytes());
        bytes.extend_from_slice(&checksum(&payload));
        bytes.extend_from_slice(&payload);
        self.file
            .write_all(&bytes)
            .and_then(|()| self.file.sync_data())
            .map_err(|source| JournalError::Io { path: self.path.clone(), source })
    }
}

#[cfg(all(test, target_os = "linux"))]
impl Journal {
    /// A log on a disk that is full.
    pub(crate) fn on_full_disk() -> Self {
        let path = PathBuf::from("/dev/full");
        let file = OpenOptions::new().write(true).open(&path).expect("every Linux has it");
        Self { path, file }
    }
}

fn checksum(payload: &[u8]) -> [u8; 8] {
    let mut head = [0; 8];
    head.copy_from_slice(&blake3::hash(payload).as_bytes()[..8]);
    head
}

/// The whole frames and where they end; the offset of a damaged frame that is not the last.
fn scan(bytes: &[u8]) -> Result<(Vec<Frame>, usize), u64> {
    let mut frames = Vec::new();
    let mut offset = MAGIC.len();
    while offset < bytes.len() {
        let end = match whole(bytes, offset) {
            Some(end) => end,
            None => match mended(bytes, offset) {
                Mended::To(end) => end,
                Mended::Torn => break,
                Mended::Lost => return Err(offset as u64),
            },
        };
        let payload = &bytes[offset + HEAD..end];
        frames.push(serde_json::from_slice(payload).map_err(|_| offset as u64)?);
        offset = end;
    }
    Ok((frames, offset))
}

/// Where the frame at an offset ends, if length and checksum are right.
fn whole(bytes: &[u8], offset: usize) -> Option<usize> {
    let length: [u8; 4] = bytes.get(offset..offset + 4)?.try_into().ok()?;
    let length = u32::from_be_bytes(length) as usize;
    let end = (offset + HEAD).checked_add(length).filter(|_| length <= FRAME_LIMIT)?;
    fits(bytes, offset, end).then_some(end)
}

/// Whether the checksum of the frame at an offset is right if it ends there, whatever length it claims.
fn fits(bytes: &[u8], offset: usize, end: usize) -> bool {
    let (sum, payload) = (bytes.get(offset + 4..offset + HEAD), bytes.get(offset + HEAD..end));
    sum.zip(payload).is_some_and(|(sum, payload)| !payload.is_empty() && checksum(payload) == sum)
}

/// What can be said of a bad frame.
enum Mended {
    /// Only its length was wrong; it ends here.
    To(usize),
    /// Nothing follows it: what an interrupted append leaves.
    Torn,
    /// Others follow it, and it cannot be read.
    Lost,
}

fn mended(bytes: &[u8], offset: usize) -> Mended {
    let mut budget = SEARCH_BUDGET;
    let mut end = bytes.len();
    let mut follows = false;
    for next in offset + 1..bytes.len().saturating_sub(HEAD) {
        // Every payload begins alike, so few places are worth a checksum.
        if !bytes[next + HEAD..].starts_with(OPENING) {
            continue;
        }
        let Some(left) = budget.checked_sub(claimed(bytes, next)) else { return Mended::Lost };
        budget = left;
        if whole(bytes, next).is_some() {
            (end, follows) = (next, true);
            break;
        }
    }
    match (fits(bytes, offset, end), follows) {
        (true, _) => Mended::To(end),
        (false, true) => Mended::Lost,
        (false, false) => Mended::Torn,
    }
}

/// Bytes that it costs to look whether a frame begins at an offset.
fn claimed(bytes: &[u8], offset: usize) -> usize {
    let length = bytes.get(offset..offset + 4).and_then(|bytes| bytes.try_into().ok());
    let length = length.map_or(0, |length| u32::from_be_bytes(length) as usize);
    if length <= bytes.len() - offset { length } else { 0 }
}

/// Makes a new file's name durable, where the platform can.
fn sync_dir(dir: &Path) -> io::Result<()> {
    if cfg!(unix) { File::open(dir)?.sync_all() } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(n: u64) -> Frame {
        Frame::Block { timestamp: n, hash: B256::repeat_byte(7), transactions: Vec::new() }
    }

    #[test]
    fn every_cut_keeps_exactly_the_whole_frames() {
        let dir = tempfile::tempdir().unwrap();
        let (mut journal, frames) = Journal::open(dir.path()).unwrap();
        assert!(frames.is_empty());
        let mut ends = vec![MAGIC.len()];
        for n in 0..3 {
            journal.append(&sample(n)).unwrap();
            ends.push(std::fs::metadata(dir.path().join(FILE)).unwrap().len() as usize);
        }
        drop(journal);
        let whole = std::fs::read(dir.path().join(FILE)).unwrap();
        for cut in 0..=whole.len() {
            std::fs::write(dir.path().join(FILE), &whole[..cut]).unwrap();
            let (mut journal, frames) = Journal::open(dir.path()).unwrap();
            let expected = ends.iter().filter(|end| **end <= cut).count().saturating_sub(1);
            assert_eq!(frames.len(), expected, "cut at {cut}");
            journal.append(&sample(9)).unwrap();
            drop(journal);
            let (_, frames) = Journal::open(dir.path()).unwrap();
            assert_eq!(frames.last(), Some(&sample(9)));
        }
    }

    #[test]
    fn a_flipped_bit_in_a_length_loses_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE);
        let (mut journal, _) = Journal::open(dir.path()).unwrap();
        let all: Vec<_> = (0..4).map(sample).collect();
        let mut begins = Vec::new();
        for frame in &all {
            begins.push(std::fs::metadata(&path).unwrap().len() as usize);
            journal.append(frame).unwrap();
        }
        drop(journal);
        let right = std::fs::read(&path).unwrap();
        for begin in begins {
            for bit in 0..32 {
                let mut bytes = right.clone();
                bytes[begin + bit / 8] ^= 1 << (bit % 8);
                std::fs::write(&path, &bytes).unwrap();
                let (_, frames) = Journal::open(dir.path()).unwrap();
                assert_eq!(frames, all, "bit {bit} of the length at {begin}");
            }
        }
    }

    #[test]
    fn any_other_flipped_bit_before_the_tail_is_named_and_drops_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE);
        let (mut journal, _) = Journal::open(dir.path()).unwrap();
        journal.append(&sample(0)).unwrap();
        let end = std::fs::metadata(&path).unwrap().len() as usize;
        journal.append(&sample(1)).unwrap();
        drop(journal);
        let right = std::fs::read(&path).unwrap();
        for bit in (MAGIC.len() + 4) * 8..end * 8 {
            let mut bytes = right.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            std::fs::write(&path, &bytes).unwrap();
            let opened = Journal::open(dir.path()).map(|(_, frames)| frames);
            assert!(matches!(opened, Err(JournalError::Corrupt { offset: 8, .. })), "bit {bit}");
            assert_eq!(std::fs::read(&path).unwrap(), bytes);
        }
    }

    #[test]
    fn damage_before_the_tail_is_an_error_and_a_second_opener_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let (mut journal, _) = Journal::open(dir.path()).unwrap();
        journal.append(&sample(0)).unwrap();
        journal.append(&sample(1)).unwrap();
        assert!(matches!(Journal::open(dir.path()), Err(JournalError::Locked(_))));
        drop(journal);
        let mut bytes = std::fs::read(dir.path().join(FILE)).unwrap();
        bytes[MAGIC.len() + HEAD + 3] ^= 1;
        std::fs::write(dir.path().join(FILE), &bytes).unwrap();
        assert!(matches!(Journal::open(dir.path()), Err(JournalError::Corrupt { offset: 8, .. })));
        std::fs::write(dir.path().join(FILE), b"something else").unwrap();
        assert!(matches!(Journal::open(dir.path()), Err(JournalError::Foreign(_))));
    }

    #[cfg(unix)]
    #[test]
    fn a_device_is_not_a_log() {
        let dir = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("/dev/zero", dir.path().join(FILE)).unwrap();
        assert!(matches!(Journal::open(dir.path()), Err(JournalError::Foreign(_))));
    }
}
