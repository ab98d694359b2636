//! When a node can be left alone: which blocks and records cannot change what it does.
//!
//! A driver of one node need not ask. A driver of a million gives each of them only what matters to
//! it, and gets the same outputs.

use alloc::vec::Vec;

use super::Node;
use crate::{
    chain::ChainView,
    ids::{AccountId, BlockNumber},
    record::{Body, Kind, VerifiedRecord},
};

/// Whose machines a record can matter to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Audience {
    /// Any machine may have to act on it.
    Everyone,
    /// Theirs only; it may name one twice.
    Accounts(Vec<AccountId>),
}

/// Who has to be given a record: to all others [`super::Input::Record`] of it is nothing, once the
/// beacon of the commit deadline exists.
pub fn audience(chain: &ChainView, record: &VerifiedRecord) -> Audience {
    let made = record.record();
    match &made.body {
        Body::StorageCommit(_) => Audience::Accounts(alloc::vec![made.account]),
        Body::StorageProof(_) => {
            let mut accounts = chain.storage_auditors(made.epoch, made.account).holders();
            accounts.push(made.account);
            Audience::Accounts(accounts)
        }
        Body::Audit(body) if body.finding.judged() == Kind::StorageProof => {
            Audience::Accounts(alloc::vec![made.account])
        }
        _ => Audience::Everyone,
    }
}

impl Node {
    /// The first block that can give this node something to do, if nothing but blocks comes; `None`
    /// when only a block that stirs ([`ChainView::stirs`]) can. Ask again after every input.
    pub fn next_block(&self, chain: &ChainView) -> Option<BlockNumber> {
        let now = chain.head()?.number;
        let next = now.next();
        let is_behind = self.epoch != Some(chain.epoch());
        if is_behind || !self.runs.is_empty() || self.serving.has_work() {
            return Some(next);
        }
        let retry = (!self.wanted.is_empty()).then_some(self.retry_at);
        let wakes = [
            retry,
            self.proof_wakes(chain),
            self.audits_wake(chain),
            self.disputes_wake(chain),
            self.settling_wakes(chain),
            self.inclusions_wake(),
            self.redemptions_wake(),
        ];
        wakes.into_iter().flatten().min().map(|block| block.max(next))
    }
}
