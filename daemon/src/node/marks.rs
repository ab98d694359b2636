//! Which training runs' jobs were under way when the process ended.
//!
//! An order can kill whoever works on it, by memory or by a fault of a driver, and would again after a
//! restart. So a mark is on the disk before a job of a run begins and gone when it is over, however it
//! went; what is found at the start tells which runs the process did not survive, and how often in a
//! row. What follows from that is the machine's to say.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use protocol::ModelId;
use protocol::node::Job;
use storage::Store;

/// What the names of marks begin with.
const PREFIX: &str = "under-way/";

/// The marks of one store; clones share them.
#[derive(Debug, Clone)]
pub(crate) struct Marks {
    store: Arc<Store>,
    /// Jobs under way by the name of their mark.
    running: Arc<Mutex<BTreeMap<String, u32>>>,
}

/// A job that is under way. Dropped when it is over, and when the node stops.
#[derive(Debug)]
pub(crate) struct UnderWay {
    marks: Marks,
    name: String,
}

impl Marks {
    pub(crate) fn new(store: Arc<Store>) -> Self {
        Self { store, running: Arc::default() }
    }

    /// How many times in a row the process ended during a job of each run.
    pub(crate) fn ended(&self) -> BTreeMap<ModelId, u32> {
        let marks = self.store.index().list_meta(PREFIX).unwrap_or_else(|error| {
            tracing::warn!(%error, "which jobs were under way cannot be read");
            Vec::new()
        });
        let mut ended = BTreeMap::new();
        for (name, value) in marks {
            let model = name.rsplit('/').next().and_then(|number| number.parse().ok());
            let times = value.try_into().map(u32::from_be_bytes);
            if let (Some(model), Ok(times)) = (model, times) {
                let most: &mut u32 = ended.entry(ModelId(model)).or_default();
                *most = times.max(*most);
            }
        }
        ended
    }

    /// Marks a job of a run, if it is one, as under way.
    pub(crate) fn begin(&self, job: &Job) -> Option<UnderWay> {
        let (kind, model) = match job {
            Job::Prepare { model } => ("prepare", *model),
            Job::Compute { model, .. } => ("compute", *model),
            Job::Replay { shard, .. } => ("replay", shard.model),
            Job::Aggregate { model, .. } => ("aggregate", *model),
            Job::Infer { model, .. } => ("infer", *model),
            _ => return None,
        };
        let name = format!("{PREFIX}{kind}/{model}");
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let jobs = running.entry(name.clone()).or_default();
        *jobs += 1;
        if *jobs == 1 {
            let before = self.store.index().get_meta(&name).ok().flatten();
            let before =
                before.and_then(|value| value.try_into().ok()).map_or(0, u32::from_be_bytes);
            let times = before.saturating_add(1).to_be_bytes();
            if let Err(error) = self.store.index().put_meta(&name, &times) {
                tracing::warn!(%error, "a job cannot be marked as under way");
            }
        }
        drop(running);
        Some(UnderWay { marks: self.clone(), name })
    }

    fn end(&self, name: &str) {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(jobs) = running.get_mut(name) else { return };
        *jobs -= 1;
        if *jobs == 0 {
            running.remove(name);
            if let Err(error) = self.store.index().remove_meta(name) {
                tracing::warn!(%error, "a job cannot be unmarked");
            }
        }
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.marks.end(&self.name);
    }
}

#[cfg(test)]
mod tests {
    use storage::store::StoreConfig;

    use super::*;

    #[tokio::test]
    async fn a_job_that_ended_the_process_is_known_at_the_next_start() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), StoreConfig::default()).await.unwrap();
        let store = Arc::new(store);
        let deadly = Job::Prepare { model: ModelId(7) };
        let harmless = Job::Prepare { model: ModelId(8) };
        for times in 1..=3 {
            let marks = Marks::new(Arc::clone(&store));
            drop(marks.begin(&harmless));
            // What a killed process does not get to do.
            std::mem::forget(marks.begin(&deadly));
            let after = Marks::new(Arc::clone(&store)).ended();
            assert_eq!(after, BTreeMap::from([(ModelId(7), times)]));
        }
        let marks = Marks::new(store);
        let (first, second) = (marks.begin(&deadly), marks.begin(&deadly));
        drop(first);
        assert_eq!(marks.ended(), BTreeMap::from([(ModelId(7), 4)]), "the other is under way");
        drop(second);
        assert!(marks.ended().is_empty(), "it was done");
    }
}
