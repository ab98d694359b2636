//! Judges settlements by what really happened, not by what the machines say.
//!
//! The simulator knows who had which bytes, when each commitment was included and what was shown. The
//! rules here are written from the design a second time, and share no arithmetic with `protocol`, so
//! that a wrong rule there is seen although every node follows it.

mod disputes;
mod opinions;
mod stakes;
mod work;

pub use disputes::Disputed;
use disputes::Disputes;
pub use opinions::Opinion;
use opinions::Opinions;
use stakes::Stakes;
pub use work::{Claimed, Judged, Ordered, Output, Work};

use std::collections::{BTreeMap, BTreeSet};

use protocol::{
    AccountId, Amount, Balance, BlobRef, BlockNumber, Digest, Epoch, Hash,
    placement::Placement,
    record::Kind,
    settle::{Line, Outcome, Source},
};

/// What a settlement must never do. Each is a check of every run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rule {
    /// Payouts of an epoch are within its budget, what consumers paid in it, and the prices of what was
    /// done for runs.
    WithinBudget,
    /// What an account has earned never shrinks.
    NeverShrinks,
    /// Balances grow by exactly what is paid.
    AddsUp,
    /// Whoever is paid for storage showed a proof within the epoch.
    ProofInEpoch,
    /// Whoever is paid for storage had the bytes when it showed them.
    HadTheBytes,
    /// Whoever is paid for storage was committed before the sample was known.
    CommittedInTime,
    /// Pay for storage is the pot by bytes proven over those that anybody proved, in all replicas.
    PaidByBytes,
    /// Who showed what it was asked for in a dispute loses nothing.
    ShownIsSafe,
    /// Who did not is not paid.
    UnshownUnpaid,
    /// Storage is paid where more of those drawn and heard in time saw it than did not.
    StorageVote,
    /// Of records of one key the first on chain is paid for.
    FirstOfKey,
    /// What an epoch pays does not change after its cutoff.
    Stable,
    /// Who judges has held the least stake that counts through an epoch.
    SeatsByStake,
    /// What consumers pay for stake is shared by what stayed through the epoch.
    FeesByStake,
    /// What they pay contributors is shared by what most auditors pass, or by bytes.
    FeesByVerdict,
    /// An output that most of its auditors find falsely attributed pays nobody.
    FalseUnpaid,
    /// Whoever is paid for auditing audited.
    AuditedForPay,
    /// Whoever is paid for a shard computed it, or deceived a majority of its auditors.
    ShardComputed,
    /// Whoever is paid for a shard has a pass of somebody else.
    ShardAudited,
    /// A part of a run is paid once ever.
    ShardOnce,
    /// A part is paid its price, as much of what its run was paid for as it is of the run's work, with at
    /// most the platform's part of it added; and the platform has its part.
    ShardPrice,
    /// No run is paid more than its order paid.
    RunPaidFor,
    /// Whoever is paid for a shard went on from a checkpoint that a member named.
    ShardBase,
    /// Honest nodes have one checkpoint after each round.
    OneCheckpoint,
    /// Every fee that an output accounts for is given away, whole, unless its attribution was false.
    FeesWhole,
    /// An output is paid for with its own promises, if its attribution came in before its epoch was over.
    FeeOwn,
    /// No promise is redeemed twice.
    FeeOnce,
    /// Without faults and cheats everybody is paid.
    CalmPays,
    /// Without faults and cheats settlements are final in time.
    CalmSettles,
}

impl Rule {
    /// All of them.
    pub const ALL: [Self; 29] = [
        Self::WithinBudget,
        Self::NeverShrinks,
        Self::AddsUp,
        Self::ProofInEpoch,
        Self::HadTheBytes,
        Self::CommittedInTime,
        Self::PaidByBytes,
        Self::ShownIsSafe,
        Self::UnshownUnpaid,
        Self::StorageVote,
        Self::FirstOfKey,
        Self::Stable,
        Self::SeatsByStake,
        Self::FeesByStake,
        Self::FeesByVerdict,
        Self::FalseUnpaid,
        Self::AuditedForPay,
        Self::ShardComputed,
        Self::ShardAudited,
        Self::ShardOnce,
        Self::ShardPrice,
        Self::RunPaidFor,
        Self::ShardBase,
        Self::OneCheckpoint,
        Self::FeesWhole,
        Self::FeeOwn,
        Self::FeeOnce,
        Self::CalmPays,
        Self::CalmSettles,
    ];

    /// The rule as a sentence, which reports show as a check.
    pub const fn words(self) -> &'static str {
        match self {
            Self::WithinBudget => "no epoch pays more than its budget, fees and orders",
            Self::NeverShrinks => "nobody's earnings shrink",
            Self::AddsUp => "balances grow by exactly what is paid",
            Self::ProofInEpoch => "storage is paid only for a proof shown within the epoch",
            Self::HadTheBytes => "storage is paid only to who had the bytes",
            Self::CommittedInTime => "storage is paid only for a commitment made before the sample",
            Self::PaidByBytes => "storage pay is the pot by bytes proven over all that could be",
            Self::ShownIsSafe => "who shows what is disputed loses nothing",
            Self::UnshownUnpaid => "storage is unpaid where what was disputed was not shown",
            Self::StorageVote => "storage is paid only where more auditors saw it than did not",
            Self::FirstOfKey => "of two records of one key the first on chain is paid",
            Self::Stable => "what an epoch pays does not change after its cutoff",
            Self::SeatsByStake => "audits are of those whose stake counts",
            Self::FeesByStake => "fees for stake are shared by what stayed through the epoch",
            Self::FeesByVerdict => "fees follow attributions that most auditors pass",
            Self::FalseUnpaid => "a falsely attributed output pays nobody",
            Self::AuditedForPay => "audits are paid only to who audited",
            Self::ShardComputed => {
                "a shard is paid only to who computed it or outvoted its auditors"
            }
            Self::ShardAudited => "a shard is paid only with a pass of another",
            Self::ShardOnce => "a part of a run is paid once",
            Self::ShardPrice => {
                "a part of a run is paid its price, and the platform its part of it"
            }
            Self::RunPaidFor => "no run is paid more than its order paid",
            Self::ShardBase => "a shard is paid only from a checkpoint that a member named",
            Self::OneCheckpoint => "honest nodes agree on the checkpoint of every round",
            Self::FeesWhole => "every fee that an output accounts for is given away, whole",
            Self::FeeOwn => "an output is paid for with its own promises alone",
            Self::FeeOnce => "no promise is redeemed twice",
            Self::CalmPays => "in a calm network every holder is paid",
            Self::CalmSettles => "in a calm network settlements are final in time",
        }
    }
}

/// The rules' numbers, from the scenario and not from the machines.
#[derive(Debug, Clone, Copy, Default)]
pub struct Laws {
    /// First block of epoch 0.
    pub genesis: u64,
    /// Blocks of an epoch.
    pub epoch_blocks: u64,
    /// Blocks in which a commitment counts.
    pub commit_blocks: u64,
    /// Blocks after the end of an epoch in which its records still come in.
    pub include_blocks: u64,
    /// Blocks after the end of an epoch in which its settlement is final when all goes well.
    pub settle_blocks: u64,
    /// Emission of an epoch.
    pub budget: Amount,
    /// Share of it for storage, in basis points.
    pub storage_bps: u32,
    /// Share of that which newcomers may have together.
    pub newcomers_bps: u32,
    /// … for attributing outputs.
    pub attribution_bps: u32,
    /// … at most, for work on runs.
    pub shards_bps: u32,
    /// The platform's share of what consumers and developers pay.
    pub platform_bps: u32,
    /// The least stake that counts.
    pub min_stake: Amount,
    /// Whether nothing goes wrong and nobody cheats.
    pub is_calm: bool,
}

impl Laws {
    const fn start(&self, epoch: Epoch) -> u64 {
        self.genesis + epoch.0 * self.epoch_blocks
    }

    /// The block from which on nothing comes in that the settlement of an epoch is about.
    const fn cutoff(&self, epoch: Epoch) -> u64 {
        self.start(Epoch(epoch.0 + 1)) + self.include_blocks
    }

    /// The last block in which something that is said of an epoch's storage counts: a quarter of the time
    /// until the cutoff is over.
    const fn said_until(&self, epoch: Epoch) -> u64 {
        (self.start(Epoch(epoch.0 + 1)) + self.include_blocks / 4).saturating_sub(1)
    }
}

/// A commitment as it was signed.
#[derive(Debug, Clone)]
pub struct Committed {
    /// The bytes that it claims.
    pub bytes: u64,
    /// The packs that it declares absent.
    pub absent: Vec<Hash>,
}

/// A proof as it was shown.
#[derive(Debug, Clone, Copy)]
pub struct Shown {
    /// The commitment that it opens.
    pub commit: Digest,
    /// The newest block then.
    pub block: BlockNumber,
    /// Bytes of the assigned packs that the node, or who worked for it, had then.
    pub had: u64,
}

/// A record that the chain took in.
#[derive(Debug, Clone, Copy)]
struct Taken {
    block: BlockNumber,
    /// Whether it is the first of its key.
    is_first: bool,
}

/// Under which a record may occur once in an epoch.
pub type Key = (Epoch, Kind, AccountId, Digest);

/// What happened in the epochs that are not settled yet.
#[derive(Debug, Default)]
pub(crate) struct Referee {
    included: BTreeMap<(Epoch, Digest), Taken>,
    keys: BTreeMap<Key, BlockNumber>,
    commits: BTreeMap<(Epoch, Digest), Committed>,
    proofs: BTreeMap<(Epoch, AccountId), Vec<Shown>>,
    auditors: BTreeSet<(Epoch, AccountId)>,
    leaves: BTreeMap<AccountId, Balance>,
    disputes: Disputes,
    opinions: Opinions,
    stakes: Stakes,
    work: Work,
    broken: BTreeMap<Rule, String>,
}

impl Referee {
    /// The chain took a record in.
    pub(crate) fn included(&mut self, record: Digest, key: Key, block: BlockNumber) {
        let Self { included, keys, .. } = self;
        included.entry((key.0, record)).or_insert_with(|| {
            let is_first = !keys.contains_key(&key);
            keys.entry(key).or_insert(block);
            Taken { block, is_first }
        });
    }

    /// The block that took in a record that is the first of its key.
    fn taken(&self, epoch: Epoch, record: &Digest) -> Option<BlockNumber> {
        let taken = self.included.get(&(epoch, *record)).filter(|taken| taken.is_first);
        taken.map(|taken| taken.block)
    }

    /// What the settlement of an epoch would be now is not what it was when its cutoff was over.
    pub(crate) fn changed(&mut self, epoch: Epoch) {
        self.find(Rule::Stable, || format!("epoch {epoch}"));
    }

    /// The blocks after one were replaced, and what they had taken in with them.
    pub(crate) fn forget_inclusions_after(&mut self, stays: BlockNumber) {
        self.included.retain(|_, taken| taken.block <= stays);
        self.keys.retain(|_, block| *block <= stays);
        self.stakes.forget_after(stays);
        self.disputes.forget_after(stays);
    }

    /// A commitment of that id was signed.
    pub(crate) fn committed(&mut self, epoch: Epoch, id: Digest, committed: Committed) {
        self.commits.insert((epoch, id), committed);
    }

    /// Bytes of all replicas, and of those of newcomers, of the packs that somebody was paid for: nobody is
    /// made poorer by a pack that nobody has.
    fn provable(&self, outcome: &Outcome, placement: &Placement) -> (u128, u128) {
        let epoch = outcome.settlement.epoch;
        let is_storage = |line: &&Line| line.source == Source::Storage;
        let mut seen = BTreeSet::<&BlobRef>::new();
        for line in outcome.lines.iter().filter(is_storage).filter(|l| !self.work.is_of_output(l)) {
            let shown = self.proofs.get(&(epoch, line.account)).into_iter().flatten();
            for commit in shown.filter_map(|shown| self.commits.get(&(epoch, shown.commit))) {
                let packs = placement.packs_of(line.account).iter();
                seen.extend(packs.filter(|pack| !commit.absent.contains(&pack.hash)));
            }
        }
        let of = |is_wanted: &dyn Fn(AccountId) -> bool| {
            let holders = placement.holders().filter(|(holder, _)| is_wanted(*holder));
            let packs = holders.flat_map(|(_, packs)| packs).filter(|pack| seen.contains(pack));
            packs.map(|pack| u128::from(pack.length)).sum()
        };
        (of(&|_| true), of(&|holder| placement.is_newcomer(holder)))
    }

    /// A proof was signed.
    pub(crate) fn shown(&mut self, epoch: Epoch, account: AccountId, shown: Shown) {
        self.proofs.entry((epoch, account)).or_default().push(shown);
    }

    /// An audit was signed.
    pub(crate) fn audited(&mut self, epoch: Epoch, auditor: AccountId) {
        self.auditors.insert((epoch, auditor));
    }

    /// What happened to models.
    pub(crate) const fn work(&self) -> &Work {
        &self.work
    }

    /// What was broken first, by rule.
    pub(crate) const fn broken(&self) -> &BTreeMap<Rule, String> {
        &self.broken
    }

    fn find(&mut self, rule: Rule, what: impl FnOnce() -> String) {
        self.broken.entry(rule).or_insert_with(what);
    }

    /// Judges a settlement that became final in `block`, of an epoch in which that was assigned.
    pub(crate) fn judge(
        &mut self,
        laws: &Laws,
        outcome: &Outcome,
        assigned: &Placement,
        block: BlockNumber,
    ) {
        let epoch = outcome.settlement.epoch;
        let prices = self.judge_work(laws, outcome);
        self.judge_disputes(laws, outcome);
        self.judge_stakes(laws, outcome);
        self.judge_attributions(laws, outcome);
        self.judge_keys(outcome);
        self.judge_sums(laws, outcome, assigned, prices);
        let pot = laws.budget.0 * u128::from(laws.storage_bps) / 10_000;
        // Newcomers are paid what others are, as long as it is no more than their share of the pot.
        let (all, lane) = self.provable(outcome, assigned);
        let lane_pot = (pot * lane / all.max(1)).min(pot * u128::from(laws.newcomers_bps) / 10_000);
        for line in &outcome.lines {
            match line.source {
                Source::Storage if !self.work.is_of_output(line) => {
                    let part = match assigned.is_newcomer(line.account) {
                        true => (lane_pot, lane),
                        false => (pot, all),
                    };
                    self.judge_storage(laws, epoch, line.account, line.amount, part);
                    self.judge_storage_vote(laws, epoch, line);
                }
                Source::Audits if !self.auditors.contains(&(epoch, line.account)) => {
                    let account = line.account;
                    self.find(Rule::AuditedForPay, || format!("epoch {epoch}, account {account}"));
                }
                _ => {}
            }
        }
        if laws.is_calm {
            if let Some(zero) = outcome.zeros.first() {
                self.find(Rule::CalmPays, || {
                    format!("epoch {epoch}, account {}: {}", zero.account, zero.reason)
                });
            }
            let due = laws.start(epoch.next()) + laws.settle_blocks;
            if block.0 > due {
                self.find(Rule::CalmSettles, || format!("epoch {epoch}: block {block}, not {due}"));
            }
        }
        self.forget(epoch);
    }

    fn judge_keys(&mut self, outcome: &Outcome) {
        let epoch = outcome.settlement.epoch;
        for line in &outcome.lines {
            let of = self.work.labelled(&line.record).map_or(epoch, |(of, _)| of);
            if self.included.get(&(of, line.record)).is_some_and(|taken| !taken.is_first) {
                self.find(Rule::FirstOfKey, || format!("epoch {epoch}, record {}", line.record));
            }
        }
    }

    fn judge_sums(&mut self, laws: &Laws, outcome: &Outcome, assigned: &Placement, prices: u128) {
        let epoch = outcome.settlement.epoch;
        let mut paid = BTreeMap::<AccountId, (u128, u128)>::new();
        for line in &outcome.lines {
            // What newcomers have for replicas is held, and nothing else is.
            let is_of_replicas = line.source == Source::Storage && !self.work.is_of_output(line);
            let (free, lane) = paid.entry(line.account).or_default();
            let is_held = is_of_replicas && assigned.is_newcomer(line.account);
            *if is_held { lane } else { free } += line.amount.0;
        }
        let sum: u128 = paid.values().map(|(free, lane)| free + lane).sum();
        if sum > laws.budget.0 + self.work.due() + prices {
            self.find(Rule::WithinBudget, || format!("epoch {epoch}: {sum} of {}", laws.budget));
        }
        let after: BTreeMap<_, _> = outcome.leaves.iter().copied().collect();
        for (account, before) in self.leaves.clone() {
            let now = after.get(&account).copied().unwrap_or_default();
            if now.free < before.free || now.lane < before.lane {
                self.find(Rule::NeverShrinks, || {
                    format!("epoch {epoch}, account {account}: {before} became {now}")
                });
            }
        }
        for (account, now) in &after {
            let before = self.leaves.get(account).copied().unwrap_or_default();
            let (free, lane) = paid.get(account).copied().unwrap_or_default();
            if before.free.0 + free != now.free.0 || before.lane.0 + lane != now.lane.0 {
                self.find(Rule::AddsUp, || {
                    format!(
                        "epoch {epoch}, account {account}: {before}, {free} more and {lane} more in \
                         the lane is not {now}"
                    )
                });
            }
        }
        self.leaves = after;
    }

    fn judge_storage(
        &mut self,
        laws: &Laws,
        epoch: Epoch,
        account: AccountId,
        amount: Amount,
        (pot, provable): (u128, u128),
    ) {
        let at = || format!("epoch {epoch}, account {account}");
        let end = laws.start(epoch.next());
        let all = self.proofs.get(&(epoch, account)).cloned().unwrap_or_default();
        let in_epoch = |shown: &&Shown| shown.block.0 < end;
        if all.iter().find(in_epoch).is_none() {
            self.find(Rule::ProofInEpoch, at);
            return;
        }
        let pay = |bytes: u64| pot * u128::from(bytes) / provable.max(1);
        // One who showed several proofs is paid for one of them.
        if !all.iter().any(|shown| pay(shown.had) >= amount.0) {
            let had = all.iter().map(|shown| shown.had).max().unwrap_or(0);
            self.find(Rule::HadTheBytes, || {
                format!("{}: {amount} for {had} bytes, worth {}", at(), pay(had))
            });
        }
        let deadline = laws.start(epoch) + laws.commit_blocks;
        let ids = || all.iter().map(|shown| (epoch, shown.commit));
        let is_early =
            |(epoch, id)| self.taken(epoch, &id).is_some_and(|block| block.0 <= deadline);
        let late = !ids().any(is_early);
        let commits = ids().filter_map(|id| self.commits.get(&id));
        let is_exact = commits.map(|commit| commit.bytes).any(|bytes| pay(bytes) == amount.0);
        if late {
            self.find(Rule::CommittedInTime, at);
        }
        if !is_exact {
            self.find(Rule::PaidByBytes, || format!("{}: {amount}", at()));
        }
    }

    fn forget(&mut self, settled: Epoch) {
        // Of an output it is asked as long as it may be redeemed.
        let is_of_use = |epoch: Epoch, id: &Digest| {
            let is_of_output = self.work.is_output(id) || self.opinions.is_of_output(id);
            is_of_output && epoch.0 + work::FEE_EPOCHS > settled.0
        };
        self.included.retain(|(epoch, id), _| *epoch > settled || is_of_use(*epoch, id));
        self.commits.retain(|(epoch, _), _| *epoch > settled);
        self.proofs.retain(|(epoch, _), _| *epoch > settled);
        self.auditors.retain(|(epoch, _)| *epoch > settled);
        self.keys.retain(|(epoch, ..), _| *epoch > settled);
        self.disputes.forget(settled);
        self.opinions.forget(settled);
        self.work.forget(settled);
    }
}
