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
    /// The seats for which it speaks, and that were drawn in all.
    pub seats: (usize, usize),
}

/// In how many epochs, from its own on, an output may be redeemed.
pub(super) const FEE_EPOCHS: u64 = 4;

/// A consumer and who serves it.
type Pair = (EvmAddress, AccountId);

/// An output that was attributed, and the promises that its receipt is for.
#[derive(Debug, Clone)]
pub struct Output {
    /// Who promised, and to whom.
    pub between: Pair,
    /// Its promises: of each range all above the first sum, up to the second.
    pub ranges: Vec<(Amount, Amount)>,
    /// Under which epoch it was attributed.
    pub epoch: Epoch,
    /// The model that was used.
    pub model: ModelId,
}

/// Promises that were redeemed in one transaction: all above the first sum, up to the second.
#[derive(Debug, Clone, Copy)]
struct Redemption {
    between: Pair,
    range: (u128, u128),
}

impl Redemption {
    /// What of the own promises of an output between the same two was redeemed.
    fn of(&self, output: &Output) -> Vec<(u128, u128)> {
        let (from, to) = self.range;
        let both = |(start, end): &(Amount, Amount)| (start.0.max(from), end.0.min(to));
        output.ranges.iter().map(both).filter(|(start, end)| start < end).collect()
    }
}

/// What of the fees a settlement divides.
#[derive(Debug, Default)]
struct Due {
    /// What of each output's own promises was redeemed.
    own: BTreeMap<Digest, u128>,
    /// What they cover together, …
    most: u128,
    /// … less what belongs to outputs of other settlements as well.
    least: u128,
    /// What was redeemed for outputs of the next epoch.
    waiting: u128,
    /// What belongs to outputs that most of their auditors find falsely attributed.
    falsely: u128,
}

/// How much ranges cover together.
fn covered(mut ranges: Vec<(u128, u128)>) -> u128 {
    ranges.sort_unstable();
    let (mut sum, mut reached) = (0, 0);
    for (from, to) in ranges {
        sum += to.saturating_sub(from.max(reached));
        reached = reached.max(to);
    }
    sum
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
    /// Attributions by the ids of their records.
    outputs: BTreeMap<Digest, Output>,
    /// What was redeemed, from the epoch on that was settled last.
    redeemed: BTreeMap<Epoch, Vec<Redemption>>,
    /// What the outputs of the settlement that was judged last account for at most, …
    due: u128,
    /// … and what of it they were paid.
    accounted: u128,
    /// What was redeemed in its epoch for outputs of the next.
    waiting: u128,
    /// How far each consumer's promises to each server are redeemed.
    up_to: BTreeMap<(EvmAddress, AccountId), Amount>,
}

impl Work {
    /// Whether a line pays a part of a fee; attributing an output is paid under the same record.
    pub(crate) fn is_of_output(&self, line: &Line) -> bool {
        self.is_output(&line.record)
    }

    /// Whether a record attributes an output.
    pub(super) fn is_output(&self, record: &Digest) -> bool {
        self.outputs.contains_key(record)
    }

    /// The epoch under which an output was attributed, and the model that was used.
    pub(super) fn labelled(&self, output: &Digest) -> Option<(Epoch, ModelId)> {
        self.outputs.get(output).map(|output| (output.epoch, output.model))
    }

    /// Whether a shard that was claimed was not computed; `None` for what is no shard.
    pub(crate) fn is_forged(&self, record: &Digest) -> Option<bool> {
        self.shards.get(record).map(|shard| !shard.is_computed)
    }

    /// A shard that was claimed.
    pub fn shard(&self, record: &Digest) -> Option<&Claimed> {
        self.shards.get(record)
    }

    /// The most that the settlement that was judged last may divide among outputs.
    pub const fn due(&self) -> u128 {
        self.due
    }

    /// What of the fees outputs are paid, of the epoch that was settled last. The rest stays in the vault.
    pub(crate) const fn accounted(&self) -> u128 {
        self.accounted
    }

    /// What was redeemed in the epoch that was settled last for outputs of the next, which pays for them.
    pub const fn waiting(&self) -> u128 {
        self.waiting
    }

    fn redemptions(&self, epoch: Epoch) -> impl Iterator<Item = &Redemption> {
        self.redeemed.get(&epoch).into_iter().flatten()
    }

    pub(super) fn forget(&mut self, settled: Epoch) {
        self.redeemed.retain(|epoch, _| *epoch >= settled);
    }
}

impl Referee {
    /// A run was ordered, or its slots were drawn.
    pub(crate) fn ordered(&mut self, model: ModelId, run: Ordered, slots: u64) {
        self.work.runs.insert(model, (run, slots));
    }

    /// A member of a run closed a round, from whose checkpoint the next goes on.
    pub(crate) fn named(&mut self, model: ModelId, next: Round, checkpoint: Hash) {
        self.work.named.insert((model, next, checkpoint));
    }

    /// A shard was signed.
    pub(crate) fn claimed(&mut self, record: Digest, shard: Claimed) {
        self.work.shards.insert(record, shard);
    }

    /// A verdict on a shard was signed.
    pub(crate) fn judged(&mut self, shard: Digest, judged: Judged) {
        self.work.verdicts.entry(shard).or_default().push(judged);
    }

    /// An honest node has another checkpoint after a round than the one asked before it.
    pub(crate) fn disagrees(&mut self, model: ModelId, round: Round, account: AccountId) {
        self.find(Rule::OneCheckpoint, || {
            format!("model {model}, round {round}, account {account}")
        });
    }

    /// An attribution was signed.
    pub(crate) fn attributed(&mut self, record: Digest, output: Output) {
        self.work.outputs.entry(record).or_insert(output);
    }

    /// A receipt was redeemed for an amount, up to a sum.
    pub(crate) fn redeemed(
        &mut self,
        laws: &Laws,
        (payer, payee): (EvmAddress, AccountId),
        (amount, cumulative): (Amount, Amount),
        block: BlockNumber,
    ) {
        let epoch = Epoch(block.0.saturating_sub(laws.genesis) / laws.epoch_blocks);
        let between = (payer, payee);
        let range = (cumulative.saturating_sub(amount).0, cumulative.0);
        self.work.redeemed.entry(epoch).or_default().push(Redemption { between, range });
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
            of(verdict).filter(|j| j.is_adverse == is_adverse).map(|j| j.seats.0).sum::<usize>()
        };
        let is_outvoted = seats(Verdict::Fail, false) < seats(Verdict::Pass, true);
        let is_own = shard.is_some_and(|shard| shard.is_computed || self.lay_unpaid(&shard));
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

    /// Whether somebody made the same sketch before, and too few of its auditors passed it to be paid: its
    /// slot passed on, and who copies what is right there cannot be told from who makes it again.
    fn lay_unpaid(&self, copy: &Claimed) -> bool {
        let is_passed = |record: &Digest| {
            let judged = self.work.verdicts.get(record).into_iter().flatten();
            let passes = judged.clone().filter(|judged| judged.verdict == Verdict::Pass);
            let passes: usize = passes.map(|judged| judged.seats.0).sum();
            let drawn = judged.map(|judged| judged.seats.1).max().unwrap_or_default();
            passes * 2 > drawn
        };
        self.work.shards.iter().any(|(record, shard)| {
            shard.subject == copy.subject && shard.is_computed && !is_passed(record)
        })
    }

    /// Outputs whose attributions came in before their epoch was over, by consumer and server.
    fn timely(&self, laws: &Laws, settled: Epoch) -> BTreeMap<Pair, Vec<(Digest, &Output)>> {
        let mut timely = BTreeMap::<Pair, Vec<(Digest, &Output)>>::new();
        for (id, output) in &self.work.outputs {
            let block = self.taken(output.epoch, id);
            let last = laws.start(output.epoch.next()).min(laws.cutoff(settled));
            if block.is_some_and(|block| block.0 < last) {
                timely.entry(output.between).or_default().push((*id, output));
            }
        }
        timely
    }

    /// What of the fees is due in a settlement: of each output in that of its own epoch, or of the one in
    /// which it was redeemed if this is later.
    fn fees_due(&self, laws: &Laws, settled: Epoch) -> Due {
        let timely = self.timely(laws, settled);
        let mut due = Due::default();
        for epoch in [settled.0.checked_sub(1), Some(settled.0)].into_iter().flatten().map(Epoch) {
            for redemption in self.work.redemptions(epoch) {
                let (mut now, mut another_time) = (Vec::new(), Vec::new());
                for (id, output) in timely.get(&redemption.between).into_iter().flatten() {
                    // What is done at the end of an epoch counts for the next one.
                    let is_near =
                        output.epoch <= epoch.next() && output.epoch.0 + FEE_EPOCHS > epoch.0;
                    let ranges = if is_near { redemption.of(output) } else { Vec::new() };
                    if output.epoch.max(epoch) != settled {
                        another_time.extend(ranges);
                        continue;
                    }
                    let own: u128 = ranges.iter().map(|(from, to)| to - from).sum();
                    if own == 0 {
                        continue;
                    }
                    now.extend(ranges);
                    *due.own.entry(*id).or_default() += own;
                    let verdict = self.verdict_on(id, output.epoch, laws.cutoff(settled));
                    let is_false = verdict == Some(Verdict::Fail);
                    due.falsely += if is_false { own } else { 0 };
                }
                due.most += covered(now.clone());
                // What two outputs share is the first one's, whenever that is settled.
                let others = covered(another_time.clone());
                due.waiting += if epoch == settled { others } else { 0 };
                due.least += covered([now, another_time].concat()) - others;
            }
        }
        due
    }

    /// Each output is paid for with its own promises and for no other's; together they give away all of
    /// what they account for, and what none accounts for stays.
    fn judge_fees(&mut self, laws: &Laws, outcome: &Outcome) {
        let epoch = outcome.settlement.epoch;
        let Due { own, most, least, waiting, falsely } = self.fees_due(laws, epoch);
        let (mut split, mut serving) = (BTreeMap::<Digest, u128>::new(), 0);
        for line in outcome.lines.iter().filter(|line| self.work.is_of_output(line)) {
            match line.source {
                Source::Serving => serving += line.amount.0,
                _ => *split.entry(line.record).or_default() += line.amount.0,
            }
        }
        let is_more = |(id, sum): &(&Digest, &u128)| own.get(id).is_none_or(|own| *sum > own);
        if let Some((id, sum)) = split.iter().find(is_more) {
            self.find(Rule::FeeOwn, || format!("epoch {epoch}, output {id}: {sum}"));
        }
        let paid = own.iter().filter(|(id, _)| split.contains_key(id));
        (self.work.due, self.work.waiting) = (most, waiting);
        self.work.accounted = paid.map(|(_, fee)| fee).sum();
        let split: u128 = split.values().sum();
        let pot = laws.budget.0 * u128::from(laws.attribution_bps) / 10_000;
        // A server has its part of the fee and, for attributing, a part of the pot.
        let all = split + serving;
        if split > most || all < least.saturating_sub(falsely) || all > most + pot {
            self.find(Rule::FeesWhole, || {
                format!("epoch {epoch}: {split} and {serving} for serving, of {least} to {most}")
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ranges_share_is_counted_once() {
        let sums = [vec![], vec![(5, 9)], vec![(7, 12), (0, 3), (2, 8)], vec![(0, 9), (2, 3)]];
        assert_eq!(sums.map(covered), [0, 4, 12, 9]);
    }
}
