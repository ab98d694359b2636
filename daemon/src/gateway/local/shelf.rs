//! Models in memory: loaded when they are first asked, as many as fit, the one that was asked longest ago
//! making room for the next.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use protocol::Hash;
use tokio::sync::{OnceCell, OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::worker::Model;
use crate::bases::{Bases, Found, title};
use crate::config::ByteSize;
use crate::gateway::backend::Refused;

/// What memory is counted in, in bytes.
const UNIT: u64 = 1 << 20;
/// A model has its weights in memory as they were read and, a quarter as large, as they compute; beside them lie the
/// keys and values of answers, half as large at most.
const COPIES: u64 = 2;
/// How long a model that is put away may take to give back its memory.
const PUT_AWAY: Duration = Duration::from_secs(1);
/// When to ask again where all models in memory are being asked, in seconds.
const RETRY: u32 = 5;

/// The models in memory, the one that was asked last at the end.
pub(super) struct Shelf {
    /// Units of memory in all.
    most: u32,
    memory: Arc<Semaphore>,
    /// Bytes for the adapters of each model.
    adapter_memory: u64,
    models: Mutex<Vec<Shelved>>,
}

/// A model that is loaded, or is being loaded.
struct Shelved {
    checkpoint: Hash,
    model: Arc<OnceCell<Arc<Model>>>,
}

impl Shelf {
    pub(super) fn new(max_memory: u64, adapter_memory: u64) -> Self {
        let most = u32::try_from(max_memory / UNIT).unwrap_or(u32::MAX);
        let memory = Arc::new(Semaphore::new((most as usize).min(Semaphore::MAX_PERMITS)));
        Self { most, memory, adapter_memory, models: Mutex::default() }
    }

    /// A model, loaded where it is not yet; whoever asks for it meanwhile waits for the same.
    pub(super) async fn get(
        &self,
        bases: &Arc<Bases>,
        found: &Found,
    ) -> Result<Arc<Model>, Refused> {
        let shelved = self.place(found.card.checkpoint);
        let model = shelved.get_or_try_init(|| self.load(bases, found)).await?;
        Ok(Arc::clone(model))
    }

    /// The place of a model, at the end of the shelf.
    fn place(&self, checkpoint: Hash) -> Arc<OnceCell<Arc<Model>>> {
        let mut models = self.models();
        // A model whose thread has ended is loaded again.
        models.retain(|shelved| shelved.model.get().is_none_or(|model| model.is_alive()));
        let at = models.iter().position(|shelved| shelved.checkpoint == checkpoint);
        let shelved = match at {
            Some(at) => models.remove(at),
            None => Shelved { checkpoint, model: Arc::default() },
        };
        let model = Arc::clone(&shelved.model);
        models.push(shelved);
        model
    }

    async fn load(&self, bases: &Arc<Bases>, found: &Found) -> Result<Arc<Model>, Refused> {
        let memory = self.room(found).await?;
        let (bases, card) = (Arc::clone(bases), found.card.clone());
        let adapter_memory = self.adapter_memory;
        let load = move || Model::load(bases.load(&card)?, memory, adapter_memory);
        let loaded = super::blocking(load).await?;
        let model = loaded.map_err(|error| Refused::Failed(format!("{error:#}")))?;
        Ok(Arc::new(model))
    }

    /// Memory for a model, if need be that of others which nobody asks.
    async fn room(&self, found: &Found) -> Result<OwnedSemaphorePermit, Refused> {
        let bytes = found.bytes.saturating_mul(COPIES);
        let units = u32::try_from(bytes.div_ceil(UNIT)).unwrap_or(u32::MAX);
        if units > self.most {
            let (title, bytes) = (title(&found.card), ByteSize(bytes));
            let most = ByteSize(u64::from(self.most) * UNIT);
            return Err(Refused::Failed(format!(
                "{title} needs {bytes} of memory, and {most} are allowed; start the gateway with a larger --max-memory"
            )));
        }
        loop {
            if let Ok(memory) = Arc::clone(&self.memory).try_acquire_many_owned(units) {
                return Ok(memory);
            }
            if !self.put_away() {
                return Err(Refused::Busy(RETRY));
            }
            // Its thread gives the memory back when it ends.
            let enough = Arc::clone(&self.memory).acquire_many_owned(units);
            if let Ok(Ok(memory)) = timeout(PUT_AWAY, enough).await {
                return Ok(memory);
            }
        }
    }

    /// Puts the model away that nobody asks and was asked longest ago; whether there was one.
    fn put_away(&self) -> bool {
        let mut models = self.models();
        let is_unused = |shelved: &Shelved| {
            let model = shelved.model.get();
            model.is_some_and(|model| Arc::strong_count(model) == 1 && model.is_idle())
        };
        let at = models.iter().position(is_unused);
        at.map(|at| models.remove(at)).is_some()
    }

    fn models(&self) -> MutexGuard<'_, Vec<Shelved>> {
        self.models.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
