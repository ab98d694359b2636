//! Training: the jobs of workers, auditors and leaders. What they give is the backend's; how long
//! they take follows from the node's device, which does one thing at a time, and from its lines.

use std::collections::{BTreeMap, BTreeSet};

use protocol::{
    AccountId, BlobRef, Epoch, EvmAddress, Hash, ModelId,
    chain::{ChainEvent, Model, Transaction},
    codec::Wire as _,
    node::{Done, Failure, Job},
    record::{Body, Finding, ShardBody, VerifiedRecord},
    training::ShardTask,
};

use super::{
    Answer, Simulation, World,
    backend::{Backend, Disk, Inputs, Made},
    number,
};
use crate::{
    chain::named_address,
    kernel::{Purpose, normal},
};

/// Time to add one payload to a checkpoint.
const STEP_MICROS: u64 = 20_000;

/// What is known of the work of all nodes.
pub(super) struct Workshop {
    pub(super) backend: Box<dyn Backend>,
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
    pub(super) fn new(backend: Box<dyn Backend>) -> Self {
        Self {
            backend,
            is_ordered: false,
            runs: Vec::new(),
            busy: BTreeMap::new(),
            trained: BTreeMap::new(),
            prepared: BTreeSet::new(),
            did: BTreeSet::new(),
            records: Vec::new(),
        }
    }

    /// Whether an account computed a payload.
    pub(super) fn has_done(&self, account: AccountId, payload: &Hash) -> bool {
        self.did.contains(&(account, *payload))
    }
}

/// The address of the developer who orders a run.
pub(super) fn developer(run: u32) -> EvmAddress {
    named_address(b"developer", run)
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
            Body::Audit(audit) => match audit.finding {
                Finding::Shard { .. } => Some(true),
                Finding::Attribution { .. } => Some(false),
                Finding::Storage { .. } | Finding::StorageMissing => None,
            },
            Body::Attribution(_) => Some(false),
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

    /// Another node's shard that a node has heard of.
    fn shard_of_another(
        &self,
        index: usize,
        is_wanted: impl Fn(&ShardBody) -> bool,
    ) -> Option<ShardBody> {
        let heard = self.workshop.records.iter().filter(|record| self.has_record(index, **record));
        let entries = heard.filter_map(|record| self.records.get(*record));
        let others = entries.filter(|entry| entry.author != number(index));
        others.into_iter().find_map(|entry| match &entry.record.record().body {
            Body::Shard(body) if is_wanted(body) => Some(body.clone()),
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
            config: self.workshop.backend.order(run, &self.scenario.training).to_bytes(),
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
    fn train(&mut self, index: usize, fetched: u64, task: ShardTask) -> u64 {
        let reference = self.cost(task);
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
            Job::Compute { model, round, slot, base, units, seed, task } => {
                let units = &units;
                self.compute(index, &Inputs { model, round, slot, base, units, seed, task })
            }
            Job::Replay { shard, units, seed, task, .. } => {
                let ShardBody { model, round, slot, base, .. } = shard;
                let units = &units;
                let inputs = Inputs { model, round, slot, base, units, seed, task };
                self.repeat(index, &inputs, &shard)
            }
            Job::Aggregate { model, base, payloads, expected, .. } => {
                self.aggregate(index, (model, base), &payloads, expected)
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
        let (order, mut taken) = (order.config.clone(), 0);
        if self.workshop.prepared.insert((me, model)) {
            for BlobRef { hash: pack, length } in packs {
                match self.transfer(index, &pack, length) {
                    Some(micros) => taken = taken.max(micros),
                    None => {
                        self.workshop.prepared.remove(&(me, model));
                        return None;
                    }
                }
            }
        }
        let (backend, disk) = self.bench(index);
        let first = backend.prepare(disk, model, &order);
        Some(Answer::after(taken, first.map_or_else(Done::Failed, Done::Prepared)))
    }

    fn base(&mut self, index: usize, base: &Hash) -> Option<u64> {
        let bytes = self.workshop.backend.checkpoint_bytes();
        self.transfer(index, base, bytes)
    }

    /// What computes for a node, and its blobs.
    fn bench(&mut self, index: usize) -> (&mut dyn Backend, Disk<'_>) {
        let disk = Disk { blobs: &mut self.blobs, node: number(index) };
        (&mut *self.workshop.backend, disk)
    }

    #[expect(clippy::cast_precision_loss, reason = "a time of at most a day")]
    fn cost(&self, task: ShardTask) -> f64 {
        let training = &self.scenario.training;
        let part = match task {
            ShardTask::Train => 1.0,
            ShardTask::Sketch => training.sketch,
        };
        training.shard.0 as f64 * part
    }

    fn compute(&mut self, index: usize, inputs: &Inputs<'_>) -> Option<Answer> {
        let fetched = self.base(index, &inputs.base)?;
        let taken = self.train(index, fetched, inputs.task);
        let (backend, disk) = self.bench(index);
        let made = match backend.compute(disk, inputs) {
            Ok(made) => made,
            Err(failure) => return Some(Answer::after(taken, Done::Failed(failure))),
        };
        let account = self.nodes[index].account;
        self.workshop.did.insert((account, made.payload));
        Some(Answer::after(taken, Done::Computed(made.claim(inputs))))
    }

    fn repeat(&mut self, index: usize, inputs: &Inputs<'_>, shard: &ShardBody) -> Option<Answer> {
        let claimed = self.transfer(index, &shard.payload, shard.length.into())?;
        let fetched = self.base(index, &inputs.base)?.max(claimed);
        let taken = self.train(index, fetched, inputs.task);
        let (backend, disk) = self.bench(index);
        let report = backend.replay(disk, inputs, shard.payload);
        let done = report.map_or_else(Done::Failed, Done::Replayed);
        Some(Answer { taken, done, gains: Some(shard.payload) })
    }

    fn aggregate(
        &mut self,
        index: usize,
        (model, base): (ModelId, Hash),
        payloads: &[BlobRef],
        expected: Option<Hash>,
    ) -> Option<Answer> {
        if let Some(known) = expected.filter(|known| self.blobs.has(number(index), known)) {
            return Some(Answer::after(0, Done::Aggregated(known)));
        }
        let mut fetched = self.base(index, &base)?;
        for BlobRef { hash, length } in payloads {
            fetched = fetched.max(self.transfer(index, hash, *length)?);
        }
        let taken = fetched.saturating_add(STEP_MICROS.saturating_mul(payloads.len() as u64));
        let payloads: Vec<_> = payloads.iter().map(|payload| payload.hash).collect();
        let (backend, disk) = self.bench(index);
        let next = backend.step(disk, model, base, &payloads);
        Some(Answer::after(taken, next.map_or_else(Done::Failed, Done::Aggregated)))
    }

    /// Mean losses of the first run before and after it was trained, in nats per token, where the real
    /// model is.
    pub(super) fn losses(&self) -> Option<(f64, f64)> {
        let model = *self.workshop.runs.first()?;
        self.workshop.backend.losses(&self.blobs, model, self.last_checkpoint(model)?)
    }
}

/// The inputs of a shard that a job asks for.
fn inputs(job: &Job) -> Option<Inputs<'_>> {
    let Job::Compute { model, round, slot, base, units, seed, task } = job else {
        return None;
    };
    let (model, round, slot, base) = (*model, *round, *slot, *base);
    Some(Inputs { model, round, slot, base, units, seed: *seed, task: *task })
}

impl World<'_> {
    /// A shard that nobody computed, at once.
    pub fn forged(&mut self, node: usize, job: &Job) -> Option<Answer> {
        let inputs = inputs(job)?;
        let account = self.account(node);
        let (backend, disk) = self.0.bench(node);
        let made = backend.forge(disk, &inputs, account).ok()?;
        Some(Answer::after(0, Done::Computed(made.claim(&inputs))))
    }

    /// The shard of another node in the same round, as one's own; one who is first waits.
    pub fn copied(&mut self, node: usize, job: &Job) -> Option<Answer> {
        let inputs = inputs(job)?;
        let of_round = |body: &ShardBody| body.model == inputs.model && body.round == inputs.round;
        let Some(shard) = self.0.shard_of_another(node, of_round) else {
            let block = self.block_span().0;
            return Some(Answer::after(block, Done::Failed(Failure::Unavailable)));
        };
        let taken = self.0.transfer(node, &shard.payload, shard.length.into())?;
        let done = Done::Computed(Made::of(&shard).claim(&inputs));
        Some(Answer { taken, done, gains: Some(shard.payload) })
    }
}
