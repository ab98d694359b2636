//! Verbatim evidence: which units an output repeats, and how many bits beyond chance that is.
//!
//! [`SpanIndex`] is a suffix array over the token ids of units, in the order of their commitment; it
//! is a file that is read in place, from memory or mapped. [`SpanSet`] is a snapshot in parts.
//! [`Spans`], of either, finds the maximal spans that an output shares with a unit, weighs each by information, and
//! credits every token of the output once, to the earliest unit that holds the span.
//! [`proof`] shows a match, a count and an owner to somebody who has only a [`proof::Commitment`].
//!
//! Absent by construction: floats (all weights are integer thousandths of a bit, equal on every
//! node), spans that cross a unit's boundary (units are separated by a symbol that no output has),
//! credit for echoes of the prompt, and credit for boilerplate.

mod bits;
mod build;
mod decode;
mod echo;
mod evidence;
mod format;
mod index;
mod ints;
mod layout;
mod map;
mod novel;
pub mod proof;
mod set;

pub use build::{BuildError, SpanUnit};
pub use evidence::{Attributed, MaximalSpan, QueryError, Span, SpanParams};
pub use format::FormatError;
pub use index::SpanIndex;
pub use ints::Width;
pub use layout::Layout;
pub use map::FileBytes;
pub use set::{SetError, SpanSet, Spans};
