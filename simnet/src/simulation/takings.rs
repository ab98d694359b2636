//! What work on models earned whom, and what it cost: sums over the settlements, and their figures.

use std::collections::{BTreeMap, BTreeSet};

use protocol::{
    AccountId, Amount, Digest, Epoch, Hash, ModelId, Round,
    node::Event as NodeEvent,
    record::{Body, VerifiedRecord},
    settle::{Outcome, Source, Unpaid},
};

use super::{Simulation, kpis::open, number, training::developer};
use crate::{data, kernel::Time, report::Kpi};

/// Sums over all settlements that became final.
#[derive(Debug, Default)]
pub(super) struct Takings {
    paid: u64,
    rejected: u64,
    late: u64,
    forged: u64,
    forged_paid: u64,
    /// Parts of fees, in wei.
    fees: BTreeMap<Source, u128>,
    redeemed: u128,
    /// What adversaries got for the data that they contributed, in wei.
    adverse_data: u128,
    /// What self-dealers got for what they asked themselves, in wei.
    dealt: u128,
    /// When a worker claimed its shard of a round.
    claimed: BTreeMap<(AccountId, ModelId, Round), Time>,
    /// Times from a claim until an honest auditor rejected it, in microseconds.
    detected: BTreeMap<(AccountId, ModelId, Round), u64>,
    /// The checkpoint after each round, as an honest node saw it first.
    closed: BTreeMap<(ModelId, Round), Hash>,
    ready: BTreeSet<ModelId>,
    /// What each honest node has of each run: the checkpoints after its rounds, and at the end the
    /// root of the sketches.
    branches: BTreeMap<(ModelId, usize), Vec<Hash>>,
    /// When a step of a run was first taken.
    taken: BTreeMap<(ModelId, usize), Time>,
}

impl Simulation {
    /// A record was signed.
    pub(super) fn take_note(&mut self, record: &VerifiedRecord) {
        if let Body::Shard(shard) = &record.record().body {
            let key = (record.record().account, shard.model, shard.round);
            self.takings.claimed.entry(key).or_insert(self.now);
        }
    }

    /// A machine tells of a run.
    pub(super) fn note_training(&mut self, index: usize, event: &NodeEvent) {
        let is_honest = !self.nodes[index].kind.is_adverse();
        match event {
            NodeEvent::ShardRejected { account, model, round, .. } if is_honest => {
                let key = (*account, *model, *round);
                let since = self.takings.claimed.get(&key).map_or(self.now.0, |at| at.0);
                self.takings.detected.entry(key).or_insert(self.now.0.saturating_sub(since));
            }
            NodeEvent::RoundClosed { model, round, checkpoint, .. } if is_honest => {
                self.takings.closed.entry((*model, *round)).or_insert(*checkpoint);
                self.note_step(index, *model, round.0 as usize, Some(*checkpoint));
            }
            NodeEvent::RoundReopened { model, round } if is_honest => {
                self.note_step(index, *model, round.0 as usize, None);
            }
            NodeEvent::ModelReady { model, sketch_root, .. } => {
                self.takings.ready.insert(*model);
                if is_honest {
                    let rounds = self.scenario.training.rounds as usize;
                    self.note_step(index, *model, rounds, Some(Hash(sketch_root.0)));
                }
            }
            _ => {}
        }
    }

    /// A node took a step of a run, or took it back; it has none of the later ones.
    fn note_step(&mut self, index: usize, model: ModelId, step: usize, to: Option<Hash>) {
        let branch = self.takings.branches.entry((model, index)).or_default();
        branch.truncate(step);
        if let Some(to) = to.filter(|_| branch.len() == step) {
            branch.push(to);
            self.takings.taken.entry((model, step)).or_insert(self.now);
        }
    }

    /// At the end, who was there for the last half epoch has to agree on all that is older.
    pub(super) fn judge_branches(&mut self) {
        let since = self.now.0.saturating_sub(self.scenario.epoch_span().0 / 2);
        let mut agreed: BTreeMap<(ModelId, usize), Hash> = BTreeMap::new();
        for ((model, index), branch) in &self.takings.branches {
            let node = &self.nodes[*index];
            if !node.is_online() || node.since.0 > since {
                continue;
            }
            for (step, checkpoint) in branch.iter().enumerate() {
                let is_old = self.takings.taken.get(&(*model, step)).is_some_and(|t| t.0 <= since);
                let known = agreed.entry((*model, step)).or_insert(*checkpoint);
                if is_old && known != checkpoint {
                    self.referee.disagrees(*model, Round(number(step)), node.account);
                    break;
                }
            }
        }
    }

    /// The newest checkpoint of a run.
    pub(super) fn last_checkpoint(&self, model: ModelId) -> Option<Hash> {
        let rounds = self.takings.closed.range((model, Round(0))..=(model, Round(u32::MAX)));
        rounds.last().map(|(_, checkpoint)| *checkpoint)
    }

    /// The settlement of an epoch is final.
    pub(super) fn take(&mut self, epoch: Epoch, outcome: &Outcome) {
        if !self.scenario.training.is_on() {
            return;
        }
        for zero in outcome.zeros.iter().filter(|zero| zero.source == Source::Shards) {
            self.takings.forged += u64::from(self.is_forged(&zero.record));
            match zero.reason {
                Unpaid::NotAudited => self.takings.late += 1,
                Unpaid::DoneBefore => {}
                _ => self.takings.rejected += 1,
            }
        }
        let dealers = self.dealers();
        let mut split = 0;
        for line in &outcome.lines {
            if line.source == Source::Shards {
                let is_forged = u64::from(self.is_forged(&line.record));
                self.takings.paid += 1;
                self.takings.forged += is_forged;
                self.takings.forged_paid += is_forged;
            }
            if self.market.dealt.contains(&line.record) && dealers.contains(&line.account) {
                self.takings.dealt += line.amount.0;
            }
            if self.pays_adverse_data(line) {
                self.takings.adverse_data += line.amount.0;
            }
            if self.referee.work().is_of_output(line) && line.source != Source::Serving {
                split += line.amount.0;
                *self.takings.fees.entry(line.source).or_default() += line.amount.0;
            }
        }
        // The rest of what was redeemed is the servers'; what they have beyond it is for attributing.
        let redeemed = self.chain.view().redemptions(epoch);
        let redeemed: u128 = redeemed.map(|item| item.to.0.saturating_sub(item.from.0)).sum();
        self.takings.redeemed += redeemed;
        *self.takings.fees.entry(Source::Serving).or_default() += redeemed.saturating_sub(split);
    }

    fn is_forged(&self, record: &Digest) -> bool {
        self.referee.work().is_forged(record) == Some(true)
    }

    /// Accounts of self-dealing adversaries: their nodes', and their developer's.
    fn dealers(&self) -> BTreeSet<AccountId> {
        let Some((coalition, run)) = self.dealt_run() else { return BTreeSet::new() };
        let owner = developer(run);
        let accounts = self.chain.view().accounts();
        let mut dealers: BTreeSet<_> =
            accounts.filter(|(_, account)| account.owner == owner).map(|(id, _)| id).collect();
        let members = self.coalitions.get(coalition).map_or(&[][..], |dealer| &dealer.members);
        dealers.extend(members.iter().map(|member| self.nodes[*member as usize].account));
        dealers
    }

    /// Fees of all epochs that are settled, in OPEN.
    pub(super) fn fees(&self) -> f64 {
        open(Amount(self.takings.redeemed))
    }

    /// Whether self-dealers got more than they paid; a unit for each use may be lost to rounding.
    pub(super) fn deals_pay(&self) -> bool {
        let rounded = self.market.dealt.len() as u128;
        self.takings.dealt > self.dealt_fees().0 + rounded
    }

    /// The key figures of work on models.
    #[expect(clippy::cast_precision_loss, reason = "figures for people")]
    pub(super) fn work_figures(&self) -> Vec<Kpi> {
        let (takings, market) = (&self.takings, &self.market);
        let share = |part: u64, whole: u64| (whole > 0).then(|| part as f64 / whole as f64);
        let is_on = self.scenario.training.is_on();
        let count = |of: usize| is_on.then_some(of as f64);
        let claims = takings.paid + takings.rejected + takings.late;
        let detected: Vec<_> =
            takings.detected.values().map(|micros| *micros as f64 / 1e6).collect();
        let mean = detected.iter().sum::<f64>() / detected.len() as f64;
        let losses = self.losses();
        let mut kpis = vec![
            Kpi::new("shards_verified", is_on.then_some(takings.paid as f64)),
            Kpi::new("shards_rejected", share(takings.rejected, claims)),
            Kpi::new("shards_late", share(takings.late, claims)),
            Kpi::new("forged_paid", share(takings.forged_paid, takings.forged)),
            Kpi::new("forged_detection_time", (!detected.is_empty()).then_some(mean)),
            Kpi::new("cost_per_shard", self.cost_per_shard()),
            Kpi::new("rounds_closed", count(takings.closed.len())),
            Kpi::new("models_ready", count(takings.ready.len())),
            Kpi::new("loss_before", losses.map(|(before, _)| before)),
            Kpi::new("loss_after", losses.map(|(_, after)| after)),
        ];
        let asked = market.served + market.refused + market.unserved;
        kpis.push(Kpi::new("requests_served", share(market.served, asked)));
        let mut times = market.latencies.clone();
        times.sort_unstable();
        for (name, percent) in [("inference_p50", 50), ("inference_p95", 95), ("inference_p99", 99)]
        {
            let place = (times.len() * percent / 100).min(times.len().saturating_sub(1));
            kpis.push(Kpi::new(name, times.get(place).map(|micros| *micros as f64 / 1e6)));
        }
        let has_fees = self.scenario.inference.is_on();
        let part = |of: &[Source]| {
            let sum = of.iter().filter_map(|source| takings.fees.get(source)).sum();
            has_fees.then(|| open(Amount(sum)))
        };
        kpis.push(Kpi::new("fees_redeemed", has_fees.then(|| open(Amount(takings.redeemed)))));
        kpis.push(Kpi::new("fees_contributors", part(&[Source::Attribution])));
        kpis.push(Kpi::new("fees_developers", part(&[Source::Model])));
        kpis.push(Kpi::new("fees_stakers", part(&[Source::Stake])));
        kpis.push(Kpi::new("fees_nodes", part(&[Source::Serving, Source::Storage])));
        kpis.push(Kpi::new("fees_treasury", part(&[Source::Treasury])));
        let paid = takings.fees.get(&Source::Attribution).copied().unwrap_or(0);
        let data = self.adverse_data();
        let gained = data.filter(|_| paid > 0).map(|_| takings.adverse_data as f64 / paid as f64);
        kpis.push(Kpi::new("adverse_data", data));
        kpis.push(Kpi::new("adverse_attribution", gained));
        let dealt = self.dealt_run().map(|_| open(Amount(takings.dealt)) - open(self.dealt_fees()));
        kpis.push(Kpi::new("self_dealing_profit", dealt));
        kpis
    }

    /// What the power of all shards and replays cost, per shard that was paid.
    #[expect(clippy::cast_precision_loss, reason = "figures for people")]
    fn cost_per_shard(&self) -> Option<f64> {
        let watt = |device| data::shipped("power-gpu", device);
        let (gpu, cpu) = (watt("gpu"), watt("cpu"));
        let joules = |(node, micros): (&u32, &u64)| {
            let power = if self.has_gpu(*node as usize) { gpu } else { cpu };
            *micros as f64 / 1e6 * power
        };
        let joules: f64 = self.workshop.trained.iter().map(joules).sum();
        let usd = joules / 3.6e6 * self.scenario.economics.electricity;
        (self.takings.paid > 0).then(|| usd / self.takings.paid as f64)
    }
}
