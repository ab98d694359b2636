//! Cuts a stream into packs: the blobs that are announced, placed, fetched and proven.
//!
//! FastCDC (the 2020 variant) finds pieces whose boundaries depend on content only; neighbouring
//! pieces are grouped into packs, because tiny blobs are slow to serve and to audit. A pack that is
//! at least half full also ends where a piece's fingerprint says so. Hence an insertion near the
//! start of a stream changes the packs around it, and the later ones keep their addresses.
//!
//! Cut points are protocol: the same bytes and the same [`PackRule`] give the same packs on every
//! node. Memory is bounded by two pieces and one pack, whatever the stream looks like.

use std::io::{self, Read};

use bytes::Bytes;
use fastcdc::v2020::{self, StreamCDC};
use protocol::ids::Hash;

use crate::blobs::hash_of;

/// Where a pack may end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Boundary {
    /// At any byte.
    Bytes,
    /// Never inside a UTF-8 character; bytes that are no UTF-8 are cut anywhere.
    Text,
}

/// The sizes by which a stream is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PackRule {
    /// Smallest piece but for the last one; even.
    pub min_piece: u32,
    /// Piece length aimed at; even.
    pub avg_piece: u32,
    /// Largest piece; even.
    pub max_piece: u32,
    /// Largest pack; at least two largest pieces.
    pub max_pack: u32,
    /// Where packs may end.
    pub boundary: Boundary,
}

impl PackRule {
    /// Packs of at most 64 MiB.
    pub const MAINNET: Self = Self {
        min_piece: 16 << 10,
        avg_piece: 64 << 10,
        max_piece: 256 << 10,
        max_pack: 64 << 20,
        boundary: Boundary::Bytes,
    };

    /// Packs of at most 64 KiB, for tests and the demo.
    pub const MINIMAL: Self = Self {
        min_piece: 2 << 10,
        avg_piece: 8 << 10,
        max_piece: 32 << 10,
        max_pack: 64 << 10,
        boundary: Boundary::Bytes,
    };

    /// The same sizes for text.
    #[must_use]
    pub const fn text(self) -> Self {
        Self { boundary: Boundary::Text, ..self }
    }

    /// Whether the sizes are ones that the cutter is specified for.
    pub fn check(&self) -> Result<(), PackRuleError> {
        let sizes = [
            (Size::MinPiece, self.min_piece, v2020::MINIMUM_MIN, v2020::MINIMUM_MAX),
            (Size::AvgPiece, self.avg_piece, v2020::AVERAGE_MIN, v2020::AVERAGE_MAX),
            (Size::MaxPiece, self.max_piece, v2020::MAXIMUM_MIN, v2020::MAXIMUM_MAX),
        ];
        for (size, value, low, high) in sizes {
            if value % 2 != 0 {
                return Err(PackRuleError::Odd { size, value });
            }
            if !(low..=high).contains(&(value as usize)) {
                return Err(PackRuleError::OutOfRange { size, value, low, high });
            }
        }
        if self.min_piece > self.avg_piece || self.avg_piece > self.max_piece {
            return Err(PackRuleError::Order);
        }
        if u64::from(self.max_pack) < 2 * u64::from(self.max_piece) {
            return Err(PackRuleError::PackTooSmall { needed: 2 * u64::from(self.max_piece) });
        }
        Ok(())
    }
}

/// A size of a [`PackRule`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    /// The least length of a piece, [`PackRule::min_piece`].
    MinPiece,
    /// The length aimed at, [`PackRule::avg_piece`].
    AvgPiece,
    /// The greatest length of a piece, [`PackRule::max_piece`].
    MaxPiece,
}

/// Why a [`PackRule`] was refused.
#[expect(missing_docs, reason = "a message names its fields")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PackRuleError {
    /// The cutter scans byte pairs, so odd sizes shift its cut points.
    #[error("{size:?} is {value}; it has to be even")]
    Odd { size: Size, value: u32 },
    /// Outside what the cutter is specified for.
    #[error("{size:?} is {value}; it has to be from {low} to {high}")]
    OutOfRange {
        size: Size,
        value: u32,
        /// The smallest that is allowed.
        low: usize,
        /// The largest that is allowed.
        high: usize,
    },
    /// The sizes are not in ascending order.
    #[error("piece sizes have to ascend: minimum, average, maximum")]
    Order,
    /// A pack has to hold two of the largest pieces.
    #[error("a pack has to hold two of the largest pieces: {needed} bytes")]
    PackTooSmall {
        /// The least pack size.
        needed: u64,
    },
}

/// Why a stream could not be cut.
#[derive(Debug, thiserror::Error)]
pub enum PackError {
    /// The sizes are not usable.
    #[error(transparent)]
    Rule(#[from] PackRuleError),
    /// The stream could not be read.
    #[error("the stream that is being packed could not be read: {0}")]
    Read(#[from] io::Error),
}

/// A pack and its address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pack {
    /// BLAKE3 of `bytes`, by which it is announced, fetched and proven.
    pub hash: Hash,
    /// Its bytes; never empty.
    pub bytes: Bytes,
}

impl Pack {
    fn new(bytes: Vec<u8>) -> Self {
        let bytes = Bytes::from(bytes);
        Self { hash: hash_of(&bytes), bytes }
    }
}

/// Cuts a stream, one pack at a time.
pub fn packs<R: Read>(source: R, rule: PackRule) -> Result<Packs<R>, PackError> {
    rule.check()?;
    let [min, avg, max] = [rule.min_piece, rule.avg_piece, rule.max_piece].map(|n| n as usize);
    let pieces = StreamCDC::new(Restarted(source), min, avg, max);
    Ok(Packs { pieces, rule, pack: Vec::new(), ended: false })
}

/// Cuts a whole stream into packs that are kept in memory.
pub fn pack_all<R: Read>(source: R, rule: PackRule) -> Result<Vec<Pack>, PackError> {
    packs(source, rule)?.collect()
}

/// The packs of a stream; ends after the first error.
pub struct Packs<R: Read> {
    pieces: StreamCDC<Restarted<R>>,
    rule: PackRule,
    /// Bytes that are not in a finished pack yet; at most `max_pack`.
    pack: Vec<u8>,
    ended: bool,
}

impl<R: Read> Packs<R> {
    fn next_pack(&mut self) -> Result<Option<Pack>, PackError> {
        let limit = self.rule.max_pack as usize;
        while let Some(piece) = self.pieces.next() {
            let piece = piece.map_err(io::Error::from)?;
            // A piece is never split: where it does not fit, it begins the next pack.
            if self.pack.len() + piece.data.len() > limit {
                let pack = self.close();
                self.pack.extend_from_slice(&piece.data);
                return Ok(Some(pack));
            }
            self.pack.extend_from_slice(&piece.data);
            // An end by content, not by count, so that packs realign behind an insertion.
            if self.pack.len() >= limit / 2 && ends_pack(piece.hash) {
                return Ok(Some(self.close()));
            }
        }
        self.ended = true;
        let rest = core::mem::take(&mut self.pack);
        Ok((!rest.is_empty()).then(|| Pack::new(rest)))
    }

    /// Ends the pack here, or before the character that would be cut.
    fn close(&mut self) -> Pack {
        let at = match self.rule.boundary {
            Boundary::Bytes => self.pack.len(),
            Boundary::Text => text_boundary(&self.pack),
        };
        let carried = self.pack.split_off(at);
        Pack::new(core::mem::replace(&mut self.pack, carried))
    }
}

impl<R: Read> Iterator for Packs<R> {
    type Item = Result<Pack, PackError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let item = self.next_pack().transpose();
        if matches!(item, Some(Err(_))) {
            self.ended = true;
        }
        item
    }
}

/// One piece in eight ends a pack that is half full. The product spreads the few bits of the
/// fingerprint that the cut condition leaves free.
const fn ends_pack(fingerprint: u64) -> bool {
    fingerprint.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 61 == 0
}

/// The length without an unfinished UTF-8 character at the end; the whole length when the end is
/// no UTF-8 or nothing would be left.
fn text_boundary(bytes: &[u8]) -> usize {
    for back in 1..=bytes.len().min(3) {
        let at = bytes.len() - back;
        let needed = match bytes[at] {
            0x80..=0xbf => continue,
            0xc2..=0xdf => 2,
            0xe0..=0xef => 3,
            0xf0..=0xf4 => 4,
            _ => 1,
        };
        return if needed > back && at > 0 { at } else { bytes.len() };
    }
    bytes.len()
}

/// A reader that starts interrupted reads again, which the cutter leaves to its source.
struct Restarted<R>(R);

impl<R: Read> Read for Restarted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.0.read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => return result,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unusable_sizes_are_refused() {
        let rule = PackRule::MINIMAL;
        let check = |rule: PackRule| rule.check().unwrap_err();
        assert_eq!(
            check(PackRule { min_piece: 2049, ..rule }),
            PackRuleError::Odd { size: Size::MinPiece, value: 2049 }
        );
        assert!(matches!(
            check(PackRule { avg_piece: 2, ..rule }),
            PackRuleError::OutOfRange { size: Size::AvgPiece, .. }
        ));
        assert_eq!(check(PackRule { min_piece: 10 << 10, ..rule }), PackRuleError::Order);
        assert_eq!(
            check(PackRule { max_pack: 63 << 10, ..rule }),
            PackRuleError::PackTooSmall { needed: 64 << 10 }
        );
        assert_eq!(PackRule::MAINNET.check(), Ok(()));
        assert_eq!(rule.check(), Ok(()));
    }

    #[test]
    fn a_boundary_moves_back_to_the_character_before() {
        assert_eq!(text_boundary("aé".as_bytes()), 3);
        assert_eq!(text_boundary(&"aé".as_bytes()[..2]), 1);
        assert_eq!(text_boundary(&"a😀".as_bytes()[..4]), 1);
        assert_eq!(text_boundary("a😀".as_bytes()), 5);
        assert_eq!(text_boundary(&"😀".as_bytes()[..3]), 3, "a pack is never empty");
        assert_eq!(text_boundary(&[0x80, 0x80, 0x80, 0x80]), 4, "no UTF-8");
        assert_eq!(text_boundary(&[b'a', 0xff]), 2, "no UTF-8");
    }
}
