//! How wide the stored integers are.

use super::ints::Width;

/// Most symbols whose positions are sorted as 32-bit integers, with room for the free space.
const MAX_NARROW: u64 = i32::MAX as u64 - (1 << 27);

/// Widths of the stored integers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Of one symbol of the text: [`Width::Two`] or [`Width::Four`].
    pub symbol: Width,
    /// Of one position of the array: [`Width::Four`] or [`Width::Eight`].
    pub position: Width,
}

impl Layout {
    /// The smallest layout for a vocabulary and a number of symbols (tokens and one separator per
    /// unit).
    pub const fn smallest(vocab: u32, symbols: u64) -> Self {
        // Ids are stored plus one, beside the separator 0.
        let symbol = if vocab <= u16::MAX as u32 { Width::Two } else { Width::Four };
        let position = if symbols <= MAX_NARROW { Width::Four } else { Width::Eight };
        Self { symbol, position }
    }

    /// Whether this layout holds whatever `other` does.
    pub(crate) const fn holds(self, other: Self) -> bool {
        self.symbol.bytes() >= other.symbol.bytes()
            && self.symbol.bytes() <= 4
            && self.position.bytes() >= other.position.bytes()
    }
}
