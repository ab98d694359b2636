//! Contributing under many names.

use super::{Adversary, AdversaryKind, Profile};

/// Contributes under many accounts.
pub const DATA_SPLITTING: AdversaryKind = AdversaryKind(
    &Profile::new(
        "data-splitting",
        "Contributes the first contributor's packs under an account each (256 at most), to be paid more\nfor attribution. Its nodes are honest.",
        |_| Box::new(DataSplitting),
    )
    .with_model(),
);

/// Contributes the first contributor's packs under many accounts; its nodes are honest.
struct DataSplitting;

impl Adversary for DataSplitting {
    fn splits_data(&self) -> bool {
        true
    }
}
