//! What peers are to this node, as the consumer says, and what they have done.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use protocol::NodeId;
use protocol::rules::Standing;

use super::reputation::Reputation;

/// Standings and scores; clones share them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Standings {
    of: Arc<Mutex<Arc<BTreeMap<NodeId, Standing>>>>,
    reputation: Reputation,
}

impl Standings {
    /// The standing of a peer; that of a stranger unless it is known.
    pub(crate) fn of(&self, peer: &NodeId) -> Standing {
        let all = Arc::clone(&self.of.lock().expect("no holder panics"));
        all.get(peer).copied().unwrap_or(Standing::Stranger)
    }

    /// Replaces all standings.
    pub(crate) fn set(&self, all: BTreeMap<NodeId, Standing>) {
        *self.of.lock().expect("no holder panics") = Arc::new(all);
    }

    pub(crate) const fn reputation(&self) -> &Reputation {
        &self.reputation
    }
}
