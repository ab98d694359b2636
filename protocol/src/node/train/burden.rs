//! Which runs a node bears: within its memory, and not at once again what failed or ended it.
//!
//! Orders are made by strangers. What one needs is known beforehand ([`crate::order`]); what goes wrong
//! all the same is tried less and less often.

use alloc::vec::Vec;

use super::{Node, Run, Stage};
use crate::{
    chain::ChainView,
    ids::{BlockNumber, Blocks, ModelId},
    node::{Done, Failure, Waiting},
};

/// Blocks after which a job that failed is tried again; after each further failure twice as many.
const RETRY_AFTER: Blocks = Blocks(2);
/// How often that doubles.
const DOUBLINGS: u32 = 5;
/// Blocks for which a run is left alone that ended the process twice in a row; then twice as many.
const QUARANTINE: Blocks = Blocks(16);
/// How often that doubles.
const QUARANTINE_DOUBLINGS: u32 = 8;
/// Runs that one end of the process puts off are tried apart, so that the right one is found.
const APART: Blocks = Blocks(4);
/// Orders that are no runs of which an operator is told: the newest.
const TOLD: usize = 3;

impl Node {
    /// Why a run that has not begun waits for memory.
    pub(super) fn lacks_memory(&self, run: &Run) -> Option<Waiting> {
        let (model, needs, limit) = (run.model, run.needs.memory, self.config.max_memory?);
        if needs > limit {
            return Some(Waiting::TooLarge { model, needs, limit });
        }
        let others = self.runs.values().filter(|other| other.model != model);
        let held = others.map(Run::held).fold(0, u64::saturating_add);
        (held.saturating_add(needs) > limit).then_some(Waiting::NoMemory { model, needs })
    }

    /// What the training runs of the network wait for on this node.
    pub(in crate::node) fn waiting_for_runs(&self, chain: &ChainView) -> Vec<Waiting> {
        let refused = chain.models().filter_map(|(_, model)| {
            let fault = chain.order(model.id).err()?;
            Some(Waiting::Refused(model.id, fault))
        });
        let mut reasons: Vec<_> = refused.collect();
        reasons.drain(..reasons.len().saturating_sub(TOLD));
        let now = chain.now();
        let reason = |run: &Run| {
            let is_new = matches!(run.stage, Stage::New);
            let memory = self.lacks_memory(run).filter(|_| is_new);
            memory.or_else(|| run.put_off(now)).or_else(|| run.waiting())
        };
        reasons.extend(self.runs.values().filter_map(reason));
        reasons
    }

    /// The process ended during a job of a run.
    pub(in crate::node) fn on_ended(&mut self, chain: &ChainView, model: ModelId, times: u32) {
        self.learn_runs(chain);
        let Some(run) = self.runs.get_mut(&model) else { return };
        run.ended = times;
        // Once may have been anything: the operator, the power, another program.
        let Some(doublings) = times.checked_sub(2) else { return };
        let apart = APART.times(model.0 % 8);
        let blocks = doubled(QUARANTINE, doublings.min(QUARANTINE_DOUBLINGS)).plus(apart);
        run.retry_at = run.retry_at.max(chain.now().after(blocks));
    }
}

impl Run {
    /// Bytes of memory that it takes now.
    fn held(&self) -> u64 {
        match &self.stage {
            Stage::New => 0,
            Stage::Preparing | Stage::Open(_) => self.needs.memory,
            Stage::Ready(_) => self.needs.data,
        }
    }

    /// A job failed. Bytes that nobody had may come at any time while a round is open; what is wrong with
    /// the bytes or with this machine stays so, and is tried less and less often.
    pub(super) fn back_off(&mut self, chain: &ChainView, done: &Done) {
        let may_come = matches!(done, Done::Failed(Failure::Unavailable));
        let doublings = if may_come && self.open_mut().is_some() {
            0
        } else {
            let before = self.failures;
            self.failures = before.saturating_add(1);
            before.min(DOUBLINGS)
        };
        self.retry_at = chain.now().after(doubled(RETRY_AFTER, doublings));
    }

    /// Until when it is left alone, and why.
    fn put_off(&self, now: BlockNumber) -> Option<Waiting> {
        let (model, until) = (self.model, self.retry_at);
        if until <= now {
            return None;
        }
        let is_new = matches!(self.stage, Stage::New);
        match self.ended {
            times @ 2.. => Some(Waiting::Quarantined { model, times, until }),
            _ => (is_new && self.failures > 1).then_some(Waiting::Failed(model, until)),
        }
    }
}

fn doubled(blocks: Blocks, times: u32) -> Blocks {
    blocks.times(1u64.checked_shl(times).unwrap_or(u64::MAX))
}
