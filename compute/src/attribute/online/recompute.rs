//! Captured leaves and built indices checked by doing part or all of the work again.
//!
//! A sketch depends on float arithmetic, so an auditor captures some **leaves** of a claimed part again
//! and compares within a tolerance: the rounding of other hardware and of other batches moves a value
//! by a step or two and leaves the direction as it was. The leaves are drawn by a seed that the worker
//! could not know when it committed. An index is integers alone and is compared whole, by its hash.

use protocol::hash::keccak;
use protocol::training::Permutation;
use protocol::{Digest, Hash};

use crate::attribute::capture::{CaptureError, CaptureUnit, Capturer};
use crate::attribute::sketch::{Difference, SketchPart};

/// How many leaves are captured again, and when a leaf counts as the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeafRule {
    /// Leaves to capture again; all of a smaller part.
    pub leaves: u32,
    /// Least cosine between a claimed and a recaptured sketch, in ppm.
    pub min_cosine_ppm: i32,
    /// Most quantisation steps by which a value may be off.
    pub max_steps: u32,
}

/// What an auditor found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeafReport {
    /// Ranks of the leaves captured again, in the order of the draw.
    pub ranks: Vec<u32>,
    /// The least cosine and the most steps seen.
    pub worst: Difference,
    /// The first leaf that is not what the unit gives.
    pub refuted: Option<u32>,
}

/// Why leaves could not be audited: nothing is said about the claim.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LeafAuditError {
    /// The claim was captured under another spec than the auditor's.
    #[error("the part was captured under spec {found}, not {expected}")]
    Spec {
        /// The auditor's spec.
        expected: Hash,
        /// The part's spec.
        found: Hash,
    },
    /// The claim covers other units than those assigned.
    #[error(
        "the part covers {found} units from {from} on, {expected} from {first} on were asked for"
    )]
    Range {
        /// First rank asked for.
        first: u32,
        /// Units asked for.
        expected: usize,
        /// First rank found.
        from: u32,
        /// Units that the claim covers.
        found: usize,
    },
    /// The auditor could not capture.
    #[error(transparent)]
    Capture(#[from] CaptureError),
}

/// A built index is not the one that everybody builds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the claimed index is {claimed}, the one built here is {found}")]
pub struct IndexMismatch {
    /// The hash claimed.
    pub claimed: Hash,
    /// The hash of the index that was built here.
    pub found: Hash,
}

impl LeafRule {
    /// Eight leaves, cosine 0.999, two steps.
    pub const DEFAULT: Self = Self { leaves: 8, min_cosine_ppm: 999_000, max_steps: 2 };

    /// Whether a leaf counts as the same.
    pub fn accepts(&self, difference: &Difference) -> bool {
        difference.cosine_ppm >= self.min_cosine_ppm && difference.steps <= self.max_steps
    }

    /// Captures leaves of `claimed` again. `units` are those assigned, from rank `first` on.
    ///
    /// **`seed` must be unknown to the worker until its claim is committed**: a beacon of a later block,
    /// or the auditor's own secret. Who knows the draw beforehand falsifies the other leaves.
    pub fn audit(
        &self,
        capturer: &Capturer,
        first: u32,
        units: &[CaptureUnit<'_>],
        claimed: &SketchPart,
        seed: &Digest,
    ) -> Result<LeafReport, LeafAuditError> {
        let expected = capturer.spec().id();
        if claimed.spec != expected {
            return Err(LeafAuditError::Spec { expected, found: claimed.spec });
        }
        let (from, found) = (claimed.first, claimed.sketches.len());
        if found != units.len() || (found > 0 && from != first) {
            return Err(LeafAuditError::Range { first, expected: units.len(), from, found });
        }
        let mut report = LeafReport { ranks: vec![], worst: Difference::NONE, refuted: None };
        for position in draw_leaves(seed, found as u32, self.leaves) {
            let rank = first.saturating_add(position);
            let position = position as usize;
            let own = capturer.units(rank, &units[position..=position])?;
            let pair = own.sketches.first().zip(claimed.sketches.get(position));
            let difference = pair.and_then(|(own, claimed)| own.difference(claimed));
            let difference = difference.unwrap_or(Difference::TOTAL);
            report.ranks.push(rank);
            report.worst = report.worst.worse(difference);
            if !self.accepts(&difference) {
                report.refuted = report.refuted.or(Some(rank));
            }
        }
        Ok(report)
    }
}

/// The positions, each once, of the leaves that a seed draws from `count`.
fn draw_leaves(seed: &Digest, count: u32, leaves: u32) -> Vec<u32> {
    let seed = keccak(&[b"openledger/leaves/v1", &seed.0]);
    let draw = Permutation { seed, size: count };
    (0..leaves.min(count)).map(|i| draw.at(i)).collect()
}

/// The probability that `leaves` draws hit at least one of a `share` of false leaves:
/// `1 − (1 − share)^leaves`, a lower bound for draws without repetition.
pub fn detection(share: f64, leaves: u32) -> f64 {
    1.0 - (1.0 - share.clamp(0.0, 1.0)).powf(f64::from(leaves))
}

/// Compares a claimed index with the one built here from the same units, byte for byte.
pub fn check_index(claimed: Hash, built: &[u8]) -> Result<(), IndexMismatch> {
    match protocol::hash::blake3(built) {
        found if found == claimed => Ok(()),
        found => Err(IndexMismatch { claimed, found }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stated_numbers_of_leaves_reach_their_probability() {
        // 299 leaves find 1 % of false leaves in 95 of 100 audits, 459 in 99; 59 find 5 % in 95.
        for (share, probability, leaves) in [(0.01, 0.95, 299), (0.01, 0.99, 459), (0.05, 0.95, 59)]
        {
            assert!(detection(share, leaves) >= probability);
            assert!(detection(share, leaves - 1) < probability);
        }
        assert!((detection(0.5, 8) - 255.0 / 256.0).abs() < 1e-12);
        assert_eq!(detection(0.0, 100), 0.0);
    }

    #[test]
    fn every_leaf_is_drawn_once_and_differently_by_another_seed() {
        let draw = |seed: u8, leaves| draw_leaves(&Digest([seed; 32]), 100, leaves);
        let mut all = draw(1, 200);
        all.sort_unstable();
        assert_eq!(all, (0..100).collect::<Vec<_>>());
        assert_eq!(draw(1, 8), draw(1, 100)[..8]);
        assert_ne!(draw(1, 8), draw(2, 8));
        assert!(draw_leaves(&Digest::ZERO, 0, 8).is_empty());
    }
}
