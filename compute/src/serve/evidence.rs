//! All that is known about one output, and the shares that follow from it.

use protocol::AccountId;
use protocol::attribution::{UnitEvidence, WeighError, WeighParams, Weights, leader, weigh};
use protocol::hash::keccak;

use crate::spans::Attributed;

/// The evidence for one output.
#[derive(Debug, Clone)]
pub struct Evidence {
    /// One entry per unit of the snapshot, in the order of commitment.
    pub units: Vec<UnitEvidence>,
    /// The verbatim spans; a span's unit is its rank in the snapshot.
    pub spans: Attributed,
    /// What the rule that pays makes of both.
    pub weights: Weights,
}

impl Evidence {
    /// Weighs evidence by the rule that pays, with the constants of this version.
    pub(super) fn weigh(units: Vec<UnitEvidence>, spans: Attributed) -> Result<Self, WeighError> {
        let weights = weigh(&units, spans.output_millibits, WeighParams::DEFAULT)?;
        Ok(Self { units, spans, weights })
    }

    /// The leader of the same evidence with its owners dealt out anew, differently for every query:
    /// what chance looks like.
    pub fn permuted_leader(&self, query: &[u8]) -> Option<AccountId> {
        let units = permuted(&self.units, query);
        let weights = weigh(&units, self.spans.output_millibits, WeighParams::DEFAULT).ok()?;
        leader(&weights.shares)
    }
}

fn permuted(units: &[UnitEvidence], query: &[u8]) -> Vec<UnitEvidence> {
    let salt = keccak(&[query]);
    let draw = |unit: &UnitEvidence| keccak(&[&salt.0, &unit.unit.0]);
    let mut owners: Vec<_> = units.iter().map(|unit| (draw(unit), unit.owner)).collect();
    owners.sort_unstable();
    units.iter().zip(owners).map(|(unit, (_, owner))| UnitEvidence { owner, ..*unit }).collect()
}
