//! Does what the machine asks for: every [`Job`] has its arm here.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result, bail};
use compute::formats::Base;
use compute::serve::{Attributor, MAX_TRANSCRIPT_BYTES, PublishedUse};
use futures::future::BoxFuture;
use protocol::chain::ChainView;
use protocol::codec::Wire;
use protocol::limits::MAX_PAYLOAD_BYTES;
use protocol::node::{Done, Failure, Job};
use protocol::ranges::Ranges;
use protocol::record::{AttributionBody, Body, ShardBody, Verdict, VerifiedRecord};
use protocol::rules::follows_transcript;
use protocol::training::ShardTask;
use protocol::{BlobRef, Digest, Hash, ModelId, NodeId};

use super::blobs::Blobs;
use super::chain::Sender;
use super::compute_thread::ComputeThread;
use super::failures::{failed, not_served};
use super::generating::Generating;
use super::holding::Prover;
use super::jobs::Jobs;
use super::marks::Marks;
use super::pool::Pool;
use super::requests::Requests;
use super::run_data::{self, RunData};
use super::settlement::Settler;
use super::speaker::{Language, Speaker};
use super::steps::{Step, Steps};
use crate::bases::Bases;

/// Longest checkpoint, in bytes.
const MAX_CHECKPOINT_BYTES: u64 = 1 << 30;

/// What jobs work with; clones share everything.
#[derive(Debug, Clone)]
pub(crate) struct Worker {
    pub(crate) blobs: Blobs,
    pub(crate) pool: Pool,
    pub(crate) prover: Prover,
    pub(crate) settler: Settler,
    pub(crate) thread: ComputeThread,
    pub(crate) sender: Sender,
    pub(crate) requests: Requests,
    pub(crate) marks: Marks,
    pub(crate) bases: Bases,
    steps: Steps,
    shared: Arc<Mutex<Shared>>,
}

#[derive(Debug, Default)]
struct Shared {
    runs: BTreeMap<ModelId, Arc<RunData>>,
    /// Bases that this node serves, as it has read them.
    bases: BTreeMap<ModelId, Arc<Base>>,
    /// Checkpoint and sketch blobs by model, once its run is ready.
    sketches: BTreeMap<ModelId, (Hash, Vec<BlobRef>)>,
    shards_done: u64,
}

impl Jobs for Worker {
    fn perform(&self, chain: Arc<ChainView>, job: Job) -> BoxFuture<'_, Done> {
        Box::pin(self.do_job(chain, job))
    }
}

impl Worker {
    pub(crate) fn new(
        blobs: Blobs,
        pool: Pool,
        prover: Prover,
        thread: ComputeThread,
        sender: Sender,
        bases: Bases,
    ) -> Self {
        let settler = Settler::new(blobs.clone());
        let marks = Marks::new(blobs.shared_store());
        let steps = Steps::new(blobs.shared_store());
        let (requests, shared) = (Requests::default(), Arc::default());
        Self { blobs, pool, prover, settler, thread, sender, requests, marks, steps, bases, shared }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Shards that this node finished.
    pub(crate) fn shards_done(&self) -> u64 {
        self.lock().shards_done
    }

    /// The data of a run that was prepared here.
    pub(crate) fn run_data(&self, model: ModelId) -> Option<Arc<RunData>> {
        self.lock().runs.get(&model).cloned()
    }

    /// The run is ready to be served.
    pub(crate) fn set_ready(&self, model: ModelId, checkpoint: Hash, sketches: Vec<BlobRef>) {
        self.lock().sketches.insert(model, (checkpoint, sketches));
    }

    /// Forgets what was derived from blocks that were replaced: the ids in it may name something else
    /// now. Whoever waits for an answer is told that there is none.
    pub(crate) fn forget(&self, left: &ChainView) {
        let mut shared = self.lock();
        shared.runs.clear();
        shared.bases.clear();
        shared.sketches.clear();
        drop(shared);
        self.settler.forget(left);
        self.requests.refuse_all();
    }

    /// Does one job.
    async fn do_job(&self, chain: Arc<ChainView>, job: Job) -> Done {
        // Should the process end during the job, the next one knows of which run it was.
        let _under_way = self.marks.begin(&job);
        let outcome = match job {
            Job::Fetch(blob) => self.blobs.take(blob).await.map(|()| Done::Fetched),
            Job::Commit { account, packs, s1 } => Ok(self.prover.commit(account, &packs, s1).await),
            Job::Open { account, packs, commit, s1, s2 } => {
                Ok(self.prover.open(account, &packs, &commit, (s1, s2)).await)
            }
            Job::OpenCell { account, packs, commit, s1, cell } => {
                Ok(self.prover.open_cell(account, &packs, &commit, (s1, cell)).await)
            }
            Job::LookAgain { commit, proof, from } => {
                Ok(self.prover.look_again(&chain, &commit, &proof, &from).await)
            }
            Job::AuditStorage { proof } => Ok(self.prover.audit(&chain, &self.pool, &proof).await),
            Job::Prepare { model } => self.prepare(&chain, model).await,
            Job::Compute { .. } => self.compute(job).await,
            Job::Replay { shard, units, seed, task, from } => {
                self.replay(shard, units, seed, task, &from).await
            }
            Job::Aggregate { model, base, payloads, from, expected: _ } => {
                self.aggregate(model, base, &payloads, &from).await
            }
            Job::Infer { request, model } => self.infer(&chain, request, model).await,
            Job::AuditAttribution { record } => self.audit_attribution(&chain, &record).await,
            Job::Settle { epoch } => Ok(self.settler.settle(&chain, epoch).await),
            Job::Refute { settlement } => Ok(self.settler.refute(&chain, &settlement).await),
            Job::Verify { settlement } => Ok(self.settler.check(&chain, &settlement).await),
            Job::Claim { epoch, account } => {
                let claim = self.settler.claim(&chain, epoch, account).await;
                claim.map(|transaction| {
                    transaction.into_iter().for_each(|claim| self.sender.submit(claim));
                    Done::Claimed
                })
            }
        };
        outcome.unwrap_or_else(Done::Failed)
    }

    fn run(&self, model: ModelId) -> Result<Arc<RunData>, Failure> {
        self.run_data(model).ok_or(Failure::Unavailable)
    }

    async fn prepare(&self, chain: &Arc<ChainView>, model: ModelId) -> Result<Done, Failure> {
        let run = Arc::new(run_data::load(chain, &self.blobs, model).await?);
        let of_run = Arc::clone(&run);
        let bytes =
            self.thread.run(move |_| Ok(of_run.initial().map_err(failed)?.to_bytes())).await?;
        let checkpoint = self.blobs.put(bytes).await?;
        self.lock().runs.insert(model, run);
        Ok(Done::Prepared(checkpoint))
    }

    async fn compute(&self, job: Job) -> Result<Done, Failure> {
        let Job::Compute { model, round, slot, base, units, seed, task } = job else {
            return Err(Failure::Invalid);
        };
        let run = self.run(model)?;
        let bytes = self.blobs.obtain(base, MAX_CHECKPOINT_BYTES, &[]).await?;
        let shard = self
            .thread
            .run(move |state| {
                let engine = &state.engine;
                let shard = match task {
                    ShardTask::Train => run.train(engine, &bytes, round, (&units, seed)),
                    ShardTask::Sketch => {
                        run.weights(&bytes).and_then(|base| run.capture(engine, &base, &units))
                    }
                };
                shard.map_err(failed)
            })
            .await?;
        let length = u32::try_from(shard.payload.len()).map_err(|_| Failure::Local)?;
        let payload = self.blobs.put(shard.payload).await?;
        self.lock().shards_done += 1;
        Ok(Done::Computed(ShardBody {
            model,
            round,
            slot,
            base,
            payload,
            length,
            loss_first: shard.loss_first,
            loss_last: shard.loss_last,
            tokens: shard.tokens,
        }))
    }

    async fn replay(
        &self,
        shard: ShardBody,
        units: Vec<u32>,
        seed: u64,
        task: ShardTask,
        from: &[NodeId],
    ) -> Result<Done, Failure> {
        let run = self.run(shard.model)?;
        let limit = u64::from(shard.length);
        if usize::try_from(limit).is_ok_and(|length| length > MAX_PAYLOAD_BYTES) {
            return Err(Failure::Invalid);
        }
        let claimed = self.blobs.obtain(shard.payload, limit, from).await?;
        let base = self.blobs.obtain(shard.base, MAX_CHECKPOINT_BYTES, from).await?;
        // Drawn here and told nobody: a worker must not know which of its sketches are looked at.
        let mut secret = [0u8; 32];
        getrandom::fill(&mut secret).map_err(|_| Failure::Local)?;
        let report = self
            .thread
            .run(move |state| {
                let engine = &state.engine;
                let report = match task {
                    ShardTask::Train => run
                        .train(engine, &base, shard.round, (&units, seed))
                        .and_then(|own| run.compare(&claimed, &own.payload)),
                    ShardTask::Sketch => run.weights(&base).and_then(|base| {
                        run.audit_capture(engine, &base, &units, &claimed, &Digest(secret))
                    }),
                };
                report.map_err(failed)
            })
            .await?;
        Ok(Done::Replayed(report))
    }

    async fn aggregate(
        &self,
        model: ModelId,
        base: Hash,
        payloads: &[BlobRef],
        from: &[NodeId],
    ) -> Result<Done, Failure> {
        let run = self.run(model)?;
        let step = Step::new(&run.config, base, payloads);
        if let Some(known) = self.steps.result(&step) {
            return Ok(Done::Aggregated(known));
        }
        let base = self.blobs.obtain(base, MAX_CHECKPOINT_BYTES, from).await?;
        let mut updates = Vec::with_capacity(payloads.len());
        for BlobRef { hash, length } in payloads {
            updates.push(self.blobs.obtain(*hash, *length, from).await?);
        }
        // Integers, which need no device and so do not wait for one.
        let next = tokio::task::spawn_blocking(move || run.aggregate(&base, &updates));
        let next = next.await.map_err(|_| Failure::Local)?.map_err(failed)?;
        let next = self.blobs.put(next.to_bytes()).await?;
        self.steps.note(&step, next);
        Ok(Done::Aggregated(next))
    }

    /// Has the model with its evidence loaded on the computing thread.
    pub(crate) async fn load(&self, model: ModelId) -> Result<Hash, Failure> {
        let run = self.run(model)?;
        let ready = self.lock().sketches.get(&model).cloned();
        let (checkpoint, parts) = ready.ok_or(Failure::Unavailable)?;
        let bytes = self.blobs.obtain(checkpoint, MAX_CHECKPOINT_BYTES, &[]).await?;
        let mut sketches = Vec::with_capacity(parts.len());
        for BlobRef { hash, length } in parts {
            sketches.push(self.blobs.obtain(hash, length, &[]).await?);
        }
        self.thread
            .run(move |state| {
                if state.speakers.contains_key(&(model, checkpoint)) {
                    return Ok(());
                }
                let weights = run.weights(&bytes).map_err(failed)?;
                let loaded = Attributor::load(&state.engine, run, &weights, &sketches);
                let loaded = Speaker::Model(Box::new(loaded.map_err(not_served)?));
                state.speakers.insert((model, checkpoint), loaded);
                Ok(())
            })
            .await?;
        Ok(checkpoint)
    }

    /// How texts become tokens of a model; of a base that was not asked yet once it is read from the disk.
    pub(crate) async fn language(&self, chain: &ChainView, model: ModelId) -> Result<Language> {
        if let Some(run) = self.run_data(model) {
            return Ok(Language::Run(run));
        }
        let Some(registered) = chain.base(model) else {
            bail!("this node has not fetched the data of model {model} yet; try again later");
        };
        if let Some(known) = self.lock().bases.get(&model) {
            return Ok(Language::Base(Arc::clone(known)));
        }
        let (bases, hash) = (self.bases.clone(), registered.base.checkpoint.hash);
        let read = move || bases.load(&bases.find(&hash.to_string())?.card);
        let base = tokio::task::spawn_blocking(read).await?;
        let base = Arc::new(base.context("this node serves a base that it does not have")?);
        self.lock().bases.insert(model, Arc::clone(&base));
        Ok(Language::Base(base))
    }

    /// Has a base loaded on the computing thread.
    async fn load_base(&self, model: ModelId, base: Arc<Base>) -> Result<Hash, Failure> {
        let checkpoint = base.checkpoint().hash();
        self.thread
            .run(move |state| {
                let key = (model, checkpoint);
                if !state.speakers.contains_key(&key) {
                    state.speakers.insert(key, Speaker::base(&state.engine, base)?);
                }
                Ok(checkpoint)
            })
            .await
    }

    async fn infer(
        &self,
        chain: &ChainView,
        request: u64,
        model: ModelId,
    ) -> Result<Done, Failure> {
        let question = self.requests.begin(request).ok_or(Failure::Unavailable)?;
        let checkpoint = match self.language(chain, model).await {
            Ok(Language::Base(base)) => self.load_base(model, base).await?,
            Ok(Language::Run(_)) => self.load(model).await?,
            Err(_) => return Err(Failure::Unavailable),
        };
        let generating = Generating { thread: &self.thread, key: (model, checkpoint) };
        let ask = question.asked.ask.clone();
        let (receipt, generation) = generating.run(question).await?;
        let (transcript, answer) = self
            .thread
            .run(move |state| state.speaker(&(model, checkpoint))?.finish(generation))
            .await?;
        // Stored before the record names it: its auditors will ask for it.
        let published = PublishedUse { ask, transcript };
        let bytes = published.to_bytes();
        let transcript = published.transcript;
        let length = u32::try_from(bytes.len()).map_err(|_| Failure::Local)?;
        let body = AttributionBody {
            model,
            checkpoint,
            // The machine puts the newest in its place.
            receipt,
            ranges: Ranges::default(),
            transcript: self.blobs.put(bytes).await?,
            length,
            tokens_in: u32::try_from(transcript.prompt.len()).map_err(|_| Failure::Local)?,
            tokens_out: u32::try_from(transcript.output.len()).map_err(|_| Failure::Local)?,
            lambda: answer.lambda_ppm,
            shares: transcript.shares,
        };
        self.requests.computed(request, answer);
        Ok(Done::Inferred(body))
    }

    async fn audit_attribution(
        &self,
        chain: &ChainView,
        record: &Arc<VerifiedRecord>,
    ) -> Result<Done, Failure> {
        let Body::Attribution(body) = &record.record().body else {
            return Err(Failure::Invalid);
        };
        let (body, limits) = (body.clone(), chain.params().attribution);
        if u64::from(body.length) > MAX_TRANSCRIPT_BYTES {
            return Err(Failure::Invalid);
        }
        let checkpoint = self.load(body.model).await?;
        // An answer of another checkpoint than the one that the run closed on is not the model's.
        if checkpoint != body.checkpoint {
            return Ok(Done::Judged(Verdict::Fail));
        }
        let bytes = self.blobs.obtain(body.transcript, u64::from(body.length), &[]).await?;
        let published = PublishedUse::from_bytes(&bytes).map_err(|_| Failure::Invalid)?;
        let language = self.language(chain, body.model).await.map_err(|_| Failure::Unavailable)?;
        let is_confirmed = self
            .thread
            .run(move |state| {
                let PublishedUse { ask, transcript } = &published;
                let (prompt, output) = (transcript.prompt.len(), transcript.output.len());
                let is_read =
                    language.encode(&ask.prompt).is_ok_and(|ids| ids == transcript.prompt);
                if !is_read
                    || !published.is_as_asked()
                    || !follows_transcript(&body, ask, &transcript.shares, prompt, output)
                {
                    return Ok(false);
                }
                let repeated = state.attributor(&(body.model, checkpoint))?.repeat(transcript);
                Ok(repeated.map_err(not_served)?.accepts(&limits))
            })
            .await?;
        Ok(Done::Judged(if is_confirmed { Verdict::Pass } else { Verdict::Fail }))
    }
}
