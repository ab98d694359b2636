//! Whose data an output is attributed to: the protocol's rule over evidence that is drawn.
//!
//! One unit in eight has a part in an output, and one output in fifty repeats a passage. A copy of
//! another's unit is recognised as often as the compute crate recognised copies of text with as many
//! tokens changed; then it is of the first one's cluster, which pays the first. One that is not
//! recognised has the influence of what it copies, and of a repeated passage nothing: the first who
//! contributed it has that.

use protocol::{
    AccountId, Digest, Hash, ModelId,
    attribution::{UnitEvidence, WeighParams, weigh},
    hash::{keccak, leading_u64},
    settle::{Line, Source},
};

use super::Simulation;
use crate::{
    data,
    kernel::{Purpose, ratio},
};

/// Bits of an output's token, in thousandths.
const TOKEN_MILLIBITS: u64 = 2_000;
/// One of so many units has a part in an output.
const RELEVANT: u64 = 8;
/// One of so many outputs repeats a passage.
const QUOTING: u64 = 50;

impl Simulation {
    /// Who is attributed for a request, in ppm; nobody where the snapshot is empty.
    pub(super) fn shares(
        &self,
        model: ModelId,
        request: &Digest,
    ) -> Option<(Vec<(AccountId, u32)>, u32)> {
        let about = leading_u64(&keccak(&[b"evidence", &model.0.to_be_bytes(), &request.0]));
        let units: Vec<_> =
            self.units(model)?.into_iter().map(|unit| self.evidence_of(about, unit)).collect();
        let bits = TOKEN_MILLIBITS * u64::from(self.scenario.inference.tokens_out);
        let weights = weigh(&units, bits, WeighParams::DEFAULT).ok()?;
        let shares = weights.shares.iter().map(|share| (share.account, share.ppm)).collect();
        Some((shares, weights.lambda_ppm))
    }

    /// The units of the snapshot of a model, in order.
    fn units(&self, model: ModelId) -> Option<Vec<Unit>> {
        let (ordered, order) = self.chain.view().model(model)?;
        let parts = self.chain.view().snapshot(order.datanet, *ordered);
        let mut copied = 0;
        let mut units = Vec::new();
        for part in parts {
            let changed = self.changed_by(part.account);
            for unit in 0..part.units {
                let place = units.len() as u64;
                let original = changed.map(|_| copied);
                copied += u64::from(changed.is_some());
                let mut hash = [0; 32];
                hash[..8].copy_from_slice(&part.id.to_be_bytes());
                hash[8..12].copy_from_slice(&unit.to_be_bytes());
                let is_seen = original.is_some_and(|_| self.is_recognised(place, changed));
                let hash = Hash(hash);
                units.push(Unit { hash, owner: part.account, place, original, is_seen });
            }
        }
        Some(units)
    }

    /// The share of tokens that a copier changes; none for who contributes its own.
    fn changed_by(&self, account: AccountId) -> Option<f64> {
        let coalition = *self.market.adverse_data.get(&account)?;
        self.coalitions.get(coalition)?.facts.copies.map(|copies| copies.changed)
    }

    fn is_recognised(&self, place: u64, changed: Option<f64>) -> bool {
        let draw = ratio(self.draws.word(Purpose::Demand, 4 << 40 | place, 0));
        draw < recognised(changed.unwrap_or(0.0))
    }

    fn evidence_of(&self, about: u64, unit: Unit) -> UnitEvidence {
        let Unit { hash, owner, place, original, is_seen } = unit;
        let drawn = original.unwrap_or(place);
        let word = |which| self.draws.word(Purpose::Demand, about ^ drawn << 8, which);
        let is_relevant = word(0) % RELEVANT == 0;
        let size = i64::try_from(word(1) >> 44).expect("20 bits");
        let is_quoted = original.is_none() && is_relevant && word(2) % (QUOTING * 4) == 0;
        UnitEvidence {
            unit: hash,
            owner,
            cluster: if is_seen { drawn } else { place },
            tokens: 256,
            score: if is_relevant { size } else { -size / 64 },
            span_millibits: if is_quoted { 32_000 } else { 0 },
        }
    }

    /// The share of the units of the first run that adversaries contributed.
    #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
    pub(super) fn adverse_data(&self) -> Option<f64> {
        let theirs = &self.market.adverse_data;
        let units = self.units(*self.workshop.runs.first()?)?;
        let count = units.iter().filter(|unit| theirs.contains_key(&unit.owner)).count();
        (!theirs.is_empty()).then(|| count as f64 / units.len() as f64)
    }

    /// Whether a line pays an adversary for data.
    pub(super) fn pays_adverse_data(&self, line: &Line) -> bool {
        line.source == Source::Attribution && self.market.adverse_data.contains_key(&line.account)
    }
}

/// A unit of a snapshot.
#[derive(Debug, Clone, Copy)]
struct Unit {
    hash: Hash,
    owner: AccountId,
    place: u64,
    /// The place of what it copies.
    original: Option<u64>,
    /// Whether the copy is recognised.
    is_seen: bool,
}

/// The share of copies that are recognised, between the shares of changed tokens that were measured.
fn recognised(changed: f64) -> f64 {
    let of = |name| data::shipped("copies-recognised", name);
    let points = [(0.0, "unchanged"), (0.2, "changed-20-percent"), (0.3, "changed-30-percent")];
    let points = points.map(|(at, name)| (at, of(name)));
    let [first, .., last] = points;
    let between = points.windows(2).find(|pair| changed <= pair[1].0);
    let ((from, low), (to, high)) = between.map_or((first, last), |pair| (pair[0], pair[1]));
    low + (high - low) * ((changed - from) / (to - from)).clamp(0.0, 1.0)
}

#[cfg(test)]
mod tests {
    use super::recognised;

    #[test]
    fn copies_are_recognised_as_measured() {
        let found: Vec<_> = [0.0, 0.2, 0.25, 0.3].map(recognised).to_vec();
        for (found, expected) in found.into_iter().zip([1.0, 0.97, 0.91, 0.85]) {
            assert!((found - expected).abs() < 1e-9, "{found} {expected}");
        }
    }
}
