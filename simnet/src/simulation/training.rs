//! Training: the jobs of workers, auditors and leaders. What they give is the backend's; how long
//! they take follows from the node's device, which does one thing at a time, and from its lines.

use std::collections::{BTreeMap, BTreeSet};

use protocol::{
    AccountId, Amount, BlobRef, DatanetId, EvmAddress, Hash, ModelId,
    chain::{ChainEvent, Model, Transaction},
    codec::Wire as _,
    node::{Done, Failure, Job},
    record::ShardBody,
    training::ShardTask,
};

use super::{
    Answer,
    backend::{Backend, Disk, Inputs, Made},
    env::Env,
    gossip::Gossip,
    number,
    store::Store,
};
use crate::{
    chain::named_address,
    kernel::{Purpose, normal, real, whole},
};

/// Time to add one payload to a checkpoint.
const STEP_MICROS: u64 = 20_000;

/// The devices of all nodes, and what they did.
pub(super) struct Training {
    backend: Box<dyn Backend>,
    is_ordered: bool,
    /// The runs, in the order in which they were ordered.
    runs: Vec<ModelId>,
    /// Those that a coalition ordered beside them, to work on them itself.
    own: Vec<ModelId>,
    /// Until when a node's device is busy, and in which session that is.
    busy: BTreeMap<u32, (u32, u64)>,
    /// Time that devices worked on shards and replays, in microseconds, by node.
    trained: BTreeMap<u32, u64>,
    prepared: BTreeSet<(u32, ModelId)>,
    /// Which payloads an account really computed.
    did: BTreeSet<(AccountId, Hash)>,
}

/// The address of the developer who orders a run.
pub(super) fn developer(run: u32) -> EvmAddress {
    named_address(b"developer", run)
}

/// The coalition that orders and uses a run for itself, if there is such, and the run: the last.
pub(super) fn dealt_run(env: &Env) -> Option<(usize, u32)> {
    let coalition = env.population.coalitions().facts().position(|facts| facts.owns_last_run)?;
    Some((coalition, env.scenario.training.models - 1))
}

/// How many times as long as the reference GPU a node's device takes.
pub(super) fn slowness(env: &Env, index: usize) -> f64 {
    let (me, training) = (u64::from(number(index)), &env.scenario.training);
    let word = |which| env.draws.word(Purpose::Compute, me, which);
    let spread = (training.spread * normal(word(1), word(2))).exp();
    if has_gpu(env, index) { spread } else { spread * training.cpu_slowdown }
}

/// Whether a node's device is a GPU.
pub(super) fn has_gpu(env: &Env, index: usize) -> bool {
    let me = number(index).into();
    env.draws.share(Purpose::Compute, me, 0) < env.scenario.training.gpus
}

/// Microseconds that a node's device takes for what takes the reference GPU so many.
fn device_time(env: &Env, index: usize, reference: f64) -> u64 {
    whole(reference * slowness(env, index))
}

/// Microseconds that the reference GPU takes for a shard or for sketches.
fn cost(env: &Env, task: ShardTask) -> f64 {
    let training = &env.scenario.training;
    let part = match task {
        ShardTask::Train => 1.0,
        ShardTask::Sketch => training.sketch,
    };
    real(training.shard.0) * part
}

/// Where a job on models is done: the node, its surroundings, and the blobs.
pub(super) struct Site<'a> {
    pub(super) env: &'a mut Env,
    pub(super) store: &'a mut Store,
    pub(super) index: usize,
}

impl Site<'_> {
    /// Microseconds until a blob is at the node; `None` when it does not come.
    pub(super) fn fetch(&mut self, blob: &Hash, bytes: u64) -> Option<u64> {
        self.store.transfer(self.env, self.index, blob, bytes)
    }

    fn disk(&mut self) -> Disk<'_> {
        Disk { blobs: self.store.blobs_mut(), node: number(self.index) }
    }

    fn has(&self, blob: &Hash) -> bool {
        self.store.has(self.index, blob)
    }
}

impl Training {
    pub(super) fn new(backend: Box<dyn Backend>) -> Self {
        Self {
            backend,
            is_ordered: false,
            runs: Vec::new(),
            own: Vec::new(),
            busy: BTreeMap::new(),
            trained: BTreeMap::new(),
            prepared: BTreeSet::new(),
            did: BTreeSet::new(),
        }
    }

    /// The runs, in the order in which they were ordered.
    pub(super) fn runs(&self) -> &[ModelId] {
        &self.runs
    }

    /// Whether a run is one that a coalition ordered for itself.
    pub(super) fn is_own(&self, env: &Env, model: ModelId) -> bool {
        let last = dealt_run(env).and_then(|(_, run)| self.runs.get(run as usize));
        self.own.contains(&model) || last == Some(&model)
    }

    /// Time that devices worked on shards and replays, in microseconds, by node.
    pub(super) const fn worked(&self) -> &BTreeMap<u32, u64> {
        &self.trained
    }

    /// Whether an account computed a payload.
    pub(super) fn has_done(&self, account: AccountId, payload: &Hash) -> bool {
        self.did.contains(&(account, *payload))
    }

    /// What model developers do at a block: they order their runs, once.
    pub(super) fn develop(&mut self, env: &mut Env, events: &[ChainEvent]) {
        if !self.is_ordered && env.now().0 >= env.scenario.training.at.0 {
            self.is_ordered = true;
            for run in 0..env.scenario.training.models {
                let escrow = env.scenario.training.paid();
                self.order(env, run, escrow);
            }
        }
        for event in events {
            let ChainEvent::ModelCreated(model) = event else { continue };
            let is_developers = self.runs.len() < env.scenario.training.models as usize;
            let list = if is_developers { &mut self.runs } else { &mut self.own };
            list.push(model.id);
        }
    }

    /// A coalition orders one more run, for as little as one may cost whose rounds have all slots.
    pub(super) fn order_own(&self, env: &mut Env) {
        // Its first run is ordered with all others.
        let Some((_, run)) = dealt_run(env).filter(|_| !self.runs.is_empty()) else { return };
        let view = env.view();
        let config = self.backend.order(run, &env.scenario.training).to_bytes();
        let cost = view.cost_now(DatanetId(1), &config, view.slots_now());
        if let Ok(cost) = cost {
            self.order(env, run, cost);
        }
    }

    fn order(&self, env: &mut Env, run: u32, escrow: Amount) {
        let owner = developer(run);
        let account = env.view().accounts().find(|(_, account)| account.owner == owner);
        let Some((developer, _)) = account else { return };
        let model = Model {
            id: ModelId(0),
            developer,
            datanet: DatanetId(1),
            escrow,
            config: self.backend.order(run, &env.scenario.training).to_bytes(),
        };
        let chain = env.ledger.chain_mut();
        chain.fund(owner, escrow);
        chain.submit(owner, &Transaction::CreateModel(model));
    }

    /// Time until a node's device has done something that takes the reference GPU so long, when
    /// what it needs is there after `fetched`; all in microseconds.
    pub(super) fn occupy(&mut self, env: &Env, index: usize, fetched: u64, reference: f64) -> u64 {
        let micros = device_time(env, index, reference);
        let (me, session) = (number(index), env.population.node(index).session);
        let ready = env.now().after(fetched).0;
        // A process that restarted has dropped what its device did.
        let busy = self.busy.get(&me).filter(|(of, _)| *of == session);
        let start = busy.map_or(ready, |(_, until)| ready.max(*until));
        let end = start.saturating_add(micros);
        self.busy.insert(me, (session, end));
        end.saturating_sub(env.now().0)
    }

    /// The same for a shard or its replay.
    fn train(&mut self, env: &Env, index: usize, fetched: u64, task: ShardTask) -> u64 {
        let reference = cost(env, task);
        *self.trained.entry(number(index)).or_default() += device_time(env, index, reference);
        self.occupy(env, index, fetched, reference)
    }

    /// Answers a job of training; `None` where what it needs is not to be had.
    pub(super) fn answer(&mut self, site: &mut Site<'_>, job: Job) -> Option<Answer> {
        match job {
            Job::Prepare { model } => self.prepare(site, model),
            Job::Compute { model, round, slot, base, units, seed, task } => {
                let units = &units;
                self.compute(site, &Inputs { model, round, slot, base, units, seed, task })
            }
            Job::Replay { shard, units, seed, task, .. } => {
                let ShardBody { model, round, slot, base, .. } = shard;
                let units = &units;
                let inputs = Inputs { model, round, slot, base, units, seed, task };
                self.repeat(site, &inputs, &shard)
            }
            Job::Aggregate { model, base, payloads, expected, .. } => {
                self.aggregate(site, (model, base), &payloads, expected)
            }
            _ => None,
        }
    }

    /// Fetches the data that a run reads; everybody makes the same first checkpoint from it.
    fn prepare(&mut self, site: &mut Site<'_>, model: ModelId) -> Option<Answer> {
        let me = number(site.index);
        let view = site.env.view();
        let (_, order) = view.model(model)?;
        let data = view.run_data(model);
        let packs: Vec<_> = data.iter().flat_map(|part| part.packs.iter().copied()).collect();
        let (order, mut taken) = (order.config.clone(), 0);
        // The data of a run is fetched once, and again where that failed.
        if self.prepared.insert((me, model)) {
            for BlobRef { hash: pack, length } in packs {
                match site.fetch(&pack, length) {
                    Some(micros) => taken = taken.max(micros),
                    None => {
                        self.prepared.remove(&(me, model));
                        return None;
                    }
                }
            }
        }
        let first = self.backend.prepare(site.disk(), model, &order);
        Some(Answer::after(taken, first.map_or_else(Done::Failed, Done::Prepared)))
    }

    fn fetch_base(&self, site: &mut Site<'_>, base: &Hash) -> Option<u64> {
        site.fetch(base, self.backend.checkpoint_bytes())
    }

    fn compute(&mut self, site: &mut Site<'_>, inputs: &Inputs<'_>) -> Option<Answer> {
        let fetched = self.fetch_base(site, &inputs.base)?;
        let taken = self.train(site.env, site.index, fetched, inputs.task);
        let made = match self.backend.compute(site.disk(), inputs) {
            Ok(made) => made,
            Err(failure) => return Some(Answer::after(taken, Done::Failed(failure))),
        };
        let account = site.env.population.node(site.index).account;
        self.did.insert((account, made.payload));
        Some(Answer::after(taken, Done::Computed(made.claim(inputs))))
    }

    fn repeat(
        &mut self,
        site: &mut Site<'_>,
        inputs: &Inputs<'_>,
        shard: &ShardBody,
    ) -> Option<Answer> {
        let claimed = site.fetch(&shard.payload, shard.length.into())?;
        let fetched = self.fetch_base(site, &inputs.base)?.max(claimed);
        let taken = self.train(site.env, site.index, fetched, inputs.task);
        let report = self.backend.replay(site.disk(), inputs, shard.payload);
        let done = report.map_or_else(Done::Failed, Done::Replayed);
        Some(Answer { gains: Some(shard.payload), ..Answer::after(taken, done) })
    }

    fn aggregate(
        &mut self,
        site: &mut Site<'_>,
        (model, base): (ModelId, Hash),
        payloads: &[BlobRef],
        expected: Option<Hash>,
    ) -> Option<Answer> {
        if let Some(known) = expected.filter(|known| site.has(known)) {
            return Some(Answer::after(0, Done::Aggregated(known)));
        }
        let mut fetched = self.fetch_base(site, &base)?;
        for BlobRef { hash, length } in payloads {
            fetched = fetched.max(site.fetch(hash, *length)?);
        }
        let taken = fetched.saturating_add(STEP_MICROS.saturating_mul(payloads.len() as u64));
        let payloads: Vec<_> = payloads.iter().map(|payload| payload.hash).collect();
        let next = self.backend.step(site.disk(), model, base, &payloads);
        Some(Answer::after(taken, next.map_or_else(Done::Failed, Done::Aggregated)))
    }

    /// A shard that nobody computed, at once.
    pub(super) fn forged(&mut self, site: &mut Site<'_>, job: &Job) -> Option<Answer> {
        let inputs = inputs(job)?;
        let account = site.env.population.node(site.index).account;
        let made = self.backend.forge(site.disk(), &inputs, account).ok()?;
        Some(Answer::after(0, Done::Computed(made.claim(&inputs))))
    }

    /// Mean losses of the first run before and after it was trained, in nats per token, where the real
    /// model is.
    pub(super) fn losses(
        &self,
        store: &Store,
        last: impl Fn(ModelId) -> Option<Hash>,
    ) -> Option<(f64, f64)> {
        let model = *self.runs.first()?;
        self.backend.losses(store.blobs(), model, last(model)?)
    }
}

/// The shard of another node in the same round, as one's own; one who is first waits a block.
pub(super) fn copied(site: &mut Site<'_>, gossip: &Gossip, job: &Job) -> Option<Answer> {
    let inputs = inputs(job)?;
    let of_round = |body: &ShardBody| body.model == inputs.model && body.round == inputs.round;
    let Some(shard) = gossip.shard_of_another(site.env, site.index, of_round) else {
        let block = site.env.scenario.chain.block.0;
        return Some(Answer::after(block, Done::Failed(Failure::Unavailable)));
    };
    let taken = site.fetch(&shard.payload, shard.length.into())?;
    let done = Done::Computed(Made::of(&shard).claim(&inputs));
    Some(Answer { gains: Some(shard.payload), ..Answer::after(taken, done) })
}

/// The inputs of a shard that a job asks for.
fn inputs(job: &Job) -> Option<Inputs<'_>> {
    let Job::Compute { model, round, slot, base, units, seed, task } = job else {
        return None;
    };
    let (model, round, slot, base) = (*model, *round, *slot, *base);
    Some(Inputs { model, round, slot, base, units, seed: *seed, task: *task })
}
