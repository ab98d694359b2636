//! A loaded model and the thread that answers with it, many requests in each pass.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use anyhow::{Context, Result};
use compute::formats::Base;
use compute::lora::BaseId;
use compute::serve::batch::{Batcher, Limits, NoRoom, PackedAdapter, QuantisedDecoder, Residents};
use tokio::sync::{OwnedSemaphorePermit, mpsc};

use super::jobs::{Job, Load, MAX_WAITING};
use super::speaking::Speaker;
use crate::adapters::{AdapterCard, Adapters};
use crate::gateway::backend::Refused;

/// The least memory for keys and values of answers, in bytes; half a model's weights as they were read where that
/// is more.
const LEAST_CACHE: u64 = 64 << 20;

/// A model in memory. Dropped, its thread ends after the questions that it has.
pub(super) struct Model {
    pub(super) base: Arc<Base>,
    id: BaseId,
    adapters: Mutex<Residents>,
    queue: mpsc::Sender<Job>,
    load: Arc<Load>,
}

impl Model {
    /// Loads a base onto the processor, in eight bits; `memory` is given back when its thread has ended. Its
    /// adapters take so many bytes at most.
    pub(super) fn load(
        base: Base,
        memory: OwnedSemaphorePermit,
        adapter_memory: u64,
    ) -> Result<Self> {
        let decoder = QuantisedDecoder::load(base.checkpoint(), None)?;
        let cache_bytes = (base.checkpoint().values().len() as u64 * 2).max(LEAST_CACHE);
        let batcher = Batcher::new(Arc::new(decoder), Limits { cache_bytes, ..Limits::default() });
        let id = BaseId::of(base.checkpoint());
        let adapters = Mutex::new(Residents::new(adapter_memory));
        let (base, load) = (Arc::new(base), Arc::<Load>::default());
        let (queue, jobs) = mpsc::channel(MAX_WAITING);
        let speaker = Speaker::new(batcher, Arc::clone(&base), Arc::clone(&load));
        let work = move || {
            let _memory = memory;
            speaker.answer_all(jobs);
        };
        let thread = thread::Builder::new().name("model".to_owned()).spawn(work);
        thread.context("no thread can be started for the model")?;
        Ok(Self { base, id, adapters, queue, load })
    }

    /// One of its adapters, from memory or else from the disk.
    pub(super) fn adapter(
        &self,
        adapters: &Adapters,
        card: &AdapterCard,
    ) -> Result<Arc<PackedAdapter>, Refused> {
        if let Some(resident) = self.residents().get(&card.adapter) {
            return Ok(resident);
        }
        let read = || {
            let adapter = adapters.load(card)?;
            adapter.expect_base(&self.id)?;
            anyhow::Ok(PackedAdapter::new(&adapter)?)
        };
        let packed = read().map_err(|error| Refused::Failed(format!("{error:#}")))?;
        self.residents().put(packed).map_err(|error| match error {
            NoRoom::Ever { .. } => Refused::Failed(format!(
                "{error}; start the gateway with a larger --adapter-memory"
            )),
            NoRoom::Now => Refused::Busy(self.load.retry()),
        })
    }

    fn residents(&self) -> MutexGuard<'_, Residents> {
        self.adapters.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a question to the others that wait.
    pub(super) fn ask(&self, job: Job) -> Result<(), Refused> {
        self.load.asked();
        self.queue.try_send(job).map_err(|error| {
            self.load.refused();
            match error {
                mpsc::error::TrySendError::Full(_) => Refused::Busy(self.load.retry()),
                mpsc::error::TrySendError::Closed(_) => {
                    Refused::Failed("the model stopped answering; ask again".to_owned())
                }
            }
        })
    }

    /// Whether nobody waits for it.
    pub(super) fn is_idle(&self) -> bool {
        self.load.is_idle()
    }

    /// Whether its thread still answers.
    pub(super) fn is_alive(&self) -> bool {
        !self.queue.is_closed()
    }
}
