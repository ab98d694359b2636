//! The one thread that computes: shards, replays, outer steps, answers, attributions.
//!
//! Device memory and models live here and nowhere else; jobs come as closures through a bounded
//! queue, so that a slow device never blocks the node's loop.

use std::collections::BTreeMap;
use std::sync::Arc;

use compute::checkpoint::Checkpoint;
use compute::engine::Engine;
use compute::outer;
use compute::preset::run_hyper;
use compute::shard::{self, ShardInput};
use compute::update::{Payload, compare};
use protocol::node::Failure;
use protocol::training::ReplayReport;
use protocol::{Hash, ModelId, Round};
use tokio::sync::{mpsc, oneshot};

use super::attributor::Attributor;
use super::run_data::RunData;

/// Jobs that wait for the device.
const QUEUE: usize = 256;

type Task = Box<dyn FnOnce(&mut Bench) + Send>;

/// What the computing thread keeps.
pub(crate) struct Bench {
    pub(crate) engine: Engine,
    pub(crate) attributors: BTreeMap<(ModelId, Hash), Attributor>,
}

/// Sends jobs to the computing thread.
#[derive(Debug, Clone)]
pub(crate) struct BenchHandle {
    tasks: mpsc::Sender<Task>,
    device: Arc<str>,
    refused: Option<Arc<str>>,
}

/// A finished shard, before it is a record.
#[derive(Debug)]
pub(crate) struct Shard {
    pub(crate) payload: Vec<u8>,
    pub(crate) loss_first: u32,
    pub(crate) loss_last: u32,
    pub(crate) tokens: u32,
}

impl BenchHandle {
    /// Starts the thread on a device that was opened and has passed its self-test.
    pub(crate) fn start(engine: Engine) -> std::io::Result<Self> {
        let (tasks, mut queue) = mpsc::channel::<Task>(QUEUE);
        let device: Arc<str> = engine.name().into();
        let refused = engine.refused().map(|refusal| Arc::from(format!("{refusal:?}")));
        std::thread::Builder::new().name("compute".into()).spawn(move || {
            let mut bench = Bench { engine, attributors: BTreeMap::new() };
            while let Some(task) = queue.blocking_recv() {
                task(&mut bench);
            }
        })?;
        Ok(Self { tasks, device, refused })
    }

    /// The name of the device.
    pub(crate) fn device(&self) -> &str {
        &self.device
    }

    /// Why a device that was wanted is not used.
    pub(crate) fn refused(&self) -> Option<&str> {
        self.refused.as_deref()
    }

    /// Runs a job on the thread.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Bench) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Failure> {
        let (reply, answer) = oneshot::channel();
        let task: Task = Box::new(move |bench| {
            // Nobody waits for the answer of a job that was given up.
            let _ = reply.send(job(bench));
        });
        self.tasks.send(task).await.map_err(|_| Failure::Local)?;
        answer.await.map_err(|_| Failure::Local)?
    }
}

fn local(what: &'static str) -> impl Fn(&dyn std::fmt::Display) -> Failure {
    move |error| {
        tracing::error!(%error, "{what}");
        Failure::Local
    }
}

/// Reads a checkpoint of a run.
pub(crate) fn read_checkpoint(run: &RunData, bytes: &[u8]) -> Result<Checkpoint, Failure> {
    let checkpoint = Checkpoint::from_bytes(bytes).map_err(|error| {
        tracing::error!(%error, "a checkpoint cannot be used");
        Failure::Invalid
    })?;
    checkpoint
        .expect_model(&run.shape, run.tokenizer.hash())
        .map_err(|error| local("a checkpoint of another model")(&error))?;
    Ok(checkpoint)
}

/// The initial weights of a run.
pub(crate) fn initial(run: &RunData) -> Result<Vec<u8>, Failure> {
    Checkpoint::init(&run.shape, run.tokenizer.hash(), run.config.seed)
        .map(|checkpoint| checkpoint.to_bytes())
        .map_err(|error| local("the run has no initial checkpoint")(&error))
}

impl Bench {
    /// Computes a training shard.
    pub(crate) fn train(
        &self,
        run: &RunData,
        base: &[u8],
        round: Round,
        units: &[u32],
        seed: u64,
    ) -> Result<Shard, Failure> {
        let checkpoint = Arc::new(read_checkpoint(run, base)?);
        let mut seed_bytes = [0u8; 32];
        seed_bytes[..8].copy_from_slice(&seed.to_be_bytes());
        let units = run.tokens_of(units);
        let input = ShardInput {
            checkpoint,
            units,
            seed: seed_bytes,
            hyper: run_hyper(&run.config, round.0),
        };
        let output = shard::run(&self.engine, &input)
            .map_err(|error| local("a shard could not be computed")(&error))?;
        let narrow = |value: u64| u32::try_from(value).unwrap_or(u32::MAX);
        Ok(Shard {
            payload: output.payload.to_bytes(),
            loss_first: narrow(output.loss_first),
            loss_last: narrow(output.loss_last),
            tokens: narrow(output.tokens),
        })
    }

    /// Computes a shard again and compares it with what was claimed.
    pub(crate) fn replay(
        &self,
        run: &RunData,
        base: &[u8],
        round: Round,
        (units, seed): (&[u32], u64),
        claimed: &[u8],
    ) -> Result<ReplayReport, Failure> {
        let claimed = read_payload(run, claimed)?;
        let own = self.train(run, base, round, units, seed)?;
        let own = read_payload(run, &own.payload)?;
        compare(&claimed, &own).map_err(|_| Failure::Invalid)
    }
}

/// Takes the outer step; the same bits on every machine, so it needs no device.
pub(crate) fn aggregate(
    run: &RunData,
    base: &[u8],
    payloads: &[bytes::Bytes],
) -> Result<Vec<u8>, Failure> {
    let checkpoint = read_checkpoint(run, base)?;
    let payloads: Vec<Payload> =
        payloads.iter().map(|bytes| read_payload(run, bytes)).collect::<Result<_, _>>()?;
    outer::step(&checkpoint, &payloads, run.config.alpha)
        .map(|next| next.to_bytes())
        .map_err(|error| local("the outer step failed")(&error))
}

fn read_payload(run: &RunData, bytes: &[u8]) -> Result<Payload, Failure> {
    let parameters = u32::try_from(run.shape.parameters()).map_err(|_| Failure::Invalid)?;
    Payload::from_bytes(bytes, parameters, run.config.top_k).map_err(|error| {
        tracing::warn!(%error, "a payload is malformed");
        Failure::Invalid
    })
}
