//! Proofs that an array is not the sorted one.
//!
//! An array of `n` entries is right if each is below `n`, no two are equal, and every two
//! neighbours are in order. Two suffixes with the same first token are ordered as those one further
//! on; so wherever an order is wrong, [`Fraud::Successors`] shows it with six symbols and positions,
//! however long the suffixes agree.

use protocol::codec::{DecodeError, Reader, Wire};

use super::window::Section;
use super::{Commitment, ProofError, Window};

/// Something that a right array cannot hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fraud {
    /// An entry points beyond the text.
    OutOfRange {
        /// The rank of the entry in the array.
        rank: u64,
        /// The array there.
        entry: Window,
    },
    /// Two entries are equal: the array is no permutation, and some suffix is missing.
    Duplicate {
        /// Their ranks, different.
        ranks: [u64; 2],
        /// The array there.
        entries: [Window; 2],
    },
    /// Two suffixes are in the wrong order.
    Order {
        /// Their ranks, ascending.
        ranks: [u64; 2],
        /// The array there.
        entries: [Window; 2],
        /// The text from either suffix on, to where they differ.
        texts: [Window; 2],
    },
    /// Two suffixes with the same first token are ordered one way, those one token further on the
    /// other way.
    Successors {
        /// Ranks of the two suffixes, ascending, and of those one further on, descending.
        ranks: [u64; 4],
        /// The array there.
        entries: [Window; 4],
        /// The text at the first two.
        symbols: [Window; 2],
    },
}

impl Fraud {
    /// Checks that the committed array is wrong.
    pub fn verify(&self, commitment: &Commitment) -> Result<(), ProofError> {
        let array = Section::array(commitment);
        let entry = |rank: u64, window: &Window| array.open(window)?.int(rank);
        let is_wrong = match self {
            Self::OutOfRange { rank, entry: window } => entry(*rank, window)? >= commitment.symbols,
            Self::Duplicate { ranks: [first, second], entries: [left, right] } => {
                first != second && entry(*first, left)? == entry(*second, right)?
            }
            Self::Order { ranks: [first, second], entries: [left, right], texts } => {
                let (a, b) = (entry(*first, left)?, entry(*second, right)?);
                first < second && is_above(commitment, [a, b], texts)?
            }
            Self::Successors { ranks, entries, symbols } => {
                is_contradiction(commitment, ranks, entries, symbols)?
            }
        };
        if is_wrong { Ok(()) } else { Err(ProofError::InOrder) }
    }
}

/// Whether the suffix at `a` is above that at `b`.
fn is_above(
    commitment: &Commitment,
    [a, b]: [u64; 2],
    texts: &[Window; 2],
) -> Result<bool, ProofError> {
    let section = Section::text(commitment);
    let (left, right) = (section.open(&texts[0])?, section.open(&texts[1])?);
    for ahead in 0.. {
        let place = |position: u64| position.checked_add(ahead).ok_or(ProofError::Uncovered);
        let (x, y) = (left.int(place(a)?)?, right.int(place(b)?)?);
        if x != y {
            return Ok(x > y);
        }
        // Both units end here: the earlier is the smaller.
        if x == 0 {
            return Ok(a > b);
        }
    }
    Err(ProofError::Uncovered)
}

fn is_contradiction(
    commitment: &Commitment,
    ranks: &[u64; 4],
    entries: &[Window; 4],
    symbols: &[Window; 2],
) -> Result<bool, ProofError> {
    let (array, text) = (Section::array(commitment), Section::text(commitment));
    let mut positions = [0; 4];
    for ((position, rank), window) in positions.iter_mut().zip(ranks).zip(entries) {
        *position = array.open(window)?.int(*rank)?;
    }
    let [a, b, after_a, after_b] = positions;
    let (x, y) = (text.open(&symbols[0])?.int(a)?, text.open(&symbols[1])?.int(b)?);
    let follow = a.checked_add(1) == Some(after_a) && b.checked_add(1) == Some(after_b);
    // After a separator comes another unit, whose order says nothing.
    Ok(x == y && x != 0 && follow && ranks[0] < ranks[1] && ranks[2] > ranks[3])
}

impl Wire for Fraud {
    fn encode(&self, out: &mut Vec<u8>) {
        let (tag, ranks, windows): (u8, &[u64], Vec<&Window>) = match self {
            Self::OutOfRange { rank, entry } => (0, std::slice::from_ref(rank), vec![entry]),
            Self::Duplicate { ranks, entries } => (1, ranks, entries.iter().collect()),
            Self::Order { ranks, entries, texts } => {
                (2, ranks, entries.iter().chain(texts).collect())
            }
            Self::Successors { ranks, entries, symbols } => {
                (3, ranks, entries.iter().chain(symbols).collect())
            }
        };
        tag.encode(out);
        ranks.iter().for_each(|rank| rank.encode(out));
        windows.into_iter().for_each(|window| window.encode(out));
    }

    fn decode(input: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(match u8::decode(input)? {
            0 => Self::OutOfRange { rank: Wire::decode(input)?, entry: Wire::decode(input)? },
            1 => Self::Duplicate { ranks: array(input)?, entries: array(input)? },
            2 => Self::Order { ranks: array(input)?, entries: array(input)?, texts: array(input)? },
            3 => Self::Successors {
                ranks: array(input)?,
                entries: array(input)?,
                symbols: array(input)?,
            },
            other => return Err(DecodeError::Tag(other)),
        })
    }
}

fn array<T: Wire, const N: usize>(input: &mut Reader<'_>) -> Result<[T; N], DecodeError> {
    let items = (0..N).map(|_| T::decode(input)).collect::<Result<Vec<_>, _>>()?;
    items.try_into().map_err(|_| DecodeError::Invalid("a list has another length"))
}
