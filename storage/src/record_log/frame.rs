//! Frames: `u32` length ‖ `u32` CRC-32 ‖ payload, both numbers big-endian.
//!
//! The checksum covers the length as well, so a run of zeros is no frame. Everything here is pure:
//! bytes in, frames or damage out.

use super::LogError;

/// Longest payload, in bytes; a longer length in a header is damage.
pub const MAX_PAYLOAD: usize = 1 << 20;

/// Length of a frame beside its payload.
pub(crate) const OVERHEAD: usize = 8;

/// How many bytes may be hashed in search of the next frame behind a damaged one.
const SEARCH_BUDGET: usize = 256 << 20;

/// What stands at an offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step<'a> {
    /// A frame, and where the next one begins.
    Frame {
        /// What it carries.
        payload: &'a [u8],
        /// Offset behind it.
        next: usize,
    },
    /// No frame, and where the next one begins.
    Damage(Next),
    /// The end of the segment.
    End,
}

/// What stands behind a damaged frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// A frame at this offset.
    At(usize),
    /// No frame up to the end of the segment: a half-written tail.
    None,
    /// Unknown: the search was given up.
    Unknown,
}

/// Appends a frame to `out`.
pub fn encode(payload: &[u8], out: &mut Vec<u8>) -> Result<(), LogError> {
    if payload.is_empty() {
        return Err(LogError::Empty);
    }
    let len = payload.len();
    let Some(length) = u32::try_from(len).ok().filter(|_| len <= MAX_PAYLOAD) else {
        return Err(LogError::TooLong { len });
    };
    let length = length.to_be_bytes();
    out.extend_from_slice(&length);
    out.extend_from_slice(&checksum(length, payload).to_be_bytes());
    out.extend_from_slice(payload);
    Ok(())
}

/// Reads what stands at `offset`.
pub fn step(bytes: &[u8], offset: usize) -> Step<'_> {
    if offset >= bytes.len() {
        return Step::End;
    }
    match decode(bytes, offset) {
        Some(payload) => Step::Frame { payload, next: offset + OVERHEAD + payload.len() },
        None => Step::Damage(search(bytes, offset)),
    }
}

/// The payload of the frame at `offset`, if there is a whole one.
pub fn decode(bytes: &[u8], offset: usize) -> Option<&[u8]> {
    let (length, payload) = candidate(bytes, offset)?;
    let stored = u32::from_be_bytes(bytes.get(offset + 4..offset + OVERHEAD)?.try_into().ok()?);
    (stored == checksum(length, payload)).then_some(payload)
}

/// What would be a frame if its checksum were right.
fn candidate(bytes: &[u8], offset: usize) -> Option<([u8; 4], &[u8])> {
    let length: [u8; 4] = bytes.get(offset..offset + 4)?.try_into().ok()?;
    let len = u32::from_be_bytes(length) as usize;
    if !(1..=MAX_PAYLOAD).contains(&len) {
        return None;
    }
    Some((length, bytes.get(offset + OVERHEAD..offset + OVERHEAD + len)?))
}

/// Looks for the next frame behind a damaged one.
fn search(bytes: &[u8], damaged: usize) -> Next {
    let mut budget = SEARCH_BUDGET;
    for offset in damaged + 1..bytes.len() {
        // Any byte may be taken for a length, and each guess costs a checksum of that many bytes.
        let Some((_, payload)) = candidate(bytes, offset) else { continue };
        let Some(left) = budget.checked_sub(payload.len()) else { return Next::Unknown };
        budget = left;
        if decode(bytes, offset).is_some() {
            return Next::At(offset);
        }
    }
    Next::None
}

fn checksum(length: [u8; 4], payload: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&length);
    hasher.update(payload);
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two frames: `hi` at 0, `there` at 10.
    fn two() -> Vec<u8> {
        let mut bytes = Vec::new();
        encode(b"hi", &mut bytes).unwrap();
        encode(b"there", &mut bytes).unwrap();
        bytes
    }

    #[test]
    fn the_layout_is_fixed() {
        let mut bytes = Vec::new();
        encode(b"hi", &mut bytes).unwrap();
        // length 2 ‖ CRC-32 of `00000002` ‖ `6869` ‖ payload
        assert_eq!(bytes[..4], [0, 0, 0, 2]);
        assert_eq!(bytes[4..8], crc32fast::hash(b"\0\0\0\x02hi").to_be_bytes());
        assert_eq!(bytes[8..], *b"hi");
        assert_eq!(step(&bytes, 0), Step::Frame { payload: b"hi", next: 10 });
        assert_eq!(step(&bytes, 10), Step::End);
    }

    #[test]
    fn a_damaged_frame_is_skipped_whichever_byte_is_wrong() {
        for at in 0..10 {
            let mut bytes = two();
            bytes[at] ^= 0x10;
            assert_eq!(step(&bytes, 0), Step::Damage(Next::At(10)), "byte {at}");
        }
    }

    #[test]
    fn every_truncation_of_the_last_frame_is_a_tail() {
        let bytes = two();
        for len in 11..bytes.len() {
            assert_eq!(step(&bytes[..len], 10), Step::Damage(Next::None), "length {len}");
        }
    }

    #[test]
    fn zeros_are_no_frame() {
        assert_eq!(step(&[0; 64], 0), Step::Damage(Next::None));
    }

    #[test]
    fn lengths_are_bounded() {
        let mut out = Vec::new();
        assert!(matches!(encode(&[], &mut out), Err(LogError::Empty)));
        let long = vec![0; MAX_PAYLOAD + 1];
        assert!(matches!(encode(&long, &mut out), Err(LogError::TooLong { .. })));
        assert!(out.is_empty());
        encode(&long[..MAX_PAYLOAD], &mut out).unwrap();
    }
}
