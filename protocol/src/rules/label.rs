//! With which epoch work is labelled.

use crate::{chain::ChainView, ids::Epoch};

/// The epoch with which work that finishes now is labelled: the one whose audits still have time.
pub(crate) fn work_epoch(chain: &ChainView) -> Epoch {
    chain.schedule.epoch_of(chain.now().after(chain.params().work_margin_blocks))
}
