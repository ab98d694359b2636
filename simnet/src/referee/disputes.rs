//! Disputes about storage: what is shown takes nothing from anybody, and what is not is not paid.

use std::collections::{BTreeMap, BTreeSet};

use protocol::{
    AccountId, BlockNumber, Digest, Epoch,
    settle::{Outcome, Source, Unpaid},
};

use super::{Laws, Referee, Rule};

/// A cell of a commitment that a holder has to show: the epoch, the holder, the commitment, the cell.
pub type Disputed = (Epoch, AccountId, Digest, u32);

/// A question that somebody asked.
#[derive(Debug, Clone, Copy)]
struct Asked {
    since: BlockNumber,
    until: BlockNumber,
    shown: Option<BlockNumber>,
}

/// What was asked in the epochs that are not settled yet.
#[derive(Debug, Default)]
pub(super) struct Disputes(BTreeMap<Disputed, Asked>);

impl Disputes {
    /// The blocks after one were replaced.
    pub(super) fn forget_after(&mut self, stays: BlockNumber) {
        self.0.retain(|_, asked| asked.since <= stays);
        for asked in self.0.values_mut() {
            asked.shown = asked.shown.filter(|block| *block <= stays);
        }
    }

    pub(super) fn forget(&mut self, settled: Epoch) {
        self.0.retain(|(epoch, ..), _| *epoch > settled);
    }

    /// Holders of an epoch who did not show something that they were to show before a block.
    fn unshown(&self, of: Epoch, cutoff: u64) -> BTreeSet<AccountId> {
        let is_late = |asked: &Asked| match asked.shown {
            Some(block) => block > asked.until,
            None => asked.until.0 < cutoff,
        };
        let of_epoch = self.0.iter().filter(|((epoch, ..), asked)| *epoch == of && is_late(asked));
        of_epoch.map(|((_, holder, ..), _)| *holder).collect()
    }
}

impl Referee {
    /// Somebody wants to see a cell, and there is time to show it until a block.
    pub(crate) fn disputed(&mut self, what: Disputed, since: BlockNumber, until: BlockNumber) {
        self.disputes.0.entry(what).or_insert(Asked { since, until, shown: None });
    }

    /// A disputed cell was shown.
    pub(crate) fn answered(&mut self, what: Disputed, block: BlockNumber) {
        if let Some(asked) = self.disputes.0.get_mut(&what) {
            asked.shown = asked.shown.or(Some(block));
        }
    }

    /// Stake was taken for a cell that was not shown.
    pub(crate) fn expired(&mut self, what: Disputed, block: BlockNumber) {
        let asked = self.disputes.0.get(&what);
        if asked.is_some_and(|asked| asked.shown.is_some() || block <= asked.until) {
            self.find(Rule::ShownIsSafe, || format!("block {block}: {what:?} was shown in time"));
        }
    }

    pub(super) fn judge_disputes(&mut self, laws: &Laws, outcome: &Outcome) {
        let epoch = outcome.settlement.epoch;
        let unshown = self.disputes.unshown(epoch, laws.cutoff(epoch));
        let refused = outcome.zeros.iter().filter(|zero| zero.reason == Unpaid::NotShown);
        for zero in refused.filter(|zero| !unshown.contains(&zero.account)) {
            self.find(Rule::ShownIsSafe, || format!("epoch {epoch}, account {}", zero.account));
        }
        let is_storage = |source: Source| source == Source::Storage;
        for line in outcome.lines.iter().filter(|line| is_storage(line.source)) {
            if unshown.contains(&line.account) && !self.work.is_of_output(line) {
                self.find(Rule::UnshownUnpaid, || {
                    format!("epoch {epoch}, account {}", line.account)
                });
            }
        }
    }
}
