//! When a record was fixed: the block in which its id, or a root above it, was anchored.

use crate::{
    chain::ChainView,
    ids::{BlockNumber, Digest},
    merkle,
    record::VerifiedRecord,
};

/// The root that anchors a single record.
pub fn anchor_root(id: &Digest) -> Digest {
    merkle::root(&[id.0])
}

/// The block in which a record was anchored, by itself or under the path that it carries.
pub fn anchored_in(chain: &ChainView, record: &VerifiedRecord) -> Option<BlockNumber> {
    anchored_alone(chain, record).or_else(|| {
        let root = record.signed().anchor.as_ref()?.root_above(&record.id().0)?;
        chain.anchored(record.record().epoch, &root)
    })
}

/// The block in which a record was anchored by itself. Randomness is drawn from this block, so it
/// must not depend on a path that is not signed and that some have seen and others have not.
pub fn anchored_alone(chain: &ChainView, record: &VerifiedRecord) -> Option<BlockNumber> {
    chain.anchored(record.record().epoch, &anchor_root(&record.id()))
}

/// The hash of the block after the one that anchors a record by itself: whoever is drawn from it was
/// not known when the record was fixed. `None` until that block exists.
pub fn after_anchor(chain: &ChainView, record: &VerifiedRecord) -> Option<Digest> {
    chain.hash_after(anchored_alone(chain, record)?)
}
