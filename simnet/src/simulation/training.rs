//! Training as a cost model: what a shard gives follows from its inputs, so that who does the work
//! gets the same as who repeats it and who makes something up does not; how long it takes follows
//! from the node's device, which does one thing at a time.
//!
//! A blob stands for its bytes: it holds 32 of them, and transfers take as long as the scenario says.

use std::collections::{BTreeMap, BTreeSet};

use protocol::{
    AccountId, Epoch, EvmAddress, Hash, ModelId, Round,
    chain::{ChainEvent, Model, Transaction},
    codec::Wire as _,
    hash::{blake3, keccak},
    node::{Done, Failure, Job},
    record::{Body, Kind, ShardBody, VerifiedRecord},
    training::{ReplayReport, RunConfig},
};

use super::{Answer, Simulation, World, number};
use crate::{
    Scenario,
    chain::named_address,
    kernel::{Purpose, normal},
};

/// What a replay says of a shard that is what it claims.
const SAME: ReplayReport = ReplayReport { overlap: 1_000_000, cosine: 1_000_000, norm: 1_000_000 };
/// … of one that was trained on other data: 128 steps of a small network gave this.
const OTHER: ReplayReport = ReplayReport { overlap: 40_000, cosine: 198_000, norm: 1_000_000 };
/// Time to add one payload to a checkpoint.
const STEP_MICROS: u64 = 20_000;

/// What is known of the work of all nodes.
#[derive(Debug, Default)]
pub(super) struct Workshop {
    is_ordered: bool,
    /// Who ordered which run, in the order of their numbers.
    pub(super) runs: Vec<ModelId>,
    /// Until when a node's device is busy, and in which session that is.
    busy: BTreeMap<u32, (u32, u64)>,
    /// Time that devices worked on shards and replays, in microseconds, by node.
    pub(super) trained: BTreeMap<u32, u64>,
    prepared: BTreeSet<(u32, ModelId)>,
    /// Which payloads an account really computed.
    did: BTreeSet<(AccountId, Hash)>,
    /// Records of training and of attribution, in the order in which they were made.
    records: Vec<u32>,
}

impl Workshop {
    /// Whether an account computed a payload.
    pub(super) fn has_done(&self, account: AccountId, payload: &Hash) -> bool {
        self.did.contains(&(account, *payload))
    }
}

/// The inputs of a shard.
#[derive(Debug, Clone, Copy)]
struct Inputs<'a> {
    model: ModelId,
    round: Round,
    slot: u32,
    base: Hash,
    units: &'a [u32],
    seed: u64,
}

impl Inputs<'_> {
    /// What stands for the update.
    fn payload(&self) -> Vec<u8> {
        let mut bytes = b"payload".to_vec();
        self.model.encode(&mut bytes);
        self.round.encode(&mut bytes);
        self.slot.encode(&mut bytes);
        self.base.encode(&mut bytes);
        self.units.iter().for_each(|unit| unit.encode(&mut bytes));
        self.seed.encode(&mut bytes);
        keccak(&[&bytes]).to_bytes()
    }
}

/// The address of the developer who orders a run.
pub(super) fn developer(run: u32) -> EvmAddress {
    named_address(b"developer", run)
}

impl Scenario {
    /// The configuration of a run, as its developer puts it on chain.
    fn run_config(&self, run: u32) -> RunConfig {
        RunConfig {
            preset: 0,
            tokenizer: blake3(b"tokenizer"),
            tokenizer_length: 1,
            seed: u64::from(run),
            rounds: self.training.rounds,
            units_per_shard: self.training.units,
            steps: 8,
            batch: 4,
            context: 64,
            warmup: 1,
            learning_rate: 1_000_000,
            final_rate: 100_000,
            top_k: 64,
            alpha: 1_000_000,
        }
    }
}

impl Simulation {
    /// What model developers do at a block.
    pub(super) fn develop(&mut self, events: &[ChainEvent]) {
        if !self.scenario.training.is_on() {
            return;
        }
        if !self.workshop.is_ordered && self.now.0 >= self.scenario.training.at.0 {
            self.workshop.is_ordered = true;
            for run in 0..self.scenario.training.models {
                self.order(run);
            }
        }
        for event in events {
            if let ChainEvent::ModelCreated(model) = event {
                self.workshop.runs.push(model.id);
            }
        }
        self.offer(events);
    }

    /// Keeps a record; those of training for good, since who comes back reads a run from its start.
    pub(super) fn remember(&mut self, record: VerifiedRecord, author: u32) -> u32 {
        let is_training = match &record.record().body {
            Body::Shard(_) | Body::RoundClose(_) => Some(true),
            Body::Audit(audit) if audit.judged == Kind::ShardResult.tag() => Some(true),
            Body::Audit(audit) if audit.judged == Kind::StorageProof.tag() => None,
            Body::Audit(_) | Body::Attribution(_) => Some(false),
            Body::StorageCommit(_) | Body::StorageProof(_) => None,
        };
        let number = self.records.add(record, author);
        if let Some(is_training) = is_training {
            self.workshop.records.push(number);
            if is_training {
                self.records.pin(number);
            }
        }
        number
    }

    /// Some records of the epochs from `first` on, and those of work on models: of training all.
    pub(super) fn with_work(&self, mut records: Vec<u32>, first: Epoch) -> Vec<u32> {
        if !self.workshop.records.is_empty() {
            let is_wanted = |number: &u32| {
                self.records.get(*number).is_some_and(|entry| {
                    let made = entry.record.record();
                    made.epoch >= first || !matches!(made.body, Body::Attribution(_))
                })
            };
            records.extend(self.workshop.records.iter().filter(|number| is_wanted(number)));
            records.sort_unstable();
            records.dedup();
        }
        records
    }

    /// The payload of another node's shard that a node has heard of.
    fn shard_of_another(
        &self,
        index: usize,
        is_wanted: impl Fn(&ShardBody) -> bool,
    ) -> Option<(Hash, u32)> {
        let heard = self.workshop.records.iter().filter(|record| self.has_record(index, **record));
        let entries = heard.filter_map(|record| self.records.get(*record));
        let others = entries.filter(|entry| entry.author != number(index));
        others.into_iter().find_map(|entry| match &entry.record.record().body {
            Body::Shard(body) if is_wanted(body) => Some((body.payload, body.length)),
            _ => None,
        })
    }

    fn order(&mut self, run: u32) {
        let owner = developer(run);
        let account = self.chain.view().accounts().find(|(_, account)| account.owner == owner);
        let Some((developer, _)) = account else { return };
        let model = Model {
            id: ModelId(0),
            developer,
            datanet: protocol::DatanetId(1),
            config: self.scenario.run_config(run).to_bytes(),
        };
        self.chain.submit(owner, &Transaction::CreateModel(model));
    }

    /// How many times slower a node's device is than the reference GPU.
    pub(super) fn slowness(&self, index: usize) -> f64 {
        let (me, training) = (u64::from(number(index)), &self.scenario.training);
        let word = |which| self.draws.word(Purpose::Compute, me, which);
        let spread = (training.spread * normal(word(1), word(2))).exp();
        if self.has_gpu(index) { spread } else { spread * training.cpu_slowdown }
    }

    pub(super) fn has_gpu(&self, index: usize) -> bool {
        let me = number(index).into();
        self.draws.share(Purpose::Compute, me, 0) < self.scenario.training.gpus
    }

    /// Time until a node's device has done something that takes the reference GPU so long, when
    /// what it needs is there after `fetched`; both in microseconds.
    pub(super) fn occupy(&mut self, index: usize, fetched: u64, reference: f64) -> u64 {
        let micros = self.device_time(index, reference);
        let (me, session) = (number(index), self.nodes[index].session);
        let ready = self.now.after(fetched).0;
        let busy = self.workshop.busy.get(&me).filter(|(of, _)| *of == session);
        let start = busy.map_or(ready, |(_, until)| ready.max(*until));
        let end = start.saturating_add(micros);
        self.workshop.busy.insert(me, (session, end));
        end.saturating_sub(self.now.0)
    }

    /// The same for a shard or its replay.
    fn train(&mut self, index: usize, fetched: u64, is_sketch: bool) -> u64 {
        let reference = self.cost(is_sketch);
        *self.workshop.trained.entry(number(index)).or_default() +=
            self.device_time(index, reference);
        self.occupy(index, fetched, reference)
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a time of at most some days, and casts saturate"
    )]
    fn device_time(&self, index: usize, reference: f64) -> u64 {
        (reference * self.slowness(index)) as u64
    }

    /// Work on models.
    pub(super) fn work(&mut self, index: usize, job: Job) -> Answer {
        let done = match job {
            Job::Prepare { model } => self.prepare(index, model),
            Job::Compute { model, round, slot, base, units, seed, is_sketch } => {
                let inputs = Inputs { model, round, slot, base, units: &units, seed };
                self.compute(index, &inputs, is_sketch)
            }
            Job::Replay { shard, units, seed, is_sketch, .. } => {
                self.repeat(index, &shard, &units, seed, is_sketch)
            }
            Job::Aggregate { base, payloads, expected, .. } => {
                self.aggregate(index, base, &payloads, expected)
            }
            Job::Infer { request, model } => self.infer(index, request, model),
            Job::AuditAttribution { record } => self.audit_attribution(index, &record),
            _ => None,
        };
        done.unwrap_or_else(|| Answer::unavailable(0))
    }

    /// Fetches the data that a run reads; everybody makes the same first checkpoint from it.
    fn prepare(&mut self, index: usize, model: ModelId) -> Option<Answer> {
        let me = number(index);
        let (ordered, order) = self.chain.view().model(model)?;
        let snapshot = self.chain.view().snapshot(order.datanet, *ordered);
        let packs: Vec<_> = snapshot.iter().flat_map(|part| part.packs.iter().copied()).collect();
        let mut taken = 0;
        if self.workshop.prepared.insert((me, model)) {
            for (pack, length) in packs {
                match self.transfer(index, &pack, length) {
                    Some(micros) => taken = taken.max(micros),
                    None => {
                        self.workshop.prepared.remove(&(me, model));
                        return None;
                    }
                }
            }
        }
        let first = keccak(&[b"initial", &model.0.to_be_bytes()]).to_bytes();
        let first = self.blobs.put(me, first).ok()?;
        Some(Answer::after(taken, Done::Prepared(first)))
    }

    fn base(&mut self, index: usize, base: &Hash) -> Option<u64> {
        self.transfer(index, base, self.scenario.training.checkpoint.0)
    }

    #[expect(clippy::cast_precision_loss, reason = "a time of at most a day")]
    fn cost(&self, is_sketch: bool) -> f64 {
        let training = &self.scenario.training;
        training.shard.0 as f64 * if is_sketch { training.sketch } else { 1.0 }
    }

    fn compute(&mut self, index: usize, inputs: &Inputs<'_>, is_sketch: bool) -> Option<Answer> {
        let fetched = self.base(index, &inputs.base)?;
        let taken = self.train(index, fetched, is_sketch);
        let payload = self.blobs.put(number(index), inputs.payload()).ok()?;
        let account = self.nodes[index].account;
        self.workshop.did.insert((account, payload));
        Some(self.finished(taken, inputs, payload, is_sketch))
    }

    /// A shard as its worker claims it.
    fn finished(&self, taken: u64, inputs: &Inputs<'_>, payload: Hash, is_sketch: bool) -> Answer {
        let Inputs { model, round, slot, base, .. } = *inputs;
        let training = &self.scenario.training;
        let bytes = if is_sketch { training.sketches.0 } else { training.payload.0 };
        let length = u32::try_from(bytes).expect("a payload that was checked is small");
        let (loss_first, loss_last, tokens) = (9_000_000, 8_000_000, 2_048);
        let body =
            ShardBody { model, round, slot, base, payload, length, loss_first, loss_last, tokens };
        Answer::after(taken, Done::Computed(body))
    }

    fn repeat(
        &mut self,
        index: usize,
        shard: &ShardBody,
        units: &[u32],
        seed: u64,
        is_sketch: bool,
    ) -> Option<Answer> {
        let ShardBody { model, round, slot, base, payload, .. } = *shard;
        let claimed = self.transfer(index, &payload, shard.length.into())?;
        let fetched = self.base(index, &base)?.max(claimed);
        let taken = self.train(index, fetched, is_sketch);
        let inputs = Inputs { model, round, slot, base, units, seed };
        let is_same = blake3(&inputs.payload()) == payload;
        let done = Done::Replayed(if is_same { SAME } else { OTHER });
        Some(Answer { taken, done, gains: Some(payload) })
    }

    fn aggregate(
        &mut self,
        index: usize,
        base: Hash,
        payloads: &[(Hash, u32)],
        expected: Option<Hash>,
    ) -> Option<Answer> {
        let me = number(index);
        if let Some(known) = expected.filter(|known| self.blobs.has(me, known)) {
            return Some(Answer::after(0, Done::Aggregated(known)));
        }
        let mut fetched = self.base(index, &base)?;
        let mut bytes = base.to_bytes();
        for (payload, length) in payloads {
            fetched = fetched.max(self.transfer(index, payload, (*length).into())?);
            payload.encode(&mut bytes);
        }
        let taken = fetched.saturating_add(STEP_MICROS.saturating_mul(payloads.len() as u64));
        let next = self.blobs.put(me, keccak(&[&bytes]).to_bytes()).ok()?;
        Some(Answer::after(taken, Done::Aggregated(next)))
    }
}

impl World<'_> {
    /// A shard that nobody computed, at once.
    pub fn forged(&mut self, node: usize, job: &Job) -> Option<Answer> {
        let Job::Compute { model, round, slot, base, units, seed, is_sketch } = job else {
            return None;
        };
        let inputs =
            Inputs { model: *model, round: *round, slot: *slot, base: *base, units, seed: *seed };
        let account = self.account(node).0.to_be_bytes();
        let made_up = keccak(&[b"forged", &account, &inputs.payload()]).to_bytes();
        let payload = self.0.blobs.put(number(node), made_up).ok()?;
        Some(self.0.finished(0, &inputs, payload, *is_sketch))
    }

    /// The shard of another node in the same round, as one's own; one who is first waits.
    pub fn copied(&mut self, node: usize, job: &Job) -> Option<Answer> {
        let Job::Compute { model, round, slot, base, units, seed, is_sketch } = job else {
            return None;
        };
        let of_round = |body: &ShardBody| body.model == *model && body.round == *round;
        let Some((payload, length)) = self.0.shard_of_another(node, of_round) else {
            let block = self.block_span().0;
            return Some(Answer::after(block, Done::Failed(Failure::Unavailable)));
        };
        let taken = self.0.transfer(node, &payload, length.into())?;
        let inputs =
            Inputs { model: *model, round: *round, slot: *slot, base: *base, units, seed: *seed };
        let answer = self.0.finished(taken, &inputs, payload, *is_sketch);
        Some(Answer { gains: Some(payload), ..answer })
    }
}
