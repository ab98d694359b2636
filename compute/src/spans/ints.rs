//! Integers of one width, big-endian, inside bytes that somebody else keeps.
//!
//! The index file is read in place: no copy, no alignment, so a slice, a vector and a mapped file
//! serve alike.

/// How many bytes one integer takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Width {
    /// Two bytes: `u16`.
    Two,
    /// Four bytes: `u32`.
    Four,
    /// Eight bytes: `u64`.
    Eight,
}

impl Width {
    /// The number of bytes.
    pub const fn bytes(self) -> usize {
        match self {
            Self::Two => 2,
            Self::Four => 4,
            Self::Eight => 8,
        }
    }

    /// The width of that many bytes.
    pub(crate) const fn of(bytes: u8) -> Option<Self> {
        match bytes {
            2 => Some(Self::Two),
            4 => Some(Self::Four),
            8 => Some(Self::Eight),
            _ => None,
        }
    }
}

/// A list of integers.
#[derive(Clone, Copy)]
pub(crate) enum Ints<'a> {
    Two(&'a [[u8; 2]]),
    Four(&'a [[u8; 4]]),
    Eight(&'a [[u8; 8]]),
}

impl<'a> Ints<'a> {
    /// Reads `bytes`; what is left over at the end is not part of the list.
    pub(crate) fn new(bytes: &'a [u8], width: Width) -> Self {
        match width {
            Width::Two => Self::Two(bytes.as_chunks().0),
            Width::Four => Self::Four(bytes.as_chunks().0),
            Width::Eight => Self::Eight(bytes.as_chunks().0),
        }
    }

    pub(crate) fn len(self) -> usize {
        match self {
            Self::Two(ints) => ints.len(),
            Self::Four(ints) => ints.len(),
            Self::Eight(ints) => ints.len(),
        }
    }

    pub(crate) fn get(self, at: usize) -> Option<u64> {
        match self {
            Self::Two(ints) => ints.get(at).map(|int| u64::from(u16::from_be_bytes(*int))),
            Self::Four(ints) => ints.get(at).map(|int| u64::from(u32::from_be_bytes(*int))),
            Self::Eight(ints) => ints.get(at).map(|int| u64::from_be_bytes(*int)),
        }
    }

    pub(crate) fn iter(self) -> impl Iterator<Item = u64> + 'a {
        (0..self.len()).map_while(move |at| self.get(at))
    }

    /// How many symbols from `at` on are the tokens of `query`; a token's symbol is its id plus one.
    pub(crate) fn common(self, at: usize, query: &[u32]) -> usize {
        match self {
            Self::Two(text) => {
                run(text, at, query, |symbol| u32::from(u16::from_be_bytes(*symbol)))
            }
            Self::Four(text) => run(text, at, query, |symbol| u32::from_be_bytes(*symbol)),
            Self::Eight(_) => 0,
        }
    }
}

fn run<T>(text: &[T], at: usize, query: &[u32], symbol: impl Fn(&T) -> u32) -> usize {
    let suffix = text.get(at..).unwrap_or_default();
    suffix.iter().zip(query).take_while(|&(s, &token)| symbol(s) == token + 1).count()
}

/// Appends integers; those that don't fit are a bug of the caller.
pub(crate) fn write(out: &mut Vec<u8>, width: Width, ints: impl ExactSizeIterator<Item = u64>) {
    let start = out.len();
    out.resize(start + ints.len() * width.bytes(), 0);
    let place = &mut out[start..];
    match width {
        Width::Two => {
            for (place, int) in place.as_chunks_mut().0.iter_mut().zip(ints) {
                *place = (int as u16).to_be_bytes();
            }
        }
        Width::Four => {
            for (place, int) in place.as_chunks_mut().0.iter_mut().zip(ints) {
                *place = (int as u32).to_be_bytes();
            }
        }
        Width::Eight => {
            for (place, int) in place.as_chunks_mut().0.iter_mut().zip(ints) {
                *place = int.to_be_bytes();
            }
        }
    }
}
