//! The one thread that computes: shards, replays, outer steps, answers, attributions.
//!
//! Device memory and models live here and nowhere else; jobs come as closures through a bounded
//! queue, so that a slow device never blocks the node's loop.

use std::collections::BTreeMap;
use std::sync::Arc;

use compute::device::{Engine, guarded};
use compute::serve::Attributor;
use compute::train::ProvenEngine;
use protocol::node::Failure;
use protocol::{Hash, ModelId};
use tokio::sync::{mpsc, oneshot};

use super::speaker::Speaker;

/// Jobs that wait for the device.
const QUEUE: usize = 256;

type Task = Box<dyn FnOnce(&mut ComputeState) + Send>;

/// What the thread keeps between jobs.
pub(crate) struct ComputeState {
    pub(crate) engine: Engine,
    /// Loaded models, by model and checkpoint.
    pub(crate) speakers: BTreeMap<(ModelId, Hash), Speaker>,
}

impl ComputeState {
    /// A loaded model.
    pub(crate) fn speaker(&self, key: &(ModelId, Hash)) -> Result<&Speaker, Failure> {
        self.speakers.get(key).ok_or(Failure::Unavailable)
    }

    /// A loaded model with its evidence; a base has none.
    pub(crate) fn attributor(&self, key: &(ModelId, Hash)) -> Result<&Attributor, Failure> {
        match self.speaker(key)? {
            Speaker::Model(model) => Ok(model),
            Speaker::Base(..) => Err(Failure::Invalid),
        }
    }
}

/// Sends jobs to the computing thread; clones share it, and it ends with the last one.
#[derive(Debug, Clone)]
pub(crate) struct ComputeThread {
    tasks: mpsc::Sender<Task>,
    device: Arc<str>,
    refused: Option<Arc<str>>,
}

impl ComputeThread {
    /// Starts the thread on a device that was opened and has passed its self-test.
    pub(crate) fn start(proven: ProvenEngine) -> std::io::Result<Self> {
        let (tasks, mut queue) = mpsc::channel::<Task>(QUEUE);
        let ProvenEngine { engine, refused } = proven;
        let device: Arc<str> = engine.name().into();
        let refused = refused.map(|refusal| Arc::from(refusal.to_string()));
        std::thread::Builder::new().name("compute".into()).spawn(move || {
            let mut state = ComputeState { engine, speakers: BTreeMap::new() };
            while let Some(task) = queue.blocking_recv() {
                // Whoever waits for the task sees its answer dropped. What it left half-changed goes
                // with it: models are loaded again.
                if let Err(error) = guarded(|| task(&mut state)) {
                    tracing::error!(%error, "a job on the compute thread panicked: please report it");
                    state.speakers.clear();
                }
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
        job: impl FnOnce(&mut ComputeState) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Failure> {
        let (reply, answer) = oneshot::channel();
        let task: Task = Box::new(move |state| {
            // Nobody waits for the answer of a job that was given up.
            let _ = reply.send(job(state));
        });
        self.tasks.send(task).await.map_err(|_| Failure::Local)?;
        answer.await.map_err(|_| Failure::Local)?
    }
}

#[cfg(test)]
mod tests {
    use compute::device::DeviceChoice;
    use compute::train::open_engine;

    use super::*;

    #[tokio::test]
    async fn a_job_that_panics_fails_alone() {
        let engine = open_engine(&DeviceChoice::Cpu).expect("every machine has a CPU");
        let thread = ComputeThread::start(engine).expect("a thread can be started");
        let broken = thread.run(|_| -> Result<(), Failure> { panic!("no such unit") }).await;
        assert_eq!(broken, Err(Failure::Local));
        assert_eq!(thread.run(|_| Ok(7)).await, Ok(7));
    }
}
