//! Verbatim evidence: which units an output repeats, and how many bits beyond chance that is.
//!
//! [`SpanIndex`] is a suffix array over the token ids of a snapshot's units, in the order of their
//! commitment. [`SpanIndex::attribute`] finds the maximal spans that an output shares with a unit,
//! weighs each by information, and credits every token of the output once, to the earliest unit
//! that holds the span.
//!
//! Absent by construction: floats (all weights are integer thousandths of a bit, equal on every
//! node), spans that cross a unit's boundary (units are separated by a symbol that no output has),
//! credit for echoes of the prompt, and credit for boilerplate.

mod bits;
mod evidence;
mod format;
mod index;

pub use evidence::{Attributed, QueryError, Span, SpanParams};
pub use format::{FORMAT_VERSION, FormatError};
pub use index::{BuildError, SpanIndex, SpanUnit};
