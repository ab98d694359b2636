//! Disputes about storage, as the contract tells of them.

use alloc::{collections::BTreeMap, vec::Vec};

use crate::{
    ids::{AccountId, BlockNumber, Digest, Epoch},
    limits::MAX_DISPUTES,
};

/// A cell that somebody wants to be shown on chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dispute {
    /// The holder that has to show it.
    pub account: AccountId,
    /// Who locked a bond for it.
    pub accuser: AccountId,
    /// The commitment that it is a cell of, which need not be the one that the chain took in.
    pub commit: Digest,
    /// The number of the cell.
    pub cell: u32,
    /// The last block in which it may be shown.
    pub until: BlockNumber,
    /// Whether it was shown.
    pub is_answered: bool,
    /// Whether the contract took stake for it, or gave the bond back.
    pub is_closed: bool,
}

impl Dispute {
    /// Whether it has to be answered in a block or later.
    pub fn is_open(&self, now: BlockNumber) -> bool {
        !self.is_answered && now < self.until
    }

    /// Whether its time is over, and nobody showed the cell.
    pub fn is_lost(&self, now: BlockNumber) -> bool {
        !self.is_answered && now >= self.until
    }
}

/// The disputes about the epochs that are not settled, and about a few before.
#[derive(Debug, Clone, Default)]
pub(super) struct Disputes(BTreeMap<(Epoch, AccountId), Vec<Dispute>>);

impl Disputes {
    pub(super) const fn new() -> Self {
        Self(BTreeMap::new())
    }

    pub(super) fn open(&mut self, epoch: Epoch, dispute: Dispute) {
        let of_account = self.0.entry((epoch, dispute.account)).or_default();
        if of_account.len() < MAX_DISPUTES {
            of_account.push(dispute);
        }
    }

    /// The one about a cell: the contract takes no second one.
    pub(super) fn find_mut(
        &mut self,
        epoch: Epoch,
        account: AccountId,
        (commit, cell): (Digest, u32),
    ) -> Option<&mut Dispute> {
        let of_account = self.0.get_mut(&(epoch, account))?;
        of_account.iter_mut().find(|of| (of.commit, of.cell) == (commit, cell))
    }

    pub(super) fn about(&self, epoch: Epoch, account: AccountId) -> &[Dispute] {
        self.0.get(&(epoch, account)).map_or(&[][..], Vec::as_slice)
    }

    pub(super) fn all(&self) -> impl Iterator<Item = (Epoch, &Dispute)> {
        self.0.iter().flat_map(|((epoch, _), all)| all.iter().map(|dispute| (*epoch, dispute)))
    }

    pub(super) fn forget_before(&mut self, epoch: Epoch) {
        self.0 = self.0.split_off(&(epoch, AccountId(0)));
    }
}
