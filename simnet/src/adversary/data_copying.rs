//! Contributing what others contributed.

use super::{Adversary, AdversaryKind, Copies, Profile};

/// Contributes copies of others' packs.
pub const DATA_COPYING: AdversaryKind = AdversaryKind(
    &Profile::new(
        "data-copying",
        "Contributes others' packs once more, with some tokens changed, to be paid for attribution. Its\nnodes are honest.",
        |plan| Box::new(DataCopying(Copies { share: plan.strength, changed: plan.changed })),
    )
    .with_model(),
);

/// Contributes copies of packs; its nodes are honest.
struct DataCopying(Copies);

impl Adversary for DataCopying {
    fn copies(&self) -> Option<Copies> {
        Some(self.0)
    }
}
