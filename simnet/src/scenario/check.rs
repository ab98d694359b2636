//! Whether a scenario is possible.

use protocol::{
    Blocks,
    limits::{MAX_GENERATED_TOKENS, MAX_PAYLOAD_BYTES, MAX_PROMPT_BYTES},
    params::Schedule,
};

use super::{AdversaryPlan, Scenario, ScenarioError, UnderlayKind};
use crate::{adversary::DISPUTE_GRIEFING, data, units::Span};

const MAX_NODES: u64 = 4_000_000;
const MAX_PACKS: u64 = 100_000;
const MAX_EPOCHS: u64 = 10_000;
const MAX_BLOCKS: u64 = 1 << 20;
const MAX_DELAY: Span = Span::hours(1);
const MAX_ROUNDS: u64 = 10_000;
const MAX_MODELS: u64 = 16;
const MAX_CONSUMERS: u64 = 10_000;
/// A day, in microseconds.
const MAX_WORK: u64 = 86_400_000_000;
const MAX_CONFIRMATIONS: u64 = 1_024;
/// Virtual time that a run may take: a century, which is far from what 64 bits hold.
const MAX_TIME: Span = Span::hours(24 * 365 * 100);

type Checked = Result<(), ScenarioError>;

impl Scenario {
    /// Checks that the scenario is possible.
    ///
    /// # Errors
    /// [`ScenarioError`] naming the first thing that is not.
    pub fn check(&self) -> Checked {
        self.check_counts()?;
        self.check_bounds()?;
        self.check_shares()?;
        self.check_sizes()?;
        self.check_windows()?;
        self.check_time()?;
        self.check_evening()?;
        self.check_work()?;
        self.check_parts()
    }

    fn check_counts(&self) -> Checked {
        let counts = [
            ("population.nodes", u64::from(self.population.nodes)),
            ("epochs", self.epochs),
            ("holding.replicas", u64::from(self.holding.replicas)),
            ("holding.auditors", u64::from(self.holding.auditors)),
            ("holding.opened_cells", u64::from(self.holding.opened_cells)),
            ("workload.packs", u64::from(self.workload.packs)),
            ("workload.contributors", u64::from(self.workload.contributors)),
            ("workload.pack_min", self.workload.pack_min.0),
            ("net.pull", self.net.pull.0),
            ("quantum", self.quantum.0),
            ("chain.block", self.chain.block.0),
            ("chain.commit_blocks", self.chain.commit_blocks),
            ("chain.settle_blocks", self.chain.settle_blocks),
            ("chain.challenge_blocks", self.chain.challenge_blocks),
            ("chain.reorg_limit", self.chain.reorg_limit),
        ];
        if let Some((name, _)) = counts.into_iter().find(|(_, value)| *value == 0) {
            return Err(ScenarioError::Zero(name));
        }
        let positive = [
            ("net.down_mbit", self.net.down_mbit),
            ("net.up_mbit", self.net.up_mbit),
            ("net.relay_mbit", self.net.relay_mbit),
            ("net.flood", self.net.flood.into()),
            ("economics.disk_years", self.economics.disk_years),
            ("economics.hardware_years", self.economics.hardware_years),
            ("churn.shape", self.churn.shape),
            ("training.cpu_slowdown", self.training.cpu_slowdown),
            ("training.escrow", self.training.escrow),
            ("inference.fee", self.inference.fee),
            ("inference.deposit", self.inference.deposit),
        ];
        if let Some((name, value)) =
            positive.into_iter().find(|(_, value)| !value.is_finite() || *value <= 0.0)
        {
            return Err(ScenarioError::NotPositive { name, value });
        }
        if self.chain.reorg_depth.is_nan() || self.chain.reorg_depth < 1.0 {
            let (name, value) = ("chain.reorg_depth", self.chain.reorg_depth);
            return Err(ScenarioError::BelowOne { name, value });
        }
        Ok(())
    }

    fn check_bounds(&self) -> Checked {
        let mut bounded = vec![
            ("chain.reorg_depth", self.chain.reorg_depth),
            ("chain.inclusion_blocks", self.chain.inclusion_blocks),
            ("net.spread", self.net.spread),
            ("training.spread", self.training.spread),
            ("economics.watt", self.economics.watt),
            ("economics.electricity", self.economics.electricity),
            ("economics.upload", self.economics.upload),
            ("economics.disk", self.economics.disk),
            ("economics.hardware", self.economics.hardware),
            ("training.sketch", self.training.sketch),
            ("training.cpu_slowdown", self.training.cpu_slowdown),
            ("training.escrow", self.training.escrow),
            ("inference.per_hour", self.inference.per_hour),
            ("inference.fee", self.inference.fee),
            ("inference.deposit", self.inference.deposit),
            ("inference.attribution", self.inference.attribution),
        ];
        bounded
            .extend(self.population.regions.values().map(|share| ("population.regions", *share)));
        let demand = self.inference.series.iter();
        bounded.extend(demand.map(|point| ("inference.series", point.factor)));
        let prices = self.economics.price.iter();
        bounded.extend(prices.map(|point| ("economics.price", point.usd)));
        bounded.extend(self.events.iter().map(|event| ("event.factor", event.factor)));
        bounded.extend(self.adversaries.iter().map(|plan| ("adversary.strength", plan.strength)));
        match bounded.into_iter().find(|(_, value)| !(0.0..=1e6).contains(value)) {
            Some((name, value)) => Err(ScenarioError::OutOfRange { name, value }),
            None => Ok(()),
        }
    }

    fn check_shares(&self) -> Checked {
        let mut shares = vec![
            ("net.loss", self.net.loss),
            ("net.jitter", self.net.jitter),
            ("net.nat", self.net.nat),
            ("net.symmetric", self.net.symmetric),
            ("net.punched", self.net.punched),
            ("population.offline", self.population.offline),
            ("churn.share", self.churn.share),
            ("economics.rejoin", self.economics.rejoin),
            ("churn.diurnal", self.churn.diurnal),
            ("churn.evening", self.churn.evening),
            ("training.gpus", self.training.gpus),
            ("inference.diurnal", self.inference.diurnal),
            ("inference.servers", self.inference.servers),
            ("chain.reorg", self.chain.reorg),
        ];
        shares.extend(self.adversaries.iter().map(|plan| ("adversary.share", plan.share)));
        shares.extend(self.adversaries.iter().map(|plan| ("adversary.victims", plan.victims)));
        shares.extend(self.adversaries.iter().map(|plan| ("adversary.changed", plan.changed)));
        shares.extend(self.events.iter().map(|event| ("event.share", event.share)));
        for (name, value) in shares {
            if !(0.0..=1.0).contains(&value) {
                return Err(ScenarioError::NotAShare { name, value });
            }
        }
        if self.net.loss >= 1.0 {
            return Err(ScenarioError::TotalLoss);
        }
        let faulty = self.population.offline + self.adverse();
        if faulty >= 1.0 { Err(ScenarioError::NobodyHonest(faulty)) } else { Ok(()) }
    }

    fn check_sizes(&self) -> Checked {
        let limits = [
            ("population.nodes", u64::from(self.population.nodes), MAX_NODES),
            ("workload.packs", u64::from(self.workload.packs), MAX_PACKS),
            ("workload.pack_max", self.workload.pack_max.0, self.params().holding.max_pack),
            ("epochs", self.epochs, MAX_EPOCHS),
            ("chain.epoch_blocks", self.chain.epoch_blocks, MAX_BLOCKS),
            ("chain.commit_blocks", self.chain.commit_blocks, MAX_BLOCKS),
            ("chain.settle_blocks", self.chain.settle_blocks, MAX_BLOCKS),
            ("chain.challenge_blocks", self.chain.challenge_blocks, MAX_BLOCKS),
            ("chain.arbiter_blocks", self.chain.arbiter_blocks, MAX_BLOCKS),
            ("chain.claim_epochs", self.chain.claim_epochs, MAX_EPOCHS),
            ("chain.confirmations", self.chain.confirmations.into(), MAX_CONFIRMATIONS),
            ("chain.reorg_limit", self.chain.reorg_limit, MAX_CONFIRMATIONS),
        ];
        for (name, value, limit) in limits {
            if value > limit {
                return Err(ScenarioError::TooLarge { name, value, limit });
            }
        }
        let work = &self.workload;
        if work.pack_min > work.pack_max {
            let (min, max) = (work.pack_min.0, work.pack_max.0);
            return Err(ScenarioError::PackSizes { min, max });
        }
        if work.contributors > work.packs {
            let (contributors, packs) = (work.contributors, work.packs);
            return Err(ScenarioError::TooManyContributors { contributors, packs });
        }
        let (nodes, replicas) = (self.population.nodes, self.holding.replicas);
        if replicas > nodes {
            return Err(ScenarioError::TooFewNodes { nodes, replicas });
        }
        Ok(())
    }

    /// Times are 64 bits of microseconds; what is multiplied must not be cut off.
    fn check_time(&self) -> Checked {
        let limited = [
            ("net.latency", self.net.latency, MAX_DELAY),
            ("chain.block", self.chain.block, MAX_DELAY),
            // A block is mined at a time of its own.
            ("quantum", self.quantum, self.chain.block),
        ];
        let spans = [
            ("net.pull", self.net.pull),
            ("churn.session", self.churn.session),
            ("churn.pause", self.churn.pause),
        ];
        let events = self.events.iter();
        let spans = spans.into_iter();
        let spans = spans.chain(events.clone().map(|event| ("event.at", event.at)));
        let spans = spans.chain(events.map(|event| ("event.for", event.lasts)));
        let spans = spans.chain(self.adversaries.iter().map(|plan| ("adversary.from", plan.from)));
        let spans = spans.map(|(name, span)| (name, span, MAX_TIME));
        let mut all = limited.into_iter().chain(spans);
        if let Some((name, value, limit)) = all.find(|(_, span, limit)| span > limit) {
            return Err(ScenarioError::TooLate { name, value, limit });
        }
        let epochs = self.epochs.saturating_add(super::WARM_UP_EPOCHS + 3);
        let lasts = Span(self.epoch_span().0.saturating_mul(epochs));
        if lasts > MAX_TIME {
            return Err(ScenarioError::TooLong { lasts, limit: MAX_TIME });
        }
        Ok(())
    }

    fn check_evening(&self) -> Checked {
        let (from, until) = (self.churn.evening_from, self.churn.evening_until);
        if from >= until || until > Span::hours(24) {
            return Err(ScenarioError::Evening { from, until });
        }
        Ok(())
    }

    fn check_windows(&self) -> Checked {
        let params = self.params();
        let epoch_blocks = self.chain.epoch_blocks;
        // What happens in a block is read when its confirmations are above it.
        let late = u64::from(self.chain.confirmations) + 4;
        let proving = self.chain.commit_blocks + params.holding.audit_blocks.0 + late;
        let settling = self.chain.settle_blocks + self.chain.challenge_blocks + late;
        let needed = proving.max(settling);
        if epoch_blocks < needed {
            return Err(ScenarioError::EpochTooShort { epoch_blocks, needed });
        }
        // Elsewhere one dispute in thousands is about what an honest node holds, and a warning is enough.
        let mut kinds = self.adversaries.iter().flat_map(AdversaryPlan::kinds);
        match self.hurry() {
            Some(error) if kinds.any(|kind| kind == DISPUTE_GRIEFING) => Err(error),
            _ => Ok(()),
        }
    }

    /// Why honest nodes could not answer disputes in time, where `chain.settle_blocks` are too few for the
    /// delays of the scenario: a warning, and an error where somebody disputes what they hold.
    pub fn hurry(&self) -> Option<ScenarioError> {
        let (settle_blocks, needed) = (self.chain.settle_blocks, self.least_settle_blocks());
        let one_way = self.longest_way();
        (settle_blocks < needed).then_some(ScenarioError::NoTimeToAnswer {
            settle_blocks,
            one_way,
            needed,
        })
    }

    /// The least `chain.settle_blocks` with which honest nodes answer disputes in time. Of other underlays
    /// than `uniform` the ways are not known here.
    pub fn least_settle_blocks(&self) -> u64 {
        let chain = &self.chain;
        let blocks = f64::from(chain.confirmations) + chain.inclusion_blocks;
        let ways = self.longest_way().0.saturating_mul(2).div_ceil(chain.block.0.max(1));
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "some blocks")]
        let waits = blocks.ceil() as u64;
        Schedule::least_settle_blocks(Blocks(ways.saturating_add(waits))).0
    }

    /// The longest way between a node and the chain.
    fn longest_way(&self) -> Span {
        #[expect(clippy::cast_precision_loss, reason = "some seconds")]
        let longest = self.net.latency.0 as f64 * (1.0 + self.net.jitter);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "some hours")]
        let longest = Span(longest as u64);
        match self.net.underlay {
            UnderlayKind::Uniform => longest,
            _ => Span::ZERO,
        }
    }

    fn check_work(&self) -> Checked {
        if !self.training.is_on() {
            if self.inference.is_on() {
                return Err(ScenarioError::NoModel { name: "inference.per_hour" });
            }
            if self.training.real_compute {
                return Err(ScenarioError::NoModel { name: "training.real_compute" });
            }
            let mut kinds = self.adversaries.iter().flat_map(AdversaryPlan::kinds);
            return match kinds.find(|kind| kind.needs_model()) {
                Some(kind) => Err(ScenarioError::NoModel { name: kind.name() }),
                None => Ok(()),
            };
        }
        for (name, value, limit) in self.work_limits() {
            if value == 0 {
                return Err(ScenarioError::Zero(name));
            }
            if value > limit {
                return Err(ScenarioError::TooLarge { name, value, limit });
            }
        }
        let most = data::shipped("copies-recognised", "measured-to");
        let changed = self.adversaries.iter().map(|plan| plan.changed);
        if let Some(value) = changed.into_iter().find(|changed| *changed > most) {
            return Err(ScenarioError::Unmeasured { name: "adversary.changed", value, most });
        }
        let models = self.training.models;
        match self.inference.models.iter().find(|number| **number >= models) {
            Some(number) => Err(ScenarioError::UnknownModel { number: *number, models }),
            None => Ok(()),
        }
    }

    fn work_limits(&self) -> [(&'static str, u64, u64); 16] {
        let (training, inference) = (&self.training, &self.inference);
        let payload = MAX_PAYLOAD_BYTES as u64;
        [
            ("training.rounds", training.rounds.into(), MAX_ROUNDS),
            ("training.models", training.models.into(), MAX_MODELS),
            ("training.units", training.units.into(), 1 << 20),
            ("training.shard", training.shard.0, MAX_WORK),
            ("training.payload", training.payload.0, payload),
            ("training.sketches", training.sketches.0, payload),
            ("training.checkpoint", training.checkpoint.0, 1 << 30),
            ("training.auditors", training.auditors.into(), MAX_NODES),
            ("training.min_shards", training.min_shards.into(), MAX_NODES),
            ("training.round_blocks", training.round_blocks, MAX_BLOCKS),
            ("inference.consumers", inference.consumers.into(), MAX_CONSUMERS),
            ("inference.tokens_in", inference.tokens_in.into(), MAX_PROMPT_BYTES as u64),
            ("inference.tokens_out", inference.tokens_out.into(), MAX_GENERATED_TOKENS.into()),
            ("inference.token", inference.token.0, MAX_WORK),
            ("inference.transcript", inference.transcript.0, 1 << 30),
            ("training.fallback_blocks", training.fallback_blocks, MAX_BLOCKS),
        ]
    }

    /// Parts of the network that the scenario needs and that do not exist yet.
    fn check_parts(&self) -> Checked {
        if self.training.real_compute && !cfg!(feature = "real-compute") {
            return Err(ScenarioError::WithoutRealCompute);
        }
        if self.chain.reorg > 0.0 && (self.training.is_on() || self.inference.is_on()) {
            let part = "taking back orders and receipts of replaced blocks";
            return Err(ScenarioError::NotYet { name: "chain.reorg with training", part });
        }
        for kind in self.adversaries.iter().flat_map(AdversaryPlan::kinds) {
            if let Some(part) = kind.needs() {
                return Err(ScenarioError::NotYet { name: kind.name(), part });
            }
        }
        Ok(())
    }
}
