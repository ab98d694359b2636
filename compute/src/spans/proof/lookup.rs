//! Proofs of places in the order, of counts, of occurrences and of owners.

use protocol::Hash;
use protocol::codec::{DecodeError, Reader, Wire};

use super::window::{Opened, Section};
use super::{Commitment, MAX_PROVED_TOKENS, ProofError, Window};

/// Which end of the suffixes that begin with a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Before the first of them.
    Lower,
    /// After the last of them.
    Upper,
}

/// The place of a run of tokens in the order, shown by its two neighbours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lookup {
    /// The number of suffixes before the place.
    pub rank: u64,
    /// The array at ranks `rank - 1` and `rank`, as far as they exist.
    pub entries: Window,
    /// The text from the suffix at `rank - 1` on, to where it leaves the run.
    pub left: Option<Window>,
    /// The text from the suffix at `rank` on, to where it leaves the run.
    pub right: Option<Window>,
}

impl Wire for Lookup {
    fn encode(&self, out: &mut Vec<u8>) {
        self.rank.encode(out);
        self.entries.encode(out);
        for window in [&self.left, &self.right] {
            window.is_some().encode(out);
            window.iter().for_each(|window| window.encode(out));
        }
    }

    fn decode(input: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let (rank, entries) = (Wire::decode(input)?, Wire::decode(input)?);
        let mut window = || bool::decode(input)?.then(|| Window::decode(input)).transpose();
        Ok(Self { rank, entries, left: window()?, right: window()? })
    }
}

/// A suffix beside a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Neighbour {
    /// Where in the text it starts.
    pub position: u64,
    /// How many tokens of the run it begins with.
    pub shared: usize,
}

/// A proved place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The number of suffixes before it.
    pub rank: u64,
    /// The suffix before it.
    pub left: Option<Neighbour>,
    /// The suffix after it.
    pub right: Option<Neighbour>,
}

impl Place {
    /// The longest match of the run's beginning in the whole text, with one position at which it
    /// stands: no suffix shares more with the run than a neighbour of its place.
    pub fn longest(&self) -> Neighbour {
        let both = [self.right, self.left].into_iter().flatten();
        let none = Neighbour { position: 0, shared: 0 };
        both.fold(none, |best, next| if next.shared > best.shared { next } else { best })
    }
}

/// Checks that a run belongs where the lookup says.
pub fn verify_lookup(
    commitment: &Commitment,
    query: &[u32],
    side: Side,
    lookup: &Lookup,
) -> Result<Place, ProofError> {
    check_query(commitment, query)?;
    let rank = lookup.rank;
    let has_left = rank > 0 && rank <= commitment.symbols;
    let has_right = rank < commitment.symbols;
    if !(has_left || has_right)
        || lookup.left.is_some() != has_left
        || lookup.right.is_some() != has_right
    {
        return Err(ProofError::Neighbours);
    }
    let entries = Section::array(commitment).open(&lookup.entries)?;
    let before = |order| order == Order::Below || order == Order::Begins && side == Side::Upper;
    let left = match &lookup.left {
        Some(window) => {
            let (neighbour, order) = compare(commitment, &entries, rank - 1, window, query)?;
            Some(neighbour).filter(|_| before(order)).ok_or(ProofError::Side)?.into()
        }
        None => None,
    };
    let right = match &lookup.right {
        Some(window) => {
            let (neighbour, order) = compare(commitment, &entries, rank, window, query)?;
            Some(neighbour).filter(|_| !before(order)).ok_or(ProofError::Side)?.into()
        }
        None => None,
    };
    Ok(Place { rank, left, right })
}

/// Checks how often a run occurs: the distance of the two ends of its suffixes.
pub fn verify_count(
    commitment: &Commitment,
    query: &[u32],
    lower: &Lookup,
    upper: &Lookup,
) -> Result<u64, ProofError> {
    let lower = verify_lookup(commitment, query, Side::Lower, lower)?;
    let upper = verify_lookup(commitment, query, Side::Upper, upper)?;
    upper.rank.checked_sub(lower.rank).ok_or(ProofError::Side)
}

/// Checks that a run stands at a position.
pub fn verify_occurrence(
    commitment: &Commitment,
    query: &[u32],
    position: u64,
    window: &Window,
) -> Result<(), ProofError> {
    check_query(commitment, query)?;
    let text = Section::text(commitment).open(window)?;
    match walk(&text, position, query)? {
        (_, Order::Begins) => Ok(()),
        _ => Err(ProofError::Side),
    }
}

/// A unit and a place in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owner {
    /// The unit's rank in the order of commitment.
    pub unit: u64,
    /// The hash of the unit's bytes.
    pub hash: Hash,
    /// The place, counted from its first token.
    pub offset: u64,
}

/// Checks in which unit a position lies, by the unit table at that unit and, unless it is the last,
/// the next.
pub fn verify_unit(
    commitment: &Commitment,
    position: u64,
    window: &Window,
) -> Result<Owner, ProofError> {
    let table = Section::table(commitment).open(window)?;
    let unit = window.first;
    let entry = |unit| {
        let (hash, start) = table.item(unit)?.split_at(32);
        let start = start.iter().fold(0, |int, &byte| int << 8 | u64::from(byte));
        Ok((Hash::from_slice(hash).ok_or(ProofError::Opening)?, start))
    };
    let (hash, start) = entry(unit)?;
    let end = match unit + 1 < commitment.units {
        true => entry(unit + 1)?.1,
        false => commitment.symbols,
    };
    let offset = position.checked_sub(start).filter(|_| position < end);
    Ok(Owner { unit, hash, offset: offset.ok_or(ProofError::Side)? })
}

fn check_query(commitment: &Commitment, query: &[u32]) -> Result<(), ProofError> {
    let is_right = !query.is_empty()
        && query.len() <= MAX_PROVED_TOKENS
        && query.iter().all(|&token| token < commitment.vocab);
    if is_right { Ok(()) } else { Err(ProofError::Query) }
}

/// Where a suffix stands beside a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    Below,
    Begins,
    Above,
}

/// The suffix at a rank beside a run.
fn compare(
    commitment: &Commitment,
    entries: &Opened<'_>,
    rank: u64,
    window: &Window,
    query: &[u32],
) -> Result<(Neighbour, Order), ProofError> {
    let text = Section::text(commitment).open(window)?;
    let position = entries.int(rank)?;
    let (shared, order) = walk(&text, position, query)?;
    Ok((Neighbour { position, shared }, order))
}

/// Compares up to the first difference, which must be in the window.
fn walk(text: &Opened<'_>, position: u64, query: &[u32]) -> Result<(usize, Order), ProofError> {
    for (shared, &token) in query.iter().enumerate() {
        let at = position.checked_add(shared as u64).ok_or(ProofError::Uncovered)?;
        // A token's symbol is its id plus one.
        let (symbol, token) = (text.int(at)?, u64::from(token) + 1);
        if symbol != token {
            return Ok((shared, if symbol < token { Order::Below } else { Order::Above }));
        }
    }
    Ok((query.len(), Order::Begins))
}
