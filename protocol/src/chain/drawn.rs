//! What was drawn so far, so that nothing is drawn twice.

use alloc::{collections::BTreeMap, sync::Arc, vec::Vec};

use crate::{
    draw::{Seats, Turns, Weights},
    ids::{AccountId, BlockNumber, Digest, Epoch},
    placement::{Placement, Placer},
};

/// For each auditor, whose storage it audits.
pub type Duties = BTreeMap<AccountId, Vec<AccountId>>;

/// Who counts in an epoch, by the stake that stayed through the one before it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Counting {
    /// Everybody who has the least stake that counts.
    pub(super) stakers: Arc<Weights>,
    /// Of these, who runs a node.
    pub(super) nodes: Arc<Weights>,
}

/// Results of the draws so far. What did not change from one epoch to the next is kept once.
#[derive(Debug, Clone)]
pub(super) struct Drawn {
    pub(super) placer: Placer,
    pub(super) placements: BTreeMap<Epoch, Arc<Placement>>,
    /// Who counts from an epoch on, until the next entry.
    pub(super) counting: BTreeMap<Epoch, Counting>,
    /// The newest epoch for which it is known who counts.
    pub(super) weighed: Option<Epoch>,
    /// Duties of the newest epochs, by auditor.
    pub(super) duties: BTreeMap<Epoch, Arc<Duties>>,
    /// The turns to propose a settlement that is not final.
    pub(super) proposers: BTreeMap<Epoch, Turns>,
    /// Who recomputes a proposal that is not final, with the block of the proposal.
    pub(super) watchers: BTreeMap<Digest, (BlockNumber, Seats)>,
}

impl Drawn {
    pub(super) const fn new() -> Self {
        Self {
            placer: Placer::new(),
            placements: BTreeMap::new(),
            counting: BTreeMap::new(),
            weighed: None,
            duties: BTreeMap::new(),
            proposers: BTreeMap::new(),
            watchers: BTreeMap::new(),
        }
    }
}
