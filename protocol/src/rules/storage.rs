//! Whether a node proved that it held what was assigned to it.

use alloc::vec::Vec;

use super::{included_in, verdict};
use crate::{
    chain::{ChainView, Purpose},
    codec::Wire as _,
    hash::{blake3, keccak, leading_u64},
    holding::{self, Claim, HoldingFault, Inventory, Openings},
    ids::{AccountId, Epoch},
    record::{Body, Finding, Kind, Verdict, VerifiedRecord, audit_subject},
};

/// Whether a commitment was included by the commit deadline of its epoch: later the sample is known, and
/// a commitment made for it proves nothing. Nor does one on another seed than the epoch's, about which
/// nobody can be asked.
pub(crate) fn committed_in_time(chain: &ChainView, commit: &VerifiedRecord) -> bool {
    let made = commit.record();
    let Body::StorageCommit(body) = &made.body else { return false };
    let seed = chain.seed(made.epoch, Purpose::Commit).map(|s1| leading_u64(&s1));
    let deadline = chain.schedule.commit_deadline(made.epoch);
    seed == Some(body.seed) && included_in(chain, commit).is_some_and(|block| block <= deadline)
}

/// Whether a commitment is over what was assigned, less what it declares absent. A dispute asks only for
/// what was committed to, so whoever commits to something else must not be paid for what it owes.
pub(crate) fn commits_to_assigned(chain: &ChainView, commit: &VerifiedRecord) -> bool {
    let made = commit.record();
    let Body::StorageCommit(body) = &made.body else { return false };
    let placement = chain.placement(made.epoch);
    let cell_bytes = chain.params().holding.cell_bytes;
    let owed = Inventory::owed(placement.packs_of(made.account), &body.absent, cell_bytes);
    owed.is_of(body)
}

/// Whether something that was shown or said of storage was included in time to count.
pub(crate) fn shown_in_time(chain: &ChainView, record: &VerifiedRecord) -> bool {
    let last = chain.schedule.storage_deadline(record.record().epoch);
    included_in(chain, record).is_some_and(|block| block <= last)
}

/// Whether those drawn for it, as far as the chain has heard them, let a storage proof pass.
pub(crate) fn passes_storage(
    chain: &ChainView,
    commit: &VerifiedRecord,
    proof: &VerifiedRecord,
) -> bool {
    let (made, id) = (proof.record(), proof.id());
    let is_of_it = matches!(&made.body, Body::StorageProof(body) if body.commit == commit.id());
    if !is_of_it || !shown_in_time(chain, proof) {
        return false;
    }
    let drawn = chain.storage_auditors(made.epoch, made.account);
    let (mut heard, mut missing) = (Vec::new(), 0usize);
    for auditor in drawn.holders() {
        let key = (Kind::Audit, auditor, audit_subject(made.account, &made.subject));
        let audit = chain.record_of(made.epoch, &key).filter(|audit| shown_in_time(chain, audit));
        let Some(audit) = audit else { continue };
        let Body::Audit(body) = &audit.record().body else { continue };
        match body.finding {
            Finding::Storage { record, verdict } if record == id => {
                heard.extend(core::iter::repeat_n(verdict, drawn.of(auditor)));
            }
            Finding::StorageMissing => missing = missing.saturating_add(drawn.of(auditor)),
            _ => {}
        }
    }
    verdict::storage(heard, missing) == Some(Verdict::Pass)
}

/// The cell that whoever never saw the openings of a proof asks for: one of the sample, the same for all
/// who look, and not known before the commitment was fixed. `None` where there is none.
pub(crate) fn cell_to_show(
    chain: &ChainView,
    epoch: Epoch,
    holder: AccountId,
    cells: u32,
) -> Option<u32> {
    let s2 = chain.seed(epoch, Purpose::Open)?;
    let sample = holding::sample(&s2, holder, cells, chain.params().holding.opened_cells);
    let draw = leading_u64(&keccak(&[b"openledger/dispute", &s2.0, &holder.0.to_be_bytes()]));
    let place = draw.checked_rem(sample.len() as u64)?;
    sample.get(usize::try_from(place).ok()?).copied()
}

/// Judges a storage proof against its commitment, the chain and the openings: a pure function that
/// auditors and verifiers share.
pub fn judge_storage(
    chain: &ChainView,
    commit: &VerifiedRecord,
    proof: &VerifiedRecord,
    openings: &[u8],
) -> Verdict {
    match check_storage(chain, commit, proof, openings) {
        Ok(()) => Verdict::Pass,
        Err(_) => Verdict::Fail,
    }
}

/// The sampled cell that the openings of a proof do not show, if there is one: what a dispute asks for.
pub fn unshown_cell(
    chain: &ChainView,
    commit: &VerifiedRecord,
    proof: &VerifiedRecord,
    openings: &[u8],
) -> Option<u32> {
    match check_storage(chain, commit, proof, openings) {
        Ok(()) => None,
        Err(
            HoldingFault::NotOpened(cell)
            | HoldingFault::WrongData(cell)
            | HoldingFault::WrongRow(cell),
        ) => Some(cell),
        // Openings that are none at all, or of something else.
        Err(HoldingFault::Inventory) => {
            let Body::StorageCommit(body) = &commit.record().body else { return None };
            cell_to_show(chain, commit.record().epoch, commit.record().account, body.cells)
        }
    }
}

fn check_storage(
    chain: &ChainView,
    commit: &VerifiedRecord,
    proof: &VerifiedRecord,
    openings: &[u8],
) -> Result<(), HoldingFault> {
    let unfit = HoldingFault::Inventory;
    let (holder, epoch) = (commit.record().account, commit.record().epoch);
    let (Body::StorageCommit(committed), Body::StorageProof(shown)) =
        (&commit.record().body, &proof.record().body)
    else {
        return Err(unfit);
    };
    let is_same_work = proof.record().account == holder
        && proof.record().epoch == epoch
        && shown.commit == commit.id()
        && shown.openings == blake3(openings);
    let in_time = committed_in_time(chain, commit);
    let seeds = (chain.seed(epoch, Purpose::Commit), chain.seed(epoch, Purpose::Open));
    let ((Some(s1), Some(s2)), true, true) = (seeds, is_same_work, in_time) else {
        return Err(unfit);
    };
    let openings = Openings::from_bytes(openings).map_err(|_| unfit)?;
    let placement = chain.placement(epoch);
    let claim = Claim {
        account: holder,
        commit: committed,
        assigned: placement.packs_of(holder),
        s1,
        s2,
        params: chain.params().holding,
    };
    claim.verify(&openings)
}
