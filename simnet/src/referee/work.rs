//! Shards and fees: who is paid for work on models, and where every fee goes.

use std::collections::{BTreeMap, BTreeSet};

use protocol::{
    AccountId, Amount, BlockNumber, Digest, Epoch, EvmAddress, Hash, ModelId, Round,
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
    /// The checkpoint that it starts from.
    pub base: Hash,
    /// Whether its worker really computed what it claims.
    pub is_computed: bool,
}

/// A run as it was ordered.
#[derive(Debug, Clone, Copy)]
pub struct Ordered {
    /// What was paid for all of it.
    pub escrow: Amount,
    /// Rounds in which it is trained; sketches are captured in one more.
    pub rounds: u32,
    /// Multiplications of a shard of a training round.
    pub shard: u128,
    /// Multiplications of the sketch of a unit.
    pub sketch: u128,
    /// Multiplications that each part counts for beside its own.
    pub part: u128,
    /// Units of the data that it reads.
    pub units: u64,
}

impl Ordered {
    /// What a part is paid where each round has so many slots.
    fn price(&self, part: Part, slots: u64) -> u128 {
        let of_slot = |slot: u64| self.units * (slot + 1) / slots - self.units * slot / slots;
        let all = u128::from(self.rounds) * u128::from(slots) * (self.shard + self.part)
            + u128::from(slots) * self.part
            + u128::from(self.units) * self.sketch;
        let own = match part.round.0 < self.rounds {
            true => self.shard + self.part,
            false => u128::from(of_slot(part.slot.into())) * self.sketch + self.part,
        };
        self.escrow.0 * own / all
    }
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
    /// Runs, with the slots of their rounds once these are drawn.
    runs: BTreeMap<ModelId, (Ordered, u64)>,
    /// What each run was paid for its parts.
    spent: BTreeMap<ModelId, u128>,
    /// Parts that were paid.
    paid: BTreeMap<Part, Epoch>,
    /// Checkpoints that were named as the first of a round.
    named: BTreeSet<(ModelId, Round, Hash)>,
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
    /// A run was ordered, or its slots were drawn.
    pub fn ordered(&mut self, model: ModelId, run: Ordered, slots: u64) {
        self.work.runs.insert(model, (run, slots));
    }

    /// A member of a run closed a round, from whose checkpoint the next goes on.
    pub fn named(&mut self, model: ModelId, next: Round, checkpoint: Hash) {
        self.work.named.insert((model, next, checkpoint));
    }

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

    /// The sum of the prices of what was done for runs.
    pub(super) fn judge_work(&mut self, laws: &Laws, outcome: &Outcome) -> u128 {
        let epoch = outcome.settlement.epoch;
        let (mut prices, mut added) = (0, 0);
        for line in outcome.lines.iter().filter(|line| line.source == Source::Shards) {
            self.judge_shard(epoch, line);
            let (price, more) = self.judge_price(laws, outcome, line);
            (prices, added) = (prices + price, added + more);
        }
        if added > laws.budget.0 * u128::from(laws.shards_bps) / 10_000 {
            self.find(Rule::ShardPrice, || format!("epoch {epoch}: emission adds {added}"));
        }
        self.judge_fees(laws, outcome);
        prices
    }

    /// The price of a part that was paid, and what emission added.
    fn judge_price(&mut self, laws: &Laws, outcome: &Outcome, line: &Line) -> (u128, u128) {
        let Some(part) = self.work.shards.get(&line.record).map(|shard| shard.part) else {
            return (0, 0);
        };
        let Some((run, slots)) = self.work.runs.get(&part.model).copied() else {
            self.find(Rule::RunPaidFor, || format!("run {} was never ordered", part.model));
            return (0, 0);
        };
        let price = run.price(part, slots.max(1));
        let platform = price * u128::from(laws.platform_bps) / 10_000;
        let of_platform =
            |other: &&Line| other.record == line.record && other.source == Source::Treasury;
        let taken: u128 = outcome.lines.iter().filter(of_platform).map(|line| line.amount.0).sum();
        let net = price - platform;
        if taken != platform || line.amount.0 < net || line.amount.0 > price {
            self.find(Rule::ShardPrice, || {
                format!("{part:?} costs {price}: {} and {taken} are paid", line.amount)
            });
        }
        let spent = self.work.spent.entry(part.model).or_default();
        *spent += price;
        let spent = *spent;
        if spent > run.escrow.0 {
            self.find(Rule::RunPaidFor, || {
                format!("run {}: {spent} of {}", part.model, run.escrow)
            });
        }
        (price, line.amount.0.saturating_sub(net))
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
        if let Some(before) = self.work.paid.insert(shard.part, epoch) {
            self.find(Rule::ShardOnce, || format!("{}, and in epoch {before}", at()));
        }
        let Part { model, round, .. } = shard.part;
        if round > Round(0) && !self.work.named.contains(&(model, round, shard.base)) {
            self.find(Rule::ShardBase, at);
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
