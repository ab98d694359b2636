//! What an attacker is paid, under the rule and under what it replaces.

use std::collections::BTreeMap;

use compute::data::clusters::{ClusterParams, Clusters};
use protocol::AccountId;
use protocol::attribution::{UnitEvidence, WeighParams, weigh};
use protocol::hash::blake3;
use protocol::math::PPM;

use super::lab::{Evidence, Lab, Output, Result, Unit};

/// How evidence becomes shares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rule {
    /// Quotient-linear on canonical units, as the node pays.
    Quotient,
    /// The positive part of the sum of an identity's scores, normalised; no duplicate is found; each
    /// span is split equally among the units that hold it, echo and boilerplate included.
    PerIdentity,
    /// The same, but a span belongs to the earliest unit that holds it.
    FirstClaim,
    /// Quotient-linear on whatever units the contributors cut.
    OwnUnits,
}

/// What one side of a comparison is paid for.
pub(crate) struct Side<'a> {
    /// The snapshot, in the order of commitment.
    pub(crate) units: &'a [Unit],
    /// The attacker's accounts.
    pub(crate) names: &'a [u64],
    /// The outputs that are paid for.
    pub(crate) outputs: &'a [Output],
    pub(crate) seed: u64,
}

impl Lab {
    /// The attacker's mean share of an output.
    pub(crate) fn payout(&self, side: &Side<'_>, rule: Rule) -> Result<f64> {
        let trained: Vec<&Unit> = match rule {
            Rule::Quotient => canonical(side.units),
            _ => side.units.iter().collect(),
        };
        let texts: Vec<String> = trained.iter().map(|unit| unit.text.clone()).collect();
        let evidence = self.evidence(&texts, side.seed, side.outputs)?;
        let mut sum = 0.0;
        for one in evidence.iter() {
            let shares = match rule {
                Rule::Quotient | Rule::OwnUnits => quotient(self, &trained, one)?,
                Rule::PerIdentity => per_identity(&trained, one, false),
                Rule::FirstClaim => per_identity(&trained, one, true),
            };
            sum += side.names.iter().filter_map(|name| shares.get(name)).sum::<f64>();
        }
        Ok(sum / evidence.len() as f64)
    }
}

/// The units that are trained on: the earliest of each cluster.
pub(crate) fn canonical(units: &[Unit]) -> Vec<&Unit> {
    let texts: Vec<&str> = units.iter().map(|unit| unit.text.as_str()).collect();
    let hashes = texts.iter().map(|text| blake3(text.as_bytes()));
    let clusters = Clusters::find(&texts, &ClusterParams::of_snapshot(hashes));
    clusters.canonical().map(|rank| &units[rank as usize]).collect()
}

fn quotient(lab: &Lab, units: &[&Unit], evidence: &Evidence) -> Result<BTreeMap<u64, f64>> {
    let mut known = Vec::with_capacity(units.len());
    for (rank, unit) in units.iter().enumerate() {
        known.push(UnitEvidence {
            unit: blake3(&rank.to_be_bytes()),
            owner: AccountId(unit.owner),
            cluster: rank as u64,
            tokens: lab.tokenizer.encode(&unit.text)?.len() as u32,
            score: evidence.scores[rank],
            span_millibits: evidence.ruled[rank],
        });
    }
    let weights = weigh(&known, evidence.ruled_millibits, WeighParams::DEFAULT)?;
    let part = |ppm: u32| f64::from(ppm) / f64::from(PPM);
    Ok(weights.shares.iter().map(|share| (share.account.0, part(share.ppm))).collect())
}

fn per_identity(units: &[&Unit], evidence: &Evidence, is_first: bool) -> BTreeMap<u64, f64> {
    let mut gradient: BTreeMap<u64, f64> = BTreeMap::new();
    for (unit, score) in units.iter().zip(&evidence.echoed) {
        *gradient.entry(unit.owner).or_default() += *score as f64;
    }
    gradient.values_mut().for_each(|score| *score = score.max(0.0));
    let mut spans: BTreeMap<u64, f64> = BTreeMap::new();
    let mut matched = 0.0;
    for held in &evidence.plain {
        let holders = if is_first { &held.holders[..1] } else { &held.holders[..] };
        matched += held.millibits as f64;
        for holder in holders {
            *spans.entry(units[*holder].owner).or_default() +=
                held.millibits as f64 / holders.len() as f64;
        }
    }
    let total: f64 = gradient.values().sum();
    let cap = f64::from(WeighParams::DEFAULT.lambda_max_ppm) / f64::from(PPM);
    let lambda = match (total > 0.0, matched > 0.0) {
        (_, false) => 0.0,
        (false, true) => 1.0,
        _ => cap * (matched / evidence.plain_millibits as f64).min(1.0),
    };
    let mut shares: BTreeMap<u64, f64> = BTreeMap::new();
    for (name, score) in gradient.iter().filter(|_| total > 0.0) {
        *shares.entry(*name).or_default() += (1.0 - lambda) * score / total;
    }
    for (name, bits) in spans {
        *shares.entry(name).or_default() += lambda * bits / matched;
    }
    shares
}
