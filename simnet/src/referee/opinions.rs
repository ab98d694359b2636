//! What auditors say, and what follows from how many of them say it.

use std::collections::{BTreeMap, BTreeSet};

use protocol::{
    AccountId, Digest, Epoch, ModelId,
    record::Verdict,
    settle::{Line, Outcome, Source},
};

use super::{Laws, Referee, Rule};

/// What one who was drawn says of a piece of work.
#[derive(Debug, Clone, Copy)]
pub struct Opinion {
    /// The record that says so.
    pub audit: Digest,
    /// Of which record it is; `None` where nothing came to be looked at.
    pub of: Option<Digest>,
    /// What it says of that.
    pub verdict: Verdict,
    /// The seats that it has, and that were drawn in all.
    pub seats: (usize, usize),
}

/// Opinions of work that is not settled, or may still be paid for.
#[derive(Debug, Default)]
pub(super) struct Opinions {
    storage: BTreeMap<(Epoch, AccountId), Vec<Opinion>>,
    outputs: BTreeMap<Digest, Vec<Opinion>>,
    of_outputs: BTreeSet<Digest>,
    /// What each attribution says, in millionths.
    shares: BTreeMap<Digest, Vec<(AccountId, u32)>>,
    /// The bytes that everybody brought to what a model was trained on.
    data: BTreeMap<ModelId, Vec<(AccountId, u64)>>,
}

impl Opinions {
    /// Whether a record is an audit of an output.
    pub(super) fn is_of_output(&self, audit: &Digest) -> bool {
        self.of_outputs.contains(audit)
    }

    pub(super) fn forget(&mut self, settled: Epoch) {
        self.storage.retain(|(epoch, _), _| *epoch > settled);
    }
}

/// Notes what was said, once however often it was.
fn note(all: &mut Vec<Opinion>, opinion: Opinion) {
    if all.iter().all(|known| known.audit != opinion.audit) {
        all.push(opinion);
    }
}

impl Referee {
    /// An auditor says something of a holder's storage.
    pub(crate) fn heard_of_storage(&mut self, epoch: Epoch, holder: AccountId, opinion: Opinion) {
        note(self.opinions.storage.entry((epoch, holder)).or_default(), opinion);
    }

    /// An auditor says something of an output.
    pub(crate) fn heard_of_output(&mut self, output: Digest, opinion: Opinion) {
        self.opinions.of_outputs.insert(opinion.audit);
        note(self.opinions.outputs.entry(output).or_default(), opinion);
    }

    /// An attribution was signed, which gives everybody so many millionths.
    pub(crate) fn shared(&mut self, output: Digest, shares: Vec<(AccountId, u32)>) {
        self.opinions.shares.entry(output).or_insert(shares);
    }

    /// A model was trained on so many bytes of everybody.
    pub(crate) fn trained_on(&mut self, model: ModelId, bytes: Vec<(AccountId, u64)>) {
        self.opinions.data.insert(model, bytes);
    }

    /// Of storage it is paid what more of those heard let pass than find wrong or missed.
    pub(super) fn judge_storage_vote(&mut self, laws: &Laws, epoch: Epoch, line: &Line) {
        let all = self.opinions.storage.get(&(epoch, line.account));
        let (mut passes, mut others) = (0, 0);
        for opinion in all.into_iter().flatten() {
            let is_in_time =
                self.taken(epoch, &opinion.audit).is_some_and(|at| at.0 <= laws.said_until(epoch));
            let is_of_it = opinion.of.is_none_or(|of| of == line.record);
            if !is_in_time || !is_of_it {
                continue;
            }
            match (opinion.of, opinion.verdict) {
                (Some(_), Verdict::Pass) => passes += opinion.seats.0,
                _ => others += opinion.seats.0,
            }
        }
        if passes <= others {
            self.find(Rule::StorageVote, || {
                format!("epoch {epoch}, account {}: {passes} saw it, {others} not", line.account)
            });
        }
    }

    /// What most of those drawn say of an output, as far as the chain had it before a block.
    pub(super) fn verdict_on(&self, output: &Digest, of: Epoch, before: u64) -> Option<Verdict> {
        let (mut passes, mut fails, mut drawn) = (0, 0, 0);
        for opinion in self.opinions.outputs.get(output).into_iter().flatten() {
            if self.taken(of, &opinion.audit).is_none_or(|block| block.0 >= before) {
                continue;
            }
            drawn = opinion.seats.1;
            *(if opinion.verdict == Verdict::Pass { &mut passes } else { &mut fails }) +=
                opinion.seats.0;
        }
        match (passes * 2 > drawn, fails * 2 > drawn) {
            (true, _) => Some(Verdict::Pass),
            (_, true) => Some(Verdict::Fail),
            _ => None,
        }
    }

    /// Contributors are paid by an attribution that most of its auditors pass, by their bytes where these
    /// are silent or at odds, and an output that most find falsely attributed pays nobody.
    pub(super) fn judge_attributions(&mut self, laws: &Laws, outcome: &Outcome) {
        let (epoch, cutoff) = (outcome.settlement.epoch, laws.cutoff(outcome.settlement.epoch));
        let mut paid = BTreeMap::<Digest, Parts>::new();
        for line in outcome.lines.iter().filter(|line| self.work.is_of_output(line)) {
            let of_output = paid.entry(line.record).or_default();
            if line.source == Source::Attribution {
                let (sum, times) = of_output.entry(line.account).or_default();
                (*sum, *times) = (*sum + line.amount.0, *times + 1);
            }
        }
        for (output, parts) in paid {
            let Some((of, model)) = self.work.labelled(&output) else { continue };
            let verdict = self.verdict_on(&output, of, cutoff);
            if verdict == Some(Verdict::Fail) {
                self.find(Rule::FalseUnpaid, || format!("epoch {epoch}, output {output}"));
                continue;
            }
            let Opinions { shares, data, .. } = &self.opinions;
            let weights: BTreeMap<_, _> = match verdict {
                Some(_) => {
                    shares.get(&output).into_iter().flatten().map(|s| (s.0, s.1.into())).collect()
                }
                None => data.get(&model).into_iter().flatten().copied().collect(),
            };
            if !is_divided(&parts, &weights) {
                self.find(Rule::FeesByVerdict, || {
                    format!("epoch {epoch}, output {output}, which auditors say is {verdict:?}")
                });
            }
        }
    }
}

/// What each account has of an output, and in how many parts: each redemption that pays for it is divided by itself.
type Parts = BTreeMap<AccountId, (u128, u128)>;

/// Whether sums are divided by weight, to a unit each.
fn is_divided(parts: &Parts, weights: &BTreeMap<AccountId, u64>) -> bool {
    let sum = parts.values().map(|(sum, _)| sum).sum::<u128>();
    let divided = parts.values().map(|(_, times)| *times).max().unwrap_or(1);
    let all = u128::from(weights.values().sum::<u64>());
    let is_right = |account: &AccountId| {
        let weight = u128::from(weights.get(account).copied().unwrap_or(0));
        let (has, _) = parts.get(account).copied().unwrap_or_default();
        has.abs_diff(sum * weight / all) <= divided
    };
    // Where nobody has brought anything it is the platform's.
    all == 0 || parts.keys().chain(weights.keys()).all(is_right)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sum_is_divided_to_a_unit_for_each_redemption_that_it_came_by() {
        let accounts = || (1..=3).map(AccountId);
        let weights: BTreeMap<_, _> = accounts().zip([1, 1, 1]).collect();
        let parts = |sums: [u128; 3], times| -> Parts {
            accounts().zip(sums.map(|sum| (sum, times))).collect()
        };
        assert!(is_divided(&parts([34, 33, 33], 1), &weights));
        assert!(!is_divided(&parts([35, 33, 32], 1), &weights), "all of it at once");
        assert!(is_divided(&parts([35, 33, 32], 2), &weights), "by two");
        assert!(!is_divided(&parts([36, 32, 32], 2), &weights));
    }
}
