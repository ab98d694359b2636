//! What work on models earned whom, and what it cost: sums over the settlements, and their figures.

use std::collections::{BTreeMap, BTreeSet};

use protocol::{
    AccountId, Amount, Digest, Epoch, Hash, ModelId, Round,
    node::Event as NodeEvent,
    record::{Body, VerifiedRecord},
    settle::{Outcome, Source, Unpaid},
};

use super::{
    env::Env,
    kpis::open,
    market::{Market, dealt_fees},
    number,
    store::Store,
    training::{Training, dealt_run, developer, has_gpu},
};
use crate::{
    data,
    kernel::{Time, real},
    referee::Referee,
    report::Kpi,
};

/// Sums over all settlements that became final.
#[derive(Debug, Default)]
pub(super) struct Earnings {
    paid: u64,
    rejected: u64,
    late: u64,
    forged: u64,
    forged_paid: u64,
    /// Shards of honest workers that were not paid, though nobody else was for the same.
    honest_unpaid: u64,
    /// Parts of fees, in wei.
    fees: BTreeMap<Source, u128>,
    redeemed: u128,
    /// What of the epoch that was settled last is paid out with the next.
    waiting: u128,
    /// What adversaries got for the data that they contributed, in wei.
    adverse_data: u128,
    /// What self-dealers got for what they asked themselves, in wei.
    dealt: u128,
    /// What coalitions got for the parts of runs that they ordered for themselves, and what these cost, in
    /// wei.
    ordered: (u128, u128),
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

impl Earnings {
    /// A record was signed.
    pub(super) fn note_record(&mut self, now: Time, record: &VerifiedRecord) {
        if let Body::Shard(shard) = &record.record().body {
            let key = (record.record().account, shard.model, shard.round);
            self.claimed.entry(key).or_insert(now);
        }
    }

    /// The machine of a node tells of a run.
    pub(super) fn note(&mut self, env: &Env, index: usize, event: &NodeEvent) {
        let (now, is_honest) = (env.now(), !env.population.node(index).kind.is_adverse());
        match event {
            NodeEvent::ShardRejected { account, model, round, .. } if is_honest => {
                let key = (*account, *model, *round);
                let since = self.claimed.get(&key).map_or(now.0, |at| at.0);
                self.detected.entry(key).or_insert(now.0.saturating_sub(since));
            }
            NodeEvent::RoundClosed { model, round, checkpoint, .. } if is_honest => {
                self.closed.entry((*model, *round)).or_insert(*checkpoint);
                self.note_step(now, (index, *model), round.0 as usize, Some(*checkpoint));
            }
            NodeEvent::RoundReopened { model, round } if is_honest => {
                self.note_step(now, (index, *model), round.0 as usize, None);
            }
            NodeEvent::ModelReady { model, sketch_root, .. } => {
                self.ready.insert(*model);
                if is_honest {
                    let rounds = env.scenario.training.rounds as usize;
                    self.note_step(now, (index, *model), rounds, Some(Hash(sketch_root.0)));
                }
            }
            _ => {}
        }
    }

    /// A node took a step of a run, or took it back; it has none of the later ones.
    fn note_step(
        &mut self,
        now: Time,
        (index, model): (usize, ModelId),
        step: usize,
        to: Option<Hash>,
    ) {
        let branch = self.branches.entry((model, index)).or_default();
        branch.truncate(step);
        if let Some(to) = to.filter(|_| branch.len() == step) {
            branch.push(to);
            self.taken.entry((model, step)).or_insert(now);
        }
    }

    /// At the end, who was there for the last half epoch has to agree on all that is older.
    pub(super) fn judge_branches(&self, env: &Env, referee: &mut Referee) {
        let since = env.now().0.saturating_sub(env.scenario.epoch_span().0 / 2);
        let mut agreed: BTreeMap<(ModelId, usize), Hash> = BTreeMap::new();
        for ((model, index), branch) in &self.branches {
            let node = env.population.node(*index);
            if !node.is_online() || node.since.0 > since {
                continue;
            }
            for (step, checkpoint) in branch.iter().enumerate() {
                let is_old = self.taken.get(&(*model, step)).is_some_and(|t| t.0 <= since);
                let known = agreed.entry((*model, step)).or_insert(*checkpoint);
                if is_old && known != checkpoint {
                    referee.disagrees(*model, Round(number(step)), node.account);
                    break;
                }
            }
        }
    }

    /// The newest checkpoint of a run.
    fn last_checkpoint(&self, model: ModelId) -> Option<Hash> {
        let rounds = self.closed.range((model, Round(0))..=(model, Round(u32::MAX)));
        rounds.last().map(|(_, checkpoint)| *checkpoint)
    }

    /// The settlement of an epoch is final.
    pub(super) fn take(
        &mut self,
        env: &Env,
        (training, market, referee): (&Training, &Market, &Referee),
        epoch: Epoch,
        outcome: &Outcome,
    ) {
        if !env.scenario.training.is_on() {
            return;
        }
        let is_forged = |record: &Digest| referee.work().is_forged(record) == Some(true);
        for zero in outcome.zeros.iter().filter(|zero| zero.source == Source::Shards) {
            self.forged += u64::from(is_forged(&zero.record));
            let index = env.population.index_of(zero.account);
            let is_honest = index.is_some_and(|at| !env.population.node(at).kind.is_adverse());
            let is_unpaid = is_honest && zero.reason != Unpaid::DoneBefore;
            self.honest_unpaid += u64::from(is_unpaid && !is_forged(&zero.record));
            match zero.reason {
                Unpaid::NotAudited => self.late += 1,
                Unpaid::DoneBefore => {}
                _ => self.rejected += 1,
            }
        }
        let dealers = dealers(env);
        let mut split = 0;
        for line in &outcome.lines {
            if line.source == Source::Shards {
                let is_forged = u64::from(is_forged(&line.record));
                self.paid += 1;
                self.forged += is_forged;
                self.forged_paid += is_forged;
                let part = referee.work().shard(&line.record).map(|shard| shard.part);
                let own = part.filter(|part| training.is_own(env, part.model));
                if let Some(part) = own.filter(|_| dealers.contains(&line.account)) {
                    let price = env.view().price_of(part).unwrap_or_default();
                    self.ordered.0 += line.amount.0;
                    self.ordered.1 += price.0;
                }
            }
            if market.is_dealt(&line.record) && dealers.contains(&line.account) {
                self.dealt += line.amount.0;
            }
            if market.data().is_paid_by(line) {
                self.adverse_data += line.amount.0;
            }
            if referee.work().is_of_output(line) && line.source != Source::Serving {
                split += line.amount.0;
                *self.fees.entry(line.source).or_default() += line.amount.0;
            }
        }
        // The rest of what outputs account for is the servers'; what they have beyond it is for attributing.
        let redeemed = env.view().redemptions(epoch);
        let redeemed: u128 = redeemed.map(|item| item.to.0.saturating_sub(item.from.0)).sum();
        let waited = std::mem::replace(&mut self.waiting, referee.work().waiting());
        self.redeemed = (self.redeemed + redeemed + waited).saturating_sub(self.waiting);
        let serving = referee.work().accounted().saturating_sub(split);
        *self.fees.entry(Source::Serving).or_default() += serving;
    }

    /// Fees of all epochs that are settled, in OPEN.
    pub(super) fn fees(&self) -> f64 {
        open(Amount(self.redeemed))
    }

    /// Whether self-dealers got more than they paid; a unit for each use may be lost to rounding.
    pub(super) fn deals_pay(&self, env: &Env, market: &Market) -> bool {
        let rounded = market.dealings() as u128;
        self.dealt > dealt_fees(env).0 + rounded
    }

    /// Whether coalitions got more for the parts of runs that they ordered than these cost them.
    pub(super) const fn orders_pay(&self) -> bool {
        self.ordered.0 > self.ordered.1
    }

    /// What coalitions got for work on their own runs less all that they paid for them, in OPEN.
    fn ordering_profit(&self, env: &Env, training: &Training) -> Option<f64> {
        env.population.coalitions().facts().find(|facts| facts.orders_for_itself)?;
        let own = env.view().models().filter(|(_, model)| training.is_own(env, model.id));
        let paid = own.fold(Amount::ZERO, |sum, (_, model)| sum.saturating_add(model.escrow));
        Some(open(Amount(self.ordered.0)) - open(paid))
    }

    /// The key figures of work on models.
    pub(super) fn figures(
        &self,
        env: &Env,
        (training, market, store): (&Training, &Market, &Store),
    ) -> Vec<Kpi> {
        let share = |part: u64, whole: u64| (whole > 0).then(|| real(part) / real(whole));
        let is_on = env.scenario.training.is_on();
        let count = |of: usize| is_on.then_some(real(of as u64));
        let claims = self.paid + self.rejected + self.late;
        let detected: Vec<_> = self.detected.values().map(|micros| real(*micros) / 1e6).collect();
        let mean = detected.iter().sum::<f64>() / real(detected.len() as u64);
        let losses = training.losses(store, |model| self.last_checkpoint(model));
        let mut kpis = vec![
            Kpi::new("shards_verified", is_on.then_some(real(self.paid))),
            Kpi::new("shards_rejected", share(self.rejected, claims)),
            Kpi::new("shards_late", share(self.late, claims)),
            Kpi::new(
                "honest_shards_unpaid",
                share(self.honest_unpaid, claims.saturating_sub(self.forged)),
            ),
            Kpi::new("forged_paid", share(self.forged_paid, self.forged)),
            Kpi::new("forged_detection_time", (!detected.is_empty()).then_some(mean)),
            Kpi::new("cost_per_shard", self.cost_per_shard(env, training)),
            Kpi::new("rounds_closed", count(self.closed.len())),
            Kpi::new("models_ready", count(self.ready.len())),
            Kpi::new("loss_before", losses.map(|(before, _)| before)),
            Kpi::new("loss_after", losses.map(|(_, after)| after)),
        ];
        let counts = market.counts();
        let asked = counts.served + counts.refused + counts.unserved;
        kpis.push(Kpi::new("requests_served", share(counts.served, asked)));
        let mut times = market.latencies().to_vec();
        times.sort_unstable();
        for (name, percent) in [("inference_p50", 50), ("inference_p95", 95), ("inference_p99", 99)]
        {
            let place = (times.len() * percent / 100).min(times.len().saturating_sub(1));
            kpis.push(Kpi::new(name, times.get(place).map(|micros| real(*micros) / 1e6)));
        }
        kpis.extend(self.fee_figures(env, training, market));
        kpis
    }

    /// Who got the fees, in OPEN.
    #[expect(clippy::cast_precision_loss, reason = "figures for people")]
    fn fee_figures(&self, env: &Env, training: &Training, market: &Market) -> [Kpi; 11] {
        let has_fees = env.scenario.inference.is_on();
        let part = |of: &[Source]| {
            let sum = of.iter().filter_map(|source| self.fees.get(source)).sum();
            has_fees.then(|| open(Amount(sum)))
        };
        let paid = self.fees.get(&Source::Attribution).copied().unwrap_or(0);
        let run = training.runs().first();
        let data = run.and_then(|model| market.data().share_of(env, *model));
        let gained = data.filter(|_| paid > 0).map(|_| self.adverse_data as f64 / paid as f64);
        let dealt = dealt_run(env).map(|_| open(Amount(self.dealt)) - open(dealt_fees(env)));
        [
            Kpi::new("fees_redeemed", has_fees.then(|| open(Amount(self.redeemed)))),
            Kpi::new("fees_contributors", part(&[Source::Attribution])),
            Kpi::new("fees_developers", part(&[Source::Model])),
            Kpi::new("fees_stakers", part(&[Source::Stake])),
            Kpi::new("fees_nodes", part(&[Source::Serving, Source::Storage])),
            Kpi::new("fees_treasury", part(&[Source::Treasury])),
            Kpi::new("adverse_data", data),
            Kpi::new("adverse_attribution", gained),
            Kpi::new("self_dealing_profit", dealt),
            Kpi::new("self_ordering_profit", self.ordering_profit(env, training)),
            Kpi::new("fees_unpaid", has_fees.then(|| open(market.unpaid(env, |_| true)))),
        ]
    }

    /// What the power of all shards and replays cost, per shard that was paid.
    fn cost_per_shard(&self, env: &Env, training: &Training) -> Option<f64> {
        let watt = |device| data::shipped("power-gpu", device);
        let (gpu, cpu) = (watt("gpu"), watt("cpu"));
        let joules = |(node, micros): (&u32, &u64)| {
            let power = if has_gpu(env, *node as usize) { gpu } else { cpu };
            real(*micros) / 1e6 * power
        };
        let joules: f64 = training.worked().iter().map(joules).sum();
        let usd = joules / 3.6e6 * env.scenario.economics.electricity;
        (self.paid > 0).then(|| usd / real(self.paid))
    }
}

/// Accounts of self-dealing adversaries: their nodes', and their developer's.
fn dealers(env: &Env) -> BTreeSet<AccountId> {
    let Some((coalition, run)) = dealt_run(env) else { return BTreeSet::new() };
    let owner = developer(run);
    let accounts = env.view().accounts();
    let mut dealers: BTreeSet<_> =
        accounts.filter(|(_, account)| account.owner == owner).map(|(id, _)| id).collect();
    let dealer = env.population.coalitions().get(coalition);
    let members = dealer.map_or(&[][..], |dealer| &dealer.members);
    dealers.extend(members.iter().map(|member| env.population.node(*member as usize).account));
    dealers
}
