//! Shards and fees: who is paid for work on models, and where every fee goes.

use std::collections::{BTreeMap, BTreeSet};

use protocol::{
    AccountId, Amount, BlockNumber, Digest, Epoch, EvmAddress, ModelId, Round,
    draw::Part,
    record::Verdict,
    settle::{Line, Outcome, Source},
};

use super::{Laws, Referee, Rule};

/// A shard as it was claimed.
#[derive(Debug, Clone, Copy)]
pub struct Claimed {
    /// Under which epoch.
    pub epoch: Epoch,
    /// Of which part of which round, and from which checkpoint.
    pub subject: Digest,
    /// Of which part of which round.
    pub part: Part,
    /// Whether its worker really computed what it claims.
    pub is_computed: bool,
}

/// A verdict on a shard.
#[derive(Debug, Clone, Copy)]
pub struct Judged {
    /// The account that audited.
    pub auditor: AccountId,
    /// Whether the auditor cheats.
    pub is_adverse: bool,
    /// What it says.
    pub verdict: Verdict,
    /// For how many seats it speaks.
    pub seats: usize,
}

/// What happened to models.
#[derive(Debug, Default)]
pub struct Work {
    /// Shards by the ids of their records.
    shards: BTreeMap<Digest, Claimed>,
    verdicts: BTreeMap<Digest, Vec<Judged>>,
    /// Shards that were paid, by account and subject.
    paid: BTreeMap<(AccountId, Digest), Epoch>,
    /// Ids of attributions.
    outputs: BTreeSet<Digest>,
    /// What was redeemed in an epoch that is not settled yet.
    redeemed: BTreeMap<Epoch, u128>,
    /// How far each consumer's promises to each server are redeemed.
    up_to: BTreeMap<(EvmAddress, AccountId), Amount>,
}

impl Work {
    /// Whether a line pays a part of a fee; attributing an output is paid under the same record.
    pub fn is_of_output(&self, line: &Line) -> bool {
        line.record == Digest::ZERO || self.outputs.contains(&line.record)
    }

    /// Whether a shard that was claimed was not computed; `None` for what is no shard.
    pub fn is_forged(&self, record: &Digest) -> Option<bool> {
        self.shards.get(record).map(|shard| !shard.is_computed)
    }

    /// A shard that was claimed.
    pub fn shard(&self, record: &Digest) -> Option<&Claimed> {
        self.shards.get(record)
    }

    /// All that was redeemed in an epoch.
    pub fn redeemed_in(&self, epoch: Epoch) -> u128 {
        self.redeemed.get(&epoch).copied().unwrap_or(0)
    }

    pub(super) fn forget(&mut self, settled: Epoch) {
        self.redeemed.retain(|epoch, _| *epoch > settled);
    }
}

impl Referee {
    /// A shard was signed.
    pub fn claimed(&mut self, record: Digest, shard: Claimed) {
        self.work.shards.insert(record, shard);
    }

    /// A verdict on a shard was signed.
    pub fn judged(&mut self, shard: Digest, judged: Judged) {
        self.work.verdicts.entry(shard).or_default().push(judged);
    }

    /// An honest node has another checkpoint after a round than the one asked before it.
    pub fn disagrees(&mut self, model: ModelId, round: Round, account: AccountId) {
        self.find(Rule::OneCheckpoint, || {
            format!("model {model}, round {round}, account {account}")
        });
    }

    /// An attribution was signed.
    pub fn attributed(&mut self, record: Digest) {
        self.work.outputs.insert(record);
    }

    /// A receipt was redeemed for an amount, up to a sum.
    pub fn redeemed(
        &mut self,
        laws: &Laws,
        (payer, payee): (EvmAddress, AccountId),
        (amount, cumulative): (Amount, Amount),
        block: BlockNumber,
    ) {
        let epoch = Epoch(block.0.saturating_sub(laws.genesis) / laws.epoch_blocks);
        *self.work.redeemed.entry(epoch).or_default() += amount.0;
        let before = self.work.up_to.insert((payer, payee), cumulative).unwrap_or_default();
        if cumulative.saturating_sub(amount) != before {
            self.find(Rule::FeeOnce, || {
                format!("block {block}, {payer} to {payee}: {amount} up to {cumulative}")
            });
        }
    }

    pub(super) fn judge_work(&mut self, laws: &Laws, outcome: &Outcome) {
        let epoch = outcome.settlement.epoch;
        for line in outcome.lines.iter().filter(|line| line.source == Source::Shards) {
            self.judge_shard(epoch, line);
        }
        self.judge_fees(laws, outcome);
    }

    fn judge_shard(&mut self, epoch: Epoch, line: &Line) {
        let (account, record) = (line.account, line.record);
        let at = move || format!("epoch {epoch}, account {account}, shard {record}");
        let verdicts = self.work.verdicts.get(&record).cloned().unwrap_or_default();
        let of = |verdict| verdicts.iter().filter(move |judged| judged.verdict == verdict);
        if of(Verdict::Pass).all(|judged| judged.auditor == account) {
            self.find(Rule::ShardAudited, at);
        }
        let shard = self.work.shards.get(&record).copied();
        let seats = |verdict, is_adverse| {
            of(verdict).filter(|j| j.is_adverse == is_adverse).map(|j| j.seats).sum::<usize>()
        };
        let is_outvoted = seats(Verdict::Fail, false) < seats(Verdict::Pass, true);
        let is_own = shard.is_some_and(|shard| shard.is_computed || self.lay_unjudged(&shard));
        if !is_own && !is_outvoted {
            self.find(Rule::ShardComputed, at);
        }
        let Some(shard) = shard else { return };
        let before = self.work.paid.insert((account, shard.subject), epoch);
        if let Some(before) = before
            && of(Verdict::Pass).all(|judged| !judged.is_adverse)
        {
            self.find(Rule::ShardOnce, || format!("{}, and in epoch {before}", at()));
        }
    }

    /// Whether somebody made the same sketch before, and nobody judged it: its slot passed on, and who
    /// copies what is right there cannot be told from who makes it again.
    fn lay_unjudged(&self, copy: &Claimed) -> bool {
        let is_unjudged =
            |record: &Digest| self.work.verdicts.get(record).is_none_or(Vec::is_empty);
        self.work.shards.iter().any(|(record, shard)| {
            shard.subject == copy.subject && shard.is_computed && is_unjudged(record)
        })
    }

    /// What consumers paid in an epoch is what it gives away, and nothing of it is left over.
    fn judge_fees(&mut self, laws: &Laws, outcome: &Outcome) {
        let epoch = outcome.settlement.epoch;
        let of_outputs = outcome.lines.iter().filter(|line| self.work.is_of_output(line));
        let (mut split, mut serving) = (0, 0);
        for line in of_outputs {
            match line.source {
                Source::Serving => serving += line.amount.0,
                _ => split += line.amount.0,
            }
        }
        let redeemed = self.work.redeemed_in(epoch);
        let pot = laws.budget.0 * u128::from(laws.attribution_bps) / 10_000;
        // A server has its part of the fee and, for attributing, a part of the pot.
        let least = redeemed.checked_sub(split);
        if least.is_none_or(|least| serving < least || serving > least + pot) {
            self.find(Rule::FeesWhole, || {
                format!("epoch {epoch}: {split} and {serving} for serving, of {redeemed}")
            });
        }
    }
}
