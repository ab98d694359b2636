//! Segments: their names, headers and recovery.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

use super::frame::{self, Next, Step};
use super::{LogError, Position, Recovery, load};
use crate::durable;
use crate::error::DiskError;

/// Length of a header: magic ‖ epoch.
pub(super) const HEADER_BYTES: u64 = 16;

/// First bytes of every segment; the last one is the version.
const MAGIC: [u8; 8] = *b"olrecor\x01";

const EXTENSION: &str = ".log";

/// The name of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct SegmentId {
    pub(super) epoch: u64,
    pub(super) number: u32,
}

impl SegmentId {
    pub(super) fn file_name(self) -> String {
        format!("{:020}-{:010}{EXTENSION}", self.epoch, self.number)
    }

    fn parse(name: &str) -> Option<Self> {
        let (epoch, number) = name.strip_suffix(EXTENSION)?.split_once('-')?;
        let id = Self { epoch: epoch.parse().ok()?, number: number.parse().ok()? };
        (id.file_name() == name).then_some(id)
    }
}

/// The segment of an epoch that takes the next record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tail {
    pub(super) segment: u32,
    /// Its length; `None` when it is not there yet.
    pub(super) len: Option<u64>,
}

/// All segments, ascending.
pub(super) fn list(dir: &Path) -> Result<Vec<SegmentId>, DiskError> {
    let failed = |source| DiskError::new(dir, source);
    let mut segments = Vec::new();
    for entry in fs::read_dir(dir).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        segments.extend(name.to_str().and_then(SegmentId::parse));
    }
    segments.sort_unstable();
    Ok(segments)
}

/// Creates a segment with its header; the caller fsyncs the file with its first records.
pub(super) fn create(dir: &Path, id: SegmentId) -> Result<File, DiskError> {
    let path = dir.join(id.file_name());
    let failed = |source| DiskError::new(&path, source);
    let mut options = OpenOptions::new();
    options.append(true).create_new(true);
    let mut file = durable::private(&mut options).open(&path).map_err(failed)?;
    let begun = file.write_all(&header(id.epoch)).map_err(failed);
    if let Err(error) = begun.and_then(|()| durable::sync_dir(dir)) {
        // Nothing is in it yet, and the next attempt creates it again.
        let _ = fs::remove_file(&path);
        return Err(error);
    }
    Ok(file)
}

/// Opens an existing segment for appending.
pub(super) fn reopen(dir: &Path, id: SegmentId) -> Result<File, DiskError> {
    let path = dir.join(id.file_name());
    OpenOptions::new().append(true).open(&path).map_err(|source| DiskError::new(&path, source))
}

/// Removes the segments of all epochs before `epoch`, and what was kept beside them.
pub(super) fn remove_before(dir: &Path, epoch: u64) -> Result<usize, DiskError> {
    let mut removed = 0;
    for id in list(dir)?.into_iter().filter(|id| id.epoch < epoch) {
        let path = dir.join(id.file_name());
        let _ = fs::remove_file(dir.join(torn_name(id)));
        fs::remove_file(&path).map_err(|source| DiskError::new(&path, source))?;
        removed += 1;
    }
    durable::sync_dir(dir)?;
    Ok(removed)
}

/// Whether the header of a segment is as it was written. What it says is in its name as well, so its
/// damage costs no frame.
pub(super) fn has_header(id: SegmentId, bytes: &[u8]) -> bool {
    bytes.starts_with(&header(id.epoch))
}

/// Finds the end of the last segment of an epoch; cuts a half-written tail.
pub(super) fn recover(
    dir: &Path,
    id: SegmentId,
    recovery: &mut Recovery,
) -> Result<Tail, LogError> {
    let path = dir.join(id.file_name());
    let bytes = load(&path)?;
    let next = Tail { segment: id.number.saturating_add(1), len: None };
    let position =
        |offset: usize| Position { epoch: id.epoch, segment: id.number, offset: offset as u64 };
    if (bytes.len() as u64) < HEADER_BYTES {
        // The crash came before the first record was acknowledged.
        fs::remove_file(&path).map_err(|source| DiskError::new(&path, source))?;
        durable::sync_dir(dir)?;
        recovery.torn.push((position(0), bytes.len() as u64));
        return Ok(Tail { segment: id.number, len: None });
    }
    let is_ours = has_header(id, &bytes);
    if !is_ours {
        let lost = HEADER_BYTES;
        recovery.corrupt.push(LogError::Corrupt { position: position(0), lost });
    }
    let mut offset = bytes.len().min(HEADER_BYTES as usize);
    let mut damaged = !is_ours;
    loop {
        match frame::step(&bytes, offset) {
            Step::Frame { next, .. } => offset = next,
            Step::End if damaged => return Ok(next),
            Step::End => return Ok(Tail { segment: id.number, len: Some(offset as u64) }),
            Step::Damage(Next::At(found)) => {
                let lost = (found - offset) as u64;
                recovery.corrupt.push(LogError::Corrupt { position: position(offset), lost });
                damaged = true;
                offset = found;
            }
            // What has no header of ours may be of another version: nothing of it is cut.
            Step::Damage(Next::Unknown | Next::None) if !is_ours => {
                let lost = (bytes.len() - offset) as u64;
                recovery.corrupt.push(LogError::Corrupt { position: position(offset), lost });
                return Ok(next);
            }
            Step::Damage(Next::Unknown) => {
                let lost = (bytes.len() - offset) as u64;
                recovery.corrupt.push(LogError::Corrupt { position: position(offset), lost });
                return Ok(next);
            }
            Step::Damage(Next::None) => {
                cut(dir, id, &bytes, offset)?;
                recovery.torn.push((position(offset), (bytes.len() - offset) as u64));
                let open = Tail { segment: id.number, len: Some(offset as u64) };
                return Ok(if damaged { next } else { open });
            }
        }
    }
}

/// Cuts a segment, keeping what is cut in a file beside it.
fn cut(dir: &Path, id: SegmentId, bytes: &[u8], offset: usize) -> Result<(), DiskError> {
    durable::write_atomic(&dir.join(torn_name(id)), &bytes[offset..])?;
    let path = dir.join(id.file_name());
    let attempt = || -> io::Result<()> {
        let file = OpenOptions::new().write(true).open(&path)?;
        file.set_len(offset as u64)?;
        file.sync_all()
    };
    attempt().map_err(|source| DiskError::new(&path, source))
}

fn torn_name(id: SegmentId) -> String {
    format!("{}.torn", id.file_name())
}

fn header(epoch: u64) -> [u8; HEADER_BYTES as usize] {
    let mut header = [0; HEADER_BYTES as usize];
    header[..8].copy_from_slice(&MAGIC);
    header[8..].copy_from_slice(&epoch.to_be_bytes());
    header
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_sort_like_numbers_and_nothing_else_is_a_segment() {
        let id = SegmentId { epoch: 7, number: 12 };
        assert_eq!(id.file_name(), "00000000000000000007-0000000012.log");
        assert_eq!(SegmentId::parse(&id.file_name()), Some(id));
        for name in ["7-12.log", "00000000000000000007-0000000012.log.torn", "x.log", "-.log"] {
            assert_eq!(SegmentId::parse(name), None, "{name}");
        }
        assert!(SegmentId { epoch: 9, number: 0 }.file_name() > id.file_name());
    }
}
