//! With which epoch work is labelled, and until when it counts there.

use crate::{
    chain::ChainView,
    ids::{BlockNumber, Epoch},
};

/// The epoch with which work that finishes now is labelled: the one whose audits still have time.
pub fn work_epoch(chain: &ChainView) -> Epoch {
    chain.schedule.epoch_of(chain.now().after(chain.params().work_margin_blocks))
}

/// The first block whose anchors come too late for the settlement of an epoch, and in which it may be
/// proposed. What is anchored later may not change a result that was proposed before.
pub fn cutoff(chain: &ChainView, epoch: Epoch) -> BlockNumber {
    chain.schedule.start(epoch.next()).after(chain.params().settle_delay_blocks)
}
