//! Units without text.

use super::{Adversary, AdversaryKind, Profile};

/// Declares more units than it has text for.
pub const EMPTY_UNITS: AdversaryKind = AdversaryKind(
    &Profile::new(
        "empty-units",
        "Contributes a pack of a kilobyte and declares a unit for every byte of it, to be paid more for\nattribution. Its nodes are honest.",
        |_| Box::new(EmptyUnits),
    )
    .with_model(),
);

/// Contributes next to nothing, in as many units as a contribution of that length may declare.
struct EmptyUnits;

impl Adversary for EmptyUnits {
    fn declares_empty_units(&self) -> bool {
        true
    }
}
