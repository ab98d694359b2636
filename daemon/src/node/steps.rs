//! Which outer steps this node took by itself.
//!
//! A close names the checkpoint that its shards lead to, and whoever follows it takes the same step to see
//! whether they do. After a restart that need not be done again. But that a blob of the checkpoint's name
//! is here says nothing: anybody can have one stored, as a pack to hold or as the payload of a shard to
//! audit. So what counts is what this node remembers of the step and what came of it.

use std::sync::Arc;

use protocol::codec::Wire;
use protocol::hash::keccak;
use protocol::training::RunConfig;
use protocol::{BlobRef, Hash};
use storage::Store;

/// What the names of steps begin with.
const PREFIX: &str = "step/";

/// The steps that one store remembers. Each left a checkpoint there, next to which a name is nothing.
#[derive(Debug, Clone)]
pub(crate) struct Steps(Arc<Store>);

/// Everything that a step follows from, by its hash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Step(String);

impl Step {
    /// The step from a checkpoint over payloads, by the rules of a run: its number may be another's after
    /// blocks were replaced.
    pub(crate) fn new(run: &RunConfig, base: Hash, payloads: &[BlobRef]) -> Self {
        let payloads: Vec<u8> = payloads.iter().flat_map(|payload| payload.hash.0).collect();
        let digest =
            keccak(&[b"openledger/step", &keccak(&[&run.to_bytes()]).0, &base.0, &payloads]);
        Self(format!("{PREFIX}{digest}"))
    }
}

impl Steps {
    pub(crate) fn new(store: Arc<Store>) -> Self {
        Self(store)
    }

    /// The checkpoint that came of a step, if this node took it and still has that.
    pub(crate) fn result(&self, Step(name): &Step) -> Option<Hash> {
        let noted = self.0.index().get_meta(name).unwrap_or_else(|error| {
            tracing::warn!(%error, "whether a step was taken cannot be read");
            None
        });
        Hash::from_slice(&noted?).filter(|checkpoint| self.0.blobs().has(*checkpoint))
    }

    /// Remembers what came of a step.
    pub(crate) fn note(&self, Step(name): &Step, checkpoint: Hash) {
        if let Err(error) = self.0.index().put_meta(name, &checkpoint.0) {
            tracing::warn!(%error, "a step cannot be remembered");
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use compute::train::TrainingPreset;
    use protocol::model::RunModel;
    use storage::store::StoreConfig;

    use super::*;

    #[tokio::test]
    async fn a_checkpoint_that_others_had_stored_here_is_no_step_that_was_taken() {
        let dir = tempfile::tempdir().unwrap();
        let open = || Store::open(dir.path(), StoreConfig::default());
        let store = Arc::new(open().await.unwrap());
        let payload = BlobRef::new(Hash([2; 32]), 7);
        let (preset, model) = (TrainingPreset::demo(), RunModel::Preset(0));
        let run = preset.order(model, payload, 1, preset.size());
        let step = Step::new(&run, Hash([1; 32]), &[payload]);
        let planted = store.blobs().put(Bytes::from_static(b"as if it were one")).await.unwrap();
        let steps = Steps::new(Arc::clone(&store));
        assert_eq!(steps.result(&step), None, "it is here, and nobody computed it");
        steps.note(&step, planted);
        assert_eq!(steps.result(&step), Some(planted));
        let other = preset.order(model, payload, 2, preset.size());
        for other in [
            Step::new(&run, Hash([3; 32]), &[payload]),
            Step::new(&run, Hash([1; 32]), &[payload, payload]),
            Step::new(&other, Hash([1; 32]), &[payload]),
        ] {
            assert_eq!(steps.result(&other), None);
        }
        steps.note(&step, Hash([9; 32]));
        assert_eq!(steps.result(&step), None, "what came of it is gone");
    }
}
