//! What was drawn so far, so that nothing is drawn twice.

use alloc::{collections::BTreeMap, sync::Arc, vec::Vec};

use crate::{
    ids::{AccountId, Epoch},
    placement::{Placement, Placer},
};

/// For each auditor, whose storage it audits.
pub type Duties = BTreeMap<AccountId, Vec<AccountId>>;

/// Results of the draws so far. What did not change from one epoch to the next is kept once.
#[derive(Debug, Clone)]
pub(super) struct Drawn {
    pub(super) placer: Placer,
    pub(super) placements: BTreeMap<Epoch, Arc<Placement>>,
    /// Members at the start of each epoch, by id.
    pub(super) members: BTreeMap<Epoch, Arc<Vec<AccountId>>>,
    /// Duties of the newest epochs, by auditor.
    pub(super) duties: BTreeMap<Epoch, Arc<Duties>>,
    /// The rank of each proposer of a settlement that is not final.
    pub(super) proposers: BTreeMap<Epoch, BTreeMap<AccountId, usize>>,
}

impl Drawn {
    pub(super) const fn new() -> Self {
        Self {
            placer: Placer::new(),
            placements: BTreeMap::new(),
            members: BTreeMap::new(),
            duties: BTreeMap::new(),
            proposers: BTreeMap::new(),
        }
    }
}
