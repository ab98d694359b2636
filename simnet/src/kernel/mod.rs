//! Virtual time, the event queue and random streams.
//!
//! Order is total: (time, destination, source, sequence number of the source). Nothing here knows
//! what an event means.

mod calendar;
mod draws;
mod queue;
mod slab;
mod streams;

pub use calendar::CalendarQueue;
pub use draws::{Draws, normal, ratio, scale};
pub use queue::{EventQueue, HeapQueue, Scheduled};
pub(crate) use slab::Slab;
pub use streams::{Chance, Purpose, Stream, Streams};

use serde::Serialize;

/// A number that floats compute with; exact below 2⁵².
#[expect(clippy::cast_precision_loss, reason = "2^52 microseconds are a century")]
pub const fn real(value: u64) -> f64 {
    value as f64
}

/// The whole part of a computed number; what is outside of the integers is cut off.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "casts saturate")]
pub const fn whole(value: f64) -> u64 {
    value as u64
}

/// Microseconds of virtual time since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct Time(pub u64);

impl Time {
    /// A time of whole milliseconds.
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis.saturating_mul(1_000))
    }

    /// The time after a delay; it saturates at the end of time, where a run has long ended.
    #[must_use]
    pub const fn after(self, micros: u64) -> Self {
        Self(self.0.saturating_add(micros))
    }

    /// The time in whole milliseconds.
    pub const fn millis(self) -> u64 {
        self.0 / 1_000
    }
}

/// Who sends or receives events: the chain, or a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct Actor(pub u32);

impl Actor {
    /// The chain with its blocks.
    pub(crate) const CHAIN: Self = Self(0);

    /// The node of an index.
    pub const fn node(index: u32) -> Self {
        Self(index.saturating_add(1))
    }

    /// The index of the node; `None` for the chain.
    pub const fn index(self) -> Option<usize> {
        match self.0.checked_sub(1) {
            Some(index) => Some(index as usize),
            None => None,
        }
    }
}
