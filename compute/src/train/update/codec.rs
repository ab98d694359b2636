//! The bytes of an update: one form per update, its length known from its head.
//!
//! ```text
//! "OLU1"  u32 parameters  u16 k
//! per chunk:  u16 small  u16 large  (bf16)
//!             positions: 12 bits each, ascending, two in three bytes; or, where that is shorter, one
//!             bit for each parameter of the chunk, the first in the high bit, padded with zeros
//!             2-bit codes, four in a byte, the first in the high bits, padded with zeros
//! ```
//! Integers are big-endian.

use super::{CHUNK, Chunk, MAX_LEVEL, Payload, chunk_lengths, kept_of};

const MAGIC: &[u8; 4] = b"OLU1";
const HEAD: usize = 10;

/// Why bytes are no update of the expected model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PayloadError {
    /// The bytes do not begin as an update does.
    #[error("not an update payload")]
    Magic,
    /// The update is for a model of another size.
    #[error("the update is for {found} parameters, the model has {expected}")]
    Parameters {
        /// Parameters of the model.
        expected: u32,
        /// Parameters that the update states.
        found: u32,
    },
    /// The update keeps another number of values per chunk than the training run says.
    #[error("the update keeps {found} values per chunk, the run says {expected}")]
    K {
        /// The run's number.
        expected: u32,
        /// The update's number.
        found: u32,
    },
    /// There are too few or too many bytes.
    #[error("the update has {found} bytes instead of {expected}")]
    Length {
        /// The only right length.
        expected: usize,
        /// The length found.
        found: usize,
    },
    /// Positions are not ascending, lie outside their chunk, or are too many or too few.
    #[error("positions of chunk {chunk} are not the right number, ascending inside it")]
    Positions {
        /// The number of the chunk, 4,096 parameters each.
        chunk: usize,
    },
    /// A magnitude is not a finite number in range, or the two are out of order.
    #[error("magnitudes of chunk {chunk} are out of range or order")]
    Levels {
        /// The number of the chunk, 4,096 parameters each.
        chunk: usize,
    },
    /// Unused bits are not zero.
    #[error("unused bits of chunk {chunk} are not zero")]
    Padding {
        /// The number of the chunk, 4,096 parameters each.
        chunk: usize,
    },
}

impl Payload {
    /// The bytes of the update.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(Self::byte_length(self.parameters, self.k));
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&self.parameters.to_be_bytes());
        out.extend_from_slice(&(self.k as u16).to_be_bytes());
        for (chunk, length) in self.chunks.iter().zip(chunk_lengths(self.parameters)) {
            encode_chunk(chunk, length, &mut out);
        }
        out
    }

    /// Reads an update for a model of `parameters` parameters in a run that keeps `k` values per
    /// chunk. Memory use is bounded by the length of `bytes`.
    pub fn from_bytes(bytes: &[u8], parameters: u32, k: u32) -> Result<Self, PayloadError> {
        let Some((head, mut rest)) = bytes.split_at_checked(HEAD) else {
            return Err(PayloadError::Magic);
        };
        if head[..4] != *MAGIC {
            return Err(PayloadError::Magic);
        }
        let found = u32::from_be_bytes([head[4], head[5], head[6], head[7]]);
        if found != parameters {
            return Err(PayloadError::Parameters { expected: parameters, found });
        }
        let found = u32::from(u16::from_be_bytes([head[8], head[9]]));
        if found != k {
            return Err(PayloadError::K { expected: k, found });
        }
        let expected = Self::byte_length(parameters, k);
        if bytes.len() != expected {
            return Err(PayloadError::Length { expected, found: bytes.len() });
        }
        let mut chunks = Vec::with_capacity((parameters as usize).div_ceil(CHUNK));
        for (number, length) in chunk_lengths(parameters).enumerate() {
            let kept = kept_of(k, length);
            let (body, tail) = rest.split_at(chunk_bytes(kept, length));
            chunks.push(decode_chunk(body, number, length, kept)?);
            rest = tail;
        }
        Ok(Self { parameters, k, chunks })
    }

    /// The length in bytes of every update of such a model and run.
    pub fn byte_length(parameters: u32, k: u32) -> usize {
        HEAD + chunk_lengths(parameters).map(|n| chunk_bytes(kept_of(k, n), n)).sum::<usize>()
    }
}

fn chunk_bytes(kept: usize, length: usize) -> usize {
    4 + position_bytes(kept, length) + kept.div_ceil(4)
}

/// Bytes of the positions in their shorter form.
fn position_bytes(kept: usize, length: usize) -> usize {
    (kept / 2 * 3).min(length.div_ceil(8))
}

/// Whether positions are bits of a map instead of numbers; numbers win a tie.
fn is_map(kept: usize, length: usize) -> bool {
    length.div_ceil(8) < kept / 2 * 3
}

fn encode_chunk(chunk: &Chunk, length: usize, out: &mut Vec<u8>) {
    out.extend_from_slice(&chunk.small.to_be_bytes());
    out.extend_from_slice(&chunk.large.to_be_bytes());
    if is_map(chunk.indices.len(), length) {
        let mut map = vec![0u8; length.div_ceil(8)];
        for index in &chunk.indices {
            map[usize::from(index / 8)] |= 0x80 >> (index % 8);
        }
        out.extend(map);
    } else {
        for pair in chunk.indices.as_chunks::<2>().0 {
            let word = u32::from(pair[0]) << 12 | u32::from(pair[1]);
            out.extend_from_slice(&word.to_be_bytes()[1..]);
        }
    }
    for codes in chunk.codes.chunks(4) {
        let byte = codes.iter().enumerate().fold(0, |byte, (i, code)| byte | code << (6 - 2 * i));
        out.push(byte);
    }
}

fn decode_chunk(
    body: &[u8],
    number: usize,
    length: usize,
    kept: usize,
) -> Result<Chunk, PayloadError> {
    let small = u16::from_be_bytes([body[0], body[1]]);
    let large = u16::from_be_bytes([body[2], body[3]]);
    // Non-negative bf16 order as their bits do; the sign bit makes a value larger than any bound.
    let bound = ((MAX_LEVEL as f32).to_bits() >> 16) as u16;
    if small > large || large >= bound {
        return Err(PayloadError::Levels { chunk: number });
    }
    let (positions, codes) = body[4..].split_at(position_bytes(kept, length));
    let indices = decode_positions(positions, kept, length);
    let ascending = indices.windows(2).all(|pair| pair[0] < pair[1]);
    let inside = indices.last().is_none_or(|last| usize::from(*last) < length);
    if indices.len() != kept || !ascending || !inside {
        return Err(PayloadError::Positions { chunk: number });
    }
    let unpack = |byte: u8| (0..4).map(move |i| byte >> (6 - 2 * i) & 3);
    let mut codes: Vec<u8> = codes.iter().flat_map(|byte| unpack(*byte)).collect();
    if codes[kept..].iter().any(|code| *code != 0) {
        return Err(PayloadError::Padding { chunk: number });
    }
    codes.truncate(kept);
    Ok(Chunk { small, large, indices, codes })
}

/// Positions as they are written, unchecked.
fn decode_positions(bytes: &[u8], kept: usize, length: usize) -> Vec<u16> {
    let mut indices = Vec::with_capacity(kept);
    if is_map(kept, length) {
        for (byte, at) in bytes.iter().zip((0u16..).step_by(8)) {
            indices.extend((0..8).filter(|bit| byte & (0x80 >> bit) != 0).map(|bit| at + bit));
        }
    } else {
        for triple in bytes.as_chunks::<3>().0 {
            let word = u32::from_be_bytes([0, triple[0], triple[1], triple[2]]);
            indices.extend([(word >> 12) as u16, (word & 0xfff) as u16]);
        }
    }
    indices
}
