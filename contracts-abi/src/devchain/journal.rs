//! The block log: an append-only file from which a chain is rebuilt by executing it again.
//!
//! Layout: the magic, then frames `u32 length ‖ 8-byte checksum ‖ payload` (big-endian; the
//! checksum is the head of the payload's BLAKE3 hash; the payload is JSON). The first frame is the
//! configuration. Each append is synced before it is acknowledged, so a kill at any instant loses
//! at most the frame being written: a torn tail is dropped at the next start. A bad frame that is
//! followed by others is damage, not a torn tail, and is never dropped silently.

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
    while let Some(rest) = bytes.get(offset..).filter(|rest| !rest.is_empty()) {
        match frame(rest) {
            Ok((frame, length)) => {
                frames.push(frame);
                offset += length;
            }
            Err(Broken::Torn) => break,
            Err(Broken::Damaged) => return Err(offset as u64),
        }
    }
    Ok((frames, offset))
}

enum Broken {
    /// Could be what an interrupted append leaves.
    Torn,
    /// More follows, so it was whole once.
    Damaged,
}

fn frame(rest: &[u8]) -> Result<(Frame, usize), Broken> {
    let (Some(length), Some(sum)) = (rest.first_chunk::<4>(), rest.get(4..HEAD)) else {
        return Err(Broken::Torn);
    };
    let length = u32::from_be_bytes(*length) as usize;
    let Some(payload) = rest.get(HEAD..HEAD + length).filter(|_| length <= FRAME_LIMIT) else {
        return Err(Broken::Torn);
    };
    let last = rest.len() == HEAD + length || rest.iter().all(|byte| *byte == 0);
    let broken = || if last { Broken::Torn } else { Broken::Damaged };
    if checksum(payload) != sum {
        return Err(broken());
    }
    let frame = serde_json::from_slice(payload).map_err(|_| Broken::Damaged)?;
    Ok((frame, HEAD + length))
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
