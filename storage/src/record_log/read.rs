//! Reading the log: one record by its position, or all of them in order.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use super::frame::{self, MAX_PAYLOAD, Next, OVERHEAD, Step};
use super::segment::{self, HEADER_BYTES, SegmentId};
use super::{LogError, Position, load};
use crate::error::DiskError;

/// Records in order. Damage is an `Err` in its place; the iteration goes on behind it.
#[derive(Debug)]
pub struct Records {
    dir: PathBuf,
    /// Segments that were not read yet.
    segments: std::vec::IntoIter<SegmentId>,
    current: Option<Loaded>,
}

#[derive(Debug)]
struct Loaded {
    id: SegmentId,
    bytes: Vec<u8>,
    offset: usize,
    /// Whether its header is, or its damage was told.
    is_whole: bool,
}

impl Records {
    pub(super) fn new(dir: &Path, segments: Vec<SegmentId>) -> Self {
        Self { dir: dir.to_owned(), segments: segments.into_iter(), current: None }
    }

    fn load(&self, id: SegmentId) -> Result<Loaded, LogError> {
        let bytes = load(&self.dir.join(id.file_name()))?;
        let is_whole = segment::has_header(id, &bytes);
        let offset = bytes.len().min(HEADER_BYTES as usize);
        Ok(Loaded { id, bytes, offset, is_whole })
    }
}

impl Iterator for Records {
    type Item = Result<(Position, Vec<u8>), LogError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(item) = self.current.as_mut().and_then(Loaded::next) {
                return Some(item);
            }
            let id = self.segments.next()?;
            match self.load(id) {
                Ok(loaded) => self.current = Some(loaded),
                Err(error) => {
                    self.current = None;
                    return Some(Err(error));
                }
            }
        }
    }
}

impl Loaded {
    fn next(&mut self) -> Option<Result<(Position, Vec<u8>), LogError>> {
        let position =
            Position { epoch: self.id.epoch, segment: self.id.number, offset: self.offset as u64 };
        if !std::mem::replace(&mut self.is_whole, true) {
            let position = Position { offset: 0, ..position };
            return Some(Err(LogError::Corrupt { position, lost: self.offset as u64 }));
        }
        match frame::step(&self.bytes, self.offset) {
            Step::End => None,
            Step::Frame { payload, next } => {
                let payload = payload.to_vec();
                self.offset = next;
                Some(Ok((position, payload)))
            }
            Step::Damage(behind) => {
                let next = match behind {
                    Next::At(offset) => offset,
                    Next::None | Next::Unknown => self.bytes.len(),
                };
                let lost = (next - self.offset) as u64;
                self.offset = next;
                Some(Err(LogError::Corrupt { position, lost }))
            }
        }
    }
}

/// Reads the record at a position.
pub(super) fn read_one(dir: &Path, position: Position) -> Result<Vec<u8>, LogError> {
    let id = SegmentId { epoch: position.epoch, number: position.segment };
    let path = dir.join(id.file_name());
    if position.offset < HEADER_BYTES {
        return Err(LogError::NoRecord { position });
    }
    let frame = match read_frame(&path, position.offset) {
        Ok(frame) => frame,
        Err(error) => match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::UnexpectedEof => {
                return Err(LogError::NoRecord { position });
            }
            _ => return Err(DiskError::new(&path, error).into()),
        },
    };
    match frame::decode(&frame, 0) {
        Some(payload) => Ok(payload.to_vec()),
        None => Err(LogError::Corrupt { position, lost: frame.len() as u64 }),
    }
}

/// Reads as many bytes as the frame at `offset` says that it has; at least its head.
fn read_frame(path: &Path, offset: u64) -> io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    file.seek(SeekFrom::Start(offset))?;
    let mut frame = vec![0; OVERHEAD];
    file.read_exact(&mut frame)?;
    let len = u32::from_be_bytes([frame[0], frame[1], frame[2], frame[3]]) as usize;
    if len <= MAX_PAYLOAD {
        file.take(len as u64).read_to_end(&mut frame)?;
    }
    Ok(frame)
}
