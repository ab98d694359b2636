//! The chain's newest blocks are replaced, and what that does to nodes.
//!
//! A node cannot take out of its view what it has read: the daemon stops with an error, and whoever
//! runs it starts it again; it then reads the chain anew. All nodes share one view here, so all that
//! are there have read the same blocks.

use std::collections::BTreeSet;

use protocol::{BlockNumber, Epoch};

use super::{Event, Simulation, presence::RESTART_MICROS};
use crate::kernel::{Purpose, Time};

/// What was replaced so far, and what happens once however often its block comes.
#[derive(Debug, Default)]
pub(super) struct Reorgs {
    /// How often.
    pub(super) count: u64,
    /// How many blocks.
    pub(super) blocks: u64,
    /// How often a node stopped for that reason.
    pub(super) stops: u64,
    /// Epochs whose settlement was counted.
    folded: BTreeSet<Epoch>,
    /// The first epoch that was not measured yet.
    unmeasured: Epoch,
}

impl Reorgs {
    /// Whether a settlement is final for the first time.
    pub(super) fn is_first(&mut self, epoch: Epoch) -> bool {
        self.folded.insert(epoch)
    }

    /// Whether an epoch begins for the first time.
    pub(super) fn begins(&mut self, epoch: Epoch) -> bool {
        let is_first = epoch >= self.unmeasured;
        self.unmeasured = self.unmeasured.max(epoch.next());
        is_first
    }
}

impl Simulation {
    /// Before a block is made: whether other blocks are below it than there were.
    pub(super) fn reorganise(&mut self) {
        let rules = &self.scenario.chain;
        if rules.reorg <= 0.0 {
            return;
        }
        let next = self.chain.head().0 + 1;
        let draw = |which| self.draws.share(Purpose::Reorg, next, which);
        if draw(0) >= rules.reorg {
            return;
        }
        // Geometric, with the given mean; what is deeper than the limit is cut off.
        let goes_on = 1.0 - 1.0 / rules.reorg_depth;
        let deeper = (1..rules.reorg_limit).take_while(|which| draw(*which) < goes_on).count();
        let depth = deeper as u64 + 1;
        let made = |ago: u64| Time(self.now.0.saturating_sub(ago.saturating_mul(rules.block.0)));
        let times: Vec<_> = (1..=depth).rev().map(made).collect();
        let (stays, was_read) = self.chain.replace(&times);
        self.reorgs.count += 1;
        self.reorgs.blocks += self.chain.head().0 - stays.0;
        if was_read {
            self.unread(stays);
        }
    }

    /// Nodes have read blocks above one, and these are gone.
    fn unread(&mut self, stays: BlockNumber) {
        for index in 0..self.nodes.len() {
            if self.nodes[index].is_online() {
                self.go(index);
                self.reorgs.stops += 1;
                self.push_own(self.now.after(RESTART_MICROS), index, Event::Return);
            }
        }
        // Verdicts and settlements follow from the chain; so does what the referee noted of it.
        self.judged.clear();
        self.verified.clear();
        let settled = self.chain.view().next_to_settle();
        self.settled.retain(|_, known| known.outcome.settlement.epoch < settled);
        self.final_at.retain(|_, block| *block <= stays);
        self.referee.forget_anchors_after(stays);
    }
}
