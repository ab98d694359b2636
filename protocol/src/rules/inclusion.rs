//! When a record was fixed: the block in which the chain took it in.

use crate::{
    chain::ChainView,
    ids::{BlockNumber, Blocks, Digest},
    record::{Body, Kind, VerifiedRecord},
};

/// The block that took a record in: from then on it belongs to its epoch, whatever becomes of the key
/// that signed it.
pub fn included_in(chain: &ChainView, record: &VerifiedRecord) -> Option<BlockNumber> {
    chain.included(record.record().epoch, &record.id())
}

/// The hash of the block after the one that took a record in: whoever is drawn from it was not known
/// when the record was fixed. `None` until that block exists.
pub(crate) fn after_inclusion(chain: &ChainView, record: &VerifiedRecord) -> Option<Digest> {
    chain.hash_after(included_in(chain, record)?)
}

/// The last block in which taking a record in is of any use. The chain takes all of them until the
/// cutoff of their epoch; of some it is known earlier that they would earn nothing.
pub(crate) fn of_use_until(chain: &ChainView, record: &VerifiedRecord) -> BlockNumber {
    let epoch = record.record().epoch;
    match &record.record().body {
        // Later the sample is known.
        Body::StorageCommit(_) => chain.schedule.commit_deadline(epoch),
        // Its auditors, drawn after it, need the rest of the time.
        Body::Shard(_) | Body::Attribution(_) => {
            chain.schedule.start(epoch.next()).before(Blocks(1))
        }
        Body::StorageProof(_) => chain.schedule.storage_deadline(epoch),
        Body::Audit(body) if body.finding.judged() == Kind::StorageProof => {
            chain.schedule.storage_deadline(epoch)
        }
        Body::RoundClose(_) | Body::Audit(_) => chain.schedule.cutoff(epoch).before(Blocks(1)),
    }
}
