//! Juries that do not look.

use super::{AdversaryKind, Honest, Profile};

/// Votes without looking. Scenarios that name it are refused as long as there are no juries, so its
/// nodes need no behaviour.
pub const LAZY_JURY: AdversaryKind = AdversaryKind(&Profile {
    needs: Some("juries"),
    ..Profile::new("lazy-jury", "Sits on juries and votes without looking.", |_| Box::new(Honest))
});
