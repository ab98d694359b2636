//! Whether a node proved that it held what was assigned to it.

use super::included_in;
use crate::{
    chain::{ChainView, Purpose},
    codec::Wire as _,
    hash::blake3,
    holding::{Claim, Openings},
    record::{Body, Verdict, VerifiedRecord},
};

/// Whether a commitment was included by the commit deadline of its epoch: later the sample is known, and
/// a commitment made for it proves nothing.
pub fn committed_in_time(chain: &ChainView, commit: &VerifiedRecord) -> bool {
    let deadline = chain.schedule.commit_deadline(commit.record().epoch);
    included_in(chain, commit).is_some_and(|block| block <= deadline)
}

/// Judges a storage proof against its commitment, the chain and the openings: a pure function that
/// auditors, settlement and verifiers share.
pub fn judge_storage(
    chain: &ChainView,
    commit: &VerifiedRecord,
    proof: &VerifiedRecord,
    openings: &[u8],
) -> Verdict {
    let (holder, epoch) = (commit.record().account, commit.record().epoch);
    let (Body::StorageCommit(committed), Body::StorageProof(shown)) =
        (&commit.record().body, &proof.record().body)
    else {
        return Verdict::Fail;
    };
    let is_same_work = proof.record().account == holder
        && proof.record().epoch == epoch
        && shown.commit == commit.id()
        && shown.openings == blake3(openings);
    let in_time = committed_in_time(chain, commit);
    let seeds = (chain.seed(epoch, Purpose::Commit), chain.seed(epoch, Purpose::Open));
    let ((Some(s1), Some(s2)), true, true) = (seeds, is_same_work, in_time) else {
        return Verdict::Fail;
    };
    let Ok(openings) = Openings::from_bytes(openings) else { return Verdict::Fail };
    let placement = chain.placement(epoch);
    let claim = Claim {
        account: holder,
        commit: committed,
        assigned: placement.packs_of(holder),
        s1,
        s2,
        params: chain.params().holding,
    };
    if claim.verify(&openings).is_ok() { Verdict::Pass } else { Verdict::Fail }
}
