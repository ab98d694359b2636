//! Whose data an output is attributed to: the protocol's rule over evidence that is drawn.
//!
//! One unit in eight has a part in an output, and one output in fifty repeats a passage. A copy of
//! another's unit is recognised as often as the compute crate recognised copies of text with as many
//! tokens changed; then it is of the first one's cluster, which pays the first. One that is not
//! recognised has the influence of what it copies, and of a repeated passage nothing: the first who
//! contributed it has that.

use std::collections::BTreeMap;

use protocol::{
    AccountId, Digest, Hash, ModelId,
    attribution::{UnitEvidence, WeighParams, weigh},
    hash::{keccak, leading_u64},
    settle::{Line, Source},
};

use super::env::Env;
use crate::{
    data,
    kernel::{Purpose, ratio, real},
};

/// Bits of an output's token, in thousandths.
const TOKEN_MILLIBITS: u64 = 2_000;
/// One of so many units has a part in an output.
const RELEVANT: u64 = 8;
/// One of so many outputs repeats a passage.
const QUOTING: u64 = 50;

/// Accounts under which coalitions contributed data, with the coalitions' numbers.
#[derive(Debug, Default)]
pub(super) struct AdverseData(BTreeMap<AccountId, usize>);

impl AdverseData {
    pub(super) const fn new(accounts: BTreeMap<AccountId, usize>) -> Self {
        Self(accounts)
    }

    /// Who is attributed for a request, in ppm; nobody where the snapshot is empty.
    pub(super) fn shares(
        &self,
        env: &Env,
        model: ModelId,
        request: &Digest,
    ) -> Option<(Vec<(AccountId, u32)>, u32)> {
        let about = leading_u64(&keccak(&[b"evidence", &model.0.to_be_bytes(), &request.0]));
        let units = self.units(env, model)?.into_iter();
        let units: Vec<_> = units.map(|unit| evidence_of(env, about, unit)).collect();
        let bits = TOKEN_MILLIBITS * u64::from(env.scenario.inference.tokens_out);
        let weights = weigh(&units, bits, WeighParams::DEFAULT).ok()?;
        let shares = weights.shares.iter().map(|share| (share.account, share.ppm)).collect();
        Some((shares, weights.lambda_ppm))
    }

    /// The units of the snapshot of a model, in order.
    fn units(&self, env: &Env, model: ModelId) -> Option<Vec<Unit>> {
        env.view().order(model).ok()?;
        let parts = env.view().run_data(model);
        let mut copied = 0;
        let mut units = Vec::new();
        for part in parts {
            let changed = self.changed_by(env, part.account);
            // As many as their bytes can be cut into, whatever their contributor declares. A real run leaves
            // a contribution out whose units are not those of its text; here packs have no text.
            let size = env.scenario.params().unit_bytes.into();
            let cut: u64 = part.packs.iter().map(|pack| pack.length.div_ceil(size)).sum();
            for unit in 0..part.units.min(u32::try_from(cut).unwrap_or(u32::MAX)) {
                let place = units.len() as u64;
                let original = changed.map(|_| copied);
                copied += u64::from(changed.is_some());
                let mut hash = [0; 32];
                hash[..8].copy_from_slice(&part.id.to_be_bytes());
                hash[8..12].copy_from_slice(&unit.to_be_bytes());
                let is_seen = original.is_some_and(|_| is_recognised(env, place, changed));
                let hash = Hash(hash);
                units.push(Unit { hash, owner: part.account, place, original, is_seen });
            }
        }
        Some(units)
    }

    /// The share of tokens that a copier changes; none for who contributes its own.
    fn changed_by(&self, env: &Env, account: AccountId) -> Option<f64> {
        let coalition = env.population.coalitions().get(*self.0.get(&account)?)?;
        coalition.facts.copies.map(|copies| copies.changed)
    }

    /// The share of the units of a run that adversaries contributed.
    pub(super) fn share_of(&self, env: &Env, model: ModelId) -> Option<f64> {
        let units = self.units(env, model)?;
        let theirs = units.iter().filter(|unit| self.0.contains_key(&unit.owner)).count();
        (!self.0.is_empty()).then(|| real(theirs as u64) / real(units.len() as u64))
    }

    /// Whether a line pays an adversary for data.
    pub(super) fn is_paid_by(&self, line: &Line) -> bool {
        line.source == Source::Attribution && self.0.contains_key(&line.account)
    }
}

fn is_recognised(env: &Env, place: u64, changed: Option<f64>) -> bool {
    let draw = ratio(env.draws.word(Purpose::Demand, 4 << 40 | place, 0));
    draw < recognised(changed.unwrap_or(0.0))
}

fn evidence_of(env: &Env, about: u64, unit: Unit) -> UnitEvidence {
    let Unit { hash, owner, place, original, is_seen } = unit;
    // A copy that is not recognised has the influence of what it copies: the same draws.
    let drawn = original.unwrap_or(place);
    let word = |which| env.draws.word(Purpose::Demand, about ^ drawn << 8, which);
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
